"""Request bodies: bounded reading and decompression."""

import asyncio
import zlib
from collections.abc import AsyncIterator

from aiohttp import web

from services.gateway.transcoder.errors import (
    CANCELLED,
    INVALID_ARGUMENT,
    UNIMPLEMENTED,
    bad_request,
    refusal,
)
from services.gateway.transcoder.request import too_large

CODINGS = "gzip, deflate"
MAX_GZIP_MEMBERS = 16
MAX_RATIO = 100
RATIO_FREE_BYTES = 1024 * 1024  # below this output any ratio passes
# zlib's wbits for its two containers
_GZIP = 31
_ZLIB = 15
_STEP = 256 * 1024  # output per step, so that a bomb is noticed early
_INLINE_BYTES = 8 * 1024  # with MAX_RATIO at most 1 MiB of output: milliseconds


def check_framing(request: web.Request) -> None:
    """Refuse transfer codings that aiohttp would hand over undecoded."""
    coding = request.headers.get("Transfer-Encoding")
    if coding is not None and coding.strip().lower() != "chunked":
        raise refusal(UNIMPLEMENTED, "only Transfer-Encoding: chunked is understood")


async def read_body(request: web.Request, limit: int) -> bytes:
    """Return the whole decoded body; 413 beyond *limit* bytes, on the wire or decoded."""
    if not request.body_exists:
        return b""
    length = request.content_length
    if length is not None and length > limit:
        raise too_large("request body", limit)
    coding = content_coding(request)
    body = await _wire_body(request, limit)
    if not coding or not body:
        return body
    inflater = Inflater(coding, limit)
    if len(body) > _INLINE_BYTES:
        return await asyncio.to_thread(inflater.whole, body)
    return inflater.whole(body)


async def _wire_body(request: web.Request, limit: int) -> bytes:
    """Return the whole body as it came; most are there when their headers are, and need no waiting."""
    content = request.content
    if content.is_eof() and content.exception() is None:
        body = content.read_nowait()
        if len(body) > limit:
            raise too_large("request body", limit)
        return body
    parts = []
    size = 0
    async for chunk in wire_chunks(request):
        size += len(chunk)
        if size > limit:
            raise too_large("request body", limit)
        parts.append(chunk)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def wire_chunks(request: web.Request) -> AsyncIterator[bytes]:
    """Yield the body as it arrives; a body cut short raises ``HttpError``."""
    try:
        async for chunk in request.content.iter_any():
            yield chunk
    except web.RequestPayloadError as error:
        raise bad_request([("", f"the body is broken: {error}")]) from None
    except ConnectionError:
        raise refusal(CANCELLED, "the client went away") from None


async def body_chunks(request: web.Request) -> AsyncIterator[bytes]:
    """Yield the decoded body piece by piece, for streamed uploads of any length."""
    coding = content_coding(request)
    inflater = Inflater(coding, None) if coding else None
    async for chunk in wire_chunks(request):
        if inflater is None:
            yield chunk
        else:
            for piece in inflater.feed(chunk):
                yield piece
    if inflater is not None:
        inflater.finish()


def content_coding(request: web.Request) -> str:
    """Return the one content coding of the body, ``""`` for none; 415 for lists and unknown ones."""
    coding = request.headers.get("Content-Encoding", "").strip().lower()
    if coding in {"", "identity"}:
        return ""
    if coding == "x-gzip":
        return "gzip"
    if coding in {"gzip", "deflate"} and len(request.headers.getall("Content-Encoding")) == 1:
        return coding
    raise refusal(
        INVALID_ARGUMENT,
        f"Content-Encoding must be one of {CODINGS}",
        http_status=415,
        headers=[("Accept-Encoding", CODINGS)],
    )


class Inflater:
    """Bounded gzip and deflate; *limit* caps the output in bytes, None only its ratio to the input."""

    def __init__(self, coding: str, limit: int | None) -> None:
        self._wbits = _GZIP if coding == "gzip" else _ZLIB
        self._limit = limit
        self._object = zlib.decompressobj(self._wbits)
        self._members = 1
        self._taken = 0
        self._given = 0

    def whole(self, body: bytes) -> bytes:
        out = b"".join(self.feed(body))
        self.finish()
        return out

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the output of *chunk* in pieces; raises 400 or 413."""
        self._taken += len(chunk)
        pieces = []
        while chunk:
            if self._object.eof:
                self._next_member()
            try:
                piece = self._object.decompress(chunk, _STEP)
            except zlib.error as error:
                raise bad_request([("", f"the compressed body is broken: {error}")]) from None
            self._given += len(piece)
            self._check()
            if piece:
                pieces.append(piece)
            chunk = self._object.unused_data if self._object.eof else self._object.unconsumed_tail
        return pieces

    def _next_member(self) -> None:
        self._members += 1
        if self._wbits != _GZIP or self._members > MAX_GZIP_MEMBERS:
            raise bad_request([("", "bytes follow the compressed body")])
        self._object = zlib.decompressobj(self._wbits)

    def _check(self) -> None:
        if self._limit is not None and self._given > self._limit:
            raise too_large("decompressed request body", self._limit)
        if self._given > RATIO_FREE_BYTES and self._given > MAX_RATIO * self._taken:
            raise too_large("decompressed request body", MAX_RATIO * self._taken)

    def finish(self) -> None:
        """Refuse a compressed body that ends too early."""
        if self._taken and not self._object.eof:
            raise bad_request([("", "the compressed body is cut short")])
