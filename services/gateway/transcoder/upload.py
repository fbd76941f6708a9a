"""Client streams: a body of many elements becomes a stream of request messages."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from aiohttp import web
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # the stubs leave it out

from services.gateway.transcoder import negotiation
from services.gateway.transcoder.body import body_chunks
from services.gateway.transcoder.elements import array_elements, ndjson_lines
from services.gateway.transcoder.errors import HttpError
from services.gateway.transcoder.offload import sized
from services.gateway.transcoder.options import Options
from services.gateway.transcoder.request import BoundValues, RequestReader

MAX_CHUNK = 1024 * 1024  # of an upload; gRPC servers refuse messages over 4 MiB by default

Element = tuple[str, bytes, str]
"""Name for errors, bytes, content type."""


class Upload:
    """Feeds one call from a request body, reading on only when the backend has room."""

    def __init__(self, request: web.Request, reader: RequestReader, options: Options) -> None:
        self._request = request
        self._reader = reader
        self._options = options
        self._ndjson = False
        if not reader.takes_http_body and request.body_exists and request.content_length != 0:
            self._ndjson = negotiation.check_json(request.headers.get("Content-Type"), streaming=True)

    async def run(self, call: Any, bound: BoundValues) -> bytes:
        """Send all messages and return the response."""
        return await feed(call, self._messages(bound))

    async def _messages(self, bound: BoundValues) -> AsyncIterator[bytes]:
        empty = BoundValues()
        async for name, body, content_type in self._elements():
            try:
                data = await sized(len(body), self._reader.message, body, content_type, bound)
            except HttpError as error:
                error.status.message = f"{name}: {error.status.message}"
                raise
            yield data
            bound = empty

    async def _elements(self) -> AsyncIterator[Element]:
        chunks = body_chunks(self._request) if self._request.body_exists else _nothing()
        if self._reader.takes_http_body:
            async for element in self._pieces(chunks):
                yield element
            return
        if not self._request.body_exists:
            return
        cut = ndjson_lines if self._ndjson else array_elements
        async for name, body in cut(chunks, self._options.max_message):
            yield name, body, ""

    async def _pieces(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[Element]:
        """Yield an upload's bytes; only the first piece names its content type, an empty body is one piece."""
        content_type = self._request.headers.get("Content-Type", "")
        first = True
        async for chunk in chunks:
            for start in range(0, len(chunk), MAX_CHUNK):
                yield "body", chunk[start : start + MAX_CHUNK], content_type if first else ""
                first = False
        if first:
            yield "body", b"", content_type


async def feed(call: Any, messages: AsyncIterator[bytes]) -> bytes:
    """Send all *messages* and return the response.

    A bad element or a body cut short cancels the call, so that the backend never takes the messages
    before it for all. The response may come before the body ends.
    """
    pump = asyncio.ensure_future(_pump(call, messages))
    answer = asyncio.ensure_future(_response(call))
    try:
        await asyncio.wait([pump, answer], return_when=asyncio.FIRST_COMPLETED)
        if pump.done() and not answer.done():
            await pump
        return await answer
    finally:
        if not answer.done():
            call.cancel()
        await _discard(pump, answer)


@asynccontextmanager
async def pumped(call: Any, messages: AsyncIterator[bytes], fail: Callable[[HttpError], None]) -> AsyncIterator[None]:
    """Send *messages* while the block reads; what is wrong with them goes to *fail*."""

    async def pump() -> None:
        try:
            await _pump(call, messages)
        except HttpError as error:
            fail(error)

    pumping = asyncio.ensure_future(pump())
    try:
        yield
    finally:
        await _discard(pumping)


async def _pump(call: Any, messages: AsyncIterator[bytes]) -> None:
    async for data in messages:
        try:
            await send_request(call, data)
        except (asyncio.InvalidStateError, grpc.aio.BaseError, cygrpc.InternalError):
            return  # the call has ended; its status says why
    await call.done_writing()


async def send_request(call: Any, data: bytes) -> None:
    """Do what ``call.write`` does, but leave the status alone when a backend has ended the call early.

    ``write`` puts INTERNAL "Internal error from Core" in its place (grpcio 1.85.1, grpc/aio/_call.py, ``_write``): a refusal
    would reach the client as a fault of ours.
    """
    if call.done():
        raise asyncio.InvalidStateError
    await call._metadata_sent.wait()  # noqa: SLF001
    await call._cython_call.send_serialized_message(data)  # noqa: SLF001


async def _response(call: Any) -> bytes:
    response: bytes = await call
    return response


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


async def _discard(*tasks: asyncio.Future[Any]) -> None:
    """End *tasks* and take note of their errors; the one that matters was raised already."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
