"""A real backend and a real gateway on loopback, for the transcoder's tests."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import grpc
from aiohttp import web
from yarl import URL

from services.gateway.transcoder import CallContext, Transcoder
from tests.support.transcoder_contract import message_class

Handlers = Mapping[str, Callable[..., Any]]
"""Handlers by method name; streaming ones are async generators or take an iterator, as grpc.aio wants."""


class _Generic(grpc.GenericRpcHandler):
    """Serves the methods of one transcoder's descriptors by name."""

    def __init__(self, transcoder: Transcoder, handlers: Handlers) -> None:
        self._handlers: dict[str, Any] = {}
        for service in transcoder.descriptors.services.values():
            for method in service.methods:
                if method.name in handlers:
                    path = f"/{service.full_name}/{method.name}"
                    self._handlers[path] = _handler(transcoder, method, handlers[method.name])

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._handlers.get(handler_call_details.method)


def _handler(transcoder: Transcoder, method: Any, function: Callable[..., Any]) -> Any:
    kind = ("stream" if method.client_streaming else "unary", "stream" if method.server_streaming else "unary")
    make = getattr(grpc, f"{kind[0]}_{kind[1]}_rpc_method_handler")
    request = message_class(transcoder.descriptors, method.input_type.full_name)
    return make(function, request.FromString, lambda message: message.SerializeToString())


@dataclass
class Gateway:
    """A running pair; ``metadata`` is what the edge adds to each call."""

    url: str
    port: int
    session: aiohttp.ClientSession
    metadata: Sequence[tuple[str, str | bytes]] = ()

    def request(self, method: str, target: str, **kwargs: Any) -> Any:
        """Send a request whose target is not normalised."""
        return self.session.request(method, URL(self.url + target, encoded=True), **kwargs)

    async def json(self, method: str, target: str, **kwargs: Any) -> tuple[int, Any]:
        """Return status and JSON body of an answer."""
        async with self.request(method, target, **kwargs) as answer:
            return answer.status, await answer.json()

    async def raw(self, data: bytes, *, until: bytes | None = None) -> bytes:
        """Send bytes over a socket of its own; return the answer up to *until* or the end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            await writer.drain()
            return await (reader.readuntil(until) if until is not None else reader.read())
        finally:
            writer.close()
            await writer.wait_closed()


@asynccontextmanager
async def running(
    transcoder: Transcoder,
    handlers: Handlers,
    *,
    options: Sequence[tuple[str, Any]] = (),
    target: str = "",
    channel: Any = None,
) -> AsyncIterator[Gateway]:
    """Serve *transcoder* over HTTP in front of a gRPC server with *handlers*, or of another *target* or *channel*."""
    server = grpc.aio.server(handlers=[_Generic(transcoder, handlers)])
    grpc_port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    own = grpc.aio.insecure_channel(target or f"127.0.0.1:{grpc_port}", options=list(options))
    gateway: Gateway

    async def handle(request: web.Request) -> web.StreamResponse:
        context = CallContext(channels=lambda _: channel or own, metadata=gateway.metadata, request_id="req-1")
        return await transcoder.handle(request, context)

    app = web.Application()
    app.router.add_route("*", r"/{path:[\s\S]*}", handle)
    runner = web.AppRunner(app, auto_decompress=False, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with aiohttp.ClientSession(auto_decompress=False, headers={"Accept-Encoding": "identity"}) as session:
            gateway = Gateway(f"http://127.0.0.1:{port}", port, session)
            yield gateway
    finally:
        await runner.cleanup()
        await own.close()
        await server.stop(None)
