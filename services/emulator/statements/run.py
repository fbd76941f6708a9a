"""Runs statements: sets up what they see, times them, turns the engine's faults into Snowflake's, writes history."""

# ruff: noqa: F401 - modules are imported for what they register

import logging
import re
import threading
import time
from typing import Any

import duckdb

from services.emulator import errors
from services.emulator.engine.history import Record, new_query_id
from services.emulator.engine.parameters import coerce
from services.emulator.engine.results import Result
from services.emulator.engine.session import LiveSession
from services.emulator.sql.compiler import Bind
from services.emulator.sql.runtime.refusals import Refused, found
from services.emulator.statements import every
from services.emulator.statements.dispatch import Run, find
from services.emulator.statements.reader import Reader

log = logging.getLogger(__name__)


def new_record(session: LiveSession, text: str, request_id: str = "") -> Record:
    """Return a statement's entry in the history, before it runs."""
    record = Record(
        new_query_id(), text, session.session_id, session.user, session.role, session.warehouse, session.database, session.schema,
        str(session.parameter("QUERY_TAG")), request_id, user_type=session.user_type,
    )  # fmt: skip
    session.account.history.add(record)
    return record


def execute(
    session: LiveSession,
    record: Record,
    binds: list[Bind],
    *,
    describe_only: bool = False,
    overrides: dict[str, Any] | None = None,
) -> Result:
    """Run one statement to its end; raises ``SqlError``. One at a time for each session."""
    with session.lock:
        session.refuse_closed()
        session.overrides = {name.upper(): coerce(name.upper(), value) for name, value in (overrides or {}).items()}
        record.tag = str(session.parameter("QUERY_TAG"))
        session.record = record
        before = session.store.commit
        stop = _watch(session, record)
        try:
            result = _run(session, record, binds, describe_only=describe_only)
        except errors.SqlError as error:
            record.status, record.error = "FAILED", error
            raise
        finally:
            stop.set()
            record.commits = (before, session.store.commit)
            record.ended = time.time()
            session.overrides = {}
            session.last_query = record.query_id if not describe_only else session.last_query
            session.used = record.ended
            record.done.set()
        record.status, record.result, record.rows = "SUCCESS", result, result.count
        result.query_id = record.query_id
        return result


def _run(session: LiveSession, record: Record, binds: list[Bind], *, describe_only: bool) -> Result:
    reader = Reader(record.text)
    if reader.done:
        raise errors.SqlError(900, "42601", "SQL compilation error:\nEmpty SQL statement.")
    record.kind = reader.peek()
    run = find(reader)
    session.account.before(session, record)
    try:
        return run(Run(session, record.text, reader, binds, describe_only))
    except duckdb.InterruptException:
        raise _stopped(session, record) from None
    except Refused as error:
        raise translated(str(error)) from None
    except duckdb.Error as error:
        raise translated(str(error)) from error
    except RecursionError:
        raise errors.compilation(1003, "42000", "statement nested too deep") from None


def _stopped(session: LiveSession, record: Record) -> errors.SqlError:
    if record.cancelled.is_set():
        return errors.cancelled()
    return errors.timed_out(int(session.parameter("STATEMENT_TIMEOUT_IN_SECONDS")))


def _watch(session: LiveSession, record: Record) -> threading.Event:
    """Interrupt the engine when the statement is cancelled or out of time; the event returned ends the watch."""
    stop = threading.Event()
    limit = int(session.parameter("STATEMENT_TIMEOUT_IN_SECONDS")) or 604_800
    session.account.watchdog.watch(session, record, stop, record.started + limit)
    return stop


_CONVERSION = re.compile(
    r"Could not convert string ['\"](.*?)['\"] to (\w+)|Failed to cast (?:value|decimal value).*?to type|Type (\w+) with value (.*?) can't be cast",
    re.DOTALL,
)


def translated(text: str) -> errors.SqlError:  # noqa: PLR0911 - one line a fault
    """Return Snowflake's words for a fault of the engine."""
    if (refusal := found(text)) is not None:
        return refusal
    if "NOT NULL constraint failed" in text:
        return errors.SqlError(100072, "22000", "NULL result in a non-nullable column")
    if "must appear in the GROUP BY clause" in text or "must appear in GROUP BY" in text:
        column = re.search(r'column "?([\w.]+)"? must appear', text)
        return errors.compilation(
            979, "42601", f"[{column[1] if column else 'expression'}] is not a valid group by expression"
        )
    if "More than one row returned by a subquery" in text:
        return errors.SqlError(90150, "22000", "Single-row subquery returns more than one row.")
    if (match := _CONVERSION.search(text)) is not None or "Out of Range" in text or "Conversion Error" in text:
        value = match[1] if match and match[1] is not None else ""
        if "Could not cast value" in text or "out of range" in text.lower() or "Overflow" in text:
            return errors.SqlError(100039, "22003", f"Numeric value '{value or _value(text)}' is out of range")
        return errors.SqlError(100038, "22018", f"Numeric value '{value}' is not recognized")
    if "aggregate function calls cannot be nested" in text:
        return errors.compilation(2056, "42601", "Aggregate functions cannot be nested")
    log.warning("the engine refused what was compiled for it: %s", text.split("\n", maxsplit=1)[0][:500])
    return errors.internal(text.split("\n", maxsplit=1)[0][:300])


def _value(text: str) -> str:
    match = re.search(r"value ([-\d.eE+]+)", text)
    return match[1] if match else ""
