"""Server streams: messages become SSE, NDJSON, a JSON array or plain bytes as they arrive."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import grpc
from aiohttp import web

from services.gateway.transcoder import metadata as md
from services.gateway.transcoder import negotiation
from services.gateway.transcoder.calls import RpcErrors, only_call_cancelled, unusable
from services.gateway.transcoder.codec import JsonCodec
from services.gateway.transcoder.errors import CANCELLED, ENDED, HttpError, refusal, status_json
from services.gateway.transcoder.framing import Bytes, Framing, framing_of
from services.gateway.transcoder.offload import sized
from services.gateway.transcoder.options import Options
from services.gateway.transcoder.response import OCTETS, ResponsePrinter

log = logging.getLogger(__name__)

# Browsers report an open EventSource, and proxies a living backend, only after the headers.
SSE_HOLD_S = 1.0


class ClientGone(Exception):
    """The client stopped reading or closed its connection."""


async def send(response: web.StreamResponse, data: bytes, timeout_s: float) -> None:
    """Write and wait until the client has room; one that does not read must not hold a backend."""
    try:
        async with asyncio.timeout(timeout_s):
            await response.write(data)
    except TimeoutError:
        raise ClientGone("it did not read in time") from None
    except ConnectionError as error:
        raise ClientGone(str(error)) from None


def cut(request: web.Request) -> None:
    """Close without the final chunk, so that nobody takes the answer for complete."""
    if request.transport is not None:
        request.transport.close()


class ServerStream:
    """One streamed answer. Headers wait for the first message, so that early errors keep their status."""

    def __init__(
        self, request: web.Request, printer: ResponsePrinter, codec: JsonCodec, options: Options, alt: str
    ) -> None:
        self._request = request
        self._printer = printer
        self._codec = codec
        self._options = options
        self._content_type = OCTETS
        self._framing: Framing = Bytes()
        if not printer.is_http_body:
            self._content_type = negotiation.stream_type(alt or request.headers.get("Accept"))
            self._framing = framing_of(self._content_type, printer.message_type, options)
        self._response: web.StreamResponse | None = None
        self._call: Any = None
        self._ended_by = refusal(CANCELLED, "the call was cancelled")
        self._headers: Sequence[tuple[str, str]] = ()
        self._writing = False
        self._written_at = 0.0
        self._heart: asyncio.TimerHandle | None = None
        self._beat: asyncio.Task[None] | None = None

    async def run(self, call: Any, errors: RpcErrors, request_id: str) -> web.StreamResponse:
        """Serve *call* to its end; raises ``HttpError`` only before the answer has begun."""
        self._call = call
        try:
            await self._pump(call)
        except ClientGone as error:
            log.debug("client left a stream: %s", error)
            cut(self._request)
        except HttpError as error:
            await self._fail(error)
        except grpc.aio.AioRpcError as error:
            await self._fail(errors.translate(error, request_id=request_id))
        except grpc.aio.BaseError as error:
            await self._fail(unusable(error))
        except asyncio.CancelledError:
            if not only_call_cancelled(call):
                raise
            await self._fail(self._ended_by)
        finally:
            call.cancel()
            self._stop_heart()
        return self._response if self._response is not None else await self._commit()

    def end(self, reason: HttpError) -> None:
        """End the stream soon, telling the client *reason*."""
        self._ended_by = reason
        if self._call is not None:
            self._call.cancel()

    async def _pump(self, call: Any) -> None:
        data = await self._first(call)
        while data is not grpc.aio.EOF:
            message, printed = await sized(len(data), self._printer.read, data)
            if self._response is None:
                self._headers = md.response_headers(await call.initial_metadata(), self._options.response_headers)
                if self._printer.is_http_body:
                    self._content_type = printed.content_type
                await self._commit()
            await self._write(self._framing.message(printed, message))
            data = await call.read()
        response = await self._commit()
        tail = self._framing.end()
        if tail:
            await self._write(tail)
        await response.write_eof()

    async def _first(self, call: Any) -> Any:
        """Return the first read; silence commits the headers before it."""
        reading = asyncio.ensure_future(call.read())
        hold = SSE_HOLD_S if self._content_type == negotiation.SSE else self._options.heartbeat
        try:
            await asyncio.wait([reading], timeout=hold)
            if not reading.done() and not self._printer.is_http_body:
                await self._commit()
            return await reading
        finally:
            reading.cancel()

    async def _commit(self) -> web.StreamResponse:
        if self._response is not None:
            return self._response
        response = self._response = web.StreamResponse()
        response.headers["Content-Type"] = self._content_type
        response.headers["X-Content-Type-Options"] = "nosniff"
        if self._content_type == negotiation.SSE:
            response.headers["Cache-Control"] = "no-store"
            response.headers["X-Accel-Buffering"] = "no"
        for name, value in self._headers:
            if name not in response.headers:
                response.headers.add(name, value)
        try:
            await response.prepare(self._request)
        except ConnectionError as error:
            raise ClientGone(str(error)) from None
        self._start_heart()
        return response

    async def _write(self, data: bytes) -> None:
        response = self._response
        if response is None:
            return
        self._writing = True
        try:
            await send(response, data, self._options.write_timeout)
        finally:
            self._writing = False
            self._written_at = asyncio.get_running_loop().time()

    async def _fail(self, error: HttpError) -> None:
        """Tell the client in the framing's own way; an error before the answer is raised."""
        if self._response is None:
            raise error
        self._request[ENDED] = error.status.code
        try:
            record = self._framing.error(status_json(error.status, self._codec))
            if record:
                await self._write(record)
        except ClientGone as gone:
            log.debug("client left before the error: %s", gone)
            cut(self._request)
            return
        if self._framing.aborts:
            cut(self._request)

    def _start_heart(self) -> None:
        if self._framing.heartbeat and self._options.heartbeat > 0:
            loop = asyncio.get_running_loop()
            self._written_at = loop.time()
            self._heart = loop.call_later(self._options.heartbeat, self._check_heart)

    def _check_heart(self) -> None:
        """Send a filler after silence; the timer is re-armed rarely, not at each message."""
        loop = asyncio.get_running_loop()
        idle = loop.time() - self._written_at
        if idle >= self._options.heartbeat and not self._writing:
            self._beat = loop.create_task(self._send_beat())
            idle = 0.0
        wait = max(self._options.heartbeat - idle, self._options.heartbeat / 10)
        self._heart = loop.call_later(wait, self._check_heart)

    async def _send_beat(self) -> None:
        try:
            await self._write(self._framing.heartbeat)
        except ClientGone as error:
            log.debug("client left between messages: %s", error)
            cut(self._request)

    def _stop_heart(self) -> None:
        if self._heart is not None:
            self._heart.cancel()
        if self._beat is not None:
            self._beat.cancel()
