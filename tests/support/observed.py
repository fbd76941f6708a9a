"""What a reader may observe of a model's data, asked of a DuckDB database whose tables have the base tables' bare names."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import duckdb
from sqlglot import exp

from services.analyst.domain.language import Distinct
from services.analyst.domain.language.answer import Scalar
from services.analyst.domain.semantic_model import SemanticModel
from services.analyst.domain.semantic_model.logical import rows

Answer = TypeVar("Answer")
_MAX_DISTINCT = 20_000  # values of a column that are kept


@dataclass
class Observed:
    """What was observed of a model's data, for the reader; asked of DuckDB once each."""

    model: SemanticModel
    database: duckdb.DuckDBPyConnection
    _kept: dict[tuple[str, ...], Any] = field(default_factory=dict)

    def distinct(self, table: str, column: str) -> Distinct | None:
        def ask() -> Distinct | None:
            found = self._ask(
                f"SELECT DISTINCT c FROM ({self._column(table, column)}) WHERE c IS NOT NULL ORDER BY 1 LIMIT {_MAX_DISTINCT + 1}"  # noqa: S608
            )
            return (
                None
                if found is None
                else Distinct(tuple(row[0] for row in found[:_MAX_DISTINCT]), len(found) <= _MAX_DISTINCT)
            )

        return self._once(("distinct", table, column), ask)

    def span(self, table: str, column: str) -> tuple[Scalar, Scalar] | None:
        def ask() -> tuple[Scalar, Scalar] | None:
            found = self._ask(f"SELECT min(c), max(c) FROM ({self._column(table, column)})")  # noqa: S608
            return None if not found or found[0][0] is None else (found[0][0], found[0][1])

        return self._once(("span", table, column), ask)

    def column_type(self, table: str, column: str) -> str | None:
        def ask() -> str | None:
            found = self._ask(f"DESCRIBE ({self._column(table, column)})")
            return str(found[0][1]) if found else None

        return self._once(("type", table, column), ask)

    def row_count(self, table: str) -> int | None:
        def ask() -> int | None:
            found = self._ask(f"SELECT count(*) FROM ({self._rows(table)})")  # noqa: S608
            return int(found[0][0]) if found else None

        return self._once(("rows", table), ask)

    def is_unique(self, table: str, columns: tuple[str, ...]) -> bool | None:
        def ask() -> bool | None:
            names = ", ".join(f'"{column}"' for column in columns)
            known = " AND ".join(f'"{column}" IS NOT NULL' for column in columns)
            found = self._ask(
                f"SELECT 1 FROM ({self._rows(table, *columns)}) WHERE {known} GROUP BY {names} HAVING count(*) > 1 LIMIT 1"  # noqa: S608
            )
            return None if found is None else not found

        return self._once(("unique", table, *columns), ask)

    def determines(self, table: str, key: tuple[str, ...], column: str) -> bool | None:
        def ask() -> bool | None:
            names = ", ".join(f'"{part}"' for part in key)
            found = self._ask(
                f'SELECT 1 FROM (SELECT DISTINCT {names}, "{column}" FROM ({self._rows(table, *key, column)})) GROUP BY {names} HAVING count(*) > 1 LIMIT 1'  # noqa: S608
            )
            return None if found is None else not found

        return self._once(("determines", table, *key, column), ask)

    def _once(self, key: tuple[str, ...], ask: Callable[[], Answer]) -> Answer:
        if key not in self._kept:
            self._kept[key] = ask()
        kept: Answer = self._kept[key]
        return kept

    def _rows(self, table: str, *columns: str) -> str:
        entry = self.model.table(table)
        assert entry is not None
        return bare(rows(entry, columns or None)).sql(dialect="duckdb")

    def _column(self, table: str, column: str) -> str:
        return f'SELECT "{column}" AS c FROM ({self._rows(table, column)})'  # noqa: S608

    def _ask(self, sql: str) -> list[tuple[Any, ...]] | None:
        try:
            return self.database.execute(sql).fetchall()
        except duckdb.Error:
            return None  # a column that the data do not have is not observed


def bare(query: exp.Query) -> exp.Query:
    """Return a query whose base tables are named without database and schema."""
    for table in query.find_all(exp.Table):
        table.set("db", None)
        table.set("catalog", None)
        if not table.name.startswith("__"):
            table.this.set("quoted", True)  # noqa: FBT003  sqlglot's own signature
    return query
