"""Connect streams, bytes by hand: T-368 to T-371, through real sockets."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.gateway.transcoder import Options, Transcoder
from tests.support.transcoder_contract import compile_protos
from tests.support.transcoder_mesh import Gateway, running
from tests.support.web_protocols import JUKEBOX, SONGS, Jukebox, envelope, envelopes

JSON = "application/connect+json"
PROTO = "application/connect+proto"
VERSION = {"Connect-Protocol-Version": "1"}
OPTIONS = Options(
    default_routes=False,
    response_trailers=("x-cost", "x-cost-bin"),
    max_message=200_000,
    max_header_size=2_000,
    heartbeat=0.2,
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


async def ask(
    gateway: Gateway, method: str, body: bytes, content_type: str = JSON, **headers: str
) -> tuple[Any, list[bytes], dict[str, Any]]:
    """Return the answer, its messages, and how the stream ended; underscores in header names stand for dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = {"Content-Type": content_type, **VERSION, **named}
    async with gateway.request("POST", f"{JUKEBOX}/{method}", data=body, headers=sent) as answer:
        *messages, (flags, last) = envelopes(await answer.read())
        assert answer.status == 200
        assert answer.headers["Content-Type"] == content_type
        assert "Content-Encoding" not in answer.headers
        assert flags == 0x02
        assert all(flag in {0, 1} for flag, _ in messages)
        return answer, [gzip.decompress(data) if flag else data for flag, data in messages], json.loads(last)


async def test_json_stream_ends_with_an_empty_object(gateway: Gateway) -> None:
    _, messages, end = await ask(gateway, "Repeat", envelope(b'{"title":"a","plays":2}'))

    assert messages == [b'{"title":"a"}', b'{"title":"a","plays":"1"}']
    assert end == {}


async def test_proto_stream_ends_with_json(gateway: Gateway, jukebox: Jukebox) -> None:
    sent = jukebox.song(title="a", plays=2).SerializeToString()

    _, messages, end = await ask(gateway, "Repeat", envelope(sent), PROTO)

    assert [jukebox.song.FromString(message).plays for message in messages] == [0, 1]
    assert end == {}


async def test_stream_of_nothing_ends_properly(gateway: Gateway) -> None:
    assert (await ask(gateway, "Repeat", envelope(b"{}")))[1:] == ([], {})


@pytest.mark.parametrize("plays", [0, 2], ids=["before", "after"])
async def test_error_ends_the_stream(gateway: Gateway, plays: int) -> None:
    _, messages, end = await ask(gateway, "Repeat", envelope(json.dumps({"title": "code-5", "plays": plays}).encode()))

    assert len(messages) == plays
    assert end["error"]["code"] == "not_found"
    assert end["error"]["message"] == "100% wrong: 5 ü\n"
    assert end["error"]["details"][0]["type"] == "google.rpc.RetryInfo"


async def test_silence_commits_the_headers(gateway: Gateway) -> None:
    frame = envelope(b'{"title":"slow"}')
    head = f"POST {JUKEBOX}/Repeat HTTP/1.1\r\nHost: a\r\nContent-Type: {JSON}\r\nContent-Length: {len(frame)}\r\n\r\n"

    async with asyncio.timeout(10):
        answer = await gateway.raw(head.encode() + frame, until=b"\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200")


async def test_timeout_ends_the_stream(gateway: Gateway) -> None:
    _, messages, end = await ask(gateway, "Repeat", envelope(b'{"title":"slow","plays":1}'), Connect_Timeout_Ms="500")

    assert len(messages) == 1
    assert end["error"]["code"] == "deadline_exceeded"


async def test_metadata_come_as_headers_and_at_the_end(gateway: Gateway) -> None:
    answer, _, end = await ask(gateway, "Repeat", envelope(b'{"title":"meta","plays":1}'))

    assert answer.headers["ETag"] == '"e"'
    assert "x-secret" not in answer.headers
    assert end == {"metadata": {"x-cost": ["5"], "x-cost-bin": ["AP8"]}}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="no-message"),
        pytest.param(envelope(b"{}") * 2, id="two-messages"),
        pytest.param(envelope(b"{}")[:-1], id="truncated-message"),
        pytest.param(envelope(b"{}")[:3], id="truncated-head"),
        pytest.param(envelope(b"{}", 0x02), id="end-of-stream"),
        pytest.param(envelope(b"{}", 0x04), id="unknown-flag"),
        pytest.param(envelope(b"{"), id="no-json"),
        pytest.param(envelope(b"{}", 0x01), id="compressed-without-encoding"),
    ],
)
async def test_malformed_request_is_invalid(gateway: Gateway, jukebox: Jukebox, body: bytes) -> None:
    _, messages, end = await ask(gateway, "Repeat", body)

    assert messages == []
    assert end["error"]["code"] == "invalid_argument"
    assert not jukebox.requests


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        pytest.param({"Connect_Protocol_Version": "2"}, "invalid_argument", id="version"),
        pytest.param({"Connect_Content_Encoding": "br"}, "unimplemented", id="message-encoding"),
        pytest.param({"Content_Encoding": "gzip"}, "unimplemented", id="http-encoding"),
        pytest.param({"Connect_Timeout_Ms": "1s"}, "invalid_argument", id="timeout"),
        pytest.param({"Grpc_Metadata_X_Bin": "*"}, "invalid_argument", id="metadata"),
        pytest.param({"X_Long": "a" * 3_000}, "resource_exhausted", id="header-too-long"),
    ],
)
async def test_refused_headers_end_the_stream(gateway: Gateway, headers: dict[str, str], code: str) -> None:
    _, _, end = await ask(gateway, "Repeat", envelope(b"{}"), **headers)

    assert end["error"]["code"] == code


async def test_message_too_long_ends_the_stream(gateway: Gateway) -> None:
    _, _, end = await ask(gateway, "Repeat", envelope(b" " * 200_001))

    assert end["error"]["code"] == "resource_exhausted"


async def test_messages_are_compressed_both_ways(gateway: Gateway) -> None:
    body = envelope(gzip.compress(json.dumps({"title": "a" * 5_000, "plays": 1}).encode()), 0x01)

    answer, messages, end = await ask(
        gateway, "Repeat", body, Connect_Content_Encoding="gzip", Connect_Accept_Encoding="gzip"
    )

    assert answer.headers["Connect-Content-Encoding"] == "gzip"
    assert json.loads(messages[0])["title"] == "a" * 5_000
    assert end == {}


async def test_client_stream_gathers_all_messages(gateway: Gateway) -> None:
    body = b"".join(envelope(json.dumps({"title": title}).encode()) for title in "abc")

    _, (message,), end = await ask(gateway, "Gather", body)

    assert json.loads(message) == {"titles": ["a", "b", "c"]}
    assert end == {}


async def test_client_stream_may_be_empty(gateway: Gateway) -> None:
    assert (await ask(gateway, "Gather", b""))[1:] == ([b"{}"], {})


async def test_client_stream_stops_at_a_bad_message(gateway: Gateway) -> None:
    _, messages, end = await ask(gateway, "Gather", envelope(b"{}") + envelope(b"["))

    assert messages == []
    assert end["error"]["code"] == "invalid_argument"


async def test_bidirectional_stream_answers_each_message(gateway: Gateway) -> None:
    body = b"".join(envelope(json.dumps({"title": title}).encode()) for title in "ab")

    _, messages, end = await ask(gateway, "Echo", body)

    assert [json.loads(message)["title"] for message in messages] == ["a", "b"]
    assert end == {}


async def test_bidirectional_stream_ends_at_a_bad_message(gateway: Gateway) -> None:
    _, messages, end = await ask(gateway, "Echo", envelope(b'{"title":"a"}') + envelope(b"["))

    assert len(messages) <= 1
    assert end["error"]["code"] == "invalid_argument"


@pytest.mark.parametrize("content_type", ["application/connect+xml", "application/connect+"])
async def test_unknown_form_is_refused_without_a_body(gateway: Gateway, content_type: str) -> None:
    async with gateway.request(
        "POST", f"{JUKEBOX}/Repeat", data=envelope(b"{}"), headers={"Content-Type": content_type}
    ) as answer:
        assert answer.status == 415
        assert await answer.read() == b""


async def test_plain_json_calls_no_stream(gateway: Gateway) -> None:
    async with gateway.request("POST", f"{JUKEBOX}/Repeat", json={}) as answer:
        assert answer.status == 415
        assert "application/connect+json" in answer.headers["Accept-Post"]


async def test_unknown_method_is_not_found(gateway: Gateway) -> None:
    async with gateway.request(
        "POST", f"{JUKEBOX}/Nothing", data=envelope(b"{}"), headers={"Content-Type": JSON}
    ) as answer:
        assert answer.status == 404


async def test_shutdown_ends_streams_with_advice(gateway: Gateway, jukebox: Jukebox, transcoder: Transcoder) -> None:
    asking = asyncio.ensure_future(ask(gateway, "Repeat", envelope(b'{"title":"slow","plays":1}')))
    async with asyncio.timeout(10):
        while not jukebox.requests:
            await asyncio.sleep(0.01)
    transcoder.end_streams()

    _, _, end = await asking

    assert end["error"]["code"] == "unavailable"
    assert end["error"]["details"][0]["type"] == "google.rpc.RetryInfo"
