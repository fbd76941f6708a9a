"""Erasing an owner from every table and from the bytes of the files, or making what they kept anonymous."""

import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import apsw
import orjson

from services.memory.domain.memory import AccessLevel
from services.memory.domain.subject_data import BATCH, PAGE, Counts, Progress, SubjectRecord
from services.memory.stores.embedded.changes import PreparedText, index_entry
from services.memory.stores.embedded.entry import IndexChange, PartitionKey, Removal, partition_key
from services.memory.stores.embedded.rows import from_us, read_embedding, read_row
from services.memory.stores.embedded.terms import read_terms
from services.memory.stores.embedded.writer import Ground
from services.mesh.errors import BackendUnavailable

# What erase_memories takes.
CHOSEN = """
  SELECT doc, memory_id, revision, partition_id, delete_time IS NULL, access_level, reader_roles, updated_at FROM memories
"""
_NEXT = f"{CHOSEN} WHERE owner_user = ? LIMIT ?"
_EXPORTED = """
  SELECT doc, json_object('memory_id', memory_id, 'content', content, 'content_type', content_type, 'bucket', bucket,
    'access_level', access_level, 'reader_roles', json(reader_roles), 'external_id', external_id, 'tags', json(tags),
    'metadata', json(metadata), 'source', json(source), 'revision', revision), created_at, delete_time
  FROM memories WHERE owner_user = ? AND doc > ? ORDER BY doc LIMIT ?
"""
_MARK = "INSERT INTO changes (seq, memory_id, revision, kind, at, partition_before, partition_after, doc) VALUES (?, ?, ?, 'ERASED', ?, ?, 0, ?)"
_GIVEN_AWAY = """
  UPDATE memories SET partition_id = ?, owner_user = ?, external_id = '', external_claim = NULL, request_hash = NULL, source = NULL
  WHERE doc = ?
"""
# Rows that belong to a row of memories, by its doc.
_DEPENDENT = ("vectors", "parts", "terms", "revisions", "parents")
_OWN = {"imports": "owner_user", "owner_quotas": "owner_user", "owner_usage": "owner_user", "audit_people": "user"}
_COUNTED = {"memories": "owner_user", "imports": "owner_user", "audit_people": "user"}
_STOP_DELETIONS = """
  UPDATE operations SET state = 'CANCELLED', request = json_object('digest', request ->> '$.digest'), lease_holder = '', lease_until = 0
  WHERE request ->> '$.user' = ?
"""
_TRUNCATIONS = 3

Row = tuple[Any, ...]


def count(connection: apsw.Connection, owner: str) -> Counts:
    """Return how many things of each kind are kept of *owner*."""
    counts = {table: _count(connection, table, column, owner) for table, column in _COUNTED.items()}
    revisions = "SELECT count(*) FROM revisions JOIN memories m USING (doc) WHERE m.owner_user = ?"
    return counts | {"revisions": int(connection.execute(revisions, (owner,)).get)}


def _count(connection: apsw.Connection, table: str, column: str, owner: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {table} WHERE {column} = ?", (owner,)).get)  # noqa: S608


def export_page(connection: apsw.Connection, owner: str, after: int) -> tuple[list[SubjectRecord], int | None]:
    """Return the next memories of *owner*, deleted ones too, oldest first."""
    rows = list(connection.execute(_EXPORTED, (owner, after, PAGE)))
    records = [SubjectRecord("memories", _record(row)) for row in rows]
    return records, rows[-1][0] if len(rows) == PAGE else None


def _record(row: Row) -> dict[str, Any]:
    times = {"created_at": from_us(row[2]), "delete_time": from_us(row[3])}
    given = {name: time.isoformat() for name, time in times.items() if time is not None}
    record: dict[str, Any] = orjson.loads(row[1])
    return record | given


def erase_some(ground: Ground, owner: str, operation_id: str) -> Progress:
    """Erase the next memories of *owner*, or, when there are none, all else."""
    rows = list(ground.connection.execute(_NEXT, (owner, BATCH)))
    tally = _Tally(ground.connection, operation_id)
    erase_memories(ground, owner, rows, tally.counts)
    if not rows:
        _forget(ground, owner, tally)
    return Progress(tally.save(finished=not rows), finished=not rows)


def anonymize_some(ground: Ground, owner: str, operation_id: str) -> Progress:
    """Erase what nobody else could read of the next memories of *owner*, and give the others away."""
    rows = list(ground.connection.execute(_NEXT, (owner, BATCH)))
    tally = _Tally(ground.connection, operation_id)
    hidden = [row for row in rows if not row[4] or row[5] == AccessLevel.PRIVATE]
    erase_memories(ground, owner, hidden, tally.counts)
    for row in rows:
        if row not in hidden:
            _give_away(ground, owner, row, tally)
    if not rows:
        _forget(ground, owner, tally)
    return Progress(tally.save(finished=not rows), finished=not rows)


class _Tally:
    """What an operation did, kept in the same commit as what it did."""

    def __init__(self, connection: apsw.Connection, operation_id: str) -> None:
        self._connection = connection
        self._name = f"erasure:{operation_id}"
        known = connection.execute("SELECT value FROM settings WHERE name = ?", (self._name,)).get
        kept: dict[str, Any] = {"counts": {}, "nobody": ""} if known is None else orjson.loads(known)
        self.counts: Counter[str] = Counter(kept["counts"])
        # The owner of what is given away: random, and forgotten at the end, so that no operation leads to it.
        self.nobody: str = kept["nobody"] or f"anonymous:{secrets.token_hex(16)}"

    def save(self, *, finished: bool) -> Counts:
        value = orjson.dumps({"counts": self.counts, "nobody": "" if finished else self.nobody}).decode()
        self._connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (self._name, value))
        return dict(self.counts)


def erase_memories(ground: Ground, owner: str, rows: Sequence[Row], counts: Counter[str]) -> None:
    """Erase the memories of *rows*, those that live being *owner*'s, with all that belongs to them."""
    connection = ground.connection
    docs = orjson.dumps([row[0] for row in rows]).decode()
    connection.execute("DELETE FROM changes WHERE doc IN (SELECT value FROM json_each(?))", (docs,))
    for row in rows:
        doc, memory_id, revision, partition_id, live, *_, updated_at = row
        counts["revisions"] += _delete_dependent(connection, doc, _DEPENDENT)
        connection.execute("DELETE FROM memories WHERE doc = ?", (doc,))
        if live:  # whoever watches is told that it is gone
            ground.changes.seq += 1
            connection.execute(_MARK, (ground.changes.seq, memory_id, revision + 1, updated_at, partition_id, doc))
            ground.index_changes.append(IndexChange(Removal(_partition(owner, row), doc), None))
    counts["memories"] += len(rows)
    _take_number(ground)


def _take_number(ground: Ground) -> None:
    """Keep the youngest number of a change taken, although those that had it may be gone."""
    ground.changes.seq += 1
    ground.connection.execute(_MARK, (ground.changes.seq, "", 0, 0, 0, None))


def _delete_dependent(connection: apsw.Connection, doc: int, tables: Sequence[str]) -> int:
    """Delete what belongs to *doc*; return how many revisions."""
    revisions = 0
    for table in tables:
        connection.execute(f"DELETE FROM {table} WHERE doc = ?", (doc,))  # noqa: S608  # a constant
        revisions += connection.changes() if table == "revisions" else 0
    return revisions


def _give_away(ground: Ground, owner: str, row: Row, tally: _Tally) -> None:
    """Give a memory that others may read to an owner whom nobody is, without its past and what else may tell whose it was."""
    doc, connection = row[0], ground.connection
    stored = read_row(connection, doc)
    memory = replace(stored.memory, owner_user=tally.nobody, external_id="", source=None)
    partition = ground.changes.partition_id(partition_key(memory))
    tally.counts["revisions"] += _delete_dependent(connection, doc, ("revisions", "parents"))
    connection.execute(_GIVEN_AWAY, (partition, memory.owner_user, doc))
    text = PreparedText(*read_terms(connection, doc), memory.size_bytes)
    entry = index_entry(doc, memory, text, read_embedding(connection, doc))
    ground.index_changes.append(IndexChange(Removal(_partition(owner, row), doc), entry))
    tally.counts["memories"] += 1


def _partition(owner: str, row: Row) -> PartitionKey:
    level = AccessLevel(row[5])
    roles = tuple(sorted(set(orjson.loads(row[6])))) if level is AccessLevel.ROLE else ()
    return PartitionKey(level, "" if level is AccessLevel.PUBLIC else owner, roles)


def _forget(ground: Ground, owner: str, tally: _Tally) -> None:
    """Erase what is kept of *owner* beside memories, and their name from the partitions."""
    connection = ground.connection
    _stop_deletions(connection, owner)
    for table, column in _OWN.items():
        connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (owner,))  # noqa: S608  # constants
        if table in _COUNTED:
            tally.counts[table] += connection.changes()
    partitions = [
        row[0] for row in connection.execute("SELECT partition_id FROM partitions WHERE owner_user = ?", (owner,))
    ]
    _drop_partitions(ground, [number for number in partitions if number])


def _stop_deletions(connection: apsw.Connection, owner: str) -> None:
    """End the deletions that *owner* began, taking the lease from whoever works on them, and forget what they were to delete."""
    connection.execute(_STOP_DELETIONS, (owner,))


def _drop_partitions(ground: Ground, partitions: Sequence[int]) -> None:
    connection, numbers = ground.connection, orjson.dumps(partitions).decode()
    chosen = "IN (SELECT value FROM json_each(?))"
    connection.execute(f"DELETE FROM changes WHERE partition_before {chosen}", (numbers,))  # noqa: S608  # constants
    connection.execute(f"DELETE FROM partition_roles WHERE partition_id {chosen}", (numbers,))  # noqa: S608
    connection.execute(f"DELETE FROM partitions WHERE partition_id {chosen}", (numbers,))  # noqa: S608
    _take_number(ground)


def scrub(connection: apsw.Connection) -> None:
    """Rewrite the file without the bytes of what was deleted, and empty the log; outside any transaction.

    SQLite leaves copies of rows in the free space of pages when it moves them; only a rewritten file has none.
    """
    connection.execute("PRAGMA temp_store=FILE")  # the copy may be larger than the memory
    try:
        connection.execute("VACUUM")
    finally:
        connection.execute("PRAGMA temp_store=MEMORY")
    for _ in range(_TRUNCATIONS):
        try:
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.BusyError:
            continue
        return
    raise BackendUnavailable("readers still hold what was erased; it is tried again", retry_after_s=5.0)
