"""The local warehouse: one DuckDB file. Statements run in read-only transactions of an engine that can reach nothing but it."""

import asyncio
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import duckdb
from sqlglot import exp

from services.analyst.backends.staging import clear, staged
from services.analyst.domain.guard import Place, TableName
from services.analyst.domain.warehouse import (
    MAX_RESULT_BYTES,
    MAX_ROW_BYTES,
    MAX_ROWS,
    ColumnType,
    Rows,
    StatementFailed,
    StatementTooLarge,
    Table,
)
from services.mesh.errors import BackendUnavailable, DataLoss, FailedPrecondition

FILE_NAME = "warehouse.duckdb"
WORKERS = 8  # statements at once; more wait. They share the engine's threads
_MIB = 1 << 20
_FETCH = 500
_INTERRUPT_EVERY_S = 0.05  # an interrupt that comes before the statement begins is lost
_CELL_BYTES = 16  # about what a number takes in an answer
_SCHEMA = """
  CREATE SCHEMA IF NOT EXISTS memorybox;
  CREATE TABLE IF NOT EXISTS memorybox.tables (name VARCHAR PRIMARY KEY, owner_user VARCHAR, row_count BIGINT, loaded_at TIMESTAMP);
"""
_CATALOG = """
  SELECT t.name, t.owner_user, t.row_count, t.loaded_at, list({'name': c.column_name, 'type': c.data_type} ORDER BY c.column_index)
  FROM memorybox.tables t JOIN duckdb_columns() c ON c.schema_name = 'main' AND c.table_name = t.name
  GROUP BY ALL ORDER BY t.name
"""

T = TypeVar("T")


class WarehouseLocked(FailedPrecondition):
    """Another process has the warehouse open."""

    reason = "WAREHOUSE_LOCKED"


class DuckDbWarehouse:
    """A warehouse and its tables, over one file."""

    dialect = "duckdb"

    def __init__(self, connection: duckdb.DuckDBPyConnection, folder: Path, load_mib: int, memory_mib: int) -> None:
        self._connection = connection
        self._staging = folder / "staging"
        self._load_mib = load_mib
        self._memory_mib = memory_mib
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="warehouse")
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="warehouse-load")
        self._tables: Mapping[str, Table] = {}
        self.generation = 0
        self._read_catalog()

    @classmethod
    def open(cls, folder: Path, *, memory_mib: int, threads: int, load_mib: int) -> "DuckDbWarehouse":
        """Open the warehouse in *folder*. Raises ``WarehouseLocked``, ``DataLoss``."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        clear(folder / "staging")
        clear(folder / "spill")
        settings: dict[str, Any] = {
            "enable_external_access": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
            "memory_limit": f"{memory_mib}MB",
            "threads": str(threads),
            "temp_directory": os.fspath(folder / "spill"),
            "max_temp_directory_size": f"{8 * memory_mib}MB",
            "preserve_insertion_order": "true",
        }
        try:
            connection = duckdb.connect(os.fspath(folder / FILE_NAME), config=settings)
            connection.execute("SET GLOBAL TimeZone = 'UTC'")
            connection.execute("SET lock_configuration = true")
            connection.execute(_SCHEMA)
        except duckdb.IOException as error:
            if "lock" in str(error):
                raise WarehouseLocked(
                    f"{folder / FILE_NAME} is in use by another process; stop it or choose another folder"
                ) from error
            raise DataLoss("the warehouse cannot be opened; restore it from a backup or remove it") from error
        return cls(connection, folder, load_mib, memory_mib)

    async def close(self) -> None:
        """End what runs and close the file."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._loader.shutdown(wait=True, cancel_futures=True)
        self._connection.close()

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
        cursor = self._connection.cursor()
        work = asyncio.get_running_loop().run_in_executor(self._pool, _fetch, cursor, sql, max_rows)
        try:
            return await asyncio.shield(work)
        finally:
            while not work.done():
                cursor.interrupt()
                await asyncio.wait({work}, timeout=_INTERRUPT_EVERY_S)
            cursor.close()

    def run_blocking(self, sql: str, *, max_rows: int, timeout_s: float) -> Rows:
        """Run a reading statement on this thread, for at most *timeout_s*."""
        cursor = self._connection.cursor()
        timer = threading.Timer(timeout_s, cursor.interrupt)
        timer.start()
        try:
            return _fetch(cursor, sql, max_rows)
        finally:
            timer.cancel()
            cursor.close()

    async def load(self, name: str, owner_user: str, file: Path, kind: str, null_text: str) -> Table:
        """Make *file* the table *name*; whole or not at all."""
        await self._write(lambda cursor: self._load(cursor, name, owner_user, file, kind=kind, null_text=null_text))
        return self._tables[name.casefold()]

    async def drop(self, names: Iterable[str]) -> None:
        """Drop tables, and write the file so that their bytes are free."""
        chosen = list(names)

        def work(cursor: duckdb.DuckDBPyConnection) -> None:
            with _transaction(cursor):
                for name in chosen:
                    cursor.execute(f"DROP TABLE IF EXISTS main.{_quoted(name)}")
                    cursor.execute("DELETE FROM memorybox.tables WHERE lower(name) = lower(?)", [name])
            cursor.execute("CHECKPOINT")

        await self._write(work)

    async def rename_owner(self, owner_user: str, to: str) -> None:
        """Give the tables of *owner_user* another owner."""

        def work(cursor: duckdb.DuckDBPyConnection) -> None:
            cursor.execute("UPDATE memorybox.tables SET owner_user = ? WHERE owner_user = ?", [to, owner_user])
            cursor.execute("CHECKPOINT")

        await self._write(work)

    async def _write(self, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        def run() -> T:
            cursor = self._connection.cursor()
            try:
                return work(cursor)
            except duckdb.TransactionException as error:
                raise BackendUnavailable("the warehouse is busy; try again", retry_after_s=1.0) from error
            finally:
                cursor.close()
                self._read_catalog()

        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._loader, run))

    def _load(
        self, cursor: duckdb.DuckDBPyConnection, name: str, owner_user: str, file: Path, *, kind: str, null_text: str
    ) -> None:
        with staged(file, kind, null_text, max_bytes=self._load_mib * _MIB, memory_mib=self._memory_mib) as rows:
            cursor.register("incoming", rows)
            with _transaction(cursor):
                cursor.execute(f"DROP TABLE IF EXISTS main.{_quoted(name)}")
                cursor.execute(f"CREATE TABLE main.{_quoted(name)} AS SELECT * FROM incoming")  # noqa: S608  # a checked name
                cursor.execute("DELETE FROM memorybox.tables WHERE lower(name) = lower(?)", [name])
                cursor.execute(
                    f"INSERT INTO memorybox.tables SELECT ?, ?, count(*), ? FROM main.{_quoted(name)}",  # noqa: S608
                    [name, owner_user, datetime.now(UTC).replace(tzinfo=None)],
                )
            cursor.unregister("incoming")

    def _read_catalog(self) -> None:
        cursor = self._connection.cursor()
        rows = cursor.execute(_CATALOG).fetchall()
        cursor.close()
        self._tables = {row[0].casefold(): _table(row) for row in rows}
        self.generation += 1


class _transaction:  # noqa: N801  # reads as a word of the statements around it
    """Commits what is done inside, or nothing of it."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        self._cursor = cursor

    def __enter__(self) -> None:
        self._cursor.execute("BEGIN")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._cursor.execute("COMMIT" if kind is None else "ROLLBACK")


def _fetch(cursor: duckdb.DuckDBPyConnection, sql: str, max_rows: int) -> Rows:
    """Run *sql* and return up to *max_rows* rows and ``MAX_RESULT_BYTES``."""
    try:
        cursor.execute("BEGIN TRANSACTION READ ONLY")
        cursor.execute(sql)
        columns = tuple(ColumnType(item[0], str(item[1])) for item in cursor.description or ())
        rows: list[tuple[Any, ...]] = []
        size = 0
        while len(rows) <= max_rows and (block := cursor.fetchmany(_FETCH)):
            for row in block:
                row_size = sum(map(_size, row))
                if row_size > MAX_ROW_BYTES:
                    raise StatementTooLarge(f"a row of the result has more than {MAX_ROW_BYTES} bytes")
                size += row_size
                if len(rows) == max_rows or size > MAX_RESULT_BYTES:
                    return Rows(columns, rows, truncated=True)
                rows.append(row)
        return Rows(columns, rows)
    except duckdb.InterruptException as error:
        raise StatementTooLarge("the statement took longer than it may") from error
    except duckdb.OutOfMemoryException as error:
        raise StatementTooLarge("the statement needs more memory than one may take; ask for less at once") from error
    except duckdb.Error as error:
        raise StatementFailed(f"the statement does not run: {_message(error)}") from error


def _size(value: Any) -> int:
    return len(value) + 2 if isinstance(value, str | bytes | list | dict) else _CELL_BYTES


def _message(error: duckdb.Error) -> str:
    """Return what DuckDB says in its first line; later ones quote the statement."""
    return str(error).partition("\n")[0].partition("Error: ")[2][:300] or "it is refused"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _table(row: Sequence[Any]) -> Table:
    columns = tuple(ColumnType(item["name"], item["type"]) for item in row[4])
    return Table(row[0], row[1], row[2], columns, row[3].replace(tzinfo=UTC))
