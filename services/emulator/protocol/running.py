"""From the body of a query request to executed statements: scripts, bulk binds, describing."""

from typing import Any

from services.emulator.engine import results
from services.emulator.engine.history import Record
from services.emulator.engine.results import Result, counted
from services.emulator.engine.session import LiveSession
from services.emulator.errors import SqlError, internal
from services.emulator.protocol import binds
from services.emulator.sql import types as t
from services.emulator.sql.dialect import split
from services.emulator.sql.scope import Output
from services.emulator.statements.run import execute, new_record


def run_request(session: LiveSession, record: Record, body: dict[str, Any]) -> None:
    """Run what *body* asks for; outcome or refusal ends up in *record*."""
    try:
        _run(session, record, body)
    except SqlError as error:
        _fail(record, error)
    except BaseException as error:
        _fail(record, internal(type(error).__name__))
        raise


def _fail(record: Record, error: SqlError) -> None:
    record.status, record.error = "FAILED", error
    record.done.set()


def _run(session: LiveSession, record: Record, body: dict[str, Any]) -> None:
    bindings, parameters = body.get("bindings"), dict(body.get("parameters") or {})
    describe_only = bool(body.get("describeOnly"))
    statements = split(record.text)
    wanted = int(parameters.pop("MULTI_STATEMENT_COUNT", session.parameter("MULTI_STATEMENT_COUNT")))
    overrides = {name: value for name, value in parameters.items() if name.upper() in _KNOWN}
    if wanted != 1 or len(statements) > 1:
        _script(session, record, statements, wanted, overrides)
    elif binds.is_bulk(bindings):
        _bulk(session, record, binds.rows(bindings), overrides)
    else:
        record.text = statements[0] if statements else record.text
        execute(session, record, binds.rows(bindings)[0], describe_only=describe_only, overrides=overrides)


_KNOWN = {
    "QUERY_TAG",
    "TIMEZONE",
    "STATEMENT_TIMEOUT_IN_SECONDS",
    "AUTOCOMMIT",
    "PYTHON_CONNECTOR_QUERY_RESULT_FORMAT",
    "ROWS_PER_RESULTSET",
    "USE_CACHED_RESULT",
}


def _script(
    session: LiveSession, record: Record, statements: list[str], wanted: int, overrides: dict[str, Any]
) -> None:
    if wanted not in {0, len(statements)}:
        raise SqlError(
            8, "0A000", f"Actual statement count {len(statements)} did not match the desired statement count {wanted}."
        )
    children: list[Result] = []
    for text in statements:
        child = new_record(session, text)
        children.append(execute(session, child, [], overrides=overrides))
    joined = Result(
        (Output("multiple statement execution", t.VARCHAR, nullable=False),),
        results.MULTI,
        rows=[("Multiple statements executed successfully.",)],
    )
    joined.children = [child.query_id for child in children]
    joined.children_kinds = [child.kind for child in children]
    record.status, record.result, record.rows = "SUCCESS", joined, 1
    record.done.set()


def _bulk(session: LiveSession, record: Record, rows: list[list[Any]], overrides: dict[str, Any]) -> None:
    """Run one DML once for each row of binds, all or none."""
    outer = session.transaction
    if outer is None:
        session.begin()
    total = 0
    try:
        for row in rows:
            child = new_record(session, record.text)
            answer = execute(session, child, row, overrides=overrides)
            total += int(answer.rows[0][0]) if answer.rows else 0
    except SqlError:
        if outer is None:
            session.finish(keep=False)
        raise
    if outer is None:
        session.finish(keep=True)
    record.status, record.result, record.rows = "SUCCESS", counted(results.INSERT, number_of_rows_inserted=total), total
    record.done.set()
