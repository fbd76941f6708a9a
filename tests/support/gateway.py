"""A gateway in this process before a real gRPC server that answers as told."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from multidict import CIMultiDict

from services.gateway.app import AUDIENCES, READS, memorybox_transcoder
from services.gateway.edge.auth import open_authenticator
from services.gateway.edge.exchange import Recorder
from services.gateway.edge.front import Behind
from services.gateway.edge.pages import own_pages
from services.gateway.edge.rates import classes
from services.gateway.edge.server import PublicServer
from services.gateway.process import public_server
from services.gateway.settings import GatewaySettings
from services.mesh.channels import Credentials, MeshChannel
from services.mesh.config import MeshSettings, load
from services.mesh.ops import Readiness
from services.mesh.telemetry import Telemetry

WITHIN_S = 10.0
Answer = Callable[[bytes, Any], Awaitable[bytes]]
Stream = Callable[[bytes, Any], AsyncIterator[bytes]]
Upload = Callable[[AsyncIterator[bytes], Any], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Seen:
    """A call as it reached the upstream."""

    method: str
    metadata: Mapping[str, str | bytes]
    request: bytes


class FakeUpstream(grpc.GenericRpcHandler):
    """Answers any method: as ``answers`` (unary), ``streams`` (from servers) or ``uploads`` (from clients) say, else emptily."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.streams: dict[str, Stream] = {}
        self.uploads: dict[str, Upload] = {}
        self.seen: list[Seen] = []
        self.cancelled = asyncio.Event()
        self.reached = asyncio.Event()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        """Return a handler for whatever is called."""
        method = str(handler_call_details.method)
        if method.startswith("/grpc."):
            return None  # clients then take the server for healthy
        name = method.rpartition("/")[2]
        metadata = dict(handler_call_details.invocation_metadata or ())

        async def one(request: bytes, context: Any) -> bytes:
            self.seen.append(Seen(method, metadata, request))
            self.reached.set()
            answer = self.answers.get(name)
            return b"" if answer is None else await answer(request, context)

        async def many(request: bytes, context: Any) -> AsyncIterator[bytes]:
            self.seen.append(Seen(method, metadata, request))
            self.reached.set()
            async for message in self.streams[name](request, context):
                yield message

        if name in self.uploads:
            return grpc.stream_unary_rpc_method_handler(self.uploads[name])
        if name in self.streams:
            return grpc.unary_stream_rpc_method_handler(many)
        return grpc.unary_unary_rpc_method_handler(one)

    async def hang(self, _request: bytes, _context: Any) -> bytes:
        """Answer never; note when the call is cancelled."""
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        raise AssertionError("waited for nothing")

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        """Serve on a free port."""
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers((self,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield port
        finally:
            await server.stop(None)


@dataclass(slots=True)
class Reply:
    """An HTTP answer."""

    status: int
    headers: CIMultiDict[str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def reason(self) -> str:
        """The reason of the error, empty without one."""
        details = self.json.get("details", [])
        return next((str(detail["reason"]) for detail in details if "reason" in detail), "")


def parse(raw: bytes) -> Reply:
    """Return the one answer in *raw*."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = CIMultiDict[str]()
    for line in lines:
        name, _, value = line.partition(": ")
        headers.add(name, value)
    return Reply(int(first.split(" ")[1]), headers, body)


Headers = Sequence[tuple[str, str]]
JSON: tuple[str, str] = ("Content-Type", "application/json")


@dataclass(slots=True)
class Gateway:
    """A gateway that listens on ``port``."""

    port: int
    server: PublicServer
    readiness: Readiness
    settings: GatewaySettings

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection."""
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def raw(self, data: bytes) -> bytes:
        """Send *data* and return all that comes until the gateway closes the connection."""
        reader, writer = await self.connect()
        try:
            writer.write(data)
            async with asyncio.timeout(WITHIN_S):
                return await reader.read()
        finally:
            writer.close()

    def request(self, method: str, path: str, headers: Headers = (), body: bytes = b"") -> bytes:
        """Return a request as bytes; Host and Content-Length are added unless *headers* has them."""
        names = {name.lower() for name, _ in headers}
        lines = list(headers)
        if "host" not in names:
            lines.append(("Host", f"127.0.0.1:{self.port}"))
        if body and not names & {"content-length", "transfer-encoding"}:
            lines.append(("Content-Length", str(len(body))))
        lines.append(("Connection", "close"))
        head = "".join(f"{name}: {value}\r\n" for name, value in lines)
        return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body

    async def ask(self, method: str, path: str, headers: Headers = (), body: bytes = b"") -> Reply:
        """Return the answer to one request."""
        return parse(await self.raw(self.request(method, path, headers, body)))


class NoCredentials:
    """Vouches for nobody."""

    def metadata(self, _audience: str, _timeout_s: float) -> Sequence[tuple[str, str | bytes]]:
        """Return nothing."""
        return ()


@asynccontextmanager
async def gateway(
    upstream_port: int, environ: Mapping[str, str] | None = None, credentials: Credentials | None = None
) -> AsyncIterator[Gateway]:
    """Serve Memory Box's routes before the upstream at *upstream_port*."""
    target = f"127.0.0.1:{upstream_port}"
    audiences = sorted(set(AUDIENCES.values()))
    environ = {**{f"MEMORYBOX_{name.upper()}_TARGET": target for name in audiences}, **(environ or {})}
    mesh, settings = load(MeshSettings, environ), load(GatewaySettings, environ)
    telemetry = Telemetry("gateway", mesh)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.to_thread, telemetry.shutdown)
        channels = {name: MeshChannel(name, mesh, telemetry, credentials or NoCredentials()) for name in audiences}
        for channel in channels.values():
            stack.push_async_callback(channel.close)
        readiness = Readiness()
        transcoder = memorybox_transcoder(settings)
        behind = Behind(
            transcoder=transcoder,
            channels=lambda service: channels[AUDIENCES[service]],
            meshed=True,
            max_body=settings.max_body,
            pages=own_pages(readiness),
            classes=classes(transcoder.bindings, READS),
        )
        authenticator = open_authenticator(mesh.bind, settings)
        server = public_server(behind, settings, authenticator, Recorder(telemetry, mesh.trace_inbound), readiness)
        await server.start(mesh.bind, 0, "MEMORYBOX_HTTP_PORT")
        stack.push_async_callback(server.close)
        yield Gateway(server.port, server, readiness, settings)
