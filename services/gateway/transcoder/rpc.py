"""gRPC-Web and Connect calls on their way to the backend and back."""

import asyncio
import time
from collections.abc import AsyncIterator

from aiohttp import web

from services.gateway.transcoder import body as bodies
from services.gateway.transcoder import metadata as md
from services.gateway.transcoder import protocols
from services.gateway.transcoder.envelopes import message_too_large, only
from services.gateway.transcoder.errors import DEADLINE_EXCEEDED, ENDED, OK, refusal
from services.gateway.transcoder.offload import sized
from services.gateway.transcoder.options import Options
from services.gateway.transcoder.protocols import Rpc
from services.gateway.transcoder.request import BoundValues
from services.gateway.transcoder.rpc_stream import RpcStream
from services.gateway.transcoder.rules import BIDI, CLIENT_STREAM, SERVER_STREAM, UNARY
from services.gateway.transcoder.serving import CallContext, Exchange, Server
from services.gateway.transcoder.table import Match
from services.gateway.transcoder.upload import feed, pumped

# Base64 makes a third more of a message; whatever is twice as long as the limit cannot hold a message within it.
_MOST_GROWTH = 2


class RpcServer:
    """Serves calls that are framed as gRPC-Web or Connect; *server* makes them."""

    def __init__(self, server: Server, options: Options) -> None:
        self._server = server
        self._options = options

    async def serve(self, request: web.Request, context: CallContext, match: Match, rpc: Rpc) -> web.StreamResponse:
        """Answer *request*; refusals and backend errors are ``HttpError``, which its face writes."""
        options = self._options
        kind = match.route.kind
        rpc.face.check(kind)
        md.check_headers(request.headers, options)
        bodies.check_framing(request)
        timeout = protocols.timeout_s(rpc.face, request.headers, options, streaming=kind != UNARY)
        bound = match.plan.reader.bind((), "", request.headers)
        bound.by_if_match = False  # these protocols have no 412
        exchange = Exchange(
            request=request,
            context=context,
            plan=match.plan,
            bound=bound,
            metadata=md.request_metadata(request.headers, options, context.metadata),
            deadline=time.monotonic() + timeout,
            has_body=request.body_exists,
        )
        if kind in {SERVER_STREAM, BIDI}:
            return await self._stream(exchange, rpc)
        return await self._single(exchange, rpc)

    async def _single(self, exchange: Exchange, rpc: Rpc) -> web.Response:
        if exchange.plan.route.kind == CLIENT_STREAM:
            call = self._server.start(exchange)
            raw, initial, trailing = await self._server.outcome(
                exchange, call, feed(call, self._messages(exchange, rpc))
            )
        else:
            message = await self._message(exchange, rpc)
            async with exchange.slot():
                call = self._server.start(exchange, message)
                raw, initial, trailing = await self._server.outcome(exchange, call, call)
        data = await sized(len(raw), rpc.messages.response, raw, rpc.face.form)
        exchange.request[ENDED] = OK
        return await rpc.face.answer(
            exchange.request,
            data,
            md.response_headers(initial, self._options.response_headers),
            md.response_headers(trailing, self._options.response_trailers),
        )

    async def _stream(self, exchange: Exchange, rpc: Rpc) -> web.StreamResponse:
        stream = RpcStream(exchange.request, rpc, self._options)
        if exchange.plan.route.kind == BIDI:
            call = self._server.start(exchange)
            async with pumped(call, self._messages(exchange, rpc), stream.end):
                return await self._server.run(stream, exchange, call)
        return await self._server.run(
            stream, exchange, self._server.start(exchange, await self._message(exchange, rpc))
        )

    async def _message(self, exchange: Exchange, rpc: Rpc) -> bytes:
        """Return the wire form of the one request message."""
        limit = self._options.max_message
        if (exchange.request.content_length or 0) > _MOST_GROWTH * max(limit, self._options.max_body):
            raise message_too_large(limit)
        try:
            async with asyncio.timeout(exchange.left_s()):
                return await only(self._messages(exchange, rpc))
        except TimeoutError:
            raise refusal(DEADLINE_EXCEEDED, "the deadline passed while reading the body") from None

    async def _messages(self, exchange: Exchange, rpc: Rpc) -> AsyncIterator[bytes]:
        """Yield request messages in wire form; what headers set goes into the first."""
        bound = exchange.bound
        async for data in rpc.face.messages(exchange.request, self._options):
            yield await sized(len(data), rpc.messages.request, data, rpc.face.form, exchange.plan.reader, bound)
            bound = BoundValues()
