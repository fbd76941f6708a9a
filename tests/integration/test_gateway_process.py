"""The gateway as a whole process would run it: settings, keys, ports, draining; and before a stranger's services."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2, wrappers_pb2

from services.gateway.app import AUDIENCES, memorybox_transcoder, retryable, route_lines, serve, serve_stranger
from services.gateway.settings import GatewaySettings
from services.gateway.strangers import Upstreams
from services.gateway.transcoder import DescriptorError, Options
from services.mesh.config import BadSettings, load
from services.mesh.keys import ANY, GATEWAY, Grant, KeyFolder, KeysMissing
from services.mesh.ops import PortTaken
from tests.support.gateway import WITHIN_S, FakeUpstream, Gateway, Reply, gateway, parse
from tests.support.mesh import free_ports

OPS = 100


async def ask(
    port: int, path: str, method: str = "GET", headers: Mapping[str, str] | None = None, body: str = ""
) -> Reply:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = {"Host": f"127.0.0.1:{port}", "Connection": "close", **(headers or {})}
    if body:
        lines["Content-Length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    try:
        writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n{body}".encode())
        async with asyncio.timeout(WITHIN_S):
            return parse(await reader.read())
    finally:
        writer.close()


async def until_ready(port: int, serving: asyncio.Task[None]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not serving.done():
            try:
                if (await ask(port, "/readyz")).status == 200:
                    return
            except ConnectionError:
                await asyncio.sleep(0.02)
    await serving


@asynccontextmanager
async def process(serving: asyncio.Task[None], port: int) -> AsyncIterator[None]:
    """Run *serving* in the block, then end it as a signal would."""
    try:
        await until_ready(port, serving)
        yield
    finally:
        if not serving.done():
            os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(WITHIN_S):
            await serving


def environ(tmp_path: Path, port: int, target: str = "") -> dict[str, str]:
    return {
        "MEMORYBOX_DATA_DIR": str(tmp_path),
        "MEMORYBOX_HTTP_PORT": str(port),
        "MEMORYBOX_MEMORY_TARGET": target,
        "MEMORYBOX_EMBEDDING_TARGET": target,
        "MEMORYBOX_DRAIN": "0",
    }


def make_keys(tmp_path: Path) -> None:
    KeyFolder(tmp_path / "keys").ensure(
        [(GATEWAY, GATEWAY, Grant((ANY,), (ANY,), tuple(set(AUDIENCES.values())), (ANY,)))]
    )


async def test_gateway_serves_with_its_keys_and_ops_port(tmp_path: Path) -> None:
    make_keys(tmp_path)
    port = free_ports((0, OPS))
    upstream = FakeUpstream()

    async with upstream.serving() as target:
        serving = asyncio.create_task(serve(environ(tmp_path, port, f"127.0.0.1:{target}")))
        async with process(serving, port):
            reply = await ask(port, "/v1/memories/m1", headers={"X-Memorybox-User": "ann"})
            public = await ask(port, "/metrics")
            metrics = await ask(port + OPS, "/metrics")
            ops = await ask(port + OPS, "/readyz")

    assert reply.status == 200
    assert "authorization" in upstream.seen[0].metadata
    assert "x-memorybox-subject" in upstream.seen[0].metadata
    assert public.status == 404
    assert b'http_route="/v1/memories/{memory_id}"' in metrics.body
    assert b"http_server_request_duration_seconds_bucket" in metrics.body
    assert set(ops.json) == {"status", *AUDIENCES.values()}


async def test_gateway_does_not_start_without_keys(tmp_path: Path) -> None:
    with pytest.raises(KeysMissing, match="memorybox up"):
        await serve(environ(tmp_path, free_ports((0, OPS))))


async def test_gateway_does_not_start_in_dev_mode_on_a_public_address(tmp_path: Path) -> None:
    make_keys(tmp_path)

    with pytest.raises(BadSettings, match=r"MEMORYBOX_BIND=0\.0\.0\.0"):
        await serve({**environ(tmp_path, free_ports((0, OPS))), "MEMORYBOX_BIND": "0.0.0.0"})  # noqa: S104


async def test_gateway_does_not_start_in_spcs_mode_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="SNOWFLAKE_HOST"):
        await serve({**environ(tmp_path, free_ports((0, OPS))), "MEMORYBOX_AUTH": "spcs"})


async def test_settings_report_all_their_faults_at_once(tmp_path: Path) -> None:
    faulty = {"MEMORYBOX_HTTP_PORT": "no", "MEMORYBOX_AUTH": "none", "MEMORYBOX_GATEWAY_MAX_BODY": "1"}

    with pytest.raises(BadSettings) as failure:
        await serve({**environ(tmp_path, 1), **faulty})

    assert all(variable in failure.value.message for variable in faulty)


@pytest.mark.parametrize("offset", [0, OPS], ids=["public", "ops"])
async def test_taken_port_is_named_with_its_setting(tmp_path: Path, offset: int) -> None:
    make_keys(tmp_path)
    port = free_ports((0, OPS))
    other = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", port + offset)

    async with other:
        with pytest.raises(PortTaken, match=rf"127\.0\.0\.1:{port + offset}.*MEMORYBOX_HTTP_PORT"):
            await serve(environ(tmp_path, port))


async def test_draining_gateway_finishes_what_is_under_way() -> None:
    upstream = FakeUpstream()
    go_on = asyncio.Event()

    async def slow(_request: bytes, _context: object) -> bytes:
        await go_on.wait()
        return b""

    upstream.answers["GetMemory"] = slow
    async with upstream.serving() as target, gateway(target) as edge:
        under_way = asyncio.create_task(edge.ask("GET", "/v1/memories/m1"))
        async with asyncio.timeout(WITHIN_S):
            await upstream.reached.wait()
        draining = asyncio.create_task(edge.server.drain(1.0, WITHIN_S))
        await asyncio.sleep(0)
        probe = await edge.ask("GET", "/readyz")
        late = await edge.ask("GET", "/v1/memories")
        await until_refused(edge)
        await asyncio.sleep(0.05)
        waited = not draining.done()
        go_on.set()
        await draining
        reply = await under_way

    assert probe.status == 503
    assert probe.json["status"] == "draining"
    assert late.status == 200
    assert late.headers["Connection"] == "close"
    assert waited
    assert reply.status == 200


async def until_refused(edge: Gateway) -> None:
    async with asyncio.timeout(WITHIN_S):
        while True:
            try:
                _, writer = await edge.connect()
            except ConnectionError:
                return
            writer.close()
            await asyncio.sleep(0.01)


def stranger(path: str = "/v1/echo", http_body: bytes = b"*") -> bytes:
    """Return the descriptors of a service that the gateway has never heard of."""
    file = descriptor_pb2.FileDescriptorProto(name="zoo.proto", package="zoo.v1", syntax="proto3")
    file.dependency.extend(["google/api/annotations.proto", "google/protobuf/wrappers.proto"])
    method = file.service.add(name="Zoo").method.add(name="Echo")
    method.input_type = method.output_type = ".google.protobuf.StringValue"
    rule = http_pb2.HttpRule(post=path, body="*") if http_body else http_pb2.HttpRule(get=path)
    method.options.Extensions[annotations_pb2.http].CopyFrom(rule)
    return descriptor_pb2.FileDescriptorSet(file=[file]).SerializeToString()


@asynccontextmanager
async def fronting(
    tmp_path: Path, descriptors: bytes, upstream: FakeUpstream, options: Options | None = None
) -> AsyncIterator[int]:
    (tmp_path / "zoo.binpb").write_bytes(descriptors)
    port = free_ports((0, OPS))
    async with upstream.serving() as target:
        serving = asyncio.create_task(
            serve_stranger(
                Upstreams(descriptor_sets=[tmp_path / "zoo.binpb"], targets={"zoo.v1.Zoo": f"127.0.0.1:{target}"}),
                options or Options(),
                environ={"MEMORYBOX_DRAIN": "0"},
                port=port,
            )
        )
        async with process(serving, port):
            yield port


async def test_stranger_is_fronted_without_keys_or_hop_tokens(tmp_path: Path) -> None:
    upstream = FakeUpstream()

    async def echo(request: bytes, _context: object) -> bytes:
        return request

    upstream.answers["Echo"] = echo
    async with fronting(tmp_path, stranger(), upstream) as port:
        reply = await ask(port, "/v1/echo", "POST", {"Content-Type": "application/json"}, '"hi"')
        untyped = await ask(port, "/v1/echo", "POST", {}, '"hi"')
        simple = await ask(port, "/v1/echo", "POST", {"Content-Type": "text/plain"}, '"hi"')
        empty = await ask(port, "/v1/echo", "POST", {"Content-Type": "text/plain"})
        foreign = await ask(port, "/v1/echo", "POST", {"Origin": "http://evil.example"})

    assert reply.json == "hi"
    assert [untyped.status, simple.status, empty.status, foreign.status] == [200, 415, 200, 403]
    assert wrappers_pb2.StringValue.FromString(upstream.seen[0].request).value == "hi"
    metadata = upstream.seen[0].metadata
    assert "authorization" not in metadata
    assert str(metadata["traceparent"]).split("-")[1] == reply.headers["traceparent"].split("-")[1]


async def test_forms_may_call_a_strangers_other_methods_when_so_set(tmp_path: Path) -> None:
    upstream = FakeUpstream()
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    async with fronting(tmp_path, stranger(http_body=b""), upstream, Options(form_fallback=True)) as port:
        reply = await ask(port, "/v1/echo", "POST", form, "value=hi")

    assert reply.status == 200
    assert wrappers_pb2.StringValue.FromString(upstream.seen[0].request).value == "hi"


async def test_rule_of_a_stranger_wins_over_a_page(tmp_path: Path) -> None:
    upstream = FakeUpstream()

    async with fronting(tmp_path, stranger("/livez", b""), upstream) as port:
        own = await ask(port, "/livez")
        ops = await ask(port + OPS, "/livez")

    assert own.json == ""
    assert ops.json == {"status": "live"}


async def test_unknown_upstream_service_is_a_start_up_error(tmp_path: Path) -> None:
    (tmp_path / "zoo.binpb").write_bytes(stranger())

    with pytest.raises(DescriptorError, match=r"zoo\.v1\.Aquarium"):
        await serve_stranger(
            Upstreams(descriptor_sets=[tmp_path / "zoo.binpb"], targets={"zoo.v1.Aquarium": "127.0.0.1:1"}),
            Options(),
            environ={"MEMORYBOX_HTTP_PORT": str(free_ports((0, OPS)))},
        )


def test_routes_are_those_of_the_contract() -> None:
    routes = memorybox_transcoder(load(GatewaySettings, {})).routes

    lines = route_lines(routes)

    assert any(
        line.split() == ["POST", "/v1/memories", "/memorybox.memory.v1.MemoryService/CreateMemory"] for line in lines
    )
    assert any(line.endswith("(server_stream)") for line in lines)
    assert not any("SubjectData" in line or "AppendAuditEvents" in line for line in lines)


def test_only_reads_are_repeated() -> None:
    names = retryable(memorybox_transcoder(load(GatewaySettings, {})).routes)

    assert "memorybox.memory.v1.MemoryService/SearchMemories" in names["memory"]
    assert "memorybox.embedding.v1.EmbeddingService/EmbedTexts" in names["embedding"]
    assert not any(
        word in name for name in names["memory"] for word in ("Create", "Update", "/Delete", "Erase", "Restore")
    )
