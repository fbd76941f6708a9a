"""MERGE, docs: sql-reference/sql/merge."""

import pyarrow as pa
from sqlglot import exp

from services.emulator import errors
from services.emulator.engine.objects import Column
from services.emulator.engine.results import MERGE, Result, counted
from services.emulator.engine.scans import scan_table, table_parts
from services.emulator.sql import assignment
from services.emulator.sql.compiler import Compiler
from services.emulator.sql.dialect import parse, position
from services.emulator.sql.names import fold
from services.emulator.sql.operators import truth
from services.emulator.sql.scope import Scope
from services.emulator.sql.tables import item
from services.emulator.statements.changes import Change, writable
from services.emulator.statements.dispatch import Run, statement
from services.emulator.statements.dml import TARGET, assignments
from services.emulator.statements.queries import new_compiler, remember


@statement("MERGE INTO")
def merge(run: Run) -> Result:
    tree = parse(run.text)
    if not isinstance(tree, exp.Merge):
        raise errors.syntax(1, 0, "MERGE")
    if tree.args.get("returning") or tree.args.get("with_"):
        raise errors.syntax(*position(tree), "RETURNING")
    c = new_compiler(run)
    whens = tree.args["whens"].expressions
    kinds = {_kind(when) for when in whens}
    table = writable(run.session, table_parts(tree.this), min(kinds))
    for kind in kinds:
        writable(run.session, table_parts(tree.this), kind)
    with Change(run.session, table, locking=True) as change:
        c = new_compiler(run)
        scope, source_scope = Scope(), Scope()
        source = item(c, tree.args["using"], source_scope)
        query, path = scan_table(c, table, rowid=True)
        alias = fold(tree.this.args["alias"].this) if tree.this.args.get("alias") else ""
        scope.sources = [query.source(TARGET, (alias,) if alias else tuple(reversed(path))), *source_scope.sources]
        on = truth(c, tree.args["on"], scope).sql
        remember(run, c)
        answer = _Merging(run, change, c, whens, scope=scope, source_scope=source_scope)
        answer.stage(f"({query.sql}) AS {TARGET}", source, on)
        if run.describe_only:
            return counted(MERGE, **dict.fromkeys(_columns(kinds), 0))
        done = answer.apply()
    return counted(MERGE, **{name: done[name] for name in _columns(kinds)})


def _kind(when: exp.When) -> str:
    then = when.args["then"]
    if isinstance(then, exp.Insert):
        return "INSERT"
    return "UPDATE" if isinstance(then, exp.Update) else "DELETE"


def _columns(kinds: set[str]) -> list[str]:
    names = {
        "INSERT": "number_of_rows_inserted",
        "UPDATE": "number_of_rows_updated",
        "DELETE": "number_of_rows_deleted",
    }
    return [name for kind, name in names.items() if kind in kinds]


class _Merging:
    """One MERGE: which clause each pair of rows takes, then one write for each clause."""

    def __init__(
        self, run: Run, change: Change, c: Compiler, whens: list[exp.When], *, scope: Scope, source_scope: Scope
    ) -> None:
        self._run, self._change, self._c = run, change, c
        self._whens, self._scope, self._source_scope = whens, scope, source_scope
        self._clauses: list[tuple[str, list[Column], pa.Table]] = []

    def stage(self, target: str, source: str, on: str) -> None:
        """Compute every clause's rows before any is written."""
        c, table = self._c, self._change.table
        matched: list[exp.When] = []
        missed: list[exp.When] = []
        for when in self._whens:
            if when.args.get("source"):
                raise errors.syntax(*position(when), "BY SOURCE")
            (matched if when.args.get("matched") else missed).append(when)
        taken = "FALSE"
        cursor = self._run.session.cursor
        for when in matched:
            test = truth(c, when.args["condition"], self._scope).sql if when.args.get("condition") else "TRUE"
            then = when.args["then"]
            sets = assignments(c, table, then.expressions, self._scope) if isinstance(then, exp.Update) else []
            parts = ", ".join([f"{TARGET}.rid AS rid", *(f"{sql} AS {column.physical}" for column, sql in sets)])
            rows = cursor.sql(
                f"SELECT {parts} FROM {target} JOIN {source} ON {on} WHERE COALESCE({test}, FALSE) AND NOT {taken}"
            ).to_arrow_table()
            self._clauses.append((_kind(when), [column for column, _ in sets], rows))
            taken = f"({taken} OR COALESCE({test}, FALSE))"
        self._refuse_ambiguous()
        taken = "FALSE"
        for when in missed:
            test = truth(c, when.args["condition"], self._source_scope).sql if when.args.get("condition") else "TRUE"
            columns, cells = self._inserted(when.args["then"])
            picks = ", ".join(f"{cell} AS {column.physical}" for column, cell in zip(columns, cells, strict=True))
            rows = cursor.sql(
                f"SELECT {picks} FROM {source} WHERE NOT EXISTS (SELECT 1 FROM {target} WHERE {on}) AND COALESCE({test}, FALSE) AND NOT {taken}"
            ).to_arrow_table()
            self._clauses.append(("INSERT", columns, rows))
            taken = f"({taken} OR COALESCE({test}, FALSE))"

    def _refuse_ambiguous(self) -> None:
        if not self._run.session.parameter("ERROR_ON_NONDETERMINISTIC_MERGE"):
            return
        seen: set[int] = set()
        for _, _, rows in self._clauses:
            numbers = rows.column("rid").to_pylist()
            if len(set(numbers)) != len(numbers) or seen & set(numbers):
                raise errors.SqlError(100090, "42P18", "Duplicate row detected during DML action\nRow Values: [...]")
            seen |= set(numbers)

    def _inserted(self, then: exp.Insert) -> tuple[list[Column], list[str]]:
        c, table = self._c, self._change.table
        named = (
            [fold(part.this if isinstance(part, exp.Column) else part) for part in then.this.expressions]
            if isinstance(then.this, exp.Tuple)
            else [column.name for column in table.columns]
        )
        values = then.expression.expressions if isinstance(then.expression, exp.Tuple) else [then.expression]
        if len(named) != len(values):
            raise errors.compilation(
                2020,
                "21S01",
                f"Insert value list does not match column list expecting {len(named)} but got {len(values)}",
            )
        columns: list[Column] = []
        cells: list[str] = []
        for name, node in zip(named, values, strict=True):
            column = table.column(name)
            if column is None:
                raise errors.invalid_identifier(name, *position(node))
            columns.append(column)
            is_default = isinstance(node, exp.Column | exp.Var) and node.name.upper() == "DEFAULT"
            cells.append(
                assignment.default(c, column)
                if is_default
                else assignment.assigned(c, column, c.bind(node, self._source_scope))
            )
        for column in table.columns:
            if column not in columns:
                columns.append(column)
                cells.append(assignment.default(c, column))
        return columns, cells

    def apply(self) -> dict[str, int]:
        return self._change.apply(self._clauses)
