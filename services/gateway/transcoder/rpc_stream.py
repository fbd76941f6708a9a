"""Streamed answers of gRPC-Web and Connect: status 200, messages as they come, and a last frame that tells the end."""

import asyncio
import logging
from typing import Any

import grpc
from aiohttp import web

from services.gateway.transcoder import metadata as md
from services.gateway.transcoder.calls import RpcErrors, only_call_cancelled, unusable
from services.gateway.transcoder.errors import CANCELLED, ENDED, OK, HttpError, refusal
from services.gateway.transcoder.offload import sized
from services.gateway.transcoder.options import Options
from services.gateway.transcoder.protocols import Pairs, Rpc
from services.gateway.transcoder.stream import ClientGone, cut, send

log = logging.getLogger(__name__)


class RpcStream:
    """One streamed answer. Headers wait for the first message, which may bring metadata, or for a silence."""

    def __init__(self, request: web.Request, rpc: Rpc, options: Options) -> None:
        self._request = request
        self._rpc = rpc
        self._options = options
        self._response: web.StreamResponse | None = None
        self._call: Any = None
        self._ended_by = refusal(CANCELLED, "the call was cancelled")

    async def run(self, call: Any, errors: RpcErrors, request_id: str) -> web.StreamResponse:
        """Serve *call* to its end; raises ``HttpError`` only before the answer has begun."""
        self._call = call
        error: HttpError | None = None
        try:
            await self._pump(call)
        except ClientGone as gone:
            log.debug("client left a stream: %s", gone)
            return self._cut()
        except HttpError as refused:
            error = refused
        except grpc.aio.AioRpcError as failed:
            error = errors.translate(failed, request_id=request_id)
        except grpc.aio.BaseError as failed:
            error = unusable(failed)
        except asyncio.CancelledError:
            if not only_call_cancelled(call):
                raise
            error = self._ended_by
        finally:
            call.cancel()
        return await self._finish(error, error.trailers if error else await self._trailers(call))

    def end(self, reason: HttpError) -> None:
        """End the stream soon, telling the client *reason*."""
        self._ended_by = reason
        if self._call is not None:
            self._call.cancel()

    async def _trailers(self, call: Any) -> Pairs:
        return md.response_headers(await call.trailing_metadata(), self._options.response_trailers)

    async def _pump(self, call: Any) -> None:
        data = await self._first(call)
        await self._commit(md.response_headers(await call.initial_metadata(), self._options.response_headers))
        while data is not grpc.aio.EOF:
            written = await sized(len(data), self._rpc.messages.response, data, self._rpc.face.form)
            await self._write(await self._rpc.face.part(written))
            data = await call.read()

    async def _first(self, call: Any) -> Any:
        """Return the first read; silence commits the headers before it."""
        reading = asyncio.ensure_future(call.read())
        try:
            await asyncio.wait([reading], timeout=self._options.heartbeat or None)
            if not reading.done():
                await self._commit(())
            return await reading
        finally:
            reading.cancel()

    async def _commit(self, headers: Pairs) -> None:
        if self._response is not None:
            return
        face = self._rpc.face
        response = self._response = web.StreamResponse()
        response.headers["Content-Type"] = face.content_type
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["X-Accel-Buffering"] = "no"
        for name, value in (*face.headers, *headers):
            response.headers.add(name, value)
        try:
            await response.prepare(self._request)
        except ConnectionError as error:
            raise ClientGone(str(error)) from None

    async def _write(self, data: bytes) -> None:
        if self._response is not None:
            await send(self._response, data, self._options.write_timeout)

    async def _finish(self, error: HttpError | None, trailers: Pairs) -> web.StreamResponse:
        """Tell the client how the stream ended; an error before the answer is raised."""
        if self._response is None:
            raise error or refusal(CANCELLED, "the call was cancelled")
        self._request[ENDED] = OK if error is None else error.status.code
        try:
            await self._write(self._rpc.face.end(error, trailers))
            await self._response.write_eof()
        except (ClientGone, ConnectionError) as gone:
            log.debug("client left before the end: %s", gone)
            cut(self._request)
        return self._response

    def _cut(self) -> web.StreamResponse:
        cut(self._request)
        return self._response or web.StreamResponse()
