"""Data for the analyst's bench: tables in DuckDB, and perturbed copies of them."""

import random
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

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
    chosen = random.Random(seed)  # noqa: S311
    copy = duckdb.connect()
    copy.execute("SET threads = 1")  # the same rows are chosen in every run
    for (name,) in original.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall():
        frame = original.sql(f'SELECT * FROM "{name}"').to_arrow_table()  # noqa: S608
        copy.register("frame", frame)
        columns = copy.execute("DESCRIBE frame").fetchall()
        size = copy.execute("SELECT count(*) FROM frame").fetchone()
        dimension = name in keys and bool(keys[name])
        drop = 0.0 if dimension and size and size[0] < 200 else 0.05 if dimension else 0.12
        salt = chosen.randrange(1 << 30)
        shown = ", ".join(_shifted(str(column[0]), str(column[1]), keys.get(name, ()), salt) for column in columns)
        kept = f"hash(n, {salt}) % 1000 >= {int(drop * 1000)}"
        doubled = "" if dimension else f" UNION ALL SELECT * FROM numbered WHERE hash(n, {salt + 1}) % 1000 < 70"  # noqa: S608
        copy.execute(
            f'CREATE TABLE "{name}" AS WITH numbered AS (SELECT *, row_number() OVER () AS n FROM frame), '  # noqa: S608
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
    step = f"1 + hash(n, {salt + 2}) % 9"
    return f'CASE WHEN hash(n, {salt + 3}) % 3 = 0 THEN "{column}" + CAST({step} AS INTEGER) ELSE "{column}" END AS "{column}"'


def run(database: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query, up to a bound."""
    return database.execute(sql).fetchmany(_TIMEOUT_ROWS)
