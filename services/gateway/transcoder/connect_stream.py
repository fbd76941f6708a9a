"""Streams of the Connect protocol."""

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

import orjson
from aiohttp import web
from multidict import CIMultiDictProxy

from services.gateway.transcoder.body import wire_chunks
from services.gateway.transcoder.codec import JsonCodec
from services.gateway.transcoder.connect_base import (
    STREAM_TYPES,
    UNARY_TYPES,
    VERSION,
    Connect,
    error_object,
    without_body,
)
from services.gateway.transcoder.envelopes import GZIP, Coding, messages, pack
from services.gateway.transcoder.errors import UNIMPLEMENTED, HttpError, refusal
from services.gateway.transcoder.options import Options
from services.gateway.transcoder.protocols import Pairs, whole
from services.gateway.transcoder.rules import UNARY

END_STREAM = 0x02


class ConnectStream(Connect):
    """A stream: envelopes both ways, status 200, and a last envelope that says how it ended."""

    def __init__(
        self, form: str, codec: JsonCodec, options: Options, headers: CIMultiDictProxy[str], coding: Coding
    ) -> None:
        version = (VERSION.lower(), "1", headers.get(VERSION))
        super().__init__(form, codec, version, required=options.require_connect_version)
        self.content_type = f"application/connect+{form}"
        self._coding = coding
        if coding.taken:
            self.headers = [("Connect-Content-Encoding", GZIP)]

    def check(self, kind: str) -> None:
        """Refuse unary methods, unknown types, versions and encodings."""
        self.admit(served=kind != UNARY, accepted=UNARY_TYPES if kind == UNARY else STREAM_TYPES)
        self._coding.check()

    def messages(self, request: web.Request, options: Options) -> AsyncIterator[bytes]:
        """Yield the messages of the request."""
        if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            raise refusal(UNIMPLEMENTED, "streams are compressed by message: use Connect-Content-Encoding")
        return messages(wire_chunks(request), self._coding, options.max_message)

    async def answer(self, request: web.Request, data: bytes, headers: Pairs, trailers: Pairs) -> web.Response:
        """Return a stream of one message."""
        return whole(self, await self.part(data) + self.end(None, trailers), headers)

    def failure(self, error: HttpError) -> web.Response:
        """Return a stream that ends before its first message; of an unknown type nobody could read even that."""
        if error.http_status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
            return without_body(error)
        return whole(self, self.end(error, error.trailers))

    async def part(self, data: bytes) -> bytes:
        """Return the envelope of a message."""
        return await self._coding.packed(data)

    def end(self, error: HttpError | None, trailers: Pairs) -> bytes:
        """Return the envelope that ends the stream; it is JSON in every form."""
        ended: dict[str, Any] = {}
        if error is not None:
            ended["error"] = error_object(error.status, self._codec)
        metadata: dict[str, list[str]] = {}
        for name, value in trailers:
            metadata.setdefault(name, []).append(value)
        if metadata:
            ended["metadata"] = metadata
        return pack(END_STREAM, orjson.dumps(ended))
