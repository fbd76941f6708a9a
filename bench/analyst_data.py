"""Data for the analyst's bench: tables in DuckDB, two perturbed copies of them, and what a reader may observe of them."""

import random
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
from sqlglot import exp

from services.analyst.domain.language import Distinct
from services.analyst.domain.language.answer import Scalar
from services.analyst.domain.semantic_model import SemanticModel
from services.analyst.domain.semantic_model.logical import rows

_MAX_DISTINCT = 20_000  # values of a column that are kept
_TIMEOUT_ROWS = 200_000  # rows of a result that are fetched


@dataclass
class Table:
    """A CSV file, and the names of its columns when its header has others."""

    name: str
    path: Path
    columns: Sequence[str] = ()
    null: str = ""


def tables_of(spec: dict[str, Any], root: Path) -> list[Table]:
    """Return the tables that an entry of data.json lists."""
    return [
        Table(name, root / entry["file"], entry.get("columns", ()), entry.get("null", ""))
        for name, entry in spec["tables"].items()
    ]


def load(tables: Sequence[Table], unpacked: Path) -> duckdb.DuckDBPyConnection:
    """Return a database with the tables; zipped files are unpacked into a folder first."""
    database = duckdb.connect()
    for table in tables:
        path = table.path
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                path = Path(archive.extract(archive.namelist()[0], unpacked))
        options = {"header": True, "sample_size": -1, **({"na_values": table.null} if table.null else {})}
        relation = database.read_csv(str(path), **options)
        if table.columns:
            relation = relation.project(
                ", ".join(f'"{old}" AS "{new}"' for old, new in zip(relation.columns, table.columns, strict=True))
            )
        relation.create(table.name)
    return database


def perturbed(
    original: duckdb.DuckDBPyConnection, keys: dict[str, tuple[str, ...]], seed: int
) -> duckdb.DuckDBPyConnection:
    """Return a copy in which rows are gone, others come twice under a new key, and numbers that are no keys are shifted.

    ``keys`` names for each table its key and join columns: a row is doubled only where a key can be renamed without breaking a join,
    that is never in a table that others join to.
    """
    chosen = random.Random(seed)
    copy = duckdb.connect()
    for (name,) in original.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall():
        frame = original.sql(f'SELECT * FROM "{name}"').to_arrow_table()
        copy.register("frame", frame)
        columns = copy.execute("DESCRIBE frame").fetchall()
        size = copy.execute("SELECT count(*) FROM frame").fetchone()
        dimension = name in keys and bool(keys[name])
        drop = 0.0 if dimension and size and size[0] < 200 else 0.05 if dimension else 0.12  # noqa: PLR2004
        salt = chosen.randrange(1 << 30)
        shown = ", ".join(_shifted(str(column[0]), str(column[1]), keys.get(name, ()), salt) for column in columns)
        kept = f"hash(n, {salt}) % 1000 >= {int(drop * 1000)}"
        doubled = "" if dimension else f" UNION ALL SELECT * FROM numbered WHERE hash(n, {salt + 1}) % 1000 < 70"
        copy.execute(
            f'CREATE TABLE "{name}" AS WITH numbered AS (SELECT *, row_number() OVER () AS n FROM frame), '
            f"chosen AS (SELECT * FROM numbered WHERE {kept}{doubled}) SELECT {shown} FROM chosen"
        )
        copy.unregister("frame")
    return copy


def _shifted(column: str, kind: str, keys: Sequence[str], salt: int) -> str:
    """Return a column of a perturbed table: a third of its numbers a little different; keys, codes and dates as they were."""
    words = {
        "id",
        "year",
        "month",
        "day",
        "hour",
        "minute",
        "flight",
        "lat",
        "lon",
        "tz",
        "fiscalquarter",
        "fiscalyear",
        "engines",
        "seats",
    }
    lowered = column.lower()
    fixed = lowered in {key.lower() for key in keys} or lowered in words or lowered.endswith("_id") or "time" in lowered
    if fixed or not kind.startswith(("BIGINT", "INTEGER", "DOUBLE", "FLOAT", "DECIMAL")):
        return f'"{column}"'
    step = "1 + hash(n, {0}) % 9".format(salt + 2)
    return f'CASE WHEN hash(n, {salt + 3}) % 3 = 0 THEN "{column}" + CAST({step} AS INTEGER) ELSE "{column}" END AS "{column}"'


@dataclass
class Observed:
    """What was observed of a model's data, for the reader; asked of DuckDB once each."""

    model: SemanticModel
    database: duckdb.DuckDBPyConnection
    _kept: dict[tuple[str, ...], Any] = field(default_factory=dict)

    def distinct(self, table: str, column: str) -> Distinct | None:
        def ask() -> Distinct | None:
            found = self._ask(
                f"SELECT DISTINCT c FROM ({self._column(table, column)}) WHERE c IS NOT NULL ORDER BY 1 LIMIT {_MAX_DISTINCT + 1}"
            )
            return (
                None
                if found is None
                else Distinct(tuple(row[0] for row in found[:_MAX_DISTINCT]), len(found) <= _MAX_DISTINCT)
            )

        return self._once(("distinct", table, column), ask)

    def span(self, table: str, column: str) -> tuple[Scalar, Scalar] | None:
        def ask() -> tuple[Scalar, Scalar] | None:
            found = self._ask(f"SELECT min(c), max(c) FROM ({self._column(table, column)})")
            return None if not found or found[0][0] is None else (found[0][0], found[0][1])

        return self._once(("span", table, column), ask)

    def column_type(self, table: str, column: str) -> str | None:
        def ask() -> str | None:
            found = self._ask(f"DESCRIBE ({self._column(table, column)})")
            return str(found[0][1]) if found else None

        return self._once(("type", table, column), ask)

    def row_count(self, table: str) -> int | None:
        def ask() -> int | None:
            found = self._ask(f"SELECT count(*) FROM ({self._rows(table)})")
            return int(found[0][0]) if found else None

        return self._once(("rows", table), ask)

    def is_unique(self, table: str, columns: tuple[str, ...]) -> bool | None:
        def ask() -> bool | None:
            names = ", ".join(f'"{column}"' for column in columns)
            known = " AND ".join(f'"{column}" IS NOT NULL' for column in columns)
            found = self._ask(
                f"SELECT 1 FROM ({self._rows(table, *columns)}) WHERE {known} GROUP BY {names} HAVING count(*) > 1 LIMIT 1"
            )
            return None if found is None else not found

        return self._once(("unique", table, *columns), ask)

    def determines(self, table: str, key: tuple[str, ...], column: str) -> bool | None:
        def ask() -> bool | None:
            names = ", ".join(f'"{part}"' for part in key)
            found = self._ask(
                f'SELECT 1 FROM (SELECT DISTINCT {names}, "{column}" FROM ({self._rows(table, *key, column)})) GROUP BY {names} HAVING count(*) > 1 LIMIT 1'
            )
            return None if found is None else not found

        return self._once(("determines", table, *key, column), ask)

    def _once(self, key: tuple[str, ...], ask: Callable[[], Any]) -> Any:
        if key not in self._kept:
            self._kept[key] = ask()
        return self._kept[key]

    def _rows(self, table: str, *columns: str) -> str:
        entry = self.model.table(table)
        assert entry is not None  # noqa: S101
        return bare(rows(entry, columns or None)).sql(dialect="duckdb")

    def _column(self, table: str, column: str) -> str:
        return f'SELECT "{column}" AS c FROM ({self._rows(table, column)})'

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
            table.this.set("quoted", True)
    return query


def run(database: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query, up to a bound."""
    return database.execute(sql).fetchmany(_TIMEOUT_ROWS)
