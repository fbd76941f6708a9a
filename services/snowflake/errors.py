"""What failures of the connector and of Snowflake's REST API are to us: one table, and which of them a new session cures."""

from dataclasses import dataclass

from snowflake.connector import errors as connector
from snowflake.connector.network import ReauthenticationRequest

from services.mesh.errors import (
    BackendUnavailable,
    DeadlineExceeded,
    FailedPrecondition,
    MemoryBoxError,
    ResourceExhausted,
    Unauthenticated,
)

# The session no longer exists; nothing of the statement was done. 250001 after a login means that a session could not be renewed (5.x),
# 250002 that it was closed.
SESSION_GONE = frozenset({390104, 390111, 390112, 390113, 390114, 390115, 250001, 250002})
LOGIN_REFUSED = frozenset({390100, 390101, 390114, 390144, 390195, 390201, 390303, 390318})
# Worth a second login with a freshly read token; a wrong password is not.
LOGIN_TOKEN_STALE = frozenset({390114, 390195, 390303, 390318})


class SnowflakeUnavailable(BackendUnavailable):
    """Snowflake does not answer, or not now."""

    reason = "SNOWFLAKE_UNAVAILABLE"


class LoginRefused(BackendUnavailable):
    """Snowflake does not let this service in; an operator must look at its credentials."""

    reason = "SNOWFLAKE_LOGIN_REFUSED"


class CallerRefused(Unauthenticated):
    """Snowflake does not accept the caller's token; a new one comes with the caller's next request."""

    reason = "SNOWFLAKE_CALLER_REFUSED"


class WarehouseUnavailable(BackendUnavailable):
    """The warehouse is suspended and does not resume, or none is set."""

    reason = "SNOWFLAKE_WAREHOUSE_UNAVAILABLE"


class TooManyWriters(ResourceExhausted):
    """Twenty statements wait for the same table already; the same one succeeds when they are through."""

    reason = "SNOWFLAKE_LOCK_QUEUE_FULL"


class NotGranted(FailedPrecondition):
    """An object does not exist or the role may not use it; Snowflake does not say which."""

    reason = "SNOWFLAKE_OBJECT_MISSING"


class StatementTimeout(DeadlineExceeded):
    """The statement took longer than the caller's deadline, and was ended."""

    reason = "SNOWFLAKE_STATEMENT_TIMEOUT"


class StatementFailed(FailedPrecondition):
    """Snowflake refused a statement of ours: its tables are not those that this version expects, or the fault is ours."""

    reason = "SNOWFLAKE_STATEMENT_FAILED"


@dataclass(frozen=True, slots=True)
class _Meaning:
    error: type[MemoryBoxError]
    advice: str
    retry_after_s: float | None = None


_UNAVAILABLE = _Meaning(SnowflakeUnavailable, "Snowflake does not answer; try again", 2.0)
_MISSING = _Meaning(NotGranted, "Snowflake: an object does not exist or is not granted to the role of this session")
_WAREHOUSE = _Meaning(
    WarehouseUnavailable, "the warehouse does not run: set SNOWFLAKE_WAREHOUSE, resume it, or grant USAGE on it", 5.0
)
_TIMEOUT = _Meaning(StatementTimeout, "the statement was ended at its deadline")

# By the connector's errno, which has no leading zeros.
MEANINGS: dict[int, _Meaning] = {
    606: _WAREHOUSE,
    604: _TIMEOUT,
    630: _TIMEOUT,
    625: _Meaning(TooManyWriters, "too many statements wait for this table; try again", 0.5),
    639: _Meaning(TooManyWriters, "the table stayed locked; try again", 0.5),
    2003: _MISSING,
    2043: _MISSING,
    3001: _MISSING,
    90073: _WAREHOUSE,
    **dict.fromkeys(SESSION_GONE, _UNAVAILABLE),
}


def errno_of(error: BaseException) -> int:
    """Return the number of a connector's error, 0 for one without."""
    cause = getattr(error, "cause", error)  # 4.x wraps what asks for a new login
    return int(getattr(cause, "errno", 0) or 0)


def session_is_gone(error: BaseException) -> bool:
    """Say whether *error* means that its session ended before the statement ran, so that a new one may repeat it."""
    return errno_of(error) in SESSION_GONE or isinstance(error, ReauthenticationRequest)


def login_failure(error: BaseException, *, of_caller: bool) -> MemoryBoxError:
    """Return what a failed login is to us."""
    number = errno_of(error)
    if number in LOGIN_REFUSED or isinstance(error, ReauthenticationRequest):
        if of_caller:
            return CallerRefused("Snowflake does not accept the caller's token", errno=str(number))
        return LoginRefused(
            "Snowflake refuses the login of this service; see its credentials", retry_after_s=10.0, errno=str(number)
        )
    return SnowflakeUnavailable("Snowflake cannot be reached; try again", retry_after_s=2.0, errno=str(number))


def statement_failure(error: BaseException) -> MemoryBoxError:
    """Return what a failed statement is to us; never with Snowflake's words, which may quote data."""
    number = errno_of(error)
    query = str(getattr(error, "sfqid", "") or "")
    meaning = MEANINGS.get(number)
    if meaning is None and isinstance(
        error, connector.ProgrammingError | connector.IntegrityError | connector.DataError
    ):
        return StatementFailed(f"Snowflake refused a statement (error {number})", errno=str(number), query_id=query)
    found = meaning or _UNAVAILABLE
    return found.error(found.advice, retry_after_s=found.retry_after_s, errno=str(number), query_id=query)
