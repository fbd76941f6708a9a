"""Length-prefixed messages of gRPC-Web and Connect streams: a flag byte, four bytes of length, the data.

Sources: grpc/grpc doc/PROTOCOL-WEB.md, connectrpc.com/docs/protocol.
"""

import asyncio
import base64
import gzip
import re
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass

from services.gateway.transcoder.body import Inflater
from services.gateway.transcoder.compression import LEVEL, MIN_BYTES, takes_gzip
from services.gateway.transcoder.errors import RESOURCE_EXHAUSTED, UNIMPLEMENTED, HttpError, bad_request, refusal
from services.gateway.transcoder.offload import INLINE_BYTES

COMPRESSED = 0x01
GZIP = "gzip"
CODINGS = "gzip, identity"

_HEAD = struct.Struct(">BI")
_PADDED_PIECE = re.compile(rb"[^=]+={0,2}")


def pack(flags: int, data: bytes) -> bytes:
    """Return one envelope."""
    return _HEAD.pack(flags, len(data)) + data


@dataclass(frozen=True, slots=True)
class Coding:
    """How the envelopes of one request are compressed, and whether those of its answer may be."""

    sent: str = ""
    """Coding that the client names for its own envelopes, in lower case."""
    taken: bool = False
    """Whether the client takes gzip and the settings allow it."""

    @property
    def understood(self) -> bool:
        """Whether the client's coding can be undone here."""
        return self.sent in {"", "identity", GZIP}

    def check(self) -> None:
        """Refuse codings that nobody here can undo."""
        if not self.understood:
            raise refusal(UNIMPLEMENTED, f"unknown message encoding {self.sent[:32]!a}; understood: {CODINGS}")

    async def packed(self, data: bytes) -> bytes:
        """Return one message envelope, compressed where that helps."""
        if not self.taken or len(data) < MIN_BYTES:
            return pack(0, data)
        if len(data) > INLINE_BYTES:
            return pack(COMPRESSED, await asyncio.to_thread(gzip.compress, data, LEVEL, mtime=0))
        return pack(COMPRESSED, gzip.compress(data, LEVEL, mtime=0))

    async def undo(self, data: bytes, limit: int) -> bytes:
        """Return the message of a compressed envelope, of at most *limit* bytes."""
        if self.sent != GZIP:
            raise bad_request([("", "a compressed message without the header that names its encoding")])
        if not data:
            return data
        return await asyncio.to_thread(Inflater(GZIP, limit).whole, data)


def coding(sent: str | None, accepted: str | None, *, may_compress: bool) -> Coding:
    """Return the coding that the headers of a request ask for."""
    return Coding((sent or "").strip().lower(), may_compress and takes_gzip(accepted or ""))


async def messages(chunks: AsyncIterator[bytes], coding: Coding, max_message: int) -> AsyncIterator[bytes]:
    """Yield the messages of a request as they arrive; flags other than compression are refused."""
    waiting = bytearray()
    async for chunk in chunks:
        waiting += chunk
        while len(waiting) >= _HEAD.size:
            flags, length = _HEAD.unpack_from(waiting)
            _check_head(flags, length, max_message)
            end = _HEAD.size + length
            if len(waiting) < end:
                break
            data = bytes(waiting[_HEAD.size : end])
            del waiting[:end]
            yield await coding.undo(data, max_message) if flags & COMPRESSED else data
    if waiting:
        raise bad_request([("", "the last message is cut short")])


def _check_head(flags: int, length: int, max_message: int) -> None:
    if flags & ~COMPRESSED:
        raise bad_request([("", f"a message has the flags {flags:#04x}; only compression is understood")])
    if length > max_message:
        raise message_too_large(max_message)


def message_too_large(limit: int) -> HttpError:
    """Return the refusal of a message of more than *limit* bytes."""
    return refusal(RESOURCE_EXHAUSTED, f"request message is larger than {limit} bytes", reason="TOO_LARGE")


async def only(found: AsyncIterator[bytes]) -> bytes:
    """Return the one message of a request that has to hold exactly one."""
    one: bytes | None = None
    async for data in found:
        if one is not None:
            raise bad_request([("", "the method takes one message, there are more")])
        one = data
    if one is None:
        raise bad_request([("", "the method takes one message, there is none")])
    return one


async def from_base64(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Undo base64 that comes in padded pieces, cut anywhere."""
    rest = b""
    async for chunk in chunks:
        text = rest + chunk
        whole = len(text) - len(text) % 4
        rest = text[whole:]
        yield _decoded(text[:whole])
    if rest:
        raise bad_request([("", "the base64 of the body is cut short")])


def _decoded(text: bytes) -> bytes:
    if b"=" not in text:
        pieces = [text]
    else:
        pieces = _PADDED_PIECE.findall(text)
        if sum(map(len, pieces)) != len(text):
            raise bad_request([("", "the body is no base64")])
    try:
        return b"".join(base64.b64decode(piece, validate=True) for piece in pieces)
    except ValueError:
        raise bad_request([("", "the body is no base64")]) from None
