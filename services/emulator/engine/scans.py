"""Reading a table or view: versions in sight, row access policy, masking, and the rights it takes."""

import time

from sqlglot import exp

from services.emulator import errors
from services.emulator.engine.objects import Table
from services.emulator.engine.policies import masked, row_filter
from services.emulator.engine.store import View
from services.emulator.sql import information
from services.emulator.sql import types as t
from services.emulator.sql.casts import cast
from services.emulator.sql.compiler import Compiler
from services.emulator.sql.dialect import parse
from services.emulator.sql.names import fold, shown, split
from services.emulator.sql.scope import Output, Query, Scope


def table_parts(node: exp.Table) -> tuple[str, ...]:
    """Return the written path of a table, folded."""
    parts = [node.args.get("catalog"), node.args.get("db"), node.this]
    folded = tuple(fold(part) for part in parts if part is not None)
    if len(folded) == 2 and node.args.get("catalog") is not None:  # noqa: PLR2004 - `db..name` means its PUBLIC schema
        return folded[0], "PUBLIC", folded[1]
    return folded


def identifier_parts(c: Compiler, call: exp.Expr) -> tuple[str, ...]:
    """Return the path that IDENTIFIER('...') or TABLE('...') gives as text."""
    value = c.bind(call.expressions[0], Scope())
    if not isinstance(value.constant, str):
        raise errors.compilation(1003, "42000", "IDENTIFIER needs a constant")
    return split(value.constant)


def scan(c: Compiler, node: exp.Table) -> tuple[Query, tuple[str, ...]]:
    """Return the query that reads the table that *node* names, and the table's path."""
    parts = table_parts(node)
    if len(parts) > 1 and parts[-2] == information.SCHEMA:
        path = c.session.qualify(parts)
        return information.view(c, path[0], path[2]), path
    table = c.session.find_table(parts)
    return scan_table(c, table, node.args.get("when"))


def scan_table(
    c: Compiler, table: Table, when: exp.Expr | None = None, *, rowid: bool = False
) -> tuple[Query, tuple[str, ...]]:
    """Return the query that reads *table*; with *rowid* its last output is the version's number in the engine."""
    if not c.in_policy and not c.session.allowed(
        "SELECT", "VIEW" if table.is_view else "TABLE", ".".join(table.path), table.owner
    ):
        raise errors.missing(
            "Object", shown(table.name) if not c.session.service_role else ".".join(map(shown, table.path))
        )
    c.objects.append(table)
    if table.is_view:
        return _view(c, table), table.path
    view = c.view if when is None else historical(c, table, when)
    inner = ", ".join([f"{column.physical}" for column in table.columns] + (["rowid AS rid"] if rowid else []))
    base = f"SELECT {inner} FROM {table.physical} WHERE {view.where()}"
    if table.policy and not c.in_policy:
        base = f"SELECT * FROM ({base}) AS p WHERE {row_filter(c, table)}"
    columns = [f"{_visible(c, table, index)} AS c{index}" for index in range(len(table.columns))]
    if rowid:
        columns.append("m.rid AS rid")
    outputs = tuple(Output(column.name, column.type, column.nullable) for column in table.columns)
    return Query(f"SELECT {', '.join(columns)} FROM ({base}) AS m", outputs), table.path


def _visible(c: Compiler, table: Table, index: int) -> str:
    column = table.columns[index]
    if column.masking is None or c.in_policy:
        return f"m.{column.physical}"
    return masked(c, column, column.masking)


def _view(c: Compiler, table: Table) -> Query:
    """Return a view's rows: it reads with its owner's rights in the schema where it was made."""
    session = c.session
    kept = session.database, session.schema, session.role, session.secondary, session.service_role
    session.database, session.schema = table.database, table.schema
    if table.owner:
        session.role, session.secondary, session.service_role = table.owner, "NONE", ""
    ctes, c.ctes = c.ctes, []
    try:
        query = c.query(parse(table.query))
    finally:
        session.database, session.schema, session.role, session.secondary, session.service_role = kept
        c.ctes = ctes
    names = [column.name for column in table.columns]
    outputs = tuple(
        Output(name, output.type, output.nullable) for name, output in zip(names, query.outputs, strict=False)
    )
    return Query(query.sql, outputs)


def historical(c: Compiler, table: Table, when: exp.Expr) -> View:
    """Return what AT or BEFORE lets the statement see."""
    kind, before = str(when.args["kind"]).upper(), str(when.this).upper() == "BEFORE"
    value = c.bind(when.expression, Scope())
    if kind == "STATEMENT":
        return _at_statement(c, table, str(value.constant), before=before)
    if kind == "OFFSET":
        moment = time.time() + c.session.evaluate(cast(c, value, t.FLOAT).sql)
    elif kind == "TIMESTAMP":
        if not value.type.is_timestamp and value.type.name != "DATE":
            raise errors.compilation(1007, "22023", f"Invalid type [{value.type}] for TIMESTAMP in AT or BEFORE clause")
        instant = cast(c, value, t.TIMESTAMP_LTZ).sql
        moment = c.session.evaluate(f"epoch_us({instant})") / 1e6
    else:
        raise errors.unsupported(f"{kind} in AT or BEFORE")
    commit = c.session.store.commit_at(moment - (1e-6 if before else 0))
    if commit < table.born or moment > time.time() + 1:
        raise _beyond(table)
    return View(commit)


def _beyond(table: Table) -> errors.SqlError:
    text = f"Time travel data is not available for table {table.name}. The requested time is either beyond the allowed time travel period or before the object creation time."
    return errors.SqlError(707, "02000", text)


def _at_statement(c: Compiler, table: Table, query_id: str, *, before: bool) -> View:
    span = c.session.statement_commits(query_id)
    if span is None:
        raise errors.SqlError(709, "02000", f"Statement {query_id} not found")
    commit = span[0] if before else span[1]
    if commit < table.born:
        raise _beyond(table)
    return View(commit)
