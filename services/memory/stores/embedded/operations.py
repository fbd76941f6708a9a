"""Operations as rows. One process at a time has the folder, so a lease of any other holder is a dead one's."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import apsw
import orjson

from services.memory.domain.operations import (
    Fault,
    Operation,
    OperationNotFound,
    OperationPlan,
    OperationRunning,
    OperationState,
)
from services.memory.stores.embedded.rows import from_us, time_us

_COLUMNS = (
    "operation_no, operation_id, kind, starter, state, cancelling, request, cursor, done_count, total_count, note, result,"
    " error, created_at, updated_at, due_at, attempts"
)
_ONE = f"SELECT {_COLUMNS} FROM operations WHERE operation_id = :id AND (:starter IS NULL OR starter = :starter)"  # noqa: S608
_PAGE = f"""
  SELECT {_COLUMNS} FROM operations WHERE (:starter IS NULL OR starter = :starter) AND operation_no < :before
  ORDER BY operation_no DESC LIMIT :limit
"""  # noqa: S608  # built of constants
_DUE = f"""
  SELECT {_COLUMNS} FROM operations
  WHERE state IN ('PENDING', 'RUNNING') AND (due_at <= :now OR cancelling) AND kind IN (SELECT value FROM json_each(:kinds))
    AND (lease_holder <> :holder OR lease_until <= :now)
  ORDER BY due_at, operation_no LIMIT 1
"""  # noqa: S608  # built of constants
_SAVE = """
  UPDATE operations SET state = :state, request = :request, cursor = :cursor, done_count = :done_count,
    total_count = :total_count, note = :note, result = :result, error = :error, updated_at = :updated_at, due_at = :due_at,
    attempts = :attempts, lease_holder = iif(:until > 0, :holder, ''), lease_until = :until
  WHERE operation_id = :id AND lease_holder = :holder
"""
_INSERT = """
  INSERT INTO operations (operation_id, kind, starter, request_key, state, cancelling, request, cursor, done_count,
    total_count, note, created_at, updated_at, due_at, attempts, lease_holder, lease_until)
  VALUES (?, ?, ?, ?, ?, 0, ?, 'null', 0, 0, '', ?, ?, ?, 0, '', 0)
"""
_RUNNING = "SELECT operation_id FROM operations WHERE kind = ? AND state IN ('PENDING', 'RUNNING')"
_END = (1 << 63) - 1

Row = tuple[Any, ...]


def add(
    connection: apsw.Connection, operation: Operation, request_key: str | None, *, alone: bool = False
) -> Operation:
    """Insert a new operation, or return the one that has *request_key*. Raises ``OperationRunning`` with *alone*."""
    if request_key is not None:
        known = connection.execute(
            f"SELECT {_COLUMNS} FROM operations WHERE request_key = ?",  # noqa: S608  # built of constants
            (request_key,),
        ).fetchone()
        if known is not None:
            return _row_to_operation(known)
    running = connection.execute(_RUNNING, (operation.kind,)).get if alone else None
    if running is not None:
        name = f"operations/{running}"
        raise OperationRunning(f"{name} is under way; wait for it, or cancel it", operation=name)
    connection.execute(
        _INSERT,
        (
            operation.operation_id,
            operation.kind,
            operation.starter,
            request_key,
            operation.state.value,
            orjson.dumps(operation.request).decode(),
            time_us(operation.created_at),
            time_us(operation.updated_at),
            time_us(operation.due_at),
        ),
    )
    return replace(operation, number=connection.last_insert_rowid())


def get(connection: apsw.Connection, operation_id: str, starter: str | None) -> Operation:
    """Return one operation, or raise ``OperationNotFound``."""
    found = connection.execute(_ONE, {"id": operation_id, "starter": starter}).fetchone()
    if found is None:
        raise OperationNotFound(f"no operation {operation_id!r}", operation_id=operation_id)
    return _row_to_operation(found)


def page(connection: apsw.Connection, plan: OperationPlan) -> list[Operation]:
    """Return one page."""
    before = _END if plan.before is None else plan.before
    bindings = {"starter": plan.starter, "before": before, "limit": plan.limit}
    return [_row_to_operation(row) for row in connection.execute(_PAGE, bindings)]


def ask_to_cancel(connection: apsw.Connection, operation_id: str, starter: str | None, now: datetime) -> Operation:
    """Mark an operation that is not over."""
    found = get(connection, operation_id, starter)
    if found.state.is_final or found.cancelling:
        return found
    connection.execute(
        "UPDATE operations SET cancelling = 1, updated_at = ? WHERE operation_id = ?", (time_us(now), operation_id)
    )
    return replace(found, cancelling=True, updated_at=now)


def find_due(connection: apsw.Connection, kinds: Sequence[str], holder: str, now: datetime) -> Operation | None:
    """Return the operation that is due longest and held by nobody alive."""
    bindings = {"now": time_us(now), "kinds": orjson.dumps(kinds).decode(), "holder": holder}
    found = connection.execute(_DUE, bindings).fetchone()
    return None if found is None else _row_to_operation(found)


def take(
    connection: apsw.Connection, kinds: Sequence[str], holder: str, now: datetime, until: datetime
) -> Operation | None:
    """Lease what is due."""
    found = find_due(connection, kinds, holder, now)
    if found is None:
        return None
    connection.execute(
        "UPDATE operations SET state = 'RUNNING', lease_holder = ?, lease_until = ?, updated_at = ? WHERE operation_id = ?",
        (holder, time_us(until), time_us(now), found.operation_id),
    )
    return replace(found, state=OperationState.RUNNING, updated_at=now)


def save(connection: apsw.Connection, operation: Operation, holder: str, until: datetime | None) -> Operation | None:
    """Keep what a step changed; None when *holder* has lost the lease."""
    fault = operation.fault
    bindings = {
        "id": operation.operation_id,
        "holder": holder,
        "until": 0 if until is None else time_us(until),
        "state": operation.state.value,
        "request": orjson.dumps(operation.request).decode(),
        "cursor": orjson.dumps(operation.cursor).decode(),
        "done_count": operation.done_count,
        "total_count": operation.total_count,
        "note": operation.note,
        "result": None if operation.result is None else orjson.dumps(operation.result).decode(),
        "error": None if fault is None else orjson.dumps(fault).decode(),
        "updated_at": time_us(operation.updated_at),
        "due_at": time_us(operation.due_at),
        "attempts": operation.attempts,
    }
    connection.execute(_SAVE, bindings)
    return get(connection, operation.operation_id, None) if connection.changes() else None


def _row_to_operation(row: Row) -> Operation:
    created, updated, due = (from_us(value) for value in row[13:16])
    assert created is not None and updated is not None and due is not None  # noqa: S101, PT018  # the columns are NOT NULL
    return Operation(
        number=row[0],
        operation_id=row[1],
        kind=row[2],
        starter=row[3],
        state=OperationState(row[4]),
        cancelling=bool(row[5]),
        request=orjson.loads(row[6]),
        cursor=orjson.loads(row[7]),
        done_count=row[8],
        total_count=row[9],
        note=row[10],
        result=None if row[11] is None else orjson.loads(row[11]),
        fault=None if row[12] is None else Fault(**orjson.loads(row[12])),
        created_at=created,
        updated_at=updated,
        due_at=due,
        attempts=row[16],
    )
