"""The analyst's SQLite file: one writing connection and one reading one, each on a thread of its own."""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import apsw

from services.analyst.stores.schema import MIGRATIONS
from services.mesh.errors import BackendUnavailable, DataLoss, FailedPrecondition
from services.mesh.files import sync_folder

FILE_NAME = "analyst.sqlite"
_BUSY_TIMEOUT_MS = 5000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
T = TypeVar("T")


class SchemaTooNew(FailedPrecondition):
    """The data folder was written by a newer version."""

    reason = "ANALYST_SCHEMA_TOO_NEW"


class Database:
    """Runs work in transactions; a commit is durable when it returns."""

    def __init__(self, path: Path) -> None:
        self._writing, self._reading = _connect(path), _connect(path)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="analyst-write")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="analyst-read")

    @classmethod
    def open(cls, folder: Path) -> "Database":
        """Open the file in *folder* with the newest schema. Raises ``SchemaTooNew``, ``DataLoss``."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _translated():
            database = cls(folder / FILE_NAME)
            _migrate(database._writing)
        sync_folder(folder)
        return database

    async def write(self, work: Callable[[apsw.Connection], T]) -> T:
        """Return what *work* does in a transaction; it is done all the same when the caller is cancelled."""
        return await asyncio.shield(
            asyncio.get_running_loop().run_in_executor(self._writer, _in, self._writing, "IMMEDIATE", work)
        )

    async def read(self, work: Callable[[apsw.Connection], T]) -> T:
        """Return what *work* sees at one moment."""
        return await asyncio.get_running_loop().run_in_executor(self._reader, _in, self._reading, "DEFERRED", work)

    async def secret(self, name: str, otherwise: bytes) -> bytes:
        """Return the secret called *name*; the first time *otherwise*, which is kept."""

        def work(connection: apsw.Connection) -> bytes:
            connection.execute("INSERT OR IGNORE INTO settings VALUES (?, ?)", (name, otherwise))
            return bytes(connection.execute("SELECT value FROM settings WHERE name = ?", (name,)).get)

        return await self.write(work)

    async def scrub(self) -> None:
        """Remove the bytes of what was deleted from the disk."""

        def work() -> None:
            with _translated():
                self._writing.execute("VACUUM")
                self._writing.execute("PRAGMA wal_checkpoint(TRUNCATE)")

        await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._writer, work))

    async def close(self) -> None:
        """Finish what is queued and close the file."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._writer.shutdown(wait=True)
        self._reader.shutdown(wait=True)
        self._reading.close()
        self._writing.close()


def time_us(time: datetime) -> int:
    """Return microseconds since 1970."""
    return (time - _EPOCH) // timedelta(microseconds=1)


def us_time(microseconds: int) -> datetime:
    """Return the time of so many microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=microseconds)


def _connect(path: Path) -> apsw.Connection:
    connection = apsw.Connection(os.fspath(path))
    connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _in(connection: apsw.Connection, mode: str, work: Callable[[apsw.Connection], T]) -> T:
    with _translated(), _transaction(connection, mode):
        return work(connection)


@contextmanager
def _transaction(connection: apsw.Connection, mode: str) -> Iterator[None]:
    connection.execute(f"BEGIN {mode}")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:  # SQLite may already have rolled back by itself
            connection.execute("ROLLBACK")


@contextmanager
def _translated() -> Iterator[None]:
    """Turn SQLite's errors into ours; its texts stay in the chained cause."""
    try:
        yield
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise DataLoss("the analyst's database is damaged; restore it from a backup") from error
    except apsw.Error as error:
        raise BackendUnavailable("the analyst's database does not answer", retry_after_s=5.0) from error


def _migrate(connection: apsw.Connection, migrations: Sequence[str] = MIGRATIONS) -> None:
    version = int(connection.execute("PRAGMA user_version").get)
    if version > len(migrations):
        raise SchemaTooNew(
            f"the data folder has schema {version}, this version knows {len(migrations)}; use the newer version"
        )
    for number in range(version + 1, len(migrations) + 1):
        with _transaction(connection, "IMMEDIATE"):
            connection.execute(migrations[number - 1])
            connection.execute(f"PRAGMA user_version={number}")
