"""The local warehouse: tables that users load, in one DuckDB file."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
from sqlglot import exp

from services.analyst.backends.engine import Engine
from services.analyst.backends.staging import clear, staged
from services.analyst.domain.guard import Place, TableName
from services.analyst.domain.warehouse import MAX_ROWS, ColumnType, Rows, Table

_MIB = 1 << 20
_SCHEMA = """
  CREATE SCHEMA IF NOT EXISTS memorybox;
  CREATE TABLE IF NOT EXISTS memorybox.tables (name VARCHAR PRIMARY KEY, owner_user VARCHAR, row_count BIGINT, loaded_at TIMESTAMP);
"""
_CATALOG = """
  SELECT t.name, t.owner_user, t.row_count, t.loaded_at, list({'name': c.column_name, 'type': c.data_type} ORDER BY c.column_index)
  FROM memorybox.tables t JOIN duckdb_columns() c ON c.schema_name = 'main' AND c.table_name = t.name
  GROUP BY ALL ORDER BY t.name
"""


class DuckDbWarehouse:
    """A warehouse and its tables, over one file."""

    dialect = "duckdb"

    def __init__(self, engine: Engine, staging: Path, load_mib: int, memory_mib: int) -> None:
        self._engine = engine
        self._staging = staging
        self._load_mib = load_mib
        self._memory_mib = memory_mib
        self._tables: Mapping[str, Table] = {}
        self.generation = 0
        engine.write_blocking(lambda cursor: cursor.execute(_SCHEMA))
        engine.write_blocking(self._read_catalog)

    @classmethod
    def open(cls, folder: Path, *, memory_mib: int, threads: int, load_mib: int) -> "DuckDbWarehouse":
        """Open the warehouse in *folder*. Raises ``WarehouseLocked``, ``DataLoss``."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        clear(folder / "staging")
        clear(folder / "spill")
        return cls(Engine(folder, memory_mib=memory_mib, threads=threads), folder / "staging", load_mib, memory_mib)

    async def close(self) -> None:
        """End what runs and close the file."""
        await asyncio.to_thread(self._engine.close)

    @property
    def staging(self) -> Path:
        """Where files wait to be loaded."""
        return self._staging

    def places(self, names: Iterable[TableName]) -> Mapping[TableName, Place]:
        """Return where those of *names* are that there are: by the whole name, else by the bare one."""
        found = {}
        for name in names:
            table = self._tables.get(name.dotted.casefold()) or self._tables.get(name.table.casefold())
            if table is not None:
                columns = [column.name for column in table.columns]
                found[name] = Place(exp.table_(exp.to_identifier(table.name, quoted=True), db="main"), columns)
        return found

    def tables(self) -> Sequence[Table]:
        """Return all tables, by name."""
        return list(self._tables.values())

    async def run(self, sql: str, *, max_rows: int = MAX_ROWS) -> Rows:
        """Run a reading statement; it is interrupted when the caller is cancelled."""
        return await self._engine.read(sql, max_rows)

    def run_blocking(self, sql: str, *, max_rows: int, timeout_s: float) -> Rows:
        """Run a reading statement on this thread, for at most *timeout_s*."""
        return self._engine.read_blocking(sql, max_rows, timeout_s)

    async def load(self, name: str, owner_user: str, file: Path, kind: str, null_text: str) -> Table:
        """Make *file* the table *name*; whole or not at all."""

        def work(cursor: duckdb.DuckDBPyConnection) -> None:
            with staged(file, kind, null_text, max_bytes=self._load_mib * _MIB, memory_mib=self._memory_mib) as rows:
                _drop(cursor, name)
                cursor.register("incoming", rows)
                cursor.execute(f"CREATE TABLE main.{_quoted(name)} AS SELECT * FROM incoming")  # noqa: S608  # a checked name
                cursor.unregister("incoming")
            cursor.execute(
                f"INSERT INTO memorybox.tables SELECT ?, ?, count(*), ? FROM main.{_quoted(name)}",  # noqa: S608
                [name, owner_user, datetime.now(UTC).replace(tzinfo=None)],
            )

        await self._change(work)
        return self._tables[name.casefold()]

    async def drop(self, names: Iterable[str]) -> None:
        """Drop tables."""
        chosen = list(names)

        def work(cursor: duckdb.DuckDBPyConnection) -> None:
            for name in chosen:
                _drop(cursor, name)

        await self._change(work)

    async def rename_owner(self, owner_user: str, to: str) -> None:
        """Give the tables of *owner_user* another owner."""
        statement = "UPDATE memorybox.tables SET owner_user = ? WHERE owner_user = ?"
        await self._change(lambda cursor: cursor.execute(statement, [to, owner_user]))

    async def scrub(self) -> None:
        """Remove the bytes of what was dropped or renamed from the disk."""
        await self._engine.scrub()

    async def _change(self, work: Callable[[duckdb.DuckDBPyConnection], object]) -> None:
        await self._engine.write(work)
        await self._engine.write(self._read_catalog)

    def _read_catalog(self, cursor: duckdb.DuckDBPyConnection) -> None:
        rows = cursor.execute(_CATALOG).fetchall()
        self._tables = {row[0].casefold(): _table(row) for row in rows}
        self.generation += 1


def _drop(cursor: duckdb.DuckDBPyConnection, name: str) -> None:
    cursor.execute(f"DROP TABLE IF EXISTS main.{_quoted(name)}")
    cursor.execute("DELETE FROM memorybox.tables WHERE lower(name) = lower(?)", [name])


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _table(row: Sequence[Any]) -> Table:
    columns = tuple(ColumnType(item["name"], item["type"]) for item in row[4])
    return Table(row[0], row[1], row[2], columns, row[3].replace(tzinfo=UTC))
