"""The Connect protocol, unary by POST and GET, and streams (connectrpc.com/docs/protocol)."""

import base64
import re
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson
from aiohttp import web
from google.protobuf import any_pb2
from google.rpc import status_pb2
from multidict import CIMultiDictProxy

from services.gateway.transcoder import body as bodies
from services.gateway.transcoder.codec import JsonCodec
from services.gateway.transcoder.compression import compress
from services.gateway.transcoder.envelopes import Coding, coding, message_too_large, messages, pack
from services.gateway.transcoder.errors import (
    INVALID_ARGUMENT,
    MAX_BODY_BYTES,
    UNIMPLEMENTED,
    HttpError,
    bad_request,
    default_codec,
    error_response,
    refusal,
)
from services.gateway.transcoder.options import Options
from services.gateway.transcoder.protocols import JSON, PROTO, Pairs, whole
from services.gateway.transcoder.rules import UNARY
from services.gateway.transcoder.values import JsonRefused

VERSION = "Connect-Protocol-Version"
TIMEOUT = "Connect-Timeout-Ms"
END_STREAM = 0x02

# Names of the codes of google/rpc/code.proto; canceled is spelt with one l.
CODE_NAMES = {
    1: "canceled",
    2: "unknown",
    3: "invalid_argument",
    4: "deadline_exceeded",
    5: "not_found",
    6: "already_exists",
    7: "permission_denied",
    8: "resource_exhausted",
    9: "failed_precondition",
    10: "aborted",
    11: "out_of_range",
    12: "unimplemented",
    13: "internal",
    14: "unavailable",
    15: "data_loss",
    16: "unauthenticated",
}
FORMS = frozenset({JSON, PROTO})
UNARY_TYPES = "application/json, application/proto"
STREAM_TYPES = "application/connect+json, application/connect+proto"

_MILLISECONDS = re.compile(r"[0-9]{1,10}")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def error_object(status: status_pb2.Status, codec: JsonCodec) -> dict[str, Any]:
    """Return the JSON object of *status*; details are dropped from the end beyond 64 KiB."""
    error: dict[str, Any] = {"code": CODE_NAMES.get(status.code, "unknown")}
    if status.message:
        error["message"] = status.message[: MAX_BODY_BYTES // 4]  # a character is at most four bytes
    details = [_detail(detail, codec) for detail in status.details]
    while details and len(orjson.dumps(details)) + len(orjson.dumps(error)) > MAX_BODY_BYTES:
        details.pop()
    if details:
        error["details"] = details
    return error


def _detail(detail: any_pb2.Any, codec: JsonCodec) -> dict[str, Any]:
    value = base64.b64encode(detail.value).decode("ascii").rstrip("=")
    shown: dict[str, Any] = {"type": detail.type_url.rpartition("/")[2], "value": value}
    for printer in (codec, default_codec()):
        try:
            debug = printer.any_value(detail.type_url, detail.value)
        except JsonRefused:
            continue
        shown["debug"] = {name: item for name, item in debug.items() if name != "@type"}
        break
    return shown


def unsupported(accepted: str) -> HttpError:
    """Return the refusal of a Content-Type; *accepted* are those that the method takes."""
    return refusal(
        INVALID_ARGUMENT, f"this method takes {accepted}", http_status=415, headers=[("Accept-Post", accepted)]
    )


def _check_version(sent: str | None, expected: str, name: str, *, required: bool) -> None:
    if sent is None and required:
        raise bad_request([(name, f"is missing; must be {expected}")])
    if sent is not None and sent != expected:
        raise bad_request([(name, f"must be {expected}")])


class _Connect:
    """What unary calls and streams have in common."""

    def __init__(self, form: str, codec: JsonCodec, version: tuple[str, str, str | None], *, required: bool) -> None:
        """Take the form, ``""`` for an unknown one, and the name, due value and sent value of the version."""
        self.form = form
        self.headers: Pairs = []
        self._codec = codec
        self._version = version
        self._required = required

    def _check(self, *, served: bool, accepted: str) -> None:
        if not served or self.form not in FORMS:
            raise unsupported(accepted)
        name, due, sent = self._version
        _check_version(sent, due, name, required=self._required)

    def asked_s(self, headers: CIMultiDictProxy[str]) -> float | None:
        """Return the time that ``Connect-Timeout-Ms`` asks for."""
        text = headers.get(TIMEOUT)
        if text is None:
            return None
        if not _MILLISECONDS.fullmatch(text):
            raise bad_request([(TIMEOUT.lower(), "must be 1 to 10 digits, milliseconds")])
        return int(text) / 1000


class ConnectUnary(_Connect):
    """A unary call by POST: the body is the message, errors have a status and are JSON."""

    def __init__(self, form: str, codec: JsonCodec, options: Options, headers: CIMultiDictProxy[str]) -> None:
        version = (VERSION.lower(), "1", headers.get(VERSION))
        super().__init__(form, codec, version, required=options.require_connect_version)
        self.content_type = f"application/{form}"
        self._options = options

    def check(self, kind: str) -> None:
        """Refuse streaming methods, unknown types and versions."""
        self._check(served=kind == UNARY, accepted=UNARY_TYPES if kind == UNARY else STREAM_TYPES)

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
            return _without_body(error)
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


class ConnectStream(_Connect):
    """A stream: envelopes both ways, status 200, and a last envelope that says how it ended."""

    def __init__(
        self, form: str, codec: JsonCodec, options: Options, headers: CIMultiDictProxy[str], coding: Coding
    ) -> None:
        version = (VERSION.lower(), "1", headers.get(VERSION))
        super().__init__(form, codec, version, required=options.require_connect_version)
        self.content_type = f"application/connect+{form}"
        self._coding = coding
        if coding.taken:
            self.headers = [("Connect-Content-Encoding", "gzip")]

    def check(self, kind: str) -> None:
        """Refuse unary methods, unknown types, versions and encodings."""
        self._check(served=kind != UNARY, accepted=UNARY_TYPES if kind == UNARY else STREAM_TYPES)
        self._coding.check()

    def messages(self, request: web.Request, options: Options) -> AsyncIterator[bytes]:
        """Yield the messages of the request."""
        if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            raise refusal(UNIMPLEMENTED, "streams are compressed by message: use Connect-Content-Encoding")
        return messages(bodies.wire_chunks(request), self._coding, options.max_message)

    async def answer(self, request: web.Request, data: bytes, headers: Pairs, trailers: Pairs) -> web.Response:
        """Return a stream of one message."""
        return whole(self, await self.part(data) + self.end(None, trailers), headers)

    def failure(self, error: HttpError) -> web.Response:
        """Return a stream that ends before its first message; of an unknown type nobody could read even that."""
        if error.http_status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
            return _without_body(error)
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


def _without_body(error: HttpError) -> web.Response:
    """Return a 415 as the protocol has it: the status says all."""
    return web.Response(status=error.http_status, headers=dict(error.headers))


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
