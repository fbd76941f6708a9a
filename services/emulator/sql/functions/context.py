"""What a statement may know of its session, docs: functions-context, and SYSTEM$ functions."""

from datetime import UTC, datetime

from sqlglot import exp

from services.emulator import errors
from services.emulator.engine.history import Record
from services.emulator.engine.session import LiveSession
from services.emulator.sql import types as t
from services.emulator.sql.casts import cast, to_wall
from services.emulator.sql.functions.registry import Call, built, special
from services.emulator.sql.scope import Expr, quoted


def _text(name: str, value: object) -> None:
    """Declare a function without arguments that answers with a fact of the session; empty is NULL."""

    def build(call: Call) -> Expr:
        found = value(call.c.session)  # type: ignore[operator]
        return Expr(
            quoted(str(found)) if found not in {None, ""} else "CAST(NULL AS VARCHAR)",
            t.VARCHAR,
            constant=str(found) if found else None,
        )

    special(name, 0, 0, page=name.lower())(build)


_text("CURRENT_USER", lambda s: s.user)
_text("CURRENT_ROLE", lambda s: s.role)
_text("CURRENT_WAREHOUSE", lambda s: s.warehouse)
_text("CURRENT_DATABASE", lambda s: s.database)
_text("CURRENT_SCHEMA", lambda s: s.schema)
_text("CURRENT_SCHEMAS", lambda s: f'["{s.database}.{s.schema}"]' if s.database else "[]")
_text("CURRENT_SESSION", lambda s: s.session_id)
_text("CURRENT_ACCOUNT", lambda s: s.account.name)
_text("CURRENT_ACCOUNT_NAME", lambda s: s.account.name)
_text("CURRENT_ORGANIZATION_NAME", lambda s: "EMULATOR")
_text("CURRENT_REGION", lambda s: "LOCAL")
_text("CURRENT_VERSION", lambda s: "9.36.0")
_text("CURRENT_CLIENT", lambda s: s.application or "emulator")
_text("CURRENT_STATEMENT", lambda s: s.record.text)
_text("CURRENT_ROLE_TYPE", lambda s: "ROLE")
_text("CURRENT_IP_ADDRESS", lambda s: "127.0.0.1")
_text("CURRENT_TRANSACTION", lambda s: s.transaction.mark if s.transaction else None)
_text(
    "CURRENT_SECONDARY_ROLES", lambda s: '{"roles":"","value":"' + (s.secondary if s.secondary == "ALL" else "") + '"}'
)
_text("CURRENT_AVAILABLE_ROLES", lambda s: "[" + ",".join(f'"{role}"' for role in sorted(s.roles())) + "]")
_text("INVOKER_ROLE", lambda s: s.role)


@special("LAST_QUERY_ID", 0, 1)
def _last_query(call: Call) -> Expr:
    found = call.c.session.last_query
    return Expr(quoted(found) if found else "CAST(NULL AS VARCHAR)", t.VARCHAR, constant=found or None)


def _now(call: Call) -> datetime:
    return datetime.fromtimestamp(call.c.session.record.started, UTC).replace(tzinfo=None)


@special("CURRENT_TIMESTAMP LOCALTIMESTAMP GETDATE SYSTIMESTAMP", 0, 1, page="current_timestamp")
def _current_timestamp(call: Call) -> Expr:
    return Expr(f"TIMESTAMP '{_now(call)}'", t.TIMESTAMP_LTZ, nullable=False)


@special("SYSDATE", 0, 0)
def _sysdate(call: Call) -> Expr:
    return Expr(f"TIMESTAMP '{_now(call)}'", t.TIMESTAMP_NTZ, nullable=False)


@special("CURRENT_DATE", 0, 0)
def _current_date(call: Call) -> Expr:
    return Expr(f"CAST({to_wall(call.c, f'TIMESTAMP {quoted(str(_now(call)))}')} AS DATE)", t.DATE, nullable=False)


@special("CURRENT_TIME LOCALTIME", 0, 1, page="current_time")
def _current_time(call: Call) -> Expr:
    return Expr(f"CAST({to_wall(call.c, f'TIMESTAMP {quoted(str(_now(call)))}')} AS TIME)", t.TIME, nullable=False)


@built("IS_ROLE_IN_SESSION", "s")
def _is_role(call: Call) -> Expr:
    held = ", ".join(quoted(role) for role in sorted(call.c.session.roles()))
    return call.result(f"({call.args[0].sql} IN ({held}))", t.BOOLEAN)


@built("IS_DATABASE_ROLE_IN_SESSION IS_INSTANCE_ROLE_IN_SESSION", "s*")
def _is_other_role(call: Call) -> Expr:
    return call.result("FALSE", t.BOOLEAN)


@built("GETVARIABLE", "s")
def _variable(call: Call) -> Expr:
    held = call.c.session.variables.get(str(call.args[0].constant))
    return Expr(quoted(str(held[0])) if held else "CAST(NULL AS VARCHAR)", t.VARCHAR)


def _may_cancel(session: LiveSession, record: Record) -> bool:
    """Say whether *session* may end a statement: a user's own, or one of a warehouse that its role operates."""
    return record.user == session.user or session.allowed("OPERATE", "WAREHOUSE", record.warehouse)


def _cancelled(call: Call, records: list[Record]) -> int:
    """Cancel those of *records* that run and that the session may end; return how many."""
    session: LiveSession = call.c.session
    if call.c.describing:
        return 0
    running = [
        record
        for record in records
        if record is not session.record and not record.done.is_set() and _may_cancel(session, record)
    ]
    for record in running:
        record.cancelled.set()
    return len(running)


@built("SYSTEM$CANCEL_QUERY", "s", page="system_cancel_query")
def _cancel(call: Call) -> Expr:
    query_id = str(call.c.session.evaluate(call.args[0].sql))
    record = call.c.session.account.history.get(query_id)
    if record is None or not _cancelled(call, [record]):
        return Expr(quoted("Identified SQL statement is not currently executing."), t.VARCHAR)
    return Expr(quoted(f"query [{record.query_id}] terminated."), t.VARCHAR)


@built("SYSTEM$CANCEL_ALL_QUERIES", "i", page="system_cancel_all_queries")
def _cancel_all(call: Call) -> Expr:
    session_id = call.c.session.evaluate(call.args[0].sql)
    records = [record for record in call.c.session.account.history.all() if record.session_id == session_id]
    return Expr(quoted(f"{_cancelled(call, records)} cancelled."), t.VARCHAR)


@built("SYSTEM$TYPEOF", "a", page="system_typeof")
def _typeof(call: Call) -> Expr:
    kind = str(call.args[0].type)
    return Expr(
        quoted(f"{kind}[LOB]" if kind.startswith(("VARCHAR", "VARIANT", "ARRAY", "OBJECT")) else kind), t.VARCHAR
    )


@built("SYSTEM$WAIT", "n?s", page="system_wait")
def _wait(call: Call) -> Expr:
    seconds = float(str(call.args[0].constant)) * {"MILLISECONDS": 0.001, "MINUTES": 60, "HOURS": 3600}.get(
        str(call.args[1].constant).upper() if len(call.args) > 1 else "SECONDS", 1
    )
    if call.c.session.record.cancelled.wait(
        min(seconds, float(call.c.session.parameter("STATEMENT_TIMEOUT_IN_SECONDS")))
    ):
        raise errors.cancelled()
    if seconds > float(call.c.session.parameter("STATEMENT_TIMEOUT_IN_SECONDS")):
        raise errors.timed_out(int(call.c.session.parameter("STATEMENT_TIMEOUT_IN_SECONDS")))
    return Expr(quoted(f"waited {seconds:g} seconds"), t.VARCHAR)


@special("SEARCH", 2, 4)
def _search(call: Call) -> Expr:
    """Whole words, case folded; the string must be a literal."""
    columns = (
        call.written[0].expressions
        if isinstance(call.written[0], exp.Tuple)
        else [call.written[0].this if isinstance(call.written[0], exp.Paren) else call.written[0]]
    )
    values = [call.c.bind(part, call.scope) for part in columns]
    wanted = call.c.bind(call.written[1], call.scope)
    if not isinstance(call.written[1], exp.Literal | exp.Placeholder) or not isinstance(wanted.constant, str):
        raise errors.compilation(
            1015,
            "22023",
            "argument 2 to function SEARCH needs to be constant, found '"
            + call.written[1].sql(dialect="snowflake")
            + "'",
        )
    for value in values:
        if value.type.name not in {"VARCHAR", "VARIANT", "ARRAY", "OBJECT"}:
            raise errors.invalid_types("SEARCH", ", ".join(str(v.type) for v in [*values, wanted]))
    options = {
        part.this.name.upper(): part.expression.name.upper() for part in call.written[2:] if isinstance(part, exp.Kwarg)
    }
    mode, analyzer = options.get("SEARCH_MODE", "OR"), options.get("ANALYZER", "DEFAULT_ANALYZER")
    tests = [
        f"sf_search({cast(call.c, value, t.VARCHAR).sql}, {wanted.sql}, '{mode}', '{analyzer}')" for value in values
    ]
    return Expr("(" + " OR ".join(tests) + ")", t.BOOLEAN)
