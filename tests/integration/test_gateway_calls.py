"""Calls through the gateway: what goes inward, and what callers get when the other side is slow, down, or gone."""

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import grpc
import pytest

from memorybox.memory.v1 import memory_service_pb2 as pb
from services.mesh.channels import GatewayCredentials
from services.mesh.errors import DeadlineExceeded
from services.mesh.identity import HopSigner, HopVerifier
from services.mesh.keys import ANY, GATEWAY, Grant, KeyFolder, KeysMissing
from tests.support.gateway import JSON, WITHIN_S, FakeUpstream, Gateway, gateway, parse

SERVICE = "/memorybox.memory.v1.MemoryService"


@pytest.fixture
def upstream() -> FakeUpstream:
    return FakeUpstream()


@pytest.fixture
async def edge(upstream: FakeUpstream) -> AsyncIterator[Gateway]:
    async with upstream.serving() as port, gateway(port) as running:
        yield running


async def until(event: asyncio.Event) -> None:
    async with asyncio.timeout(WITHIN_S):
        await event.wait()


async def test_answer_is_the_bare_memory(edge: Gateway, upstream: FakeUpstream) -> None:
    async def answer(request: bytes, _context: object) -> bytes:
        asked = pb.GetMemoryRequest.FromString(request)
        response = pb.GetMemoryResponse()
        response.memory.memory_id = asked.memory_id
        return response.SerializeToString()

    upstream.answers["GetMemory"] = answer

    reply = await edge.ask("GET", "/v1/memories/m1")

    assert reply.status == 200
    assert reply.json["memoryId"] == "m1"
    assert reply.json["tags"] == []


async def test_headers_set_etag_and_request_id(edge: Gateway, upstream: FakeUpstream) -> None:
    await edge.ask("DELETE", "/v1/memories/m1", [("If-Match", '"e1"')])
    await edge.ask("POST", "/v1/memories", [JSON, ("Idempotency-Key", "k1")], b'{"content":"x"}')

    deleted = pb.DeleteMemoryRequest.FromString(upstream.seen[0].request)
    created = pb.CreateMemoryRequest.FromString(upstream.seen[1].request)
    assert deleted.etag == "e1"
    assert created.request_id == "k1"


async def test_identity_goes_inward_in_signed_tokens_only(upstream: FakeUpstream, tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path)
    folder.ensure([(GATEWAY, GATEWAY, Grant((ANY,), (ANY,), ("memory", "embedding"), (ANY,)))])
    forged = "eyJhbGciOiJub25lIn0.e30."
    headers = [
        ("X-Memorybox-User", "ann"),
        ("X-Memorybox-Roles", "AUDITORS, MAKERS"),
        ("Authorization", "Bearer stolen"),
        ("Cookie", "session=stolen"),
        ("X-Memorybox-Subject", forged),
        ("Grpc-Metadata-Authorization", f"Bearer {forged}"),
        ("Grpc-Metadata-X-Memorybox-Subject", forged),
        ("Grpc-Metadata-X-Memorybox-User", "root"),
        ("Sf-Context-Current-User-Token", "stolen"),
        ("Baggage", "user=root"),
    ]

    async with (
        upstream.serving() as port,
        gateway(port, credentials=GatewayCredentials(HopSigner(folder, GATEWAY))) as edge,
    ):
        reply = await edge.ask("GET", "/v1/memories/m1", headers)

    assert reply.status == 200
    seen = upstream.seen[0].metadata
    assert set(seen) <= {"authorization", "x-memorybox-subject", "traceparent", "user-agent"}
    principal = HopVerifier(folder, "memory").verify(
        f"{SERVICE}/GetMemory", str(seen["authorization"]), str(seen["x-memorybox-subject"])
    )
    assert principal.caller.user == "ann"
    assert principal.caller.roles == {"AUDITORS", "MAKERS"}


async def test_deadline_of_the_caller_ends_a_call(edge: Gateway, upstream: FakeUpstream) -> None:
    upstream.answers["GetMemory"] = upstream.hang

    reply = await edge.ask("GET", "/v1/memories/m1", [("Grpc-Timeout", "300m")])

    assert reply.status == 504
    assert reply.json["code"] == 4
    await until(upstream.cancelled)


async def test_deadline_of_the_setting_ends_a_call(upstream: FakeUpstream) -> None:
    upstream.answers["GetMemory"] = upstream.hang
    environ = {"MEMORYBOX_GATEWAY_DEFAULT_TIMEOUT": "0.3"}

    async with upstream.serving() as port, gateway(port, environ) as edge:
        reply = await edge.ask("GET", "/v1/memories/m1")

    assert reply.status == 504


async def test_service_that_is_down_is_unavailable_with_advice(upstream: FakeUpstream) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with gateway(unused.getsockname()[1]) as edge:
            reply = await edge.ask("GET", "/v1/memories/m1")

    assert reply.status == 503
    assert reply.json["code"] == 14
    assert int(reply.headers["Retry-After"]) >= 1
    assert "127.0.0.1" not in reply.json["message"]


async def test_internal_errors_of_a_service_stay_inside(edge: Gateway, upstream: FakeUpstream) -> None:
    async def fail(_request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        await context.abort(grpc.StatusCode.INTERNAL, "SELECT secret FROM table")
        raise AssertionError("abort returned")

    upstream.answers["GetMemory"] = fail

    reply = await edge.ask("GET", "/v1/memories/m1")

    assert reply.status == 500
    assert "secret" not in reply.body.decode()
    assert reply.headers["traceparent"].split("-")[1] in reply.json["message"]


class Failing:
    """Cannot vouch for anybody."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def metadata(self, _audience: str, _timeout_s: float) -> Sequence[tuple[str, str | bytes]]:
        """Fail."""
        raise self._error


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        pytest.param(RuntimeError("secret"), 500, 13, id="bug"),
        pytest.param(KeysMissing("no keys in /secret"), 503, 14, id="no-keys"),
        pytest.param(DeadlineExceeded("no time left"), 504, 4, id="deadline"),
    ],
)
async def test_failures_of_the_gateway_itself_are_statuses(
    upstream: FakeUpstream, error: Exception, status: int, code: int
) -> None:
    async with upstream.serving() as port, gateway(port, credentials=Failing(error)) as edge:
        reply = await edge.ask("GET", "/v1/memories/m1")

    assert reply.status == status
    assert reply.json["code"] == code
    assert b"secret" not in reply.body
    assert b"Traceback" not in reply.body


async def test_client_that_goes_away_cancels_the_call(edge: Gateway, upstream: FakeUpstream) -> None:
    upstream.answers["GetMemory"] = upstream.hang
    _, writer = await edge.connect()
    writer.write(edge.request("GET", "/v1/memories/m1"))
    await until(upstream.reached)

    writer.close()

    await until(upstream.cancelled)


async def test_client_that_goes_away_ends_a_stream(edge: Gateway, upstream: FakeUpstream) -> None:
    async def watch(_request: bytes, _context: object) -> AsyncIterator[bytes]:
        try:
            yield pb.WatchMemoriesResponse(sequence=1).SerializeToString()
            await asyncio.Event().wait()
        finally:
            upstream.cancelled.set()

    upstream.streams["WatchMemories"] = watch
    reader, writer = await edge.connect()
    writer.write(edge.request("GET", "/v1/memories:watch", [("Accept", "text/event-stream")]))
    async with asyncio.timeout(WITHIN_S):
        head = await reader.readuntil(b"data: ")

    writer.close()

    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nServer: gateway\r\n" in head
    await until(upstream.cancelled)


async def test_requests_beyond_the_cap_are_told_to_come_back(upstream: FakeUpstream) -> None:
    upstream.answers["GetMemory"] = upstream.hang

    async with upstream.serving() as port, gateway(port, {"MEMORYBOX_GATEWAY_MAX_IN_FLIGHT": "1"}) as edge:
        _, writer = await edge.connect()
        writer.write(edge.request("GET", "/v1/memories/m1"))
        await until(upstream.reached)
        refused = await edge.ask("GET", "/v1/memories")
        probe = await edge.ask("GET", "/readyz")
        writer.close()
        await until(upstream.cancelled)
        async with asyncio.timeout(WITHIN_S):
            while (await edge.ask("GET", "/v1/memories")).status == 503:
                await asyncio.sleep(0.01)

    assert refused.status == 503
    assert refused.headers["Retry-After"] == "1"
    assert refused.reason == "OVERLOADED"
    assert probe.status == 200


async def test_connections_beyond_the_cap_are_told_to_come_back(upstream: FakeUpstream) -> None:
    async with upstream.serving() as port, gateway(port, {"MEMORYBOX_GATEWAY_MAX_CONNECTIONS": "1"}) as edge:
        reader, writer = await edge.connect()
        writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(WITHIN_S):
            await reader.readuntil(b"live")
        refused = parse(await edge.raw(b""))
        writer.close()
        await writer.wait_closed()
        async with asyncio.timeout(WITHIN_S):
            while not await _is_served(edge):
                await asyncio.sleep(0.01)

    assert refused.status == 503
    assert refused.headers["Retry-After"] == "1"
    assert refused.json["code"] == 14


async def _is_served(edge: Gateway) -> bool:
    with contextlib.suppress(ConnectionError):
        return (await edge.ask("GET", "/livez")).status == 200
    return False


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        pytest.param(b"", b"", id="nothing"),
        pytest.param(b"GET / HT", b"", id="half-a-request-line"),
        pytest.param(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"", id="half-a-header"),
        pytest.param(
            b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /livez HTTP/1.1\r\nHo",
            b"HTTP/1.1 200",
            id="half-a-second-request",
        ),
    ],
)
async def test_headers_that_do_not_come_end_the_connection(upstream: FakeUpstream, sent: bytes, answer: bytes) -> None:
    environ = {"MEMORYBOX_GATEWAY_HEADER_TIMEOUT": "0.2", "MEMORYBOX_GATEWAY_IDLE_TIMEOUT": "1"}

    async with upstream.serving() as port, gateway(port, environ) as edge:
        received = await edge.raw(sent)

    assert received.startswith(answer)
    assert received.count(b"HTTP/1.1") == (1 if answer else 0)


@pytest.mark.parametrize("sent", [b"", b'{"query":'], ids=["nothing", "half"])
async def test_body_that_stops_is_refused(upstream: FakeUpstream, sent: bytes) -> None:
    async with upstream.serving() as port, gateway(port, {"MEMORYBOX_GATEWAY_BODY_TIMEOUT": "0.2"}) as edge:
        raw = edge.request("POST", "/v1/memories:search", [JSON, ("Content-Length", "100")]) + sent
        reply = parse(await edge.raw(raw))

    assert reply.status == 408
    assert reply.json["code"] == 4
    assert reply.reason == "SLOW_BODY"
    assert reply.headers["Connection"] == "close"
    assert upstream.seen == []


async def test_body_that_trickles_is_refused(upstream: FakeUpstream) -> None:
    environ = {"MEMORYBOX_GATEWAY_BODY_TIMEOUT": "0.4", "MEMORYBOX_GATEWAY_BODY_GRACE": "0.5"}

    async with upstream.serving() as port, gateway(port, environ) as edge:
        reader, writer = await edge.connect()
        writer.write(edge.request("POST", "/v1/memories:search", [JSON, ("Content-Length", "100000")]))
        reading = asyncio.ensure_future(reader.readuntil(b"\r\n"))
        async with asyncio.timeout(WITHIN_S):
            while not reading.done():
                writer.write(b" ")
                await asyncio.sleep(0.05)
        writer.close()

    assert reading.result() == b"HTTP/1.1 408 Request Timeout\r\n"


async def test_upload_that_waits_for_the_service_is_not_slow(upstream: FakeUpstream) -> None:
    line = b'{"memory":{"content":"%b"}}\n' % (b"x" * 500_000)
    count = 40

    async def slow(requests: AsyncIterator[bytes], _context: object) -> bytes:
        await asyncio.sleep(1.0)
        received = 0
        async for _ in requests:
            received += 1
        return pb.ImportMemoriesResponse(imported_count=received).SerializeToString()

    upstream.uploads["ImportMemories"] = slow
    environ = {"MEMORYBOX_GATEWAY_BODY_TIMEOUT": "0.2", "MEMORYBOX_GATEWAY_BODY_GRACE": "0.2"}
    async with upstream.serving() as port, gateway(port, environ) as edge:
        ndjson = [("Content-Type", "application/x-ndjson")]
        reply = await edge.ask("POST", "/v1/memories:import", ndjson, line * count)

    assert reply.status == 200
    assert int(reply.json["importedCount"]) == count


async def test_pipelined_requests_are_answered_in_order(edge: Gateway) -> None:
    first = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"

    answers = await edge.raw(first + edge.request("GET", "/nowhere"))

    assert re.findall(rb"HTTP/1\.1 (\d+)", answers) == [b"200", b"404"]


async def test_client_that_does_not_read_its_answers_is_cut(upstream: FakeUpstream) -> None:
    async def big(_request: bytes, _context: object) -> bytes:
        response = pb.GetMemoryResponse()
        response.memory.content = "x" * 3_000_000
        return response.SerializeToString()

    upstream.answers["GetMemory"] = big
    async with upstream.serving() as port, gateway(port, {"MEMORYBOX_GATEWAY_WRITE_TIMEOUT": "0.3"}) as edge:
        _, writer = await edge.connect()
        asking = edge.request("GET", "/v1/memories/m1").replace(b"Connection: close\r\n", b"")
        writer.write(asking * 8)
        async with asyncio.timeout(WITHIN_S):
            while not writer.transport.is_closing():
                await asyncio.sleep(0.05)
                writer.write(b"\r\n")

    assert len(upstream.seen) < 8


async def test_client_that_does_not_read_a_stream_is_cut(upstream: FakeUpstream) -> None:
    async def flood(_request: bytes, _context: object) -> AsyncIterator[bytes]:
        message = pb.ExportMemoriesResponse()
        message.memory.content = "x" * 1_000_000
        try:
            while True:
                yield message.SerializeToString()
        finally:
            upstream.cancelled.set()

    upstream.streams["ExportMemories"] = flood
    async with upstream.serving() as port, gateway(port, {"MEMORYBOX_GATEWAY_WRITE_TIMEOUT": "0.3"}) as edge:
        reader, writer = await edge.connect()
        writer.write(edge.request("GET", "/v1/memories:export", [("Accept", "application/x-ndjson")]))
        await until(upstream.cancelled)
        writer.close()

    assert not reader.at_eof()


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n", id="connect"),
        pytest.param(b"TRACE / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n", id="trace"),
        pytest.param(
            b"GET http://evil.example/v1/memories HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
            id="absolute",
        ),
        pytest.param(b"GET //evil.example/x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n", id="two-slashes"),
        pytest.param(b"GET /v1/memories/%00%ff HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n", id="no-utf8"),
        pytest.param(b"GET /v1/memories?%ff=%00 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n", id="odd-query"),
        pytest.param(
            b"POST /v1/memories:search HTTP/1.1\r\nHost: {host}\r\nUpgrade: h2c\r\nConnection: Upgrade, close\r\n"
            b"Content-Length: 2\r\n\r\n{}",
            id="upgrade",
        ),
        pytest.param(b"GET /v1/memories HTTP/1.0\r\n\r\n", id="http-1.0-without-host"),
        pytest.param(
            b"GET /v1/memories HTTP/1.1\r\nHost: {host}\r\nExpect: magic\r\nConnection: close\r\n\r\n", id="expect"
        ),
    ],
)
async def test_odd_requests_are_refused_and_serving_goes_on(edge: Gateway, upstream: FakeUpstream, raw: bytes) -> None:
    raw = raw.replace(b"{host}", f"127.0.0.1:{edge.port}".encode())

    refused = parse(await edge.raw(raw))
    served = await edge.ask("GET", "/v1/memories")

    assert 400 <= refused.status < 500
    assert refused.json["code"] > 0
    assert served.status == 200
    assert len(upstream.seen) == 1


async def test_options_for_the_server_is_answered(edge: Gateway) -> None:
    assert (await edge.ask("OPTIONS", "*")).status == 204


async def test_listed_origins_may_call_from_browsers(upstream: FakeUpstream) -> None:
    origin = "https://app.example"
    cross = [("Origin", origin), ("Sec-Fetch-Site", "cross-site")]
    asking = [
        *cross,
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "content-type, x-other"),
    ]

    async with upstream.serving() as port, gateway(port, {"MEMORYBOX_GATEWAY_CORS_ORIGINS": origin}) as edge:
        preflight = await edge.ask("OPTIONS", "/v1/memories", asking)
        foreign = await edge.ask("OPTIONS", "/v1/memories", [("Origin", "https://evil.example"), *asking[2:]])
        answer = await edge.ask("GET", "/v1/memories", cross)
        miss = await edge.ask("GET", "/nowhere", cross)
        asked = await edge.ask("OPTIONS", "/nowhere", asking)

    assert preflight.status == 204
    assert preflight.headers["Access-Control-Allow-Origin"] == origin
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    assert preflight.headers["Access-Control-Allow-Headers"] == "content-type"
    assert "Access-Control-Allow-Origin" not in foreign.headers
    assert "Access-Control-Allow-Methods" not in foreign.headers
    assert answer.status == 200
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert miss.headers["Access-Control-Allow-Origin"] == origin
    assert (asked.status, asked.headers["Access-Control-Allow-Methods"]) == (204, "POST")
    assert "Origin" in answer.headers["Vary"]
