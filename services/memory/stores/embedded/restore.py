"""Making a database of a backup, checked in every way we know before anybody reads it."""

import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import apsw
import orjson

from services.memory.domain.audit import AUTHOR, Act, Entry, Touched
from services.memory.domain.backups import CREATE, METHOD, RESTORE, BackupDamaged
from services.memory.domain.erasure import ANONYMIZE, ERASE
from services.memory.domain.jobs import Meter
from services.memory.domain.memory import Json
from services.memory.filter.sql import register
from services.memory.stores.embedded.audit import AuditWriter, read_heads, verify
from services.memory.stores.embedded.backup_file import BackupReader, Manifest
from services.memory.stores.embedded.database import (
    IntegrityCheck,
    SchemaTooNew,
    check_file,
    migrate,
    transaction,
    translated_errors,
)
from services.memory.stores.embedded.entry import PartitionKey
from services.memory.stores.embedded.index import MemoryIndex
from services.memory.stores.embedded.loader import IndexLoader, renew_terms
from services.memory.stores.embedded.ownership import tables
from services.memory.stores.embedded.rows import last_seq, time_us
from services.memory.stores.embedded.schema import MIGRATIONS
from services.memory.stores.embedded.segment import Segment

# Long work that the restored state cannot go on with: it was about the files of the folder that was backed up.
_OF_FOLDER = (CREATE, RESTORE)
_UNFINISHED = "state IN ('PENDING', 'RUNNING')"
# What does not go back with the rest when live data are replaced.
_AUDIT_TABLES = ("audit_events", "audit_subjects", "audit_chains", "audit_people")
_MARK = "INSERT INTO changes (seq, memory_id, revision, kind, at, partition_before, partition_after) VALUES (?, '', 0, 'ERASED', 0, 0, 0)"
# Revisions are never given twice, so that an etag from before fits no other state: since the backup, a memory was changed at most as
# often as numbers of changes were given.
_RENUMBER = """
  UPDATE memories AS m SET revision = revision + :gap + 1
  WHERE NOT EXISTS (SELECT 1 FROM live.memories l WHERE l.doc = m.doc AND l.memory_id = m.memory_id AND l.revision = m.revision)
"""
_OPERATION_COLUMNS = (
    "operation_id, kind, starter, request_key, state, cancelling, request, cursor, done_count, total_count, note, result, error,"
    " created_at, updated_at, due_at, attempts, lease_holder, lease_until"
)
_OPERATIONS = f"INSERT OR REPLACE INTO operations ({_OPERATION_COLUMNS}) SELECT {_OPERATION_COLUMNS} FROM live.operations ORDER BY operation_no"  # noqa: S608
_END = "UPDATE operations SET state = 'SUCCEEDED', result = ?, updated_at = ?, lease_holder = '', lease_until = 0 WHERE operation_id = ?"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of loading a backup."""

    memory_count: int
    skipped_rows: int
    skipped_owners: int


def load(reader: BackupReader, path: Path, skipped: Collection[bytes], meter: Meter) -> Loaded:
    """Make a database of the newest schema at *path* from all boxes but those of shredded or *skipped* keys, and check it.

    Raises ``BackupDamaged``, ``SchemaTooNew``, ``DataLoss``. Durable when this returns.
    """
    with translated_errors(), _opened(path) as connection:
        loaded = _fill(connection, reader, skipped, meter)
        migrate(connection)
        _settle(connection, reader.manifest)
        renew_terms(connection)
        _check(connection, reader.manifest.backup_id)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA journal_mode=WAL")  # writes the header durably, and with it waits for all before it
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    return loaded


def carry_over(path: Path, live: Path, manifest: Manifest, now: datetime, ended: tuple[str, Json] | None) -> bool:
    """Bring into the database at *path* what must not go back with the rest of *live*; return whether its audit log was.

    That is the audit log, if it goes on from where the backup's ends, the operations, of which *ended* names one that is over with its
    result, and that no number of a change or revision is given twice. Nothing may write to *live* meanwhile.
    """
    with translated_errors(), _opened(path) as connection:
        connection.execute("ATTACH ? AS live", (str(live),))
        with transaction(connection, "IMMEDIATE"):
            live_seq = int(connection.execute("SELECT coalesce(max(seq), 0) FROM live.changes").get)
            connection.execute(_RENUMBER, {"gap": max(0, live_seq - manifest.last_seq)})
            connection.execute(_MARK, (max(live_seq, last_seq(connection)) + 1,))
            goes_on = _log_goes_on(connection)
            if goes_on:
                for table in _AUDIT_TABLES:
                    connection.execute(f"DELETE FROM {table}")  # noqa: S608  # a constant
                    connection.execute(f"INSERT INTO {table} SELECT * FROM live.{table}")  # noqa: S608
            connection.execute(_OPERATIONS)
            if ended is not None:
                operation_id, result = ended
                connection.execute(_END, (orjson.dumps(result).decode(), time_us(now), operation_id))
            touched = (Touched(f"operations/{ended[0]}"),) if ended else ()
            entry = Entry(Act(AUTHOR, METHOD + RESTORE, now), "OK", (*touched, Touched(manifest.backup_id)))
            AuditWriter(connection).append([entry])
        connection.execute("DETACH live")
        _check_log(connection, manifest.backup_id)
    return goes_on


def owners_being_erased(connection: apsw.Connection) -> set[str]:
    """Return whose erasing, or making anonymous, has begun and is not over."""
    statement = f"SELECT json_extract(request, '$.owner_user') FROM operations WHERE kind IN (?, ?) AND {_UNFINISHED}"  # noqa: S608
    return {owner for (owner,) in connection.execute(statement, (ERASE, ANONYMIZE)) if owner}


@contextmanager
def _opened(path: Path) -> Iterator[apsw.Connection]:
    connection = apsw.Connection(str(path))
    try:
        register(connection)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA temp_store=FILE")
        yield connection
    finally:
        connection.close()


def _fill(connection: apsw.Connection, reader: BackupReader, skipped: Collection[bytes], meter: Meter) -> Loaded:
    manifest = reader.manifest
    if manifest.schema > len(MIGRATIONS):
        raise SchemaTooNew(
            f"the backup has schema {manifest.schema}, this version knows {len(MIGRATIONS)}; use the newer version",
            schema=str(manifest.schema),
        )
    # Nothing of a file that a crash left half made is ever read: these two make loading several times faster.
    connection.execute("PRAGMA journal_mode=OFF")
    connection.execute("PRAGMA synchronous=OFF")
    migrate(connection, MIGRATIONS[: manifest.schema])
    if sorted(tables(connection)) != sorted(table.name for table in manifest.tables):
        raise BackupDamaged(
            f"backup {manifest.backup_id!r} has other tables than its schema", backup_id=manifest.backup_id
        )
    meter.total = sum(table.row_count for table in manifest.tables)
    held_back = connection.execute("SELECT type, name, sql FROM sqlite_schema WHERE type IN ('index', 'trigger') AND sql NOT NULL").fetchall()  # fmt: skip
    for kind, name, _ in held_back:  # triggers would count what is restored counted; indexes are made faster at the end
        connection.execute(f"DROP {kind} {name}")
    connection.execute("BEGIN")
    for table in tables(connection):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608  # what the migrations put there
    skipped_rows, owners, memories = 0, set(), 0
    statements = [_insertion(table.name, table.columns) for table in manifest.tables]
    for box in reader.boxes():
        if box.rows is None or box.key_id in skipped:
            skipped_rows += box.row_count
            owners.add(box.key_id)
        else:
            connection.executemany(statements[box.table], box.rows)
            memories += box.row_count if manifest.tables[box.table].name == "memories" else 0
        meter.advance(box.row_count)
    for *_, sql in held_back:
        connection.execute(str(sql))
    connection.execute("COMMIT")
    return Loaded(memories, skipped_rows, len(owners))


def _insertion(table: str, columns: tuple[str, ...]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608


def _settle(connection: apsw.Connection, manifest: Manifest) -> None:
    """Make a state to go on from: tokens of before lead nowhere, numbers go on, and work on files that are not there is over."""
    with transaction(connection):
        connection.execute("UPDATE settings SET value = ? WHERE name = 'token_key'", (secrets.token_bytes(32),))
        connection.execute(_MARK, (max(manifest.last_seq, last_seq(connection)) + 1,))
        cancelled = f"UPDATE operations SET state = 'CANCELLED' WHERE kind IN (?, ?) AND {_UNFINISHED}"  # noqa: S608
        connection.execute(cancelled, _OF_FOLDER)


def _check(connection: apsw.Connection, backup_id: str) -> None:
    """Check the file, its references, the invariants of its rows, and the audit log. Raises ``DataLoss``."""
    check_file(connection, IntegrityCheck.FULL)
    if connection.execute("PRAGMA foreign_key_check").fetchone() is not None:
        raise BackupDamaged(f"backup {backup_id!r} has rows that refer to nothing", backup_id=backup_id)
    IndexLoader(connection, _Discarded()).load()
    _check_log(connection, backup_id)


def _check_log(connection: apsw.Connection, backup_id: str) -> None:
    broken = verify(connection).first_broken
    if broken is not None:
        event = f"event {broken.event.seq} of {broken.event.writer_id!r}"
        raise BackupDamaged(f"the audit log with backup {backup_id!r} is broken at {event}", backup_id=backup_id)


class _Discarded(MemoryIndex):
    """Takes in what an index would hold, and holds nothing of it."""

    def load(self, key: PartitionKey, segment: Segment) -> None:
        """Let it go: its rows have been checked."""


def _log_goes_on(connection: apsw.Connection) -> bool:
    """Say whether every chain of the restored log is the beginning of one in the live log."""
    for writer_id, (seq, last_hash) in read_heads(connection).items():
        found = connection.execute(
            "SELECT hash FROM live.audit_events WHERE writer_id = ? AND seq = ?", (writer_id, seq)
        ).fetchone()
        if found is None or found[0] != last_hash:
            return False
    return True
