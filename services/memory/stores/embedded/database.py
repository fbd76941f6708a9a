"""SQLite as the store uses it: connections, migrations, integrity checks, and its errors in our words."""

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

import apsw

from services.memory.domain.ports import StoreSecrets
from services.memory.filter.sql import register
from services.memory.stores.embedded.schema import MIGRATIONS
from services.mesh.errors import BackendUnavailable, DataLoss, FailedPrecondition

DATABASE_NAME = "memories.sqlite"
APPLICATION_ID = 0x4D454D42  # "MEMB" in the file's header, so that `file` and we can tell it from other databases
_BUSY_TIMEOUT_MS = 5000
_PAGE_CACHE_KIB = 16 * 1024


class SchemaTooNew(FailedPrecondition):
    """The data folder was written by a newer version."""

    reason = "SCHEMA_TOO_NEW"


class IntegrityCheck(StrEnum):
    """How much of the file is checked when a store opens; our own row invariants always are."""

    QUICK = "quick"  # SQLite's quick_check: structure of every page
    FULL = "full"  # SQLite's integrity_check: also every index against its table


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn SQLite's errors into ours; texts and codes of SQLite stay in the chained cause."""
    try:
        yield
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise DataLoss("the memory database is damaged; restore it from a backup") from error
    except apsw.FullError as error:
        raise BackendUnavailable("no space is left in the data folder", retry_after_s=30.0) from error
    except apsw.Error as error:
        raise BackendUnavailable("the memory database does not answer", retry_after_s=5.0) from error


def connect(path: Path, vfs: str | None, *, read_only: bool = False) -> apsw.Connection:
    """Return a connection whose commits are durable when they return (WAL, synchronous=FULL).

    Automatic checkpoints are off: they would run inside a commit (tails of 60 ms were measured).
    """
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_NOMUTEX
    connection = apsw.Connection(os.fspath(path), flags=flags, vfs=vfs)
    connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
    register(connection)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute("PRAGMA temp_store=MEMORY")
    connection.execute(f"PRAGMA cache_size=-{_PAGE_CACHE_KIB}")
    if read_only:
        connection.execute("PRAGMA query_only=ON")
    return connection


@contextmanager
def transaction(connection: apsw.Connection, mode: str = "DEFERRED") -> Iterator[None]:
    """Commit what is done inside, or nothing of it."""
    connection.execute(f"BEGIN {mode}")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:  # SQLite may already have rolled back by itself
            connection.execute("ROLLBACK")


def migrate(connection: apsw.Connection, migrations: Sequence[str] = MIGRATIONS) -> None:
    """Bring the schema to the newest version, one durable step per migration. Raises ``SchemaTooNew``."""
    with transaction(connection, "IMMEDIATE"):
        connection.execute("CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY) STRICT")
    applied = schema_version(connection)
    if applied > len(migrations):
        raise SchemaTooNew(
            f"the data folder has schema {applied}, this version knows {len(migrations)}; use the newer version",
            schema=str(applied),
        )
    for number in range(applied + 1, len(migrations) + 1):
        with transaction(connection, "IMMEDIATE"):
            connection.execute(migrations[number - 1])
            connection.execute("INSERT INTO migrations VALUES (?)", (number,))
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")


def schema_version(connection: apsw.Connection) -> int:
    """Return the number of the last migration applied; 0 for an empty file."""
    return int(connection.execute("SELECT coalesce(max(number), 0) FROM migrations").get)


def check_file(connection: apsw.Connection, check: IntegrityCheck) -> None:
    """Raise ``DataLoss`` naming the first faults SQLite finds."""
    pragma = "quick_check" if check is IntegrityCheck.QUICK else "integrity_check"
    faults = [str(row[0]) for row in connection.execute(f"PRAGMA {pragma}(5)")]
    if faults != ["ok"]:
        raise DataLoss(f"the memory database fails its {check} check: {'; '.join(faults)}")


def load_secrets(connection: apsw.Connection) -> StoreSecrets:
    """Return the store's keys, made at its first opening."""
    with transaction(connection, "IMMEDIATE"):
        for name in ("id_key", "token_key"):
            connection.execute("INSERT OR IGNORE INTO settings VALUES (?, ?)", (name, secrets.token_bytes(32)))
    keys = dict(connection.execute("SELECT name, value FROM settings WHERE name IN ('id_key', 'token_key')"))
    return StoreSecrets(id_key=keys["id_key"], token_key=keys["token_key"])


def sync_folder(folder: Path) -> None:
    """Make *folder*'s entries durable: a file whose folder was not synced may be gone after a power loss."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
