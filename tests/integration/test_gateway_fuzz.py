"""Any bytes at a running gateway: an answer below 500 or none, soon, in bounded memory, and it goes on serving."""

import asyncio
import re
import resource
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.app import memorybox_transcoder
from services.gateway.settings import GatewaySettings
from services.gateway.transcoder import CLIENT_STREAM, SERVER_STREAM
from services.mesh.config import load
from tests.support.fuzzing import examples
from tests.support.gateway import FakeUpstream, gateway

WITHIN_S = 8.0
MOST_GROWTH_KIB = 200 * 1024
ROUTES = memorybox_transcoder(load(GatewaySettings, {})).routes
SETTINGS = {
    "MEMORYBOX_GATEWAY_HEADER_TIMEOUT": "0.2",
    "MEMORYBOX_GATEWAY_BODY_TIMEOUT": "0.2",
    "MEMORYBOX_GATEWAY_BODY_GRACE": "0.2",
    "MEMORYBOX_GATEWAY_IDLE_TIMEOUT": "1",
    "MEMORYBOX_GATEWAY_MAX_STREAM_TIMEOUT": "2",
    "MEMORYBOX_GATEWAY_DEFAULT_TIMEOUT": "2",
}


async def _drain(messages: AsyncIterator[bytes], _context: Any) -> bytes:
    async for _ in messages:
        pass
    return b""


async def _nothing(_request: bytes, _context: Any) -> AsyncIterator[bytes]:
    return
    yield b""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Serve in a thread of its own, as Hypothesis calls tests that know no loop."""
    upstream, started = FakeUpstream(), threading.Event()
    for route in ROUTES:
        name = route.grpc_method.rpartition("/")[2]
        if route.kind == CLIENT_STREAM:
            upstream.uploads[name] = _drain
        elif route.kind == SERVER_STREAM:
            upstream.streams[name] = _nothing
    found: dict[str, Any] = {}

    async def serve() -> None:
        found["loop"], found["stop"] = asyncio.get_running_loop(), asyncio.Event()
        async with upstream.serving() as target, gateway(target, SETTINGS) as edge:
            found["port"] = edge.port
            started.set()
            await found["stop"].wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(30)
    yield found["port"]
    found["loop"].call_soon_threadsafe(found["stop"].set)
    thread.join(30)


def answer(port: int, data: bytes) -> bytes:
    """Return all that comes back for *data*; a gateway that keeps silent too long fails the test."""
    with socket.create_connection(("127.0.0.1", port), timeout=WITHIN_S) as connection:
        received = b""
        try:
            connection.sendall(data)
            while not _is_whole(received) and (chunk := connection.recv(65536)):
                received += chunk
        except ConnectionError:
            pass
        return received


def _is_whole(received: bytes) -> bool:
    """Say whether the first answer is there; the gateway keeps the connection of a good request open."""
    head, end, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"Content-Length: (\d+)", head)
    return bool(end) and length is not None and len(body) >= int(length[1])


METHODS = st.sampled_from(
    ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE", "QUERY", "get", ""]
)
PATHS = st.one_of(
    st.sampled_from(
        [route.template for route in ROUTES] + ["/", "/livez", "/openapi.json", "*", "//", "/v1/memories/%00"]
    ),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30).map("/v1/{}".format),
    st.sampled_from([route.grpc_method for route in ROUTES]),
)
NAMES = st.sampled_from(
    [
        *(
            "Content-Type",
            "Content-Length",
            "Transfer-Encoding",
            "Content-Encoding",
            "Accept",
            "Expect",
            "Connection",
            "Upgrade",
        ),
        *(
            "Host",
            "Origin",
            "Authorization",
            "X-Memorybox-User",
            "X-Memorybox-Roles",
            "Grpc-Timeout",
            "If-Match",
            "Cookie",
        ),
        *("Sec-WebSocket-Key", "Sec-WebSocket-Version", "Sec-WebSocket-Protocol", "traceparent", "Grpc-Metadata-A-Bin"),
        *("Connect-Protocol-Version", "Connect-Timeout-Ms", "X-Grpc-Web", "Access-Control-Request-Method", "Forwarded"),
    ]
)
HEADER_VALUES = st.sampled_from(
    [
        *(
            "application/json",
            "application/x-ndjson",
            "application/grpc-web+proto",
            "application/connect+json",
            "text/event-stream",
        ),
        *(
            "application/grpc-web-text",
            "application/proto",
            "gzip",
            "chunked",
            "0",
            "2",
            "-1",
            "99999999999",
            "100-continue",
        ),
        *(
            "close",
            "Upgrade",
            "websocket",
            "13",
            "AAAAAAAAAAAAAAAAAAAAAA==",
            "127.0.0.1:PORT",
            "1",
            "5S",
            "1000m",
            "*",
            "%",
            "=?",
        ),
    ]
) | st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=20)
BODIES = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [b"{}", b"[]", b"[{}]\n", b"{}\n{}\n", b"2\r\n{}\r\n0\r\n\r\n", b"\x00\x00\x00\x00\x02{}", b"\x1f\x8b\x08"]
    ),
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Draw a request that is mostly right, some of its bytes changed."""
    lines = draw(st.lists(st.tuples(NAMES, HEADER_VALUES), max_size=7))
    head = [f"{draw(METHODS)} {draw(PATHS)} HTTP/1.1"]
    if draw(st.integers(0, 9)):
        head += ["Host: 127.0.0.1:PORT", "Connection: close"]
    body = draw(BODIES)
    if draw(st.booleans()):
        head.append(f"Content-Length: {len(body)}")
    head += [f"{name}: {value}" for name, value in lines]
    data = bytearray("\r\n".join([*head, "", ""]).encode("latin-1", "replace") + body)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(data)


def check(port: int, data: bytes) -> None:
    received = answer(port, data.replace(b"PORT", str(port).encode()))

    if received:
        status = int(received.split(b" ", 2)[1])
        assert status < 500 or status in {501, 504}, received[:300]


@examples(250)
@given(data=requests())
def test_requests_get_an_answer_below_500(port: int, data: bytes) -> None:
    check(port, data)


@examples(80)
@given(data=st.binary(max_size=300))
def test_any_bytes_get_an_answer_below_500(port: int, data: bytes) -> None:
    check(port, data)


@examples(40)
@given(frames=st.lists(st.binary(max_size=20), max_size=6), masked=st.booleans())
def test_any_frames_end_a_websocket_quietly(port: int, frames: list[bytes], masked: bool) -> None:  # noqa: FBT001
    upgrade = (
        f"GET /v1/memories:watch HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    frames = [*frames, b"\x03\xe8"]  # the last closes
    data = b"".join(
        bytes([0x88 if one is frames[-1] else 0x81, (0x80 if masked else 0) | len(one)])
        + (b"\0" * 4 if masked else b"")
        + one
        for one in frames
    )

    received = answer(port, upgrade.encode() + data)

    assert received.startswith(b"HTTP/1.1 101")


def test_gateway_that_was_fuzzed_serves_on_in_bounded_memory(port: int) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(200):
        answer(port, b"POST /v1/memories:search HTTP/1.1\r\nHost: a\r\nContent-Length: 999999\r\n\r\n" + b"x" * 1000)
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

    assert growth < MOST_GROWTH_KIB
    assert b" 200 " in answer(
        port, f"GET /livez HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode()
    )
