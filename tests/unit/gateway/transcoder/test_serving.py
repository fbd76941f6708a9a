"""Unary calls through real sockets: errors, metadata, deadlines, negotiation, limits (rules H, I, K)."""

import asyncio
import base64
import gzip
import json
import zlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from services.gateway.transcoder import Options, Transcoder
from services.gateway.transcoder.calls import RpcErrors
from services.gateway.transcoder.metadata import response_headers
from tests.support.transcoder_contract import compile_protos, message_class
from tests.support.transcoder_mesh import Gateway, running

SHOP = """
syntax = "proto3";
package shop.v1;
import "google/api/annotations.proto";
import "google/api/httpbody.proto";
import "google/protobuf/timestamp.proto";
message Thing { string id = 1; string note = 2; google.protobuf.Timestamp at = 3; repeated string tags = 4; }
message ThingRequest { string id = 1; Thing thing = 2; string etag = 3; }
message Answer { Thing thing = 1; }
message Reason { string word = 1; }
service Shop {
  rpc Get(ThingRequest) returns (Answer) { option (google.api.http) = {get: "/things/{id}" response_body: "thing"}; }
  rpc Put(ThingRequest) returns (Thing) { option (google.api.http) = {put: "/things/{id}" body: "thing"}; }
  rpc File(ThingRequest) returns (google.api.HttpBody) { option (google.api.http) = {get: "/files/{id}"}; }
  rpc Talk(stream Thing) returns (stream Thing) { option (google.api.http) = {post: "/talk" body: "*"}; }
}
"""


class Shop:
    """A backend that does what the id of a thing says."""

    def __init__(self, transcoder: Transcoder) -> None:
        self.answer = message_class(transcoder.descriptors, "shop.v1.Answer")
        self.thing = message_class(transcoder.descriptors, "shop.v1.Thing")
        self.reason = message_class(transcoder.descriptors, "shop.v1.Reason")
        self.body = message_class(transcoder.descriptors, "google.api.HttpBody")
        self.metadata: dict[str, list[str | bytes]] = {}
        self.time_left: float | None = None
        self.cancelled = asyncio.Event()
        self.started = asyncio.Event()

    async def get(self, request: Any, context: Any) -> Any:
        self.metadata = {}
        for key, value in context.invocation_metadata():
            self.metadata.setdefault(key, []).append(value)
        self.time_left = context.time_remaining()
        word, _, number = request.id.partition("-")
        if word in {"code", "raw", "boom", "slow"}:
            await self.misbehave(word, int(number or 0), context)
        if request.id == "headers":
            await context.send_initial_metadata(
                [("etag", '"e"'), ("x-secret", "s"), ("cache-control", "no-cache"), ("set-cookie", "a=b")]
            )
            context.set_trailing_metadata([("x-cost", "5"), ("x-other", "6")])
        special: dict[str, dict[str, Any]] = {
            "long": {"thing": {"note": "ab" * 50_000}},
            "year-10000": {"thing": {"at": {"seconds": 253402300800}}},
            "empty": {},
        }
        return self.answer(**special.get(request.id, {"thing": {"id": request.id}}))

    async def misbehave(self, word: str, number: int, context: Any) -> None:
        match word:
            case "code":
                await fail(context, number, f"text code-{number}")
            case "raw":
                context.set_code(next(code for code in grpc.StatusCode if code.value[0] == number))
                context.set_details("raw text")
            case "boom":
                raise ValueError("secret")
            case "slow":
                self.started.set()
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    self.cancelled.set()
                    raise

    async def put(self, request: Any, context: Any) -> Any:
        if request.etag:
            await context.abort(grpc.StatusCode.ABORTED, "stale")
        return request.thing

    async def file(self, request: Any, context: Any) -> Any:
        types = {"bad": "a\nb", "plain": "text/plain"}
        return self.body(data=b"\xff\x00", content_type=types.get(request.id, ""))


async def fail(context: Any, code: int, text: str) -> None:
    status = status_pb2.Status(code=code, message=text)
    details = [
        error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=1, nanos=1)),
        error_details_pb2.DebugInfo(detail="stack"),
    ]
    for detail in details:
        status.details.add().Pack(detail)
    status.details.add(type_url="type.googleapis.com/shop.v1.Reason", value=b"\x0a\x01w")
    status.details.append(any_pb2.Any(type_url="type.googleapis.com/no.Such", value=b"\x01"))
    await context.abort_with_status(rpc_status.to_status(status))


OPTIONS = Options(
    header_fields=(("If-Match", "etag"),),
    response_trailers=("x-cost",),
    denied_metadata=("x-user",),
    max_body=100_000,
)


@pytest.fixture(scope="module")
def transcoder() -> Transcoder:
    return Transcoder([compile_protos(shop=SHOP)], OPTIONS)


@pytest.fixture
def shop(transcoder: Transcoder) -> Shop:
    return Shop(transcoder)


@pytest.fixture
async def gateway(transcoder: Transcoder, shop: Shop) -> AsyncIterator[Gateway]:
    async with running(transcoder, {"Get": shop.get, "Put": shop.put, "File": shop.file}) as served:
        yield served


CODES = [
    *[(1, 499), (3, 400), (4, 504), (5, 404), (6, 409), (7, 403), (8, 429), (9, 400), (10, 409)],
    *[(11, 400), (12, 501), (14, 503), (16, 401), (2, 500), (13, 500), (15, 500)],
]


@pytest.mark.parametrize(("code", "status"), CODES, ids=[f"T-260 {code}" for code, _ in CODES])
async def test_backend_errors_become_status_json(gateway: Gateway, code: int, status: int) -> None:
    async with gateway.request("GET", f"/things/code-{code}") as answer:
        body = await answer.json()

    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    hidden = code in {2, 13, 15}
    assert body["code"] == code
    assert body["message"] == ("internal error (request req-1)" if hidden else f"text code-{code}")
    assert body["details"] == [
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1.000000001s"},
        {"@type": "type.googleapis.com/shop.v1.Reason", "word": "w"},
        {"@type": "type.googleapis.com/no.Such", "value": "AQ=="},
    ]
    assert answer.headers.get("Retry-After") == ("2" if status in {429, 503} else None)
    assert answer.headers.get("WWW-Authenticate") == ("Bearer" if status == 401 else None)


async def test_a_status_beside_a_message_wins(gateway: Gateway) -> None:
    assert await gateway.json("GET", "/things/raw-5") == (404, {"code": 5, "message": "raw text"})


async def test_uncaught_backend_errors_keep_their_text(gateway: Gateway) -> None:
    status, body = await gateway.json("GET", "/things/boom")

    assert (status, body) == (500, {"code": 2, "message": "internal error (request req-1)"})


async def test_a_backend_that_is_down_shows_no_address(transcoder: Transcoder) -> None:
    async with running(transcoder, {}, target="127.0.0.1:1") as gateway:
        answer = await gateway.json("GET", "/things/a")

    assert answer == (503, {"code": 14, "message": "the service is unavailable (request req-1)"})


async def test_an_unknown_backend_method_is_501(transcoder: Transcoder) -> None:
    async with running(transcoder, {}) as gateway:
        status, body = await gateway.json("GET", "/things/a")

    assert (status, body["code"]) == (501, 12)


async def test_an_answer_without_json_form_is_500_and_names_the_field(gateway: Gateway) -> None:
    status, body = await gateway.json("GET", "/things/year-10000")

    assert status == 500
    assert body["code"] == 13
    assert "at" in body["message"]
    assert body["details"][0]["reason"] == "UNPRINTABLE_RESPONSE"


async def test_if_match_turns_aborted_into_412(gateway: Gateway) -> None:
    stale = {"If-Match": '"1"'}

    assert await gateway.json("PUT", "/things/a", json={}, headers=stale) == (412, {"code": 10, "message": "stale"})
    assert await gateway.json("PUT", "/things/a?etag=1", json={}) == (409, {"code": 10, "message": "stale"})


async def test_response_body_keeps_its_shape_when_unset(gateway: Gateway) -> None:
    assert await gateway.json("GET", "/things/a%2Fb") == (200, {"id": "a/b"})
    assert await gateway.json("GET", "/things/empty") == (200, {})


async def test_head_answers_like_get_without_a_body(gateway: Gateway) -> None:
    async with gateway.request("HEAD", "/things/a") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Length"] == str(len('{"id":"a"}'))
        assert await answer.read() == b""


async def test_initial_and_trailing_metadata_leave_by_allow_list(gateway: Gateway) -> None:
    async with gateway.request("GET", "/things/headers") as answer:
        assert answer.headers["ETag"] == '"e"'
        assert answer.headers["Cache-Control"] == "no-cache"
        assert answer.headers["Grpc-Trailer-X-Cost"] == "5"
        assert not {"X-Secret", "Set-Cookie", "Grpc-Trailer-X-Other", "Grpc-Metadata-X-Secret"} & answer.headers.keys()


FORWARDED = [
    ("T-300", {"X-Request-Id": "r", "Accept-Language": "de"}, {"x-request-id": ["r"], "accept-language": ["de"]}),
    (
        "T-300",
        {"Cookie": "a=b", "Authorization": "x", "X-Other": "y"},
        {"cookie": None, "authorization": None, "x-other": None},
    ),
    ("T-301", {"Grpc-Metadata-X-Thing": " v "}, {"x-thing": ["v"]}),
    (
        "T-301",
        {"Grpc-Metadata-Authorization": "v", "Grpc-Metadata-Grpc-Foo": "v"},
        {"authorization": None, "grpc-foo": None},
    ),
    (
        "T-301",
        {"Grpc-Metadata-X-Forwarded-For": "v", "Grpc-Metadata-Host": "v"},
        {"x-forwarded-for": None, "host": None},
    ),
    ("T-301", {"Grpc-Metadata-X-User": "eve"}, {"x-user": None}),
    ("T-301", {"Grpc-Metadata-X-Identity": "eve"}, {"x-identity": ["edge"]}),
    ("T-302", {"Grpc-Metadata-X!": "v", "Grpc-Metadata-Y": "\u00fc"}, {"x!": None, "y": None}),
    ("T-303", {"Grpc-Metadata-X-Bin": "AAE,/w"}, {"x-bin": [b"\x00\x01", b"\xff"]}),
]


@pytest.mark.parametrize(("rule", "headers", "expected"), FORWARDED, ids=[f"{f[0]} {f[1]}" for f in FORWARDED])
async def test_request_headers_become_metadata(
    gateway: Gateway, shop: Shop, rule: str, headers: dict[str, str], expected: dict[str, Any]
) -> None:
    gateway.metadata = (("x-identity", "edge"),)

    async with gateway.request("GET", "/things/a", headers=headers) as answer:
        assert answer.status == 200

    assert {name: shop.metadata.get(name) for name in expected} == expected
    assert shop.metadata["x-identity"] == ["edge"]


async def test_repeated_headers_stay_repeated_and_in_order(gateway: Gateway, shop: Shop) -> None:
    headers = [("Grpc-Metadata-X-A", "1"), ("Grpc-Metadata-X-A", "2")]

    async with gateway.request("GET", "/things/a", headers=headers) as answer:
        assert answer.status == 200

    assert shop.metadata["x-a"] == ["1", "2"]


REFUSED_HEADERS = [
    ("T-303", {"Grpc-Metadata-X-Bin": "*"}, 400),
    ("T-304", {"Grpc-Metadata-A": "a" * 5000, "Grpc-Metadata-B": "a" * 5000}, 431),
    ("T-321", {"Grpc-Timeout": "5"}, 400),
    ("T-321", {"Grpc-Timeout": "m"}, 400),
    ("T-321", {"Grpc-Timeout": "5x"}, 400),
    ("T-321", {"Grpc-Timeout": "-5S"}, 400),
    ("T-321", {"Grpc-Timeout": "1.5S"}, 400),
    ("T-321", {"Grpc-Timeout": "0S"}, 504),
    ("T-320", {"X-Server-Timeout": "x"}, 400),
    ("T-410", {"Transfer-Encoding": "gzip, chunked"}, 501),
]


@pytest.mark.parametrize(
    ("rule", "headers", "status"), REFUSED_HEADERS, ids=[f"{r[0]} {str(r[1])[:40]}" for r in REFUSED_HEADERS]
)
async def test_headers_are_refused(gateway: Gateway, rule: str, headers: dict[str, str], status: int) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    body = "0\r\n\r\n" if "Transfer-Encoding" in headers else ""

    answer = await gateway.raw(f"GET /things/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lines}\r\n{body}".encode())

    assert int(answer.split(b" ")[1]) == status


TIMEOUTS = [
    ({}, 30.0),
    ({"Grpc-Timeout": "750m"}, 0.75),
    ({"Grpc-Timeout": "5S", "X-Server-Timeout": "2.5"}, 2.5),
    ({"Grpc-Timeout": "2H"}, 300.0),
    ({"Grpc-Timeout": "99999999999S"}, 300.0),
]


@pytest.mark.parametrize(("headers", "expected"), TIMEOUTS, ids=[f"T-320 {t[0]}" for t in TIMEOUTS])
async def test_deadlines_are_passed_on_and_capped(
    gateway: Gateway, shop: Shop, headers: dict[str, str], expected: float
) -> None:
    async with gateway.request("GET", "/things/a", headers=headers) as answer:
        assert answer.status == 200

    assert shop.time_left is not None
    assert expected / 2 < shop.time_left <= expected * 1.01 + 0.1  # grpc rounds what it sends


async def test_a_passed_deadline_is_504(gateway: Gateway) -> None:
    status, body = await gateway.json("GET", "/things/slow", headers={"Grpc-Timeout": "50m"})

    assert (status, body["code"]) == (504, 4)


async def test_a_client_that_leaves_cancels_the_call(gateway: Gateway, shop: Shop) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"GET /things/slow HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.wait_for(shop.started.wait(), 10)

    writer.close()
    await writer.wait_closed()

    await asyncio.wait_for(shop.cancelled.wait(), 10)


CONTENT = [
    ("T-400", None, b"{}", 200),
    ("T-401", "application/json; charset=UTF-8", b"{}", 200),
    ("T-401", 'Application/JSON; charset="utf8"', b"{}", 200),
    ("T-401", "application/merge-patch+json", b"{}", 200),
    ("T-401", "application/json; charset=latin-1", b"{}", 415),
    ("T-402", "text/plain", b"{}", 415),
    ("T-402", "application/x-www-form-urlencoded", b"a=b", 415),
    ("T-402", "application/x-ndjson", b"{}", 415),
    ("T-403", "text/plain", b"", 200),
    ("T-112", "application/json", b"{", 400),
]


@pytest.mark.parametrize(("rule", "kind", "body", "status"), CONTENT, ids=[f"{c[0]} {c[1]}" for c in CONTENT])
async def test_content_types(gateway: Gateway, rule: str, kind: str | None, body: bytes, status: int) -> None:
    header = f"Content-Type: {kind}\r\n" if kind else ""

    answer = await gateway.raw(
        b"PUT /things/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        + f"{header}Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )

    assert int(answer.split(b" ")[1]) == status
    assert (b"Accept: application/json" in answer) == (status == 415)


async def test_methods_without_a_body_refuse_one(gateway: Gateway) -> None:
    assert (await gateway.json("GET", "/things/a", data=b"{}"))[0] == 400
    assert (await gateway.json("GET", "/things/a", data=b" \n"))[0] == 200


THING = b'{"note":"' + b"x" * 2000 + b'"}'
CODED = [
    ("T-405", "gzip", gzip.compress(THING), 200),
    ("T-405", "deflate", zlib.compress(THING), 200),
    ("T-405", "identity", THING, 200),
    ("T-405", "br", THING, 415),
    ("T-405", "gzip, gzip", gzip.compress(gzip.compress(THING)), 415),
    ("T-405", "gzip", THING, 400),
    ("T-405", "gzip", gzip.compress(THING)[:-9], 400),
    ("T-406", "gzip", gzip.compress(b" " * 5_000_000), 413),
    ("T-407", "gzip", gzip.compress(THING[:9]) + gzip.compress(THING[9:]), 200),
    ("T-407", "gzip", gzip.compress(THING) + b"junk", 400),
    ("T-407", "deflate", zlib.compress(THING) + b"junk", 400),
    ("T-409", "identity", b" " * 100_001, 413),
]


@pytest.mark.parametrize(("rule", "coding", "body", "status"), CODED, ids=[f"{c[0]} {c[1]} {c[3]}" for c in CODED])
async def test_content_codings(gateway: Gateway, rule: str, coding: str, body: bytes, status: int) -> None:
    headers = {"Content-Encoding": coding, "Content-Type": "application/json"}

    async with gateway.request("PUT", "/things/a", data=body, headers=headers) as answer:
        answered = await answer.json()

    assert answer.status == status
    assert (answered.get("note") == "x" * 2000) == (status == 200)
    assert ("Accept-Encoding" in answer.headers) == (status == 415)


async def test_a_chunked_body_beyond_the_limit_is_413(gateway: Gateway) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b" " * 1000

    status, body = await gateway.json("PUT", "/things/a", data=chunks(), headers={"Content-Type": "application/json"})

    assert (status, body["code"]) == (413, 8)


@pytest.mark.parametrize(
    ("accept", "extra", "packed"),
    [
        ("gzip", {}, True),
        ("*", {}, True),
        ("gzip;q=0", {}, False),
        ("br", {}, False),
        ("gzip", {"Cookie": "a=b"}, False),
    ],
)
async def test_long_answers_are_compressed_when_asked(
    gateway: Gateway,
    accept: str,
    extra: dict[str, str],
    packed: bool,  # noqa: FBT001
) -> None:
    async with gateway.request("GET", "/things/long", headers={"Accept-Encoding": accept, **extra}) as answer:
        body = await answer.read()

    assert (answer.headers.get("Content-Encoding") == "gzip") == packed
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert json.loads(gzip.decompress(body) if packed else body)["note"] == "ab" * 50_000


async def test_http_body_answers_are_sent_as_they_are(gateway: Gateway) -> None:
    async with gateway.request("GET", "/files/plain") as answer:
        assert await answer.read() == b"\xff\x00"
        assert answer.headers["Content-Type"] == "text/plain"
    async with gateway.request("GET", "/files/a") as answer:
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    async with gateway.request("GET", "/files/bad") as answer:
        assert answer.status == 500


async def test_bidirectional_streams_are_refused_over_plain_http(gateway: Gateway) -> None:
    status, body = await gateway.json("POST", "/talk", json=[])

    assert (status, body["code"]) == (426, 12)


async def test_misses_are_status_json(gateway: Gateway) -> None:
    assert await gateway.json("GET", "/nope") == (404, {"code": 5, "message": "no such path"})
    async with gateway.request("DELETE", "/things/a") as answer:
        assert (answer.status, (await answer.json())["code"]) == (405, 12)
        assert answer.headers["Allow"] == "GET, HEAD, OPTIONS, PUT"
    async with gateway.request("OPTIONS", "/things/a") as answer:
        assert (answer.status, await answer.read()) == (204, b"")
    answer = await gateway.raw(b"GET /things/a#b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400")


async def test_absolute_targets_are_routed_by_their_path(gateway: Gateway) -> None:
    answer = await gateway.raw(b"GET http://x/things/a%2Fb HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    assert answer.endswith(b'{"id":"a/b"}')


async def test_responses_beyond_the_channel_limit_are_500(transcoder: Transcoder, shop: Shop) -> None:
    limit = [("grpc.max_receive_message_length", 1000)]
    async with running(transcoder, {"Get": shop.get}, options=limit) as gateway:
        status, body = await gateway.json("GET", "/things/long")

    assert (status, body["code"]) == (500, 13)
    assert body["details"][0]["reason"] == "RESPONSE_TOO_LARGE"


def test_details_with_another_code_are_dropped() -> None:
    def translated(trailer: bytes) -> Any:
        metadata = grpc.aio.Metadata(("grpc-status-details-bin", trailer))
        error = grpc.aio.AioRpcError(grpc.StatusCode.NOT_FOUND, grpc.aio.Metadata(), metadata, details="gone")
        return RpcErrors(Options()).translate(error).status

    other = status_pb2.Status(code=3, message="x").SerializeToString()
    assert translated(other) == status_pb2.Status(code=5, message="gone")
    assert translated(b"\xff") == status_pb2.Status(code=5, message="gone")
    same = status_pb2.Status(code=5, message="better")
    assert translated(same.SerializeToString()) == same


def test_bin_values_leave_as_unpadded_base64() -> None:
    assert response_headers([("x-bin", b"\x00")], ["x-bin"]) == [
        ("x-bin", base64.b64encode(b"\x00").decode().rstrip("="))
    ]
    assert response_headers([("etag", "a\nb")], ["etag"]) == []


async def test_forms_may_carry_the_query_of_another_method(transcoder: Transcoder, shop: Shop) -> None:
    fallback = Transcoder([compile_protos(shop=SHOP)], Options(form_fallback=True, default_routes=False))
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    async with running(fallback, {"Get": shop.get, "Put": shop.put}) as gateway:
        assert await gateway.json("POST", "/things/a", data=b"etag=%26+", headers=form) == (200, {"id": "a"})
        put = {**form, "X-HTTP-Method-Override": "put"}
        assert (await gateway.json("POST", "/things/a", data=b"etag=x", headers=put))[0] == 409
        assert (await gateway.json("POST", "/things/a", data=b"nope=x", headers=form))[0] == 400
        assert (await gateway.json("POST", "/nope", data=b"nope=x", headers=form))[0] == 404
        assert (await gateway.json("POST", "/things/a", json={}))[0] == 405
    async with running(transcoder, {"Get": shop.get}) as gateway:
        assert (await gateway.json("POST", "/things/a", data=b"etag=x", headers=form))[0] == 405


async def test_a_closed_channel_is_unavailable(transcoder: Transcoder, shop: Shop) -> None:
    closed = grpc.aio.insecure_channel("127.0.0.1:1")
    await closed.close()
    async with running(transcoder, {"Get": shop.get}, channel=closed) as gateway:
        status, body = await gateway.json("GET", "/things/a")

    assert (status, body["code"], body["message"]) == (503, 14, "the service is unavailable")
    assert body["details"][0]["reason"] == "UPSTREAM_UNUSABLE"
    assert body["details"][1]["retryDelay"] == "1s"
