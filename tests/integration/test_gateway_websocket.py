"""WebSockets at the edge: who may open one, and how it ends when the gateway leaves."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from memorybox.memory.v1 import memory_service_pb2 as pb
from tests.support.gateway import WITHIN_S, FakeUpstream, Gateway, gateway

HANDSHAKE = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
)
WATCH = "/v1/memories:watch"


@pytest.fixture
def upstream() -> FakeUpstream:
    fake = FakeUpstream()

    async def watch(_request: bytes, _context: Any) -> AsyncIterator[bytes]:
        yield pb.WatchMemoriesResponse(sequence=1).SerializeToString()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            fake.cancelled.set()
            raise

    fake.streams["WatchMemories"] = watch
    return fake


@pytest.fixture
async def edge(upstream: FakeUpstream) -> AsyncIterator[Gateway]:
    origins = {"MEMORYBOX_GATEWAY_CORS_ORIGINS": "https://app.test"}
    async with asyncio.timeout(3 * WITHIN_S), upstream.serving() as target, gateway(target, origins) as edge:
        yield edge


async def open_from(edge: Gateway, origin: str) -> int:
    """Return the status of the handshake of a page of *origin*."""
    reader, writer = await edge.connect()
    headers = [("Host", f"127.0.0.1:{edge.port}"), ("Origin", origin.replace("OWN", str(edge.port))), *HANDSHAKE]
    head = "".join(f"{name}: {value}\r\n" for name, value in headers)
    writer.write(f"GET {WATCH} HTTP/1.1\r\n{head}\r\n".encode())
    line = await reader.readline()
    writer.close()
    return int(line.split()[1])


@pytest.mark.parametrize(
    ("origin", "status"),
    [("https://app.test", 101), ("http://127.0.0.1:OWN", 101), ("https://evil.test", 403), ("null", 403)],
    ids=["listed", "own", "foreign", "opaque"],
)
async def test_pages_open_websockets_of_their_own_and_listed_origins_only(
    edge: Gateway, origin: str, status: int
) -> None:
    assert await open_from(edge, origin) == status


async def test_leaving_gateway_sends_clients_of_websockets_elsewhere(edge: Gateway, upstream: FakeUpstream) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"http://127.0.0.1:{edge.port}{WATCH}") as socket:
        await socket.send_str("")
        first = await socket.receive_json()
        draining = asyncio.create_task(edge.server.drain(0, 1.0))
        rest = [json.loads(message.data) async for message in socket]
        await draining
        await upstream.cancelled.wait()

    assert first["sequence"] == "1"
    assert rest[0]["error"]["code"] == 14
    assert socket.close_code == aiohttp.WSCloseCode.GOING_AWAY


async def test_bytes_behind_a_refused_upgrade_are_no_request(edge: Gateway) -> None:
    upgrade = edge.request("GET", "/nowhere", [*HANDSHAKE[1:]]).replace(b"Connection: close", b"Connection: Upgrade")

    answers = await edge.raw(upgrade + edge.request("GET", "/livez"))

    assert answers.count(b"HTTP/1.1") == 1
    assert answers.startswith(b"HTTP/1.1 404")
