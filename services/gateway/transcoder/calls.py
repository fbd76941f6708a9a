"""Calls to backends: multicallables made once, and what their errors tell a caller."""

import asyncio
import logging
import re
from collections.abc import Iterable
from typing import Any, Protocol

import grpc
from google.protobuf import duration_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from services.gateway.transcoder import metadata as md
from services.gateway.transcoder.errors import (
    ABORTED,
    DATA_LOSS,
    INTERNAL,
    MAX_MESSAGE_CHARS,
    RESOURCE_EXHAUSTED,
    UNAVAILABLE,
    UNKNOWN,
    HttpError,
    refusal,
)
from services.gateway.transcoder.options import Options

log = logging.getLogger(__name__)

STATUS_DETAILS = "grpc-status-details-bin"
RETRY_S = 1  # by then a channel that was replaced is there again

# Texts of grpc-core about a connection; they name addresses. A service's own text reads otherwise.
_CORE_UNAVAILABLE = re.compile(
    r"ipv[46]:|unix:|all addresses|DNS|socket|connection|GOAWAY|errno|recvmsg|transport|stream removed",
    re.IGNORECASE,
)
_TOO_LARGE = re.compile(r"CLIENT: Received message larger than max")
_ERROR_HEADERS = ("www-authenticate", "retry-after")


class Channel(Protocol):
    """What of grpc.aio.Channel the transcoder uses; requests and responses are bytes."""

    def unary_unary(self, method: str) -> Any: ...
    def unary_stream(self, method: str) -> Any: ...
    def stream_unary(self, method: str) -> Any: ...
    def stream_stream(self, method: str) -> Any: ...


class Multicallables:
    """Multicallables by channel and method, for the life of the process."""

    def __init__(self) -> None:
        self._made: dict[tuple[Channel, str], Any] = {}

    def get(self, channel: Channel, kind: str, method: str) -> Any:
        """Return the multicallable of *method*; *kind* names the channel's factory."""
        key = (channel, method)
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = getattr(channel, kind)(method, request_serializer=None, response_deserializer=None)
        return made


class RpcErrors:
    """Translates errors of calls; hides what callers must not read."""

    def __init__(self, options: Options) -> None:
        self._expose = options.expose_internal_errors
        self._trailers = options.response_trailers
        self._headers = [name for name in options.response_headers if name in _ERROR_HEADERS]

    def translate(self, error: grpc.aio.AioRpcError, *, by_if_match: bool = False, request_id: str = "") -> HttpError:
        """Return the HTTP answer for *error*; ABORTED is 412 when the etag came by If-Match."""
        code = int(error.code().value[0])
        text = error.details() or ""
        if code == RESOURCE_EXHAUSTED and _TOO_LARGE.search(text):
            message = "the response is larger than the gateway takes"
            return refusal(INTERNAL, message, reason="RESPONSE_TOO_LARGE")
        trailers = list(error.trailing_metadata() or ())
        status = _details(code, trailers)
        from_service = status is not None
        if status is None:
            status = status_pb2.Status(code=code, message=text)
        self._hide(status, request_id, from_service=from_service)
        status.message = status.message[:MAX_MESSAGE_CHARS]
        sent = [*(error.initial_metadata() or ()), *trailers]
        return HttpError(
            status,
            http_status=412 if code == ABORTED and by_if_match else None,
            headers=md.response_headers(sent, self._headers),
            trailers=md.response_headers(trailers, self._trailers) if self._trailers else (),
        )

    def _hide(self, status: status_pb2.Status, request_id: str, *, from_service: bool) -> None:
        debug = error_details_pb2.DebugInfo.DESCRIPTOR
        kept = [detail for detail in status.details if not detail.Is(debug)]
        del status.details[:]
        status.details.extend(kept)
        suffix = f" (request {request_id})" if request_id else ""
        if status.code in {UNKNOWN, INTERNAL, DATA_LOSS} and not self._expose:
            log.error("backend error %d: %s", status.code, status.message)
            status.message = "internal error" + suffix
        elif (
            status.code == UNAVAILABLE
            and not (from_service or self._expose)
            and _CORE_UNAVAILABLE.search(status.message)
        ):
            log.warning("backend unavailable: %s", status.message)
            status.message = "the service is unavailable" + suffix


def _details(code: int, trailers: Iterable[tuple[str, str | bytes]]) -> status_pb2.Status | None:
    """Return the rich status of the trailers if it parses and agrees with *code*."""
    for name, value in trailers:
        if name == STATUS_DETAILS and isinstance(value, bytes):
            try:
                status = status_pb2.Status.FromString(value)
            except DecodeError:
                log.warning("%s does not parse", STATUS_DETAILS)
                return None
            if status.code == code:
                return status
            log.warning("%s has code %d, the call %d", STATUS_DETAILS, status.code, code)
            return None
    return None


def only_call_cancelled(call: Any) -> bool:
    """Return whether a CancelledError means the call alone, not the handler that awaits it.

    grpc.aio raises asyncio's CancelledError also when something else cancelled the call.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() == 0 and call.cancelled()


def unusable(error: grpc.aio.BaseError) -> HttpError:
    """Return the answer for a channel that cannot take calls, such as a closed one."""
    log.warning("call failed before it began: %s", error)
    advice = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=RETRY_S))
    return refusal(UNAVAILABLE, "the service is unavailable", reason="UPSTREAM_UNUSABLE", details=[advice])
