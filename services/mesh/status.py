"""MemoryBoxError to google.rpc.Status and back: the only place that knows both."""

from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2

from services.mesh import errors
from services.mesh.errors import MemoryBoxError, Violation

DOMAIN = "memorybox"
# Beyond gRPC's soft limit of 8 KiB for all metadata a status may be lost. On the wire details grow by a third, and a message that is not
# ASCII by up to three times. Much of a status is text that the caller sent, so every part has its bound in bytes.
MAX_MESSAGE = 512
MAX_CONTEXT = 128
MAX_FIELD = 128
MAX_DESCRIPTION = 384
MAX_BAD_REQUEST = 2048

_BY_CODE: Mapping[str, type[MemoryBoxError]] = {
    cls.code: cls
    for cls in (
        errors.InvalidInput,
        errors.Unauthenticated,
        errors.PermissionDenied,
        errors.NotFound,
        errors.AlreadyExists,
        errors.Conflict,
        errors.FailedPrecondition,
        errors.ResourceExhausted,
        errors.DeadlineExceeded,
        errors.BackendUnavailable,
        errors.NotBuilt,
        errors.DataLoss,
    )
}


def to_status(error: MemoryBoxError) -> status_pb2.Status:
    """Return *error* as a Status with ErrorInfo, and BadRequest or QuotaFailure and RetryInfo where it has them."""
    context = {key: _clipped(value, MAX_CONTEXT) for key, value in error.context.items()}
    details = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=context)]
    if error.violations:
        of_quota = isinstance(error, errors.ResourceExhausted)
        details.append(_quota_failure(error.violations) if of_quota else _bad_request(error.violations))
    if error.retry_after_s is not None:
        delay = Duration()
        delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=code_pb2.Code.Value(error.code), message=_clipped(error.message, MAX_MESSAGE))
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def _bad_request(violations: Sequence[Violation]) -> error_details_pb2.BadRequest:
    """Return as many of *violations* as there is room for, from the first on."""
    bad = error_details_pb2.BadRequest()
    for violation in violations:
        bad.field_violations.add(
            field=_clipped(violation.field, MAX_FIELD), description=_clipped(violation.description, MAX_DESCRIPTION)
        )
        if bad.ByteSize() > MAX_BAD_REQUEST:
            del bad.field_violations[-1]
            break
    return bad


def _quota_failure(violations: Sequence[Violation]) -> error_details_pb2.QuotaFailure:
    """Return *violations* of limits, of which an error names one or two."""
    failure = error_details_pb2.QuotaFailure()
    for violation in violations:
        failure.violations.add(
            subject=_clipped(violation.field, MAX_FIELD), description=_clipped(violation.description, MAX_DESCRIPTION)
        )
    return failure


def _clipped(text: str, size: int) -> str:
    """Return *text* in at most *size* bytes of UTF-8; three dots show that something is missing."""
    data = text.encode()
    return text if len(data) <= size else data[: size - 3].decode(errors="ignore") + "..."


def from_values(
    code: str, reason: str, message: str, *, violations: Sequence[Violation] = (), context: Mapping[str, str]
) -> MemoryBoxError:
    """Return an error that was kept as plain values."""
    result = _BY_CODE.get(code, MemoryBoxError)(message, violations=violations)
    result.reason, result.context = reason, dict(context)
    return result


def from_rpc_error(error: grpc.aio.AioRpcError) -> MemoryBoxError:
    """Return the error that the other side raised, as far as it said; the class follows the code, the reason travels along."""
    cls = _BY_CODE.get(error.code().name, MemoryBoxError)
    reason, context, violations, retry = None, {}, [], None
    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin":
            continue
        for detail in _details(value):
            info, bad, quota, retry_info = (
                error_details_pb2.ErrorInfo(),
                error_details_pb2.BadRequest(),
                error_details_pb2.QuotaFailure(),
                error_details_pb2.RetryInfo(),
            )
            if detail.Unpack(info):
                reason, context = info.reason, dict(info.metadata)
            elif detail.Unpack(bad):
                violations = [Violation(item.field, item.description) for item in bad.field_violations]
            elif detail.Unpack(quota):
                violations = [Violation(item.subject, item.description) for item in quota.violations]
            elif detail.Unpack(retry_info):
                retry = retry_info.retry_delay.ToNanoseconds() / 1e9
    result = cls(error.details() or error.code().name, violations=violations, retry_after_s=retry)
    result.context = context
    if reason is not None:
        result.reason = reason
    return result


def _details(value: Any) -> Sequence[any_pb2.Any]:
    status = status_pb2.Status()
    try:
        status.ParseFromString(value)
    except DecodeError:  # not ours; the code still tells the kind
        return ()
    return tuple(status.details)
