"""Errors a service raises on purpose, and the gRPC status each becomes.

* MemoryBoxError             INTERNAL             never raised itself
  x InvalidInput             INVALID_ARGUMENT     caller must change the request
  x Unauthenticated          UNAUTHENTICATED      no acceptable proof of who calls
  x PermissionDenied         PERMISSION_DENIED    known caller, not allowed
  x NotFound                 NOT_FOUND            no such thing for this caller
  x AlreadyExists            ALREADY_EXISTS       the caller's own thing is in the way
  x Conflict                 ABORTED              retry from a fresh read
  x FailedPrecondition       FAILED_PRECONDITION  the system's state must change first
  x ResourceExhausted        RESOURCE_EXHAUSTED   a limit or queue is full; retry later
  x DeadlineExceeded         DEADLINE_EXCEEDED    the caller's time is over
  x BackendUnavailable       UNAVAILABLE          retry with backoff
  x NotBuilt                 UNIMPLEMENTED        declared in the contract, not built yet
  x DataLoss                 DATA_LOSS            stored data failed an integrity check

This module imports nothing but the standard library, so that every domain may use it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Violation:
    """One field of a request that is wrong: ``field`` is its path in proto names, ``description`` says what is right."""

    field: str
    description: str


class MemoryBoxError(Exception):
    """Base of every deliberate error; ``reason``, ``context`` and ``violations`` travel to the caller.

    ``retry_after_s`` is advice in seconds, sent as google.rpc.RetryInfo when set.
    """

    code: ClassVar[str] = "INTERNAL"  # name of a grpc.StatusCode; no grpc import here
    reason: str = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        violations: Sequence[Violation] = (),
        retry_after_s: float | None = None,
        **context: str,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.violations = tuple(violations)
        self.retry_after_s = retry_after_s
        self.context = context


class InvalidInput(MemoryBoxError):
    """The request is wrong as it stands; repeating it unchanged cannot succeed."""

    code = "INVALID_ARGUMENT"
    reason = "INVALID_INPUT"


class Unauthenticated(MemoryBoxError):
    """Nobody acceptable vouches for this call."""

    code = "UNAUTHENTICATED"
    reason = "UNAUTHENTICATED"


class PermissionDenied(MemoryBoxError):
    """The caller is known and may not do this."""

    code = "PERMISSION_DENIED"
    reason = "PERMISSION_DENIED"


class NotFound(MemoryBoxError):
    """For this caller there is no such thing."""

    code = "NOT_FOUND"
    reason = "NOT_FOUND"


class AlreadyExists(MemoryBoxError):
    """Something of the caller's own already has this identity."""

    code = "ALREADY_EXISTS"
    reason = "ALREADY_EXISTS"


class Conflict(MemoryBoxError):
    """The thing changed in between; read it again and retry."""

    code = "ABORTED"
    reason = "CONFLICT"


class FailedPrecondition(MemoryBoxError):
    """The request is right but the system is not in the state it needs."""

    code = "FAILED_PRECONDITION"
    reason = "FAILED_PRECONDITION"


class ResourceExhausted(MemoryBoxError):
    """A queue or limit is full; the same request may succeed later."""

    code = "RESOURCE_EXHAUSTED"
    reason = "RESOURCE_EXHAUSTED"


class DeadlineExceeded(MemoryBoxError):
    """The caller's deadline ended before the answer."""

    code = "DEADLINE_EXCEEDED"
    reason = "DEADLINE_EXCEEDED"


class BackendUnavailable(MemoryBoxError):
    """Something this service depends on does not answer; retry with backoff."""

    code = "UNAVAILABLE"
    reason = "BACKEND_UNAVAILABLE"


class NotBuilt(MemoryBoxError):
    """The contract declares this; this version does not do it yet."""

    code = "UNIMPLEMENTED"
    reason = "NOT_BUILT"


class DataLoss(MemoryBoxError):
    """Stored data does not pass its integrity check; an operator must look."""

    code = "DATA_LOSS"
    reason = "DATA_LOSS"
