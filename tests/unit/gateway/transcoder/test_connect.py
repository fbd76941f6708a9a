"""Unary Connect by POST and GET, and plain JSON beside it, bytes by hand: T-360 to T-367, T-385."""

import base64
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
from google.rpc import error_details_pb2

from services.gateway.transcoder import Options, Transcoder
from tests.support.transcoder_contract import compile_protos
from tests.support.transcoder_mesh import Gateway, running
from tests.support.web_protocols import JUKEBOX, SONGS, Jukebox, envelope, grpc_web, status_of

JSON = "application/json"
PROTO = "application/proto"
VERSION = {"Connect-Protocol-Version": "1"}
OPTIONS = Options(
    default_routes=False,
    response_trailers=("x-cost", "x-cost-bin"),
    header_fields=(("If-Match", "etag"),),
    max_body=100_000,
    max_message=50_000,
)


@pytest.fixture(scope="module")
def transcoder() -> Transcoder:
    return Transcoder([compile_protos(songs=SONGS)], OPTIONS)


@pytest.fixture
def jukebox(transcoder: Transcoder) -> Jukebox:
    return Jukebox(transcoder)


@pytest.fixture
async def gateway(transcoder: Transcoder, jukebox: Jukebox) -> AsyncIterator[Gateway]:
    async with running(transcoder, jukebox.handlers) as served:
        yield served


async def post(
    gateway: Gateway, method: str, body: bytes, content_type: str = JSON, **headers: str
) -> tuple[Any, bytes]:
    """Return answer and body of a Connect POST; underscores in header names stand for dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = {"Content-Type": content_type, **VERSION, **named}
    async with gateway.request("POST", f"{JUKEBOX}/{method}", data=body, headers=sent) as answer:
        return answer, await answer.read()


async def get(gateway: Gateway, query: str, method: str = "Look", **headers: str) -> tuple[Any, bytes]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with gateway.request("GET", f"{JUKEBOX}/{method}?{query}", headers=named) as answer:
        return answer, await answer.read()


@pytest.mark.parametrize("content_type", [JSON, "application/json; charset=utf-8", "Application/JSON"])
async def test_json_is_answered_with_json(gateway: Gateway, content_type: str) -> None:
    answer, body = await post(gateway, "Play", b'{"title":"a","plays":1}', content_type)

    assert answer.status == 200
    assert answer.headers["Content-Type"] == JSON
    assert json.loads(body) == {"title": "a", "plays": "2"}


async def test_proto_is_answered_with_proto(gateway: Gateway, jukebox: Jukebox) -> None:
    sent = jukebox.song(title="a").SerializeToString()

    answer, body = await post(gateway, "Play", sent, PROTO)

    assert answer.headers["Content-Type"] == PROTO
    assert jukebox.song.FromString(body) == jukebox.song(title="a", plays=1)


@pytest.mark.parametrize("content_type", [JSON, PROTO])
async def test_no_bytes_are_the_empty_message(gateway: Gateway, jukebox: Jukebox, content_type: str) -> None:
    answer, _ = await post(gateway, "Play", b"", content_type)

    assert answer.status == 200
    assert jukebox.requests == [jukebox.song()]


@pytest.mark.parametrize(
    ("method", "content_type"),
    [
        ("Play", "application/xml"),
        ("Play", "application/connect+json"),
        ("Play", "application/connect+proto"),
        ("Repeat", JSON),
        ("Repeat", PROTO),
        ("Gather", JSON),
    ],
)
async def test_wrong_type_is_refused_without_a_body(gateway: Gateway, method: str, content_type: str) -> None:
    answer, body = await post(gateway, method, b"{}", content_type)

    assert answer.status == 415
    assert body == b""
    assert "json" in answer.headers["Accept-Post"]


@pytest.mark.parametrize("method", ["Nothing", "Hidden"])
async def test_unknown_and_unruled_methods_are_not_found(gateway: Gateway, jukebox: Jukebox, method: str) -> None:
    answer, _ = await post(gateway, method, b"{}")

    assert answer.status == 404
    assert not jukebox.requests


NAMES = {
    1: (499, "canceled"),
    2: (500, "unknown"),
    3: (400, "invalid_argument"),
    4: (504, "deadline_exceeded"),
    5: (404, "not_found"),
    6: (409, "already_exists"),
    7: (403, "permission_denied"),
    8: (429, "resource_exhausted"),
    9: (400, "failed_precondition"),
    10: (409, "aborted"),
    11: (400, "out_of_range"),
    12: (501, "unimplemented"),
    13: (500, "internal"),
    14: (503, "unavailable"),
    15: (500, "data_loss"),
    16: (401, "unauthenticated"),
}


@pytest.mark.parametrize("content_type", [JSON, PROTO])
@pytest.mark.parametrize("code", NAMES)
async def test_error_is_json_with_the_name_of_its_code(
    gateway: Gateway, jukebox: Jukebox, code: int, content_type: str
) -> None:
    title = f"code-{code}"
    sent = jukebox.song(title=title).SerializeToString() if content_type == PROTO else f'{{"title":"{title}"}}'.encode()

    answer, body = await post(gateway, "Play", sent, content_type)

    assert (answer.status, json.loads(body)["code"]) == NAMES[code]
    assert answer.headers["Content-Type"] == JSON
    (detail,) = json.loads(body)["details"]
    assert detail["type"] == "google.rpc.RetryInfo"
    assert detail["debug"] == {"retryDelay": "2s"}
    value = base64.b64decode(detail["value"] + "=" * (-len(detail["value"]) % 4))
    assert error_details_pb2.RetryInfo.FromString(value).retry_delay.seconds == 2


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        pytest.param(b"\xff", PROTO, id="no-protobuf"),
        pytest.param(b"{", JSON, id="no-json"),
        pytest.param(b'{"plays":true}', JSON, id="wrong-kind"),
        pytest.param(b'{"nothing":1}', JSON, id="unknown-field"),
    ],
)
async def test_bad_message_is_invalid(gateway: Gateway, jukebox: Jukebox, body: bytes, content_type: str) -> None:
    answer, sent = await post(gateway, "Play", body, content_type)

    assert answer.status == 400
    assert json.loads(sent)["code"] == "invalid_argument"
    assert not jukebox.requests


async def test_long_message_is_refused(gateway: Gateway, jukebox: Jukebox) -> None:
    for size in (60_000, 150_000):
        answer, body = await post(gateway, "Play", jukebox.song(title="a" * size).SerializeToString(), PROTO)

        assert answer.status in {413, 429}
        assert json.loads(body)["code"] == "resource_exhausted"


@pytest.mark.parametrize("version", ["2", "", "1.0"])
async def test_other_versions_are_refused(gateway: Gateway, version: str) -> None:
    answer, body = await post(gateway, "Play", b"{}", Connect_Protocol_Version=version)

    assert answer.status == 400
    assert json.loads(body)["code"] == "invalid_argument"


async def test_version_may_be_required() -> None:
    options = Options(default_routes=False, require_connect_version=True)
    transcoder = Transcoder([compile_protos(songs=SONGS)], options)
    async with running(transcoder, Jukebox(transcoder).handlers) as gateway:
        async with gateway.request("POST", f"{JUKEBOX}/Play", data=b"", headers={"Content-Type": PROTO}) as without:
            assert without.status == 400
        answer, _ = await post(gateway, "Play", b"", PROTO)
        got, _ = await get(gateway, "encoding=json&message=")

    assert answer.status == 200
    assert got.status == 400


@pytest.mark.parametrize(
    ("asked", "status", "name"),
    [
        ("50", 504, "deadline_exceeded"),
        ("0", 504, "deadline_exceeded"),
        ("12345678901", 400, "invalid_argument"),
        ("5s", 400, "invalid_argument"),
        ("-1", 400, "invalid_argument"),
        ("", 400, "invalid_argument"),
    ],
)
async def test_timeout_header_ends_the_call(gateway: Gateway, asked: str, status: int, name: str) -> None:
    answer, body = await post(gateway, "Play", b'{"title":"slow"}', Connect_Timeout_Ms=asked)

    assert answer.status == status
    assert json.loads(body)["code"] == name


@pytest.mark.parametrize(("asked_ms", "most_s"), [("45000", 45), ("9999999999", 300)])
async def test_timeout_may_exceed_the_default_up_to_the_cap(
    gateway: Gateway, jukebox: Jukebox, asked_ms: str, most_s: float
) -> None:
    await post(gateway, "Play", b"{}", Connect_Timeout_Ms=asked_ms)

    assert most_s - 10 < jukebox.time_left <= most_s + 1  # grpc rounds up on the wire


async def test_metadata_are_headers_and_trailers_prefixed_ones(gateway: Gateway, jukebox: Jukebox) -> None:
    answer, _ = await post(gateway, "Play", b'{"title":"meta"}', X_Request_Id="r1", Authorization="Bearer x")

    assert answer.headers["ETag"] == '"e"'
    assert answer.headers["Trailer-X-Cost"] == "5"
    assert answer.headers["Trailer-X-Cost-Bin"] == "AP8"
    assert not {"x-secret", "trailer-x-other"} & {name.lower() for name in answer.headers}
    assert jukebox.metadata["x-request-id"] == "r1"
    assert "authorization" not in jukebox.metadata


async def test_gzip_is_understood_and_spoken(gateway: Gateway) -> None:
    body = gzip.compress(json.dumps({"title": "huge"}).encode())

    answer, sent = await post(gateway, "Play", body, Content_Encoding="gzip", Accept_Encoding="gzip")

    assert answer.headers["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(sent))["title"] == "la" * 50_000


async def test_unknown_encoding_is_unimplemented(gateway: Gateway) -> None:
    answer, body = await post(gateway, "Play", b"x", Content_Encoding="snappy")

    assert answer.status == 501
    assert json.loads(body)["code"] == "unimplemented"
    assert "gzip" in json.loads(body)["message"]


@pytest.mark.parametrize("content_type", [JSON, PROTO])
async def test_headers_set_fields_in_every_form(gateway: Gateway, jukebox: Jukebox, content_type: str) -> None:
    await post(gateway, "Play", b"", content_type, If_Match='"e1"')
    answer, _ = await post(gateway, "Play", jukebox.song(etag="e2").SerializeToString(), PROTO, If_Match='"e1"')

    assert jukebox.requests == [jukebox.song(etag="e1")]
    assert answer.status == 400


async def test_get_reads_json_from_the_query(gateway: Gateway) -> None:
    message = quote('{"title":"a+b ü","plays":3}')

    answer, body = await get(gateway, f"connect=v1&encoding=json&message={message}&unknown=1")

    assert answer.status == 200
    assert answer.headers["Content-Type"] == JSON
    assert "Accept-Encoding" in answer.headers["Vary"]
    assert json.loads(body) == {"title": "a+b ü", "plays": "4"}


@pytest.mark.parametrize("alphabet", [base64.urlsafe_b64encode, base64.b64encode], ids=["url", "standard"])
@pytest.mark.parametrize("strip", ["", "="], ids=["padded", "unpadded"])
@pytest.mark.parametrize("safe", ["", "+/="], ids=["escaped", "raw"])
async def test_get_reads_base64_in_all_spellings(
    gateway: Gateway, jukebox: Jukebox, alphabet: Any, strip: str, safe: str
) -> None:
    data = jukebox.song(title="~~~???>>>ü").SerializeToString()
    text = quote(alphabet(data).decode().rstrip(strip), safe=safe)

    answer, body = await get(gateway, f"base64=1&encoding=proto&message={text}")

    assert answer.headers["Content-Type"] == PROTO
    assert jukebox.song.FromString(body).title == "~~~???>>>ü"


async def test_get_reads_compressed_messages(gateway: Gateway) -> None:
    text = base64.urlsafe_b64encode(gzip.compress(b'{"title":"a"}')).decode()

    answer, body = await get(gateway, f"base64=1&compression=gzip&encoding=json&message={text}")

    assert answer.status == 200
    assert json.loads(body)["title"] == "a"


async def test_get_without_message_bytes_is_the_empty_message(gateway: Gateway, jukebox: Jukebox) -> None:
    answer, _ = await get(gateway, "encoding=json&message=")

    assert answer.status == 200
    assert jukebox.requests == [jukebox.song()]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        pytest.param("encoding=json", 400, id="no-message"),
        pytest.param("message=%7B%7D", 400, id="no-encoding"),
        pytest.param("encoding=json&message=%7B%7D&message=", 400, id="message-twice"),
        pytest.param("connect=v2&encoding=json&message=%7B%7D", 400, id="other-version"),
        pytest.param("encoding=json&message=%zz", 400, id="broken-escape"),
        pytest.param("encoding=json&message=%7B", 400, id="broken-json"),
        pytest.param("encoding=proto&base64=1&message=*", 400, id="no-base64"),
        pytest.param("encoding=json&compression=br&message=%7B%7D", 501, id="unknown-compression"),
        pytest.param("encoding=json&base64=1&compression=gzip&message=AAAA", 400, id="broken-compression"),
    ],
)
async def test_bad_get_is_refused_in_connects_shape(
    gateway: Gateway, jukebox: Jukebox, query: str, status: int
) -> None:
    answer, body = await get(gateway, query)

    assert answer.status == status
    assert json.loads(body)["code"] in {"invalid_argument", "unimplemented"}
    assert not jukebox.requests


async def test_get_of_an_unknown_encoding_is_415(gateway: Gateway) -> None:
    answer, body = await get(gateway, "encoding=xml&message=")

    assert answer.status == 415
    assert body == b""


@pytest.mark.parametrize("method", ["Play", "Repeat"])
async def test_get_is_for_methods_without_side_effects_only(gateway: Gateway, jukebox: Jukebox, method: str) -> None:
    answer, _ = await get(gateway, "encoding=json&message=%7B%7D", method)

    assert answer.status == 405
    assert answer.headers["Allow"] == "POST"
    assert not jukebox.requests


async def test_plain_json_is_answered_like_connect_with_plain_errors(gateway: Gateway) -> None:
    status, good = await gateway.json("POST", f"{JUKEBOX}/Play", json={"title": "a"})
    wrong, bad = await gateway.json("POST", f"{JUKEBOX}/Play", json={"title": "code-5"})

    assert (status, good) == (200, {"title": "a", "plays": "1"})
    assert (wrong, bad["code"]) == (404, 5)
    assert bad["details"][0]["@type"] == "type.googleapis.com/google.rpc.RetryInfo"


@pytest.mark.parametrize("method", ["Hidden", "Nothing"])
async def test_plain_json_reaches_ruled_methods_only(gateway: Gateway, method: str) -> None:
    status, _ = await gateway.json("POST", f"{JUKEBOX}/{method}", json={})

    assert status == 404


async def test_default_routes_open_all_methods(jukebox: Jukebox) -> None:
    transcoder = Transcoder([compile_protos(songs=SONGS)], Options())
    async with running(transcoder, jukebox.handlers) as gateway:
        answer, _ = await post(gateway, "Hidden", b'{"title":"code-3"}')
        plain, error = await gateway.json("POST", f"{JUKEBOX}/Hidden", json={"title": "code-3"})

    assert answer.status == plain == 400
    assert error["code"] == 3


@pytest.mark.parametrize(("method", "allow"), [("Look", "GET, OPTIONS, POST"), ("Play", "OPTIONS, POST")])
async def test_options_name_the_methods(gateway: Gateway, method: str, allow: str) -> None:
    async with gateway.request("OPTIONS", f"{JUKEBOX}/{method}") as answer:
        assert answer.status == 204
        assert answer.headers["Allow"] == allow


@pytest.mark.parametrize("code", [c for c in NAMES if c not in {2, 13, 15}])
async def test_one_error_has_one_meaning_in_every_protocol(gateway: Gateway, code: int) -> None:
    title = f'{{"title":"code-{code}"}}'.encode()
    message = status_of(code).message
    _, connect = await post(gateway, "Play", title)
    _, plain = await gateway.json("POST", f"{JUKEBOX}/Play", json={"title": f"code-{code}"})
    async with gateway.request(
        "POST",
        f"{JUKEBOX}/Play",
        data=envelope(title),
        headers={"Content-Type": "application/grpc-web+json"},
    ) as answer:
        _, trailers = grpc_web(await answer.read())
    async with gateway.request(
        "GET", f"/songs/code-{code}:repeat?plays=1", headers={"Accept": "text/event-stream"}
    ) as sse:
        events = (await sse.read()).decode()

    event = json.loads(events.partition("event: error\ndata: ")[2])
    assert json.loads(connect)["message"] == plain["message"] == event["message"] == message
    assert plain == event
    assert (plain["code"], trailers["grpc-status"]) == (code, str(code))
    assert json.loads(connect)["code"] == NAMES[code][1]
