"""Unary calls of the Connect protocol, by POST and GET."""

import base64
import re
from collections.abc import AsyncIterator
from http import HTTPStatus
from urllib.parse import unquote_to_bytes

import orjson
from aiohttp import web
from multidict import CIMultiDictProxy

from services.gateway.transcoder import body as bodies
from services.gateway.transcoder.codec import JsonCodec
from services.gateway.transcoder.compression import compress
from services.gateway.transcoder.connect_base import (
    STREAM_TYPES,
    UNARY_TYPES,
    VERSION,
    Connect,
    error_object,
    without_body,
)
from services.gateway.transcoder.connect_stream import ConnectStream
from services.gateway.transcoder.envelopes import coding, message_too_large
from services.gateway.transcoder.errors import UNIMPLEMENTED, HttpError, bad_request, error_response, refusal
from services.gateway.transcoder.options import Options
from services.gateway.transcoder.protocols import JSON, PROTO, Pairs, whole
from services.gateway.transcoder.rules import UNARY

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


class ConnectUnary(Connect):
    """A unary call by POST: the body is the message, errors have a status and are JSON."""

    def __init__(self, form: str, codec: JsonCodec, options: Options, headers: CIMultiDictProxy[str]) -> None:
        version = (VERSION.lower(), "1", headers.get(VERSION))
        super().__init__(form, codec, version, required=options.require_connect_version)
        self.content_type = f"application/{form}"
        self._options = options

    def check(self, kind: str) -> None:
        """Refuse streaming methods, unknown types and versions."""
        self.admit(served=kind == UNARY, accepted=UNARY_TYPES if kind == UNARY else STREAM_TYPES)

    async def messages(self, request: web.Request, options: Options) -> AsyncIterator[bytes]:
        """Yield the body."""
        _known_coding(request.headers.get("Content-Encoding"))
        yield await bodies.read_body(request, options.max_body)

    async def answer(self, request: web.Request, data: bytes, headers: Pairs, trailers: Pairs) -> web.Response:
        """Return the message, trailers as headers named ``Trailer-``."""
        response = whole(self, data, [*headers, *_trailer_headers(trailers)])
        await compress(request, response, self._options)
        return response

    def failure(self, error: HttpError) -> web.Response:
        """Return the error as JSON with the HTTP status that it has for every client."""
        if error.http_status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
            return without_body(error)
        response = error_response(
            error.status, http_status=error.http_status, headers=[*error.headers, *_trailer_headers(error.trailers)]
        )
        if error.http_status >= HTTPStatus.BAD_REQUEST:
            response.body = orjson.dumps(error_object(error.status, self._codec))
        return response

    async def part(self, data: bytes) -> bytes:
        """Return *data*: it has no envelope."""
        return data

    def end(self, error: HttpError | None, trailers: Pairs) -> bytes:
        """Return nothing: the message is all."""
        return b""


class ConnectGet(ConnectUnary):
    """A unary call of a method without side effects by GET: the message is in the query."""

    def __init__(self, raw_query: str, codec: JsonCodec, options: Options, headers: CIMultiDictProxy[str]) -> None:
        self._query = _raw_parameters(raw_query)
        form = self._query.get("encoding", [""])[0]
        super().__init__(form, codec, options, headers)
        self._version = ("connect", "v1", next(iter(self._query.get("connect", [])), None))
        self.headers = [("Vary", "Accept-Encoding")]

    def check(self, kind: str) -> None:
        """Refuse streaming methods and queries that do not say one thing."""
        faults = [
            (name, "is missing" if not sent else "is given more than once")
            for name in ("encoding", "message", "base64", "compression", "connect")
            if len(sent := self._query.get(name, [])) > 1 or (not sent and name in {"encoding", "message"})
        ]
        if faults:
            raise bad_request(faults)
        super().check(kind)

    async def messages(self, request: web.Request, options: Options) -> AsyncIterator[bytes]:
        """Yield the message of the query."""
        raw = self._query["message"][0]
        data = _base64(raw) if self._query.get("base64") == ["1"] else _unescaped(raw.replace("+", " "))
        coding = _known_coding(next(iter(self._query.get("compression", [])), None))
        if coding and data:
            data = bodies.Inflater("gzip" if coding == "x-gzip" else coding, options.max_message).whole(data)
        if len(data) > options.max_message:
            raise message_too_large(options.max_message)
        yield data


def connect_post(
    headers: CIMultiDictProxy[str], kind: str, codec: JsonCodec, options: Options, *, may_compress: bool
) -> ConnectUnary | ConnectStream | None:
    """Return the face of a POST whose media type is *kind*, None if that is not Connect.

    JSON without the version header is a plain call: its answers are Connect's, its errors google.rpc.Status.
    """
    if kind.startswith("application/connect+"):
        codings = coding(
            headers.get("Connect-Content-Encoding"), headers.get("Connect-Accept-Encoding"), may_compress=may_compress
        )
        return ConnectStream(kind.partition("+")[2], codec, options, headers, codings)
    if kind == "application/proto":
        return ConnectUnary(PROTO, codec, options, headers)
    if VERSION in headers:
        return ConnectUnary(JSON if kind == "application/json" else "", codec, options, headers)
    return None


def _known_coding(sent: str | None) -> str:
    """Return the coding of a message, ``""`` for none; refuse others as the protocol has it."""
    name = (sent or "").strip().lower()
    if name not in {"", "identity", "gzip", "x-gzip", "deflate"}:
        raise refusal(UNIMPLEMENTED, f"unknown compression {name[:32]!a}; supported are {bodies.CODINGS}, identity")
    return "" if name == "identity" else name


def _trailer_headers(trailers: Pairs) -> Pairs:
    return [(f"Trailer-{name}", value) for name, value in trailers]


def _raw_parameters(raw: str) -> dict[str, list[str]]:
    """Return the parameters of a query, values still escaped."""
    found: dict[str, list[str]] = {}
    for piece in raw.split("&"):
        name, _, value = piece.partition("=")
        found.setdefault(name, []).append(value)
    return found


def _unescaped(raw: str) -> bytes:
    if _BAD_ESCAPE.search(raw):
        raise bad_request([("message", "holds a broken percent escape")])
    return unquote_to_bytes(raw)


def _base64(raw: str) -> bytes:
    """Decode either alphabet, padded or not; an unescaped ``+`` is of the standard one."""
    text = _unescaped(raw).rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise bad_request([("message", "is no base64")]) from None
