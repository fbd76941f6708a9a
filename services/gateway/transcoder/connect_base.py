"""What all requests of the Connect protocol have in common (connectrpc.com/docs/protocol)."""

import base64
import re
from typing import Any

import orjson
from aiohttp import web
from google.protobuf import any_pb2
from google.rpc import status_pb2
from multidict import CIMultiDictProxy

from services.gateway.transcoder.codec import JsonCodec
from services.gateway.transcoder.errors import (
    INVALID_ARGUMENT,
    MAX_BODY_BYTES,
    HttpError,
    bad_request,
    default_codec,
    refusal,
)
from services.gateway.transcoder.protocols import JSON, PROTO, Pairs
from services.gateway.transcoder.values import JsonRefused

VERSION = "Connect-Protocol-Version"
TIMEOUT = "Connect-Timeout-Ms"
UNARY_TYPES = "application/json, application/proto"
STREAM_TYPES = "application/connect+json, application/connect+proto"

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

_FORMS = frozenset({JSON, PROTO})
_MILLISECONDS = re.compile(r"[0-9]{1,10}")


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


class Connect:
    """What unary calls and streams have in common."""

    def __init__(self, form: str, codec: JsonCodec, version: tuple[str, str, str | None], *, required: bool) -> None:
        """Take the form, ``""`` for an unknown one, and the name, due value and sent value of the version."""
        self.form = form
        self.headers: Pairs = []
        self._codec = codec
        self._version = version
        self._required = required

    def admit(self, *, served: bool, accepted: str) -> None:
        """Refuse a method or form that is not served, with what is *accepted*, and a wrong version."""
        if not served or self.form not in _FORMS:
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


def unsupported(accepted: str) -> HttpError:
    """Return the refusal of a Content-Type; *accepted* are those that the method takes."""
    return refusal(
        INVALID_ARGUMENT, f"this method takes {accepted}", http_status=415, headers=[("Accept-Post", accepted)]
    )


def without_body(error: HttpError) -> web.Response:
    """Return a 415 as the protocol has it: the status says all."""
    return web.Response(status=error.http_status, headers=dict(error.headers))


def _check_version(sent: str | None, expected: str, name: str, *, required: bool) -> None:
    if sent is None and required:
        raise bad_request([(name, f"is missing; must be {expected}")])
    if sent is not None and sent != expected:
        raise bad_request([(name, f"must be {expected}")])
