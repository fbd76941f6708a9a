"""MemoryBoxError to google.rpc.Status and back: the only place that knows both."""

from collections.abc import Mapping

import grpc
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2

from services.mesh import errors
from services.mesh.errors import MemoryBoxError, Violation

DOMAIN = "memorybox"
MAX_VIOLATIONS = 20  # trailers must stay below gRPC's 8 KiB soft limit of metadata
MAX_MESSAGE = 1024

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
    """Return *error* as a Status with ErrorInfo, and BadRequest and RetryInfo where it has them."""
    details = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.context)]
    if error.violations:
        bad = error_details_pb2.BadRequest()
        for violation in error.violations[:MAX_VIOLATIONS]:
            bad.field_violations.add(field=violation.field[:256], description=violation.description[:512])
        details.append(bad)
    if error.retry_after_s is not None:
        delay = Duration()
        delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=code_pb2.Code.Value(error.code), message=error.message[:MAX_MESSAGE])
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def from_rpc_error(error: grpc.aio.AioRpcError) -> MemoryBoxError:
    """Return the error that the other side raised, as far as it said; the class follows the code, the reason travels along."""
    cls = _BY_CODE.get(error.code().name, MemoryBoxError)
    reason, context, violations, retry = None, {}, [], None
    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin":
            continue
        for detail in status_pb2.Status.FromString(value).details:
            info, bad, retry_info = (
                error_details_pb2.ErrorInfo(),
                error_details_pb2.BadRequest(),
                error_details_pb2.RetryInfo(),
            )
            if detail.Unpack(info):
                reason, context = info.reason, dict(info.metadata)
            elif detail.Unpack(bad):
                violations = [Violation(item.field, item.description) for item in bad.field_violations]
            elif detail.Unpack(retry_info):
                retry = retry_info.retry_delay.ToNanoseconds() / 1e9
    result = cls(error.details() or error.code().name, violations=violations, retry_after_s=retry)
    result.context = context
    if reason is not None:
        result.reason = reason
    return result
