"""gRPC-Web and Connect at Memory Box's public port: who gets in, what is there, and what pages may do (T-344, T-351, T-371)."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from memorybox.memory.v1 import memory_service_pb2 as pb
from services.gateway.app import memorybox_transcoder
from services.gateway.settings import GatewaySettings
from services.gateway.transcoder import HttpError
from services.mesh.channels import GatewayCredentials
from services.mesh.config import load
from services.mesh.identity import HopSigner, HopVerifier
from services.mesh.keys import ANY, GATEWAY, Grant, KeyFolder
from tests.support.gateway import WITHIN_S, FakeUpstream, Gateway, gateway
from tests.support.web_protocols import envelope, envelopes, grpc_web

MEMORIES = "/memorybox.memory.v1.MemoryService"
PRIVATE = [
    "/memorybox.governance.v1.AuditService/AppendAuditEvents",
    "/memorybox.governance.v1.SubjectDataService/EraseSubjectData",
    "/memorybox.governance.v1.SubjectDataService/ExportSubjectData",
    "/grpc.health.v1.Health/Check",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
]
PAGE = "https://app.test"
GRPC_WEB = ("Content-Type", "application/grpc-web+proto")
CONNECT = ("Content-Type", "application/proto")
JSON = ("Content-Type", "application/json")
VERSION = ("Connect-Protocol-Version", "1")
STREAM = ("Content-Type", "application/connect+json")


@pytest.fixture
def upstream() -> FakeUpstream:
    return FakeUpstream()


@pytest.fixture
async def edge(upstream: FakeUpstream) -> AsyncIterator[Gateway]:
    async with upstream.serving() as port, gateway(port) as running:
        yield running


async def one_memory(request: bytes, _context: Any) -> bytes:
    asked = pb.GetMemoryRequest.FromString(request)
    response = pb.GetMemoryResponse()
    response.memory.memory_id = asked.memory_id
    return response.SerializeToString()


async def test_a_memory_has_four_faces(edge: Gateway, upstream: FakeUpstream) -> None:
    upstream.answers["GetMemory"] = one_memory
    proto = pb.GetMemoryRequest(memory_id="m1").SerializeToString()
    path = f"{MEMORIES}/GetMemory"

    web = await edge.ask("POST", path, [GRPC_WEB], envelope(proto))
    connect = await edge.ask("POST", path, [CONNECT, VERSION], proto)
    connect_json = await edge.ask("POST", path, [JSON, VERSION], b'{"memoryId":"m1"}')
    plain = await edge.ask("POST", path, [JSON], b'{"memoryId":"m1"}')

    (message,), trailers = grpc_web(web.body)
    assert trailers == {"grpc-status": "0"}
    assert message == connect.body
    assert pb.GetMemoryResponse.FromString(message).memory.memory_id == "m1"
    assert connect_json.json == plain.json
    assert plain.json["memory"]["memoryId"] == "m1"


async def test_a_stream_goes_through_the_mesh(edge: Gateway, upstream: FakeUpstream) -> None:
    async def export(_request: bytes, _context: Any) -> AsyncIterator[bytes]:
        for token in "ab":
            yield pb.ExportMemoriesResponse(resume_token=token).SerializeToString()

    upstream.streams["ExportMemories"] = export

    async with asyncio.timeout(WITHIN_S):
        reply = await edge.ask("POST", f"{MEMORIES}/ExportMemories", [STREAM, VERSION], envelope(b"{}"))

    *messages, end = envelopes(_unchunked(reply.body))
    assert [json.loads(data)["resumeToken"] for _, data in messages] == ["a", "b"]
    assert end == (2, b"{}")


def _unchunked(body: bytes) -> bytes:
    """Undo the chunked transfer coding."""
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        whole += body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]
    return whole


@pytest.mark.parametrize(
    ("content_type", "message"), [(GRPC_WEB, b""), (STREAM, b"{}")], ids=["grpc-web", "connect-stream"]
)
async def test_client_that_does_not_read_holds_no_service(
    upstream: FakeUpstream, content_type: tuple[str, str], message: bytes
) -> None:
    async def flood(_request: bytes, _context: Any) -> AsyncIterator[bytes]:
        try:
            while True:
                yield pb.ExportMemoriesResponse(resume_token="a" * 60_000).SerializeToString()
        finally:
            upstream.cancelled.set()

    upstream.streams["ExportMemories"] = flood
    async with upstream.serving() as port, gateway(port, {"MEMORYBOX_GATEWAY_WRITE_TIMEOUT": "0.3"}) as edge:
        _, writer = await edge.connect()
        writer.write(edge.request("POST", f"{MEMORIES}/ExportMemories", [content_type], envelope(message)))
        async with asyncio.timeout(WITHIN_S):
            await upstream.cancelled.wait()
        writer.close()

    assert [seen.method for seen in upstream.seen] == [f"{MEMORIES}/ExportMemories"]


async def test_body_may_come_in_chunks(edge: Gateway, upstream: FakeUpstream) -> None:
    upstream.answers["GetMemory"] = one_memory
    body = envelope(pb.GetMemoryRequest(memory_id="m1").SerializeToString())
    chunked = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"

    reply = await edge.ask("POST", f"{MEMORIES}/GetMemory", [GRPC_WEB, ("Transfer-Encoding", "chunked")], chunked)

    assert grpc_web(reply.body)[1] == {"grpc-status": "0"}


async def test_callers_are_vouched_for(upstream: FakeUpstream, tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path)
    folder.ensure([(GATEWAY, GATEWAY, Grant((ANY,), (ANY,), ("memory", "embedding"), (ANY,)))])
    headers = [
        GRPC_WEB,
        ("X-Memorybox-User", "ann"),
        ("Authorization", "Bearer stolen"),
        ("Grpc-Metadata-X-Memorybox-Subject", "forged"),
    ]

    async with (
        upstream.serving() as port,
        gateway(port, credentials=GatewayCredentials(HopSigner(folder, GATEWAY))) as edge,
    ):
        await edge.ask("POST", f"{MEMORIES}/GetMemory", headers, envelope(b""))

    seen = upstream.seen[0].metadata
    principal = HopVerifier(folder, "memory").verify(
        f"{MEMORIES}/GetMemory", str(seen["authorization"]), str(seen["x-memorybox-subject"])
    )
    assert principal.caller.user == "ann"


@pytest.mark.parametrize("path", [*PRIVATE, f"{MEMORIES}/NoSuchMethod"])
async def test_private_methods_are_not_there(edge: Gateway, upstream: FakeUpstream, path: str) -> None:
    web = await edge.ask("POST", path, [GRPC_WEB], envelope(b""))
    others = [
        await edge.ask("POST", path, [CONNECT, VERSION]),
        await edge.ask("POST", path, [JSON, VERSION], b"{}"),
        await edge.ask("POST", path, [JSON], b"{}"),
        await edge.ask("POST", path, [STREAM], envelope(b"{}")),
        await edge.ask("GET", f"{path}?connect=v1&encoding=json&message=%7B%7D"),
        await edge.ask("OPTIONS", path),
    ]

    assert grpc_web(web.body)[1]["grpc-status"] == "12"
    assert {reply.status for reply in others} == {404}
    assert not upstream.seen


def test_only_methods_with_a_route_are_reachable() -> None:
    transcoder = memorybox_transcoder(load(GatewaySettings, {}))
    routed = {route.grpc_method for route in transcoder.routes}

    for service in transcoder.descriptors.services.values():
        for method in service.methods:
            path = f"/{service.full_name}/{method.name}"
            with pytest.raises(HttpError) as told:
                transcoder.match("OPTIONS", path)
            assert told.value.http_status == (204 if path in routed else 404), path


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param([("Content-Type", "text/plain"), VERSION], 415, id="simple-type"),
        pytest.param([("Content-Type", "text/plain")], 404, id="no-protocol"),
        pytest.param([CONNECT, ("Origin", "https://evil.test")], 403, id="foreign-page"),
        pytest.param([JSON, ("Sec-Fetch-Site", "cross-site")], 403, id="cross-site"),
        pytest.param([CONNECT, ("Host", "evil.test")], 403, id="foreign-host"),
    ],
)
async def test_hostile_pages_are_kept_out(
    edge: Gateway, upstream: FakeUpstream, headers: list[tuple[str, str]], status: int
) -> None:
    reply = await edge.ask("POST", f"{MEMORIES}/DeleteMemory", headers, b"{}")

    assert reply.status == status
    assert not upstream.seen


@pytest.mark.parametrize(
    ("content_type", "status", "code"),
    [
        pytest.param(GRPC_WEB, 200, "7", id="grpc-web"),
        pytest.param(STREAM, 200, "permission_denied", id="connect-stream"),
        pytest.param(CONNECT, 403, "permission_denied", id="connect"),
    ],
)
async def test_refusals_of_the_edge_speak_the_protocol(
    edge: Gateway, content_type: tuple[str, str], status: int, code: str
) -> None:
    method = "ExportMemories" if content_type == STREAM else "GetMemory"

    reply = await edge.ask(
        "POST", f"{MEMORIES}/{method}", [content_type, ("Origin", "https://evil.test")], envelope(b"")
    )

    assert reply.status == status
    assert _code(content_type, reply.body) == code


def _code(content_type: tuple[str, str], body: bytes) -> str:
    if content_type == GRPC_WEB:
        return grpc_web(body)[1]["grpc-status"]
    error = json.loads(envelopes(body)[0][1])["error"] if content_type == STREAM else json.loads(body)
    return str(error["code"])


async def test_callers_without_a_token_hear_it_in_their_protocol(upstream: FakeUpstream) -> None:
    environ = {
        "MEMORYBOX_AUTH": "oidc",
        "MEMORYBOX_OIDC_ISSUER": "https://issuer.test",
        "MEMORYBOX_OIDC_AUDIENCE": "memorybox",
        "MEMORYBOX_OIDC_JWKS_URL": "https://issuer.test/keys",
    }
    async with upstream.serving() as port, gateway(port, environ) as edge:
        web = await edge.ask("POST", f"{MEMORIES}/GetMemory", [GRPC_WEB], envelope(b""))
        connect = await edge.ask("POST", f"{MEMORIES}/GetMemory", [CONNECT], b"")

    assert grpc_web(web.body)[1]["grpc-status"] == "16"
    assert (connect.status, connect.json["code"]) == (401, "unauthenticated")
    assert connect.headers["WWW-Authenticate"].startswith("Bearer")
    assert not upstream.seen


async def test_listed_pages_may_call(upstream: FakeUpstream) -> None:
    asked = "content-type,connect-protocol-version,connect-timeout-ms,x-grpc-web,x-user-agent,grpc-timeout"
    environ = {"MEMORYBOX_GATEWAY_CORS_ORIGINS": PAGE}
    async with upstream.serving() as port, gateway(port, environ) as edge:
        preflight = await edge.ask(
            "OPTIONS",
            f"{MEMORIES}/GetMemory",
            [
                ("Origin", PAGE),
                ("Access-Control-Request-Method", "POST"),
                ("Access-Control-Request-Headers", asked),
            ],
        )
        answer = await edge.ask("POST", f"{MEMORIES}/GetMemory", [GRPC_WEB, ("Origin", PAGE)], envelope(b""))
        missing = await edge.ask("POST", PRIVATE[0], [CONNECT, ("Origin", PAGE)])

    assert preflight.status == 204
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    assert preflight.headers["Access-Control-Allow-Headers"].replace(" ", "") == asked
    assert grpc_web(answer.body)[1]["grpc-status"] == "0"
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    assert "Grpc-Status" in answer.headers["Access-Control-Expose-Headers"]
    assert missing.headers["Access-Control-Allow-Origin"] == PAGE


async def test_slow_body_is_told_in_the_protocol(upstream: FakeUpstream) -> None:
    environ = {"MEMORYBOX_GATEWAY_BODY_TIMEOUT": "0.3"}
    async with upstream.serving() as port, gateway(port, environ) as edge:
        head = edge.request("POST", f"{MEMORIES}/GetMemory", [GRPC_WEB, ("Content-Length", "100")])
        raw = await edge.raw(head + b"\0\0")

    assert raw.startswith(b"HTTP/1.1 200")
    assert grpc_web(raw.partition(b"\r\n\r\n")[2])[1]["grpc-status"] == "4"


async def test_service_that_is_down_is_unavailable(upstream: FakeUpstream) -> None:
    async with upstream.serving() as port:
        down = port
    async with gateway(down) as edge:
        web = await edge.ask("POST", f"{MEMORIES}/GetMemory", [GRPC_WEB], envelope(b""))
        connect = await edge.ask("POST", f"{MEMORIES}/GetMemory", [CONNECT], b"")

    assert grpc_web(web.body)[1]["grpc-status"] == "14"
    assert (connect.status, connect.json["code"]) == (503, "unavailable")


async def test_access_log_tells_how_calls_ended_that_are_200_in_http(
    edge: Gateway, upstream: FakeUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    async def missing(_request: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.NOT_FOUND, "no such memory")
        return b""

    with caplog.at_level(logging.INFO, "services.gateway.access"):
        upstream.answers["GetMemory"] = one_memory
        await edge.ask("POST", f"{MEMORIES}/GetMemory", [GRPC_WEB], envelope(b""))
        upstream.answers["GetMemory"] = missing
        await edge.ask("POST", f"{MEMORIES}/GetMemory", [GRPC_WEB], envelope(b""))
        await edge.ask("GET", "/v1/memories/01JQ8Z6T5V3W4X2Y1Z0ABCDEFG")

    told = [vars(record) for record in caplog.records if record.name == "services.gateway.access"]
    assert [(line["status"], line.get("code")) for line in told] == [(200, "OK"), (200, "NOT_FOUND"), (404, None)]
