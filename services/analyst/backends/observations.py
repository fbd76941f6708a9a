"""What was observed in the warehouse of a model's columns: values, spans, types, whether they are unique."""

import logging
from collections.abc import Sequence

from sqlglot import exp

from services.analyst.domain.language import Distinct
from services.analyst.domain.language.answer import Scalar
from services.analyst.domain.ports import LoadedModel
from services.analyst.domain.semantic_model import Kind, LogicalTable
from services.analyst.domain.semantic_model.logical import rows
from services.analyst.domain.statements import Statements
from services.analyst.domain.warehouse import Rows
from services.mesh.errors import MemoryBoxError

MAX_DISTINCT = 5000  # values of one column; what has more is not looked up by value
_UNNAMED = "observed"

log = logging.getLogger(__name__)


class Observations:
    """Answers from what it saw before, and looks the first time; each look is a statement that the guard has checked.

    What cannot be looked at, such as a table that is not loaded, is None.
    """

    def __init__(self, model: LoadedModel, statements: Statements) -> None:
        self._model = model
        self._statements = statements
        self._stats: dict[str, tuple[int, dict[str, tuple[str, Scalar | None, Scalar | None]]] | None] = {}
        self._distinct: dict[tuple[str, str], Distinct | None] = {}
        self._unique: dict[tuple[str, tuple[str, ...]], bool | None] = {}
        self._determined: dict[tuple[str, tuple[str, ...], str], bool | None] = {}

    def distinct(self, table: str, column: str) -> Distinct | None:
        """Return the distinct values of a dimension, up to ``MAX_DISTINCT``."""
        key = (table.casefold(), column.casefold())
        if key not in self._distinct:
            self._distinct[key] = self._look_distinct(table, column)
        return self._distinct[key]

    def span(self, table: str, column: str) -> tuple[Scalar, Scalar] | None:
        """Return the lowest and highest value."""
        found = self._of(table, column)
        return None if found is None or found[1] is None or found[2] is None else (found[1], found[2])

    def column_type(self, table: str, column: str) -> str | None:
        """Return the engine's type of the column's expression."""
        found = self._of(table, column)
        return None if found is None else found[0]

    def row_count(self, table: str) -> int | None:
        """Return how many rows the table has."""
        stats = self._table(table)
        return None if stats is None else stats[0]

    def is_unique(self, table: str, columns: tuple[str, ...]) -> bool | None:
        """Tell whether no two rows agree in *columns*, logical or physical ones."""
        key = (table.casefold(), tuple(sorted(column.casefold() for column in columns)))
        if key not in self._unique:
            self._unique[key] = self._look_unique(table, columns)
        return self._unique[key]

    def determines(self, table: str, key: tuple[str, ...], column: str) -> bool | None:
        """Tell whether rows that agree in *key* agree in *column* too."""
        seen = (table.casefold(), tuple(sorted(name.casefold() for name in key)), column.casefold())
        if seen not in self._determined:
            self._determined[seen] = self._look_determined(table, key, column)
        return self._determined[seen]

    def _of(self, table: str, column: str) -> tuple[str, Scalar | None, Scalar | None] | None:
        stats = self._table(table)
        return None if stats is None else stats[1].get(column.casefold())

    def _table(self, name: str) -> tuple[int, dict[str, tuple[str, Scalar | None, Scalar | None]]] | None:
        key = name.casefold()
        if key not in self._stats:
            table = self._model.model.table(name)
            self._stats[key] = None if table is None else self._look_stats(table)
        return self._stats[key]

    def _look_stats(
        self, table: LogicalTable
    ) -> tuple[int, dict[str, tuple[str, Scalar | None, Scalar | None]]] | None:
        """Look at all columns at once; where one of them cannot be looked at, at one after the other."""
        names = [column.name for column in table.columns]
        found = self._spans(table, names)
        if found is not None:
            return found
        count = self._spans(table, [])
        if count is None:
            return None
        apart = (self._spans(table, [name]) for name in names)
        return count[0], {name: item for one in apart if one is not None for name, item in one[1].items()}

    def _spans(
        self, table: LogicalTable, names: Sequence[str]
    ) -> tuple[int, dict[str, tuple[str, Scalar | None, Scalar | None]]] | None:
        looked_at = [
            exp.alias_(kind(this=exp.column(exp.to_identifier(name))), f"c{at}_{kind.__name__.lower()}")
            for at, name in enumerate(names)
            for kind in (exp.Min, exp.Max)
        ]
        inner = rows(table, names) if names else exp.select("1").from_(rows(table).args["from_"].this.copy())
        result = self._run(exp.select(exp.Count(this=exp.Star()), *looked_at).from_(inner.subquery(_UNNAMED)), 1)
        if result is None:
            return None
        (row,) = result.rows
        spans = {
            name.casefold(): (result.columns[1 + 2 * at].type, row[1 + 2 * at], row[2 + 2 * at])
            for at, name in enumerate(names)
        }
        return row[0], spans

    def _look_distinct(self, table: str, column: str) -> Distinct | None:
        logical = self._model.model.table(table)
        found = logical.column(column) if logical else None
        if logical is None or found is None or found.kind is Kind.FACT:
            return None
        name = exp.column(exp.to_identifier(found.name))
        query = (
            exp.select(name)
            .distinct()
            .from_(rows(logical, [found.name]).subquery(_UNNAMED))
            .where(exp.Not(this=exp.Is(this=name.copy(), expression=exp.null())))
            .order_by("1")
        )
        result = self._run(query, MAX_DISTINCT)
        if result is None:
            return None
        return Distinct(tuple(row[0] for row in result.rows), complete=not result.truncated)

    def _look_unique(self, table: str, columns: tuple[str, ...]) -> bool | None:
        return self._look_for_none(table, columns, columns, exp.Count(this=exp.Star()))

    def _look_determined(self, table: str, key: tuple[str, ...], column: str) -> bool | None:
        name = exp.column(exp.to_identifier(column))
        values = exp.Count(this=exp.Distinct(expressions=[name]))
        nulls = exp.Max(this=exp.Case().when(name.copy().is_(exp.null()), "1").else_("0"))
        return self._look_for_none(table, key, (*key, column), exp.Add(this=values, expression=nulls))

    def _look_for_none(
        self, table: str, key: tuple[str, ...], columns: tuple[str, ...], count: exp.Expr
    ) -> bool | None:
        """Tell whether no group of rows that agree in *key* has a *count* above 1."""
        logical = self._model.model.table(table)
        if logical is None or not key:
            return None
        names = [exp.column(exp.to_identifier(name)) for name in key]
        given = exp.and_(*(exp.Not(this=exp.Is(this=name.copy(), expression=exp.null())) for name in names))
        query = (
            exp.select(exp.alias_(exp.Literal.number(1), "repeated"))
            .from_(rows(logical, columns).subquery(_UNNAMED))
            .where(given)
            .group_by(*(name.copy() for name in names))
            .having(exp.GT(this=count, expression=exp.Literal.number(1)))
        )
        result = self._run(query, 1)
        return None if result is None else not result.rows

    def _run(self, query: exp.Query, max_rows: int) -> Rows | None:
        try:
            return self._statements.run_blocking(query, self._model.allowed, max_rows)
        except MemoryBoxError as error:
            log.debug("not observed", extra={"reason": error.reason})
            return None
