"""One DuckDB file that can reach nothing but itself: reading statements side by side, changes one after the other."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from services.analyst.domain.warehouse import (
    MAX_RESULT_BYTES,
    MAX_ROW_BYTES,
    ColumnType,
    Rows,
    StatementFailed,
    StatementTooLarge,
)
from services.mesh.errors import BackendUnavailable, DataLoss, FailedPrecondition
from services.mesh.files import sync_folder

FILE_NAME = "warehouse.duckdb"
WORKERS = 8  # statements at once; more wait. They share the engine's threads
_FETCH = 500
_INTERRUPT_EVERY_S = 0.05  # an interrupt that comes before the statement begins is lost
_CELL_BYTES = 16  # about what a number takes in an answer

T = TypeVar("T")


class WarehouseLocked(FailedPrecondition):
    """Another process has the warehouse open."""

    reason = "WAREHOUSE_LOCKED"


class _Gate:
    """Lets many use the file at once, or one alone replace it."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._users = 0
        self._closed = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        with self._condition:
            self._condition.wait_for(lambda: not self._closed)
            self._users += 1
        try:
            yield
        finally:
            with self._condition:
                self._users -= 1
                self._condition.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._condition:
            self._condition.wait_for(lambda: not self._closed)
            self._closed = True
            self._condition.wait_for(lambda: self._users == 0)
        try:
            yield
        finally:
            with self._condition:
                self._closed = False
                self._condition.notify_all()


class _Statement:
    """A statement that may be told to stop, before it begins as well."""

    def __init__(self) -> None:
        self._cursor: duckdb.DuckDBPyConnection | None = None
        self._stopped = False

    def stop(self) -> None:
        self._stopped = True
        if self._cursor is not None:
            with contextlib.suppress(duckdb.ConnectionException):  # it has just ended
                self._cursor.interrupt()

    def run(self, cursor: duckdb.DuckDBPyConnection, sql: str, max_rows: int) -> Rows:
        self._cursor = cursor
        try:
            if self._stopped:
                raise StatementTooLarge("the statement was ended before it began")
            return _fetch(cursor, sql, max_rows)
        finally:
            self._cursor = None
            cursor.close()


class Engine:
    """The file and the threads that use it."""

    def __init__(self, folder: Path, *, memory_mib: int, threads: int) -> None:
        self._folder = folder
        self._settings: dict[str, Any] = {
            "enable_external_access": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
            "memory_limit": f"{memory_mib}MB",
            "threads": str(threads),
            "temp_directory": os.fspath(folder / "spill"),
            "max_temp_directory_size": f"{8 * memory_mib}MB",
        }
        self._connection = self._open()
        self._gate = _Gate()
        self._readers = ThreadPoolExecutor(WORKERS, thread_name_prefix="warehouse")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="warehouse-write")

    def close(self) -> None:
        """End what runs and close the file."""
        self._readers.shutdown(wait=True, cancel_futures=True)
        self._writer.shutdown(wait=True, cancel_futures=True)
        self._connection.close()

    async def read(self, sql: str, max_rows: int) -> Rows:
        """Return the rows of a reading statement; it is interrupted when the caller is cancelled."""
        statement = _Statement()
        work = asyncio.get_running_loop().run_in_executor(self._readers, self._run, statement, sql, max_rows)
        try:
            return await asyncio.shield(work)
        finally:
            while not work.done():
                statement.stop()
                await asyncio.wait({work}, timeout=_INTERRUPT_EVERY_S)
            if not work.cancelled():
                work.exception()  # nobody waits for it any more

    def read_blocking(self, sql: str, max_rows: int, timeout_s: float) -> Rows:
        """Do the same on this thread, for at most *timeout_s*."""
        statement = _Statement()
        timer = threading.Timer(timeout_s, statement.stop)
        timer.start()
        try:
            return self._run(statement, sql, max_rows)
        finally:
            timer.cancel()

    async def write(self, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Return what *work* does in a transaction; it is done all the same when the caller is cancelled."""
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._writer, self.write_blocking, work))

    def write_blocking(self, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Do the same on this thread."""
        with self._gate.shared():
            cursor = self._connection.cursor()
            try:
                with _transaction(cursor):
                    return work(cursor)
            except duckdb.TransactionException as error:
                raise BackendUnavailable("the warehouse is busy; try again", retry_after_s=1.0) from error
            finally:
                cursor.close()

    async def scrub(self) -> None:
        """Write the file anew, so that nothing is left of what was dropped. Statements wait meanwhile."""
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._writer, self._rewrite))

    def _run(self, statement: _Statement, sql: str, max_rows: int) -> Rows:
        with self._gate.shared():
            return statement.run(self._connection.cursor(), sql, max_rows)

    def _rewrite(self) -> None:
        path, fresh = self._folder / FILE_NAME, self._folder / "spill" / FILE_NAME
        with self._gate.alone():
            self._connection.execute("CHECKPOINT")  # so that no log is left beside the file
            self._connection.close()
            try:
                fresh.unlink(missing_ok=True)
                with duckdb.connect(":memory:") as copying:
                    copying.execute(f"ATTACH '{_literal(path)}' AS was (READ_ONLY)")
                    copying.execute(f"ATTACH '{_literal(fresh)}' AS fresh")
                    copying.execute("COPY FROM DATABASE was TO fresh")
                    copying.execute("DETACH fresh")
                _sync(fresh)
                fresh.replace(path)
                sync_folder(self._folder)
            finally:
                self._connection = self._open()

    def _open(self) -> duckdb.DuckDBPyConnection:
        path = self._folder / FILE_NAME
        try:
            connection = duckdb.connect(os.fspath(path), config=self._settings)
        except duckdb.IOException as error:
            if "lock" in str(error):
                raise WarehouseLocked(
                    f"{path} is in use by another process; stop it or choose another folder"
                ) from error
            raise DataLoss("the warehouse cannot be opened; restore it from a backup or remove it") from error
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        connection.execute("SET lock_configuration = true")
        return connection


@contextmanager
def _transaction(cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Commit what is done inside, or nothing of it."""
    cursor.execute("BEGIN")
    try:
        yield
    except BaseException:
        cursor.execute("ROLLBACK")
        raise
    cursor.execute("COMMIT")


def _fetch(cursor: duckdb.DuckDBPyConnection, sql: str, max_rows: int) -> Rows:
    """Run *sql* in a read-only transaction and return up to *max_rows* rows and ``MAX_RESULT_BYTES``."""
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


def _literal(path: Path) -> str:
    return os.fspath(path).replace("'", "''")


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
