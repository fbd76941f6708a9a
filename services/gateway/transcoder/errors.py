"""Errors as callers see them: one table of statuses, one place that builds an error body."""

import binascii
import functools
import math
import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from aiohttp import web
from google.protobuf import any_pb2, descriptor_pool
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from services.gateway.transcoder import scalars
from services.gateway.transcoder.codec import JsonCodec
from services.gateway.transcoder.options import Options
from services.gateway.transcoder.validation import MAX_VIOLATIONS
from services.gateway.transcoder.values import JsonRefused

OK = 0
CANCELLED = 1
UNKNOWN = 2
INVALID_ARGUMENT = 3
DEADLINE_EXCEEDED = 4
NOT_FOUND = 5
RESOURCE_EXHAUSTED = 8
FAILED_PRECONDITION = 9
ABORTED = 10
UNIMPLEMENTED = 12
INTERNAL = 13
UNAVAILABLE = 14
DATA_LOSS = 15
UNAUTHENTICATED = 16

# google/rpc/code.proto names the HTTP status of each code.
HTTP_STATUS = {
    0: 200,
    1: 499,
    2: 500,
    3: 400,
    4: 504,
    5: 404,
    6: 409,
    7: 403,
    8: 429,
    9: 400,
    10: 409,
    11: 400,
    12: 501,
    13: 500,
    14: 503,
    15: 500,
    16: 401,
}
# Codes of refusals that begin as an HTTP status, ours or aiohttp's.
CODE_OF_HTTP = {
    400: 3,
    401: 16,
    403: 7,
    404: 5,
    405: 12,
    406: 3,
    408: 4,
    409: 10,
    411: 3,
    412: 9,
    413: 8,
    414: 3,
    415: 3,
    417: 3,
    426: 12,
    429: 8,
    431: 8,
    499: 1,
    500: 13,
    501: 12,
    502: 14,
    503: 14,
    504: 4,
}

MAX_MESSAGE_CHARS = 4096
MAX_BODY_BYTES = 64 * 1024
ERROR_DOMAIN = "transcoder"
INVALID_INPUT = "INVALID_INPUT"
ENDED = web.RequestKey("ended", int)
"""gRPC code of a failure that the HTTP status of the answer cannot tell, or not alone."""

_HEADER_VALUE = re.compile(r"[\x20-\x7e\t]*")

Headers = Sequence[tuple[str, str]]
Violation = tuple[str, str]
"""Field path in proto names, and what is wrong with it."""


class HttpError(Exception):
    """An answer that is no success: a google.rpc.Status with its HTTP status and headers."""

    def __init__(
        self,
        status: status_pb2.Status,
        *,
        http_status: int | None = None,
        headers: Headers = (),
        trailers: Headers = (),
    ) -> None:
        """*trailers* are for protocols that have them."""
        super().__init__(f"{status.code}: {status.message}")
        self.status = status
        self.http_status = http_status or HTTP_STATUS.get(status.code, 500)
        self.headers = tuple(headers)
        self.trailers = tuple(trailers)

    def response(self, codec: JsonCodec | None = None) -> web.Response:
        """Return the answer; *codec* prints details of types that only its pool has."""
        return error_response(self.status, http_status=self.http_status, headers=self.headers, codec=codec)


def refusal(
    code: int,
    message: str,
    *,
    http_status: int | None = None,
    reason: str = "",
    details: Iterable[Message] = (),
    headers: Headers = (),
) -> HttpError:
    """Return an error of our own; *reason* adds an ErrorInfo."""
    status = status_pb2.Status(code=code, message=message[:MAX_MESSAGE_CHARS])
    if reason:
        info = error_details_pb2.ErrorInfo(reason=reason, domain=ERROR_DOMAIN)
        status.details.add().Pack(info)
    for detail in details:
        status.details.add().Pack(detail)
    return HttpError(status, http_status=http_status, headers=headers)


def bad_request(violations: Sequence[Violation]) -> HttpError:
    """Return a 400 that names every violated field (at most ``MAX_VIOLATIONS``), and a reason as every refusal of a service does."""
    shown = violations[:MAX_VIOLATIONS]
    detail = error_details_pb2.BadRequest()
    for field, description in shown:
        detail.field_violations.add(field=field, description=description)
    message = "; ".join(f"{field}: {text}" if field else text for field, text in shown)
    info = error_details_pb2.ErrorInfo(reason=INVALID_INPUT, domain=ERROR_DOMAIN)
    return refusal(INVALID_ARGUMENT, message, details=[detail, info])


def error_response(
    status: status_pb2.Status,
    *,
    http_status: int | None = None,
    headers: Headers = (),
    codec: JsonCodec | None = None,
) -> web.Response:
    """Return the answer for *status*: its JSON, its HTTP status, and the headers it calls for."""
    number = http_status or HTTP_STATUS.get(status.code, 500)
    if number < HTTPStatus.BAD_REQUEST:
        response = web.Response(status=number)
    else:
        body = status_json(status, codec)
        response = web.Response(status=number, body=body, content_type="application/json")
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Cache-Control"] = "no-store"
    for name, value in headers:
        if _HEADER_VALUE.fullmatch(value):
            response.headers.add(name, value)
    if number == HTTPStatus.UNAUTHORIZED and "WWW-Authenticate" not in response.headers:
        response.headers["WWW-Authenticate"] = "Bearer"
    delay = retry_after(status)
    if delay and number in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        response.headers["Retry-After"] = str(delay)
    if number == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        response.force_close()  # the rest of the body is not worth reading
    return response


def retry_after(status: status_pb2.Status) -> int:
    """Return the whole seconds of RetryInfo, rounded up and at least 1; 0 without RetryInfo."""
    for detail in status.details:
        if detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            try:
                delay = error_details_pb2.RetryInfo.FromString(detail.value).retry_delay
            except DecodeError:
                continue
            return max(1, int(delay.seconds + math.ceil(delay.nanos / scalars.NANOS)))
    return 0


def status_json(status: status_pb2.Status, codec: JsonCodec | None = None) -> bytes:
    """Print *status*; details are dropped from the end beyond 64 KiB."""
    details = [_detail(detail, codec) for detail in status.details]
    message = status.message[: MAX_BODY_BYTES // 4]  # a character is at most four bytes
    while True:
        body: dict[str, Any] = {"code": status.code, "message": message}
        if details or (codec is not None and codec.emits_empty_details):
            body["details"] = details
        printed = orjson.dumps(body)
        if len(printed) <= MAX_BODY_BYTES or not details:
            return printed
        details.pop()


def _detail(detail: any_pb2.Any, codec: JsonCodec | None) -> dict[str, Any]:
    """Print a detail with the loaded types, then the installed ones, else as base64."""
    for printer in (codec, default_codec()):
        if printer is not None:
            try:
                return printer.any_value(detail.type_url, detail.value)
            except JsonRefused:
                continue
    value = binascii.b2a_base64(detail.value, newline=False).decode("ascii")
    return {"@type": detail.type_url, "value": value}


@functools.cache
def default_codec() -> JsonCodec:
    """Return a codec for the installed types, google.rpc's error details among them."""
    return JsonCodec(descriptor_pool.Default(), Options())  # type: ignore[no-untyped-call]


def from_aiohttp(error: web.HTTPException) -> HttpError:
    """Return aiohttp's own refusal as ours, with its headers that callers need."""
    number = error.status
    code = CODE_OF_HTTP.get(number, INVALID_ARGUMENT if number < HTTPStatus.INTERNAL_SERVER_ERROR else UNKNOWN)
    kept = {"allow", "location", "retry-after", "www-authenticate"}
    headers = [(name, value) for name, value in error.headers.items() if name.lower() in kept]
    message = "" if number < HTTPStatus.BAD_REQUEST else error.reason
    return refusal(code, message, http_status=number, headers=headers)
