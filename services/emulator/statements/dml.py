"""INSERT, UPDATE, DELETE, TRUNCATE: versions end, versions begin."""

from collections.abc import Iterable

from sqlglot import exp

from services.emulator import errors
from services.emulator.engine.objects import Column, Table
from services.emulator.engine.results import DELETE, INSERT, UPDATE, Result, counted, status
from services.emulator.engine.scans import scan_table, table_parts
from services.emulator.sql import assignment
from services.emulator.sql.compiler import Compiler
from services.emulator.sql.dialect import parse, position
from services.emulator.sql.names import fold, shown
from services.emulator.sql.operators import truth
from services.emulator.sql.scope import Expr, Scope
from services.emulator.sql.tables import item, values
from services.emulator.statements.changes import Change, writable
from services.emulator.statements.dispatch import Run, statement
from services.emulator.statements.queries import new_compiler, remember


@statement("INSERT INTO", "INSERT OVERWRITE INTO")
def insert(run: Run) -> Result:
    tree = parse(run.text)
    if not isinstance(tree, exp.Insert):
        raise errors.syntax(1, 0, "INSERT")
    for part in ("conflict", "returning", "alternative", "ignore", "by_name", "where", "partition", "settings"):
        if tree.args.get(part):
            raise errors.syntax(*position(tree), part.upper())
    c = new_compiler(run)
    c.in_values = True
    target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
    table = writable(run.session, table_parts(target), "INSERT")
    named = [fold(part) for part in tree.this.expressions] if isinstance(tree.this, exp.Schema) else []
    columns = _targets(table, named)
    source = _source(c, tree.expression, columns)
    if run.describe_only:
        answer = counted(INSERT, number_of_rows_inserted=0)
        answer.binds = c.next_bind
        return answer
    remember(run, c)
    with Change(run.session, table) as change:
        if tree.args.get("overwrite"):
            change.end_all()
        count = change.add(columns, source, _defaults(c, table, columns))
    return counted(INSERT, number_of_rows_inserted=count)


def _targets(table: Table, named: list[str]) -> list[Column]:
    if not named:
        return list(table.columns)
    found = []
    for name in named:
        column = table.column(name)
        if column is None:
            raise errors.invalid_identifier(name)
        found.append(column)
    if len({column.name for column in found}) != len(found):
        raise errors.compilation(
            2025, "42S21", f"duplicate column name '{next(n for n in named if named.count(n) > 1)}'"
        )
    return found


def _mismatch(expected: int, got: int) -> errors.SqlError:
    return errors.compilation(
        2020, "21S01", f"Insert value list does not match column list expecting {expected} but got {got}"
    )


def _source(c: Compiler, node: exp.Expr, columns: list[Column]) -> str:
    """Return the rows to insert, one output a column, each in the column's type."""
    if isinstance(node, exp.Values) and _has_defaults(node):
        return _rows_with_defaults(c, node, columns)
    query = values(c, node, Scope()) if isinstance(node, exp.Values) else c.query(node)
    if len(query.outputs) != len(columns):
        raise _mismatch(len(columns), len(query.outputs))
    parts = [
        f"{assignment.assigned(c, column, Expr(f's.c{at}', output.type))} AS {column.physical}"
        for at, (column, output) in enumerate(zip(columns, query.outputs, strict=True))
    ]
    return f"SELECT {', '.join(parts)} FROM ({query.sql}) AS s"


def _has_defaults(node: exp.Values) -> bool:
    return any(_is_default(part) for row in node.expressions for part in row.expressions)


def _is_default(node: exp.Expr) -> bool:
    return isinstance(node, exp.Var | exp.Column) and node.name.upper() == "DEFAULT"


def _rows_with_defaults(c: Compiler, node: exp.Values, columns: list[Column]) -> str:
    rows = []
    for row in node.expressions:
        if len(row.expressions) != len(columns):
            raise _mismatch(len(columns), len(row.expressions))
        cells = [
            assignment.default(c, column)
            if _is_default(part)
            else assignment.assigned(c, column, c.bind(part, Scope()))
            for part, column in zip(row.expressions, columns, strict=True)
        ]
        rows.append(
            "SELECT " + ", ".join(f"{cell} AS {column.physical}" for cell, column in zip(cells, columns, strict=True))
        )
    return " UNION ALL ".join(rows)


def _defaults(c: Compiler, table: Table, given: Iterable[Column]) -> dict[str, str]:
    held = {column.physical for column in given}
    return {column.physical: assignment.default(c, column) for column in table.columns if column.physical not in held}


def _plain(run: Run, kind: type[exp.Expr], name: str) -> exp.Expr:
    """Return the statement as a tree of *kind*, without the clauses that only other dialects have there."""
    tree = parse(run.text)
    if not isinstance(tree, kind):
        raise errors.syntax(1, 0, name)
    for part in ("returning", "limit", "order", "with_"):
        if tree.args.get(part):
            raise errors.syntax(*position(tree), part.upper())
    return tree


@statement("UPDATE")
def update(run: Run) -> Result:
    tree = _plain(run, exp.Update, "UPDATE")
    table = writable(run.session, table_parts(tree.this), "UPDATE")
    with Change(run.session, table, locking=True) as change:
        c = new_compiler(run)
        scope, source = _target(c, tree.this, table)
        if (more := tree.args.get("from_")) is not None:
            source += f", {item(c, more.this, scope)}"
            for join in more.this.args.get("joins") or ():
                source += f", {item(c, join.this, scope)}"
        where = tree.args.get("where")
        condition = f" WHERE {truth(c, where.this, scope).sql}" if where else ""
        sets = assignments(c, table, tree.expressions, scope)
        remember(run, c)
        if run.describe_only:
            return counted(UPDATE, number_of_rows_updated=0, number_of_multi_joined_rows_updated=0)
        parts = ", ".join([f"{TARGET}.rid AS rid", *(f"{sql} AS {column.physical}" for column, sql in sets)])
        joined = change.stage(f"SELECT {parts} FROM {source}{condition}")
        count = change.replace([column for column, _ in sets])
    return counted(UPDATE, number_of_rows_updated=count, number_of_multi_joined_rows_updated=max(0, joined - count))


TARGET = "target"


def _target(c: Compiler, node: exp.Table, table: Table) -> tuple[Scope, str]:
    """Return a scope that has the table to change, and the engine's SQL that reads it with row numbers."""
    scope = Scope()
    query, path = scan_table(c, table, rowid=True)
    alias = fold(node.args["alias"].this) if node.args.get("alias") else ""
    scope.sources.append(query.source(TARGET, (alias,) if alias else tuple(reversed(path))))
    return scope, f"({query.sql}) AS {TARGET}"


def assignments(c: Compiler, table: Table, nodes: list[exp.Expr], scope: Scope) -> list[tuple[Column, str]]:
    """Return what SET changes: column and the engine's SQL of its new value."""
    found: list[tuple[Column, str]] = []
    for node in nodes:
        if not isinstance(node, exp.EQ):
            raise errors.syntax(*position(node), node.sql(dialect="snowflake"))
        name = fold(node.this.this)
        column = table.column(name)
        if column is None:
            raise errors.invalid_identifier(name, *position(node))
        if any(column is held for held, _ in found):
            raise errors.compilation(2025, "42S21", f"duplicate column name '{shown(name)}'")
        sql = (
            assignment.default(c, column)
            if _is_default(node.expression)
            else assignment.assigned(c, column, c.bind(node.expression, scope))
        )
        found.append((column, sql))
    return found


@statement("DELETE FROM")
def delete(run: Run) -> Result:
    tree = _plain(run, exp.Delete, "DELETE")
    table = writable(run.session, table_parts(tree.this), "DELETE")
    with Change(run.session, table, locking=True) as change:
        c = new_compiler(run)
        scope, source = _target(c, tree.this, table)
        for more in tree.args.get("using") or ():
            source += f", {item(c, more, scope)}"
        where = tree.args.get("where")
        condition = f" WHERE {truth(c, where.this, scope).sql}" if where else ""
        remember(run, c)
        if run.describe_only:
            return counted(DELETE, number_of_rows_deleted=0)
        change.stage(f"SELECT DISTINCT {TARGET}.rid AS rid FROM {source}{condition}")
        count = change.end_staged()
    return counted(DELETE, number_of_rows_deleted=count)


@statement("TRUNCATE TABLE", "TRUNCATE")
def truncate(run: Run) -> Result:
    missing_ok = run.reader.accept("IF", "EXISTS")
    path = run.reader.path()
    run.reader.finish()
    try:
        table = writable(run.session, path, "TRUNCATE")
    except errors.SqlError as error:
        if missing_ok and error.code == 2003:  # noqa: PLR2004 - does not exist
            return status("Statement executed successfully.")
        raise
    with Change(run.session, table, locking=True) as change:
        change.end_all()
    return status("Statement executed successfully.")
