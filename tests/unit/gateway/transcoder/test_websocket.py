"""Streaming methods over WebSocket, rules T-240 to T-246, through real sockets."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import grpc
import pytest
from aiohttp import WSCloseCode, WSMsgType

from services.gateway.transcoder import Options, Transcoder
from services.gateway.transcoder.websocket import MAX_REASON_BYTES, SUBPROTOCOL, cut_text
from tests.support.transcoder_contract import compile_protos, message_class
from tests.support.transcoder_mesh import Gateway, running

TALK = """
syntax = "proto3";
package talk.v1;
import "google/api/annotations.proto";
import "google/api/httpbody.proto";
message Line { string room = 1; string text = 2; google.api.HttpBody file = 3; }
message Said { string text = 1; int32 number = 2; }
service Talk {
  rpc Chat(stream Line) returns (stream Said) { option (google.api.http) = {post: "/rooms/{room}:chat" body: "*"}; }
  rpc Count(stream Line) returns (Said) { option (google.api.http) = {post: "/rooms/{room}:count" body: "*"}; }
  rpc Watch(Line) returns (stream Said) { option (google.api.http) = {get: "/rooms/{room}"}; }
  rpc Ask(Line) returns (stream Said) { option (google.api.http) = {post: "/ask" body: "*"}; }
  rpc Copy(stream Line) returns (stream google.api.HttpBody) { option (google.api.http) = {post: "/copy" body: "file"}; }
  rpc Read(Line) returns (Said) { option (google.api.http) = {get: "/rooms/{room}:chat"}; }
  rpc Bare(stream Line) returns (stream Said);
}
"""
OPTIONS = Options(max_message=64 * 1024, heartbeat=0.2, response_headers=())
WITHIN_S = 10.0


class Talk:
    """A backend that answers each line, and fails where a line says so."""

    def __init__(self, transcoder: Transcoder) -> None:
        self.said = message_class(transcoder.descriptors, "talk.v1.Said")
        self.body = message_class(transcoder.descriptors, "google.api.HttpBody")
        self.rooms: list[str] = []
        self.heard = 0
        self.ended = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.sent = 0

    async def chat(self, lines: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        try:
            async for line in lines:
                self.rooms.append(line.room)
                self.heard += 1
                if line.text == "fail":
                    await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "ä" * 100)
                if line.text == "stop":
                    return
                while line.text == "flood":
                    self.sent += 1
                    yield self.said(text="x" * 65536)
                if line.text == "hold":
                    await asyncio.Event().wait()
                yield self.said(text=line.text, number=self.heard)
            self.ended.set()
            yield self.said(text="bye")
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.set()
            raise

    async def count(self, lines: AsyncIterator[Any], _context: Any) -> Any:
        texts = [line.room + line.text async for line in lines]
        return self.said(text="+".join(texts), number=len(texts))

    async def watch(self, line: Any, _context: Any) -> AsyncIterator[Any]:
        for number in range(3):
            yield self.said(text=line.room + line.text, number=number)

    async def copy(self, lines: AsyncIterator[Any], _context: Any) -> AsyncIterator[Any]:
        async for line in lines:
            yield self.body(data=line.file.data[::-1])

    async def read(self, line: Any, _context: Any) -> Any:
        return self.said(text=line.room)


class Mesh:
    """The backend, the gateway before it, and the ways of a client."""

    def __init__(self, talk: Talk, gateway: Gateway) -> None:
        self.talk = talk
        self.gateway = gateway

    def open(self, path: str, **kwargs: Any) -> Any:
        return self.gateway.session.ws_connect(self.gateway.url + path, **kwargs)


TRANSCODER = Transcoder([compile_protos(talk=TALK)], OPTIONS)
PATIENT = Transcoder([compile_protos(talk=TALK)], Options())


@pytest.fixture
async def mesh() -> AsyncIterator[Mesh]:
    async with meshed(TRANSCODER) as found:
        yield found


@asynccontextmanager
async def meshed(transcoder: Transcoder) -> AsyncIterator[Mesh]:
    talk = Talk(transcoder)
    handlers = {
        "Chat": talk.chat,
        "Bare": talk.chat,
        "Count": talk.count,
        "Watch": talk.watch,
        "Ask": talk.watch,
        "Copy": talk.copy,
        "Read": talk.read,
    }
    async with asyncio.timeout(3 * WITHIN_S), running(transcoder, handlers) as gateway:
        yield Mesh(talk, gateway)


async def all_of(socket: aiohttp.ClientWebSocketResponse) -> list[Any]:
    """Return the JSON of every message until the end."""
    return [json.loads(message.data) async for message in socket]


async def test_messages_go_both_ways_and_an_empty_one_ends_the_clients_side(mesh: Mesh) -> None:
    async with mesh.open("/rooms/a:chat", protocols=[SUBPROTOCOL]) as socket:
        await socket.send_str('{"text": "one"}')
        first = await socket.receive_json()
        await socket.send_str('{"text": "two"}')
        second = await socket.receive_json()
        await socket.send_str("")
        rest = await all_of(socket)

    assert (socket.protocol, socket.close_code) == (SUBPROTOCOL, WSCloseCode.OK)
    assert [first, second, *rest] == [{"text": "one", "number": 1}, {"text": "two", "number": 2}, {"text": "bye"}]
    assert mesh.talk.rooms == ["a", ""]
    assert mesh.talk.ended.is_set()


async def test_client_stream_is_answered_by_one_message(mesh: Mesh) -> None:
    async with mesh.open("/rooms/a:count") as socket:
        for text in ("1", "2"):
            await socket.send_str(json.dumps({"text": text}))
        await socket.send_str("")
        answers = await all_of(socket)

    assert answers == [{"text": "a1+2", "number": 2}]
    assert socket.protocol is None


@pytest.mark.parametrize(
    ("path", "message", "text"),
    [
        ("/rooms/a?text=b", "", "ab"),
        ("/rooms/a", "{}", "a"),
        ("/ask", '{"room": "r"}', "r"),
        ("/talk.v1.Talk/Watch", '{"room": "r"}', "r"),
    ],
    ids=["bound", "empty-object", "body", "default-route"],
)
async def test_server_stream_begins_with_the_first_message(mesh: Mesh, path: str, message: str, text: str) -> None:
    async with mesh.open(path) as socket:
        await socket.send_str(message)
        await socket.send_str("")
        answers = await all_of(socket)

    assert [answer["text"] for answer in answers] == [text] * 3
    assert socket.close_code == WSCloseCode.OK


@pytest.mark.parametrize("path", ["/rooms/a:chat", "/talk.v1.Talk/Bare", "/talk.v1.Talk/Chat"])
async def test_streams_are_found_by_rule_and_by_default_path(mesh: Mesh, path: str) -> None:
    async with mesh.open(path) as socket:
        await socket.send_str('{"text": "stop"}')

        assert await all_of(socket) == []
        assert socket.close_code == WSCloseCode.OK


async def test_upgrade_header_decides_between_a_stream_and_a_get(mesh: Mesh) -> None:
    plain = await mesh.gateway.json("GET", "/rooms/a:chat")

    assert plain == (200, {"text": "a"})


@pytest.mark.parametrize(("method", "path"), [("POST", "/rooms/a:chat"), ("POST", "/talk.v1.Talk/Bare")])
async def test_bidi_without_upgrade_is_told_how_to_call(mesh: Mesh, method: str, path: str) -> None:
    async with mesh.gateway.request(method, path, json={}) as answer:
        told = await answer.json()

    assert (answer.status, answer.headers["Upgrade"], told["code"]) == (426, "websocket", 12)


async def test_error_is_told_before_the_close(mesh: Mesh) -> None:
    async with mesh.open("/rooms/a:chat") as socket:
        await socket.send_str('{"text": "fail"}')
        answers = await all_of(socket)

    assert answers == [{"error": {"code": 9, "message": "ä" * 100}}]
    assert socket.close_code == 4009


def test_close_reason_is_whole_characters() -> None:
    assert cut_text("ä" * 100, MAX_REASON_BYTES).decode() == "ä" * 61


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", 1007),
        ('{"text": 1}', 4003),
        ('{"nope": 1}', 4003),
        (b"{}", 1003),
        ('{"text": "%s"}' % ("x" * 70_000), 1009),
    ],
    ids=["no-json", "wrong-type", "unknown-field", "binary", "too-long"],
)
async def test_bad_message_ends_the_call(mesh: Mesh, message: str | bytes, code: int) -> None:
    async with mesh.open("/rooms/a:chat") as socket:
        await socket.send_str('{"text": "one"}')
        await socket.receive()
        send = socket.send_bytes if isinstance(message, bytes) else socket.send_str
        await send(message)
        answers = await all_of(socket)
        await mesh.talk.cancelled.wait()

    assert socket.close_code == code
    assert mesh.talk.heard == 1
    assert code == 1009 or answers[0]["error"]["code"] == 3


async def test_first_message_may_not_say_otherwise_than_the_path(mesh: Mesh) -> None:
    async with mesh.open("/rooms/a:chat") as socket:
        await socket.send_str('{"room": "b"}')
        answers = await all_of(socket)

    assert socket.close_code == 4003
    assert "room" in answers[0]["error"]["message"]
    assert mesh.talk.heard == 0


async def test_compressed_message_is_measured_by_what_it_holds(mesh: Mesh) -> None:
    async with mesh.open("/rooms/a:chat", compress=15) as socket:
        await socket.send_str('{"text": "one"}')
        await socket.receive()
        await socket.send_str('{"text": "%s"}' % ("x" * 5_000_000))
        await all_of(socket)
        await mesh.talk.cancelled.wait()

    assert socket.close_code == WSCloseCode.MESSAGE_TOO_BIG
    assert mesh.talk.heard == 1


async def test_message_after_the_end_is_against_the_rules(mesh: Mesh) -> None:
    async with mesh.open("/rooms/a:chat") as socket:
        await socket.send_str('{"text": "hold"}')
        await socket.send_str("")
        await socket.send_str("{}")
        answers = await all_of(socket)

    assert socket.close_code == WSCloseCode.POLICY_VIOLATION
    assert "after the end" in answers[-1]["error"]["message"]


async def test_bytes_travel_as_binary_messages(mesh: Mesh) -> None:
    async with mesh.open("/copy") as socket:
        await socket.send_bytes(b"\x00\x01\xff")
        answer = await socket.receive()
        await socket.send_str("")
        rest = await all_of(socket)

    assert (answer.type, answer.data, rest) == (WSMsgType.BINARY, b"\xff\x01\x00", [])


async def test_leaving_client_cancels_the_call(mesh: Mesh) -> None:
    async with mesh.open("/rooms/a:chat") as socket:
        await socket.send_str('{"text": "one"}')
        await socket.receive()
        await socket.close()
    await mesh.talk.cancelled.wait()


async def test_lost_client_cancels_the_call(mesh: Mesh) -> None:
    socket = await mesh.open("/rooms/a:chat")
    await socket.send_str('{"text": "one"}')
    await socket.receive()
    socket._response.connection.transport.abort()

    await mesh.talk.cancelled.wait()


async def test_silent_client_that_answers_no_ping_is_cut_off(mesh: Mesh) -> None:
    async with mesh.open("/rooms/a:chat", autoping=False) as socket:
        await socket.send_str('{"text": "one"}')
        await socket.receive()
        await mesh.talk.cancelled.wait()
        ping = await socket.receive()

    assert ping.type is WSMsgType.PING


async def test_silent_client_that_answers_pings_stays(mesh: Mesh) -> None:
    async with mesh.open("/rooms/a:chat") as socket:
        waiting = asyncio.ensure_future(socket.receive())
        await asyncio.sleep(5 * OPTIONS.heartbeat)
        await socket.send_str('{"text": "still here"}')
        answer = await waiting

    assert json.loads(answer.data)["text"] == "still here"


async def test_client_that_does_not_read_holds_the_backend_back() -> None:
    async with meshed(PATIENT) as mesh, mesh.open("/rooms/a:chat", max_msg_size=0) as socket:
        await socket.send_str('{"text": "flood"}')
        sent = -1
        while sent != mesh.talk.sent or not sent:
            sent = mesh.talk.sent
            await asyncio.sleep(0.3)

        assert not mesh.talk.cancelled.is_set()
        assert sent < 1000


async def test_end_of_streams_sends_clients_elsewhere(mesh: Mesh) -> None:
    async with mesh.open("/rooms/a:chat") as socket:
        await socket.send_str('{"text": "one"}')
        await socket.receive()
        TRANSCODER.end_streams()
        answers = await all_of(socket)
        await mesh.talk.cancelled.wait()

    assert socket.close_code == WSCloseCode.GOING_AWAY
    assert answers[0]["error"]["code"] == 14


async def test_deadline_ends_the_call(mesh: Mesh) -> None:
    async with mesh.open("/rooms/a:chat", headers={"Grpc-Timeout": "200m"}) as socket:
        answers = await all_of(socket)

    assert (answers[0]["error"]["code"], socket.close_code) == (4, 4004)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-WebSocket-Version": "12", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}, 426),
        ({"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "short"}, 400),
        ({"Sec-WebSocket-Version": "13"}, 400),
    ],
    ids=["version", "key", "no-key"],
)
async def test_bad_handshake_is_a_plain_error(mesh: Mesh, headers: dict[str, str], status: int) -> None:
    sent = {"Upgrade": "websocket", "Connection": "Upgrade", **headers}

    assert (await mesh.gateway.json("GET", "/rooms/a:chat", headers=sent))[0] == status


async def test_token_among_subprotocols_is_neither_echoed_nor_logged(
    mesh: Mesh, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with mesh.open("/rooms/a:chat", protocols=["bearer.secret"]) as socket:
            await socket.send_str("")
            await all_of(socket)
        logged = [record.getMessage() for record in caplog.records if record.name.startswith(("aiohttp", "services"))]

    assert socket.protocol is None
    assert not [line for line in logged if "secret" in line and "ClientWebSocket" not in line]
