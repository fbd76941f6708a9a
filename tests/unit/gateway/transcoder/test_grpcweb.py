"""gRPC-Web, bytes by hand: T-340 to T-350, through real sockets."""

import asyncio
import base64
import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.rpc import status_pb2

from services.gateway.transcoder import Options, Transcoder
from services.gateway.transcoder.grpcweb import percent_encoded
from tests.support.transcoder_contract import compile_protos
from tests.support.transcoder_mesh import Gateway, running
from tests.support.web_protocols import JUKEBOX, SONGS, Jukebox, envelope, envelopes, grpc_web, status_of

PROTO = "application/grpc-web+proto"
OPTIONS = Options(
    default_routes=False, response_trailers=("x-cost", "x-cost-bin"), max_message=200_000, denied_metadata=("x-user",)
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
    gateway: Gateway, method: str, body: bytes, content_type: str = PROTO, **headers: str
) -> tuple[Any, bytes]:
    """Return answer and body of a gRPC-Web request; underscores in header names stand for dashes."""
    sent = {"Content-Type": content_type, **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with gateway.request("POST", f"{JUKEBOX}/{method}", data=body, headers=sent) as answer:
        return answer, await answer.read()


async def trailers_of(gateway: Gateway, method: str, body: bytes, **headers: str) -> dict[str, str]:
    answer, sent = await ask(gateway, method, body, **headers)
    assert answer.status == 200
    messages, trailers = grpc_web(sent)
    assert messages == []
    return trailers


def song(jukebox: Jukebox, **fields: Any) -> bytes:
    data: bytes = jukebox.song(**fields).SerializeToString()
    return data


@pytest.mark.parametrize("content_type", ["application/grpc-web", PROTO, "Application/GRPC-Web+proto; charset=utf-8"])
async def test_unary_answers_one_message_and_trailers(gateway: Gateway, jukebox: Jukebox, content_type: str) -> None:
    answer, body = await ask(gateway, "Play", envelope(song(jukebox, title="a", plays=1)), content_type)

    assert answer.status == 200
    assert answer.headers["Content-Type"] == PROTO
    messages, trailers = grpc_web(body)
    assert jukebox.song.FromString(messages[0]) == jukebox.song(title="a", plays=2)
    assert trailers == {"grpc-status": "0"}


async def test_unary_speaks_json(gateway: Gateway) -> None:
    answer, body = await ask(gateway, "Play", envelope(b'{"title":"a","plays":"1"}'), "application/grpc-web+json")

    assert answer.headers["Content-Type"] == "application/grpc-web+json"
    assert grpc_web(body) == ([b'{"title":"a","plays":"2"}'], {"grpc-status": "0"})


async def test_stream_ends_with_trailers_also_when_empty(gateway: Gateway, jukebox: Jukebox) -> None:
    _, three = await ask(gateway, "Repeat", envelope(song(jukebox, title="a", plays=3)))
    _, none = await ask(gateway, "Repeat", envelope(song(jukebox, title="a")))

    messages, trailers = grpc_web(three)
    assert [jukebox.song.FromString(message).plays for message in messages] == [0, 1, 2]
    assert trailers == {"grpc-status": "0"}
    assert grpc_web(none) == ([], {"grpc-status": "0"})


async def test_text_answers_in_padded_pieces(gateway: Gateway, jukebox: Jukebox) -> None:
    frame = envelope(song(jukebox, title="abc", plays=2))
    body = base64.b64encode(frame[:4]) + base64.b64encode(frame[4:])  # padding in the middle

    answer, sent = await ask(gateway, "Repeat", body, "application/grpc-web-text")

    assert answer.headers["Content-Type"] == "application/grpc-web-text+proto"
    assert len(sent) % 4 == 0
    messages, trailers = grpc_web(b"".join(base64.b64decode(piece) for piece in pieces(sent)))
    assert [jukebox.song.FromString(message).plays for message in messages] == [0, 1]
    assert trailers == {"grpc-status": "0"}


def pieces(text: bytes) -> list[bytes]:
    """Cut base64 into groups of four characters, which are decodable each."""
    return [text[start : start + 4] for start in range(0, len(text), 4)]


async def test_binary_request_may_ask_for_text(gateway: Gateway) -> None:
    answer, sent = await ask(gateway, "Play", envelope(b""), Accept="application/grpc-web-text")

    assert answer.headers["Content-Type"] == "application/grpc-web-text+proto"
    assert len(envelopes(b"".join(base64.b64decode(piece) for piece in pieces(sent)))) == 2


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param(b"", "there is none", id="no-message"),
        pytest.param(envelope(b"") * 2, "there are more", id="two-messages"),
        pytest.param(envelope(b"\x0a\x01a")[:-1], "cut short", id="truncated-message"),
        pytest.param(envelope(b"") + b"\0\0", "cut short", id="bytes-after"),
        pytest.param(envelope(b"", 0x80), "flags 0x80", id="trailers"),
        pytest.param(envelope(b"", 0x04), "flags 0x04", id="unknown-flag"),
        pytest.param(envelope(b"\xff"), "is no songs.v1.Song", id="no-protobuf"),
        pytest.param(envelope(b"\x0a\x01\xff"), "is no songs.v1.Song", id="string-not-utf8"),
        pytest.param(envelope(b"a", 0x01), "without the header", id="compressed-without-encoding"),
    ],
)
async def test_malformed_request_is_invalid(gateway: Gateway, jukebox: Jukebox, body: bytes, said: str) -> None:
    trailers = await trailers_of(gateway, "Play", body)

    assert trailers["grpc-status"] == "3"
    assert said in trailers["grpc-message"]
    assert not jukebox.requests


@pytest.mark.parametrize("text", [b"AAAA=", b"====", b"A===", b"AA=A", b"AAA*", b"AAAAA"])
async def test_text_that_is_no_base64_is_invalid(gateway: Gateway, text: bytes) -> None:
    answer, sent = await ask(gateway, "Play", text, "application/grpc-web-text")

    assert answer.status == 200
    assert grpc_web(base64.b64decode(sent))[1]["grpc-status"] == "3"


async def test_message_too_long_is_refused_before_it_comes(gateway: Gateway) -> None:
    head = (
        f"POST {JUKEBOX}/Play HTTP/1.1\r\nHost: a\r\nContent-Type: {PROTO}\r\nContent-Length: 1000000\r\n\r\n".encode()
    )
    async with asyncio.timeout(10):
        answer = await gateway.raw(head + (200_001).to_bytes(5, "big"), until=b"grpc-status: 8\r\n")

    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("method", ["Play", "Repeat"])
@pytest.mark.parametrize("code", [*range(1, 17)])
async def test_error_is_told_in_trailers(gateway: Gateway, jukebox: Jukebox, method: str, code: int) -> None:
    trailers = await trailers_of(gateway, method, envelope(song(jukebox, title=f"code-{code}")))

    assert trailers["grpc-status"] == str(code)
    details = status_pb2.Status.FromString(unpadded(trailers["grpc-status-details-bin"]))
    assert details.code == code
    assert list(details.details) == list(status_of(code).details)
    if code not in {2, 13, 15}:
        assert trailers["grpc-message"] == f"100%25 wrong: {code} %C3%BC%0A"
    else:
        assert trailers["grpc-message"] == "internal error (request req-1)"


def unpadded(text: str) -> bytes:
    assert not text.endswith("=")
    return base64.b64decode(text + "=" * (-len(text) % 4))


async def test_error_after_messages_is_told_in_trailers(gateway: Gateway, jukebox: Jukebox) -> None:
    answer, body = await ask(gateway, "Repeat", envelope(song(jukebox, title="code-5", plays=2)))

    messages, trailers = grpc_web(body)
    assert answer.status == 200
    assert len(messages) == 2
    assert trailers["grpc-status"] == "5"


async def test_internal_errors_stay_hidden(gateway: Gateway, jukebox: Jukebox) -> None:
    trailers = await trailers_of(gateway, "Play", envelope(song(jukebox, title="boom")))

    assert trailers == {"grpc-status": "2", "grpc-message": "internal error (request req-1)"}


async def test_metadata_passes_by_allow_list(gateway: Gateway, jukebox: Jukebox) -> None:
    answer, body = await ask(
        gateway,
        "Play",
        envelope(song(jukebox, title="meta")),
        X_Request_Id="r1",
        Grpc_Metadata_X_Colour="red",
        Grpc_Metadata_X_User="root",
        X_Grpc_Web="1",
        X_User_Agent="grpc-web-javascript/0.1",
        Cookie="a=b",
    )

    assert answer.headers["ETag"] == '"e"'
    assert "x-secret" not in answer.headers
    assert grpc_web(body)[1] == {"grpc-status": "0", "x-cost": "5", "x-cost-bin": "AP8"}
    assert jukebox.metadata["x-request-id"] == "r1"
    assert jukebox.metadata["x-colour"] == "red"
    assert not {"x-user", "x-grpc-web", "x-user-agent", "cookie"} & set(jukebox.metadata)


async def test_timeout_reaches_the_backend(gateway: Gateway, jukebox: Jukebox) -> None:
    await ask(gateway, "Play", envelope(b""), Grpc_Timeout="5000m")

    assert 0 < jukebox.time_left <= 6  # grpc rounds up on the wire


@pytest.mark.parametrize(
    ("asked", "code"), [("0S", "4"), ("50m", "4"), ("5", "3"), ("-1S", "3")], ids=["zero", "short", "no-unit", "sign"]
)
async def test_timeout_ends_the_call(gateway: Gateway, jukebox: Jukebox, asked: str, code: str) -> None:
    trailers = await trailers_of(gateway, "Play", envelope(song(jukebox, title="slow")), Grpc_Timeout=asked)

    assert trailers["grpc-status"] == code


async def test_gzip_messages_are_understood(gateway: Gateway, jukebox: Jukebox) -> None:
    packed = gzip.compress(song(jukebox, title="packed"))

    _, body = await ask(gateway, "Play", envelope(packed, 0x01), grpc_encoding="gzip")

    assert jukebox.song.FromString(grpc_web(body)[0][0]).title == "packed"


async def test_unknown_encoding_is_unimplemented(gateway: Gateway) -> None:
    answer, body = await ask(gateway, "Play", envelope(b"a", 0x01), grpc_encoding="br")

    assert grpc_web(body)[1]["grpc-status"] == "12"
    assert answer.headers["grpc-accept-encoding"] == "identity,gzip"


async def test_gzip_bomb_is_refused(gateway: Gateway, jukebox: Jukebox) -> None:
    bomb = gzip.compress(song(jukebox, title="a" * 3_000_000))

    trailers = await trailers_of(gateway, "Play", envelope(bomb, 0x01), grpc_encoding="gzip")

    assert trailers["grpc-status"] == "8"
    assert not jukebox.requests


@pytest.mark.parametrize(
    ("headers", "flag"),
    [
        pytest.param({"grpc_accept_encoding": "identity,gzip"}, 1, id="asked-for"),
        pytest.param({"grpc_accept_encoding": "gzip", "Cookie": "a=b"}, 0, id="beside-secrets"),
        pytest.param({"Accept_Encoding": "gzip"}, 0, id="not-asked-for"),
    ],
)
async def test_long_answers_are_compressed_on_request(
    gateway: Gateway, jukebox: Jukebox, headers: dict[str, str], flag: int
) -> None:
    answer, body = await ask(gateway, "Play", envelope(song(jukebox, title="huge")), **headers)

    (sent, data), _ = envelopes(body)
    assert sent == flag
    assert answer.headers.get("grpc-encoding") == ("gzip" if flag else None)
    assert jukebox.song.FromString(gzip.decompress(data) if flag else data).title == "la" * 50_000


async def test_http_content_coding_is_undone(gateway: Gateway, jukebox: Jukebox) -> None:
    body = gzip.compress(envelope(song(jukebox, title="a")))

    _, sent = await ask(gateway, "Play", body, Content_Encoding="gzip")

    assert grpc_web(sent)[1] == {"grpc-status": "0"}


@pytest.mark.parametrize("method", ["Nothing", "Hidden", "Gather", "Echo"])
async def test_what_is_not_served_is_unimplemented(gateway: Gateway, jukebox: Jukebox, method: str) -> None:
    trailers = await trailers_of(gateway, method, envelope(b""))

    assert trailers["grpc-status"] == "12"
    assert not jukebox.requests


@pytest.mark.parametrize("content_type", ["application/grpc", "application/grpc+proto"])
async def test_grpc_itself_is_sent_to_its_port(gateway: Gateway, content_type: str) -> None:
    answer, body = await ask(gateway, "Play", envelope(b""), content_type)

    assert answer.status == 415
    assert b"use the gRPC port" in body


async def test_client_that_leaves_cancels_the_call(gateway: Gateway, jukebox: Jukebox) -> None:
    frame = envelope(song(jukebox, title="slow", plays=1))
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    head = f"POST {JUKEBOX}/Repeat HTTP/1.1\r\nHost: a\r\nContent-Type: {PROTO}\r\nContent-Length: {len(frame)}\r\n\r\n"

    writer.write(head.encode() + frame)
    await reader.readuntil(b"slow")
    writer.close()

    async with asyncio.timeout(10):
        await jukebox.cancelled.wait()


async def test_shutdown_ends_streams_with_advice(gateway: Gateway, jukebox: Jukebox, transcoder: Transcoder) -> None:
    asking = asyncio.ensure_future(ask(gateway, "Repeat", envelope(song(jukebox, title="slow", plays=1))))
    async with asyncio.timeout(10):
        while not jukebox.requests:
            await asyncio.sleep(0.01)
    transcoder.end_streams()

    _, body = await asking

    assert grpc_web(body)[1]["grpc-status"] == "14"


def test_grpc_message_keeps_printable_ascii_only() -> None:
    assert percent_encoded("a b~%\r\n\x7fé") == "a b~%25%0D%0A%7F%C3%A9"
