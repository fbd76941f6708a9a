"""The edge's own refusals, in the one form that every error of the gateway has."""

from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

from services.gateway.transcoder.errors import CODE_OF_HTTP, HttpError, refusal
from services.mesh.status import DOMAIN


def refuse(
    http_status: int,
    message: str,
    *,
    reason: str,
    headers: Sequence[tuple[str, str]] = (),
    retry_after_s: int | None = None,
) -> HttpError:
    """Return an error that answers *http_status*; *reason* is what programs look at."""
    details: list[error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo] = [
        error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN)
    ]
    if retry_after_s is not None:
        details.append(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=retry_after_s)))
    return refusal(CODE_OF_HTTP[http_status], message, http_status=http_status, details=details, headers=headers)


def reason_of(error: HttpError) -> str:
    """Return the reason that *error* carries, empty without one: what logs and metrics may show of it."""
    info = error_details_pb2.ErrorInfo()
    for detail in error.status.details:
        if detail.Unpack(info):
            return str(info.reason)
    return ""
