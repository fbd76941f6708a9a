"""From a matched request to its answer: unary calls, server streams, client streams."""

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
from aiohttp import web
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2

from services.gateway.transcoder import body as bodies
from services.gateway.transcoder import metadata as md
from services.gateway.transcoder import negotiation
from services.gateway.transcoder.calls import Channel, Multicallables, RpcErrors, only_call_cancelled, unusable
from services.gateway.transcoder.codec import JsonCodec
from services.gateway.transcoder.compression import compress
from services.gateway.transcoder.errors import (
    CANCELLED,
    DEADLINE_EXCEEDED,
    UNAVAILABLE,
    UNIMPLEMENTED,
    HttpError,
    bad_request,
    refusal,
)
from services.gateway.transcoder.offload import sized
from services.gateway.transcoder.options import Options
from services.gateway.transcoder.request import BoundValues
from services.gateway.transcoder.response import Printed
from services.gateway.transcoder.rules import BIDI, CLIENT_STREAM, SERVER_STREAM, UNARY
from services.gateway.transcoder.stream import ServerStream
from services.gateway.transcoder.table import Match, Plan
from services.gateway.transcoder.upload import Upload
from services.gateway.transcoder.websocket import SocketStream

RETRY_S = 1  # by then another gateway takes the client's next connection

_FACTORY = {
    UNARY: "unary_unary",
    SERVER_STREAM: "unary_stream",
    CLIENT_STREAM: "stream_unary",
    BIDI: "stream_stream",
}


class Endable(Protocol):
    """What a graceful stop ends early."""

    def end(self, reason: HttpError) -> None: ...


class Stream(Endable, Protocol):
    """A streamed answer under way."""

    async def run(self, call: Any, errors: RpcErrors, request_id: str) -> web.StreamResponse: ...


@dataclass(slots=True, kw_only=True)
class CallContext:
    """What the edge knows about a request."""

    channels: Callable[[str], Channel]
    """Gives the channel of a full service name. Channels are kept for the life of the process."""
    metadata: Sequence[tuple[str, str | bytes]] = ()
    """Trusted metadata; replaces what the request's own headers say under these names."""
    match: Match | None = None
    """The result of ``Transcoder.match`` for this request, if the edge has it already."""
    request_id: str = ""
    """Shown to callers in place of internal error texts."""
    slot: Callable[[float], AbstractAsyncContextManager[None]] | None = None
    """Holds a unary call, which has so many seconds left, back until there is room for it, or refuses it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request on its way to a backend; *deadline* is on the monotonic clock."""

    request: web.Request
    context: CallContext
    plan: Plan
    bound: BoundValues
    metadata: md.Metadata
    deadline: float
    has_body: bool

    def slot(self) -> AbstractAsyncContextManager[None]:
        """Return what holds a unary call back until there is room for it."""
        return nullcontext() if self.context.slot is None else self.context.slot(self.left_s())

    def left_s(self) -> float:
        """Return the time left, or raise 504."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise refusal(DEADLINE_EXCEEDED, "the deadline passed before the call began")
        return left


class Server:
    """Serves matched requests of one route table."""

    def __init__(self, codec: JsonCodec, options: Options) -> None:
        self._codec = codec
        self._options = options
        self._calls = Multicallables()
        self._errors = RpcErrors(options)
        self._streams: set[Endable] = set()

    async def serve(self, request: web.Request, context: CallContext, match: Match) -> web.StreamResponse:
        """Answer *request*; refusals and backend errors are ``HttpError``."""
        options = self._options
        md.check_headers(request.headers, options)
        bodies.check_framing(request)
        plan = match.plan
        kind = plan.route.kind
        if kind == BIDI and not match.socket:
            upgrade = [("Upgrade", "websocket"), ("Connection", "Upgrade")]
            text = "bidirectional streams are served over WebSocket"
            raise refusal(UNIMPLEMENTED, text, http_status=426, headers=upgrade)
        query = request.rel_url.raw_query_string
        if match.form:
            form = await bodies.read_body(request, options.max_body)
            query = f"{query}&{form.decode('latin-1')}"
        timeout = md.timeout_s(request.headers, options, streaming=kind != UNARY)
        exchange = Exchange(
            request=request,
            context=context,
            plan=plan,
            bound=plan.reader.bind(match.segments, query, request.headers),
            metadata=md.request_metadata(request.headers, options, context.metadata),
            deadline=time.monotonic() + timeout,
            has_body=request.body_exists and not match.form,
        )
        if match.socket:
            return await self._socket(exchange)
        if kind == SERVER_STREAM:
            return await self._server_stream(exchange)
        return await self._single(exchange)

    async def _single(self, exchange: Exchange) -> web.Response:
        """Serve a method with one response."""
        if exchange.plan.route.kind == CLIENT_STREAM:
            upload = Upload(exchange.request, exchange.plan.reader, self._options)
            call = self.start(exchange)
            raw, initial, trailing = await self.outcome(exchange, call, upload.run(call, exchange.bound))
        else:
            message = await self._message(exchange)
            async with exchange.slot():
                call = self.start(exchange, message)
                raw, initial, trailing = await self.outcome(exchange, call, call)
        _, printed = await sized(len(raw), exchange.plan.printer.read, raw)
        response = self._answer(printed, initial, trailing)
        await compress(exchange.request, response, self._options)
        return response

    async def outcome(self, exchange: Exchange, call: Any, answer: Awaitable[bytes]) -> tuple[bytes, Any, Any]:
        """Return the response that *answer* brings, with initial and trailing metadata of *call*; or raise its error."""
        try:
            return await answer, await call.initial_metadata(), await call.trailing_metadata()
        except grpc.aio.AioRpcError as error:
            by_if_match, request_id = exchange.bound.by_if_match, exchange.context.request_id
            raise self._errors.translate(error, by_if_match=by_if_match, request_id=request_id) from None
        except grpc.aio.BaseError as error:
            raise unusable(error) from error
        except asyncio.CancelledError:
            if only_call_cancelled(call):
                raise refusal(CANCELLED, "the call was cancelled") from None
            raise

    def _answer(self, printed: Printed, initial: Any, trailing: Any) -> web.Response:
        options = self._options
        response = web.Response(body=printed.body)
        headers = response.headers
        headers["Content-Type"] = printed.content_type
        headers["X-Content-Type-Options"] = "nosniff"
        for name, value in md.response_headers(initial, options.response_headers):
            headers.add(name, value)
        if options.response_trailers:
            for name, value in md.response_headers(trailing, options.response_trailers, "Grpc-Trailer-"):
                headers.add(name, value)
        return response

    async def _server_stream(self, exchange: Exchange) -> web.StreamResponse:
        stream = ServerStream(exchange.request, exchange.plan.printer, self._codec, self._options, exchange.bound.alt)
        return await self.run(stream, exchange, self.start(exchange, await self._message(exchange)))

    async def _socket(self, exchange: Exchange) -> web.StreamResponse:
        stream = SocketStream(
            exchange.request,
            exchange.plan,
            exchange.bound,
            codec=self._codec,
            options=self._options,
            start=functools.partial(self.start, exchange),
        )
        self._streams.add(stream)
        try:
            return await stream.run(self._errors, exchange.context.request_id)
        finally:
            self._streams.discard(stream)

    async def run(self, stream: Stream, exchange: Exchange, call: Any) -> web.StreamResponse:
        """Serve a stream, which ``end_streams`` ends early."""
        self._streams.add(stream)
        try:
            return await stream.run(call, self._errors, exchange.context.request_id)
        finally:
            self._streams.discard(stream)

    def end_streams(self) -> None:
        """End all server streams with UNAVAILABLE and advice to come back."""
        advice = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=RETRY_S))
        for stream in tuple(self._streams):
            stream.end(refusal(UNAVAILABLE, "the server is going away", details=[advice]))

    def start(self, exchange: Exchange, *message: bytes) -> Any:
        """Begin the call, with its *message* unless that is a stream."""
        plan = exchange.plan
        channel = exchange.context.channels(plan.service)
        multicallable = self._calls.get(channel, _FACTORY[plan.route.kind], plan.route.grpc_method)
        try:
            return multicallable(*message, timeout=exchange.left_s(), metadata=exchange.metadata)
        except grpc.aio.BaseError as error:
            raise unusable(error) from error

    async def _message(self, exchange: Exchange) -> bytes:
        """Return the wire form of the single request message."""
        request, reader = exchange.request, exchange.plan.reader
        body = b""
        if exchange.has_body:
            body = await self._body_in_time(exchange)
        content_type = request.headers.get("Content-Type", "")
        return await sized(len(body), reader.message, body, content_type, exchange.bound)

    async def _body_in_time(self, exchange: Exchange) -> bytes:
        request = exchange.request
        if request.content.is_eof():  # nothing to wait for, so no clock is set
            return await self._body(request, exchange.plan)
        try:
            async with asyncio.timeout(exchange.left_s()):
                return await self._body(request, exchange.plan)
        except TimeoutError:
            raise refusal(DEADLINE_EXCEEDED, "the deadline passed while reading the body") from None

    async def _body(self, request: web.Request, plan: Plan) -> bytes:
        limit = self._options.max_body
        if not plan.reader.takes_body:
            body = await bodies.read_body(request, limit)
            if body.strip() and self._options.unexpected_body == "reject":
                raise bad_request([("", "this method takes no body")])
            return b""
        check = not plan.reader.takes_http_body
        length = request.content_length
        if check and length:
            negotiation.check_json(request.headers.get("Content-Type"), streaming=False)
        body = await bodies.read_body(request, limit)
        if check and body and length is None:
            negotiation.check_json(request.headers.get("Content-Type"), streaming=False)
        return body
