"""Memories as rows, and the reads of them; who may see a row is part of every statement."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import accumulate, islice
from typing import Any

import apsw
import numpy as np
import orjson
from numpy.typing import NDArray

from services.memory.domain.memory import AccessLevel, Embedding, Memory, MemoryNotFound, Part, Source
from services.memory.domain.ports import ListPage, ListPlan, SearchPlan
from services.memory.domain.reads import Batch, Selection
from services.memory.filter.sql import to_sql
from services.memory.stores.embedded.database import transaction
from services.memory.stores.embedded.parts import read_part_rows
from services.mesh.caller import Caller
from services.mesh.errors import DataLoss

NEVER = (1 << 63) - 1  # as a time or a change number: after every other
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

COLUMNS = (
    "m.doc, m.partition_id, m.revision, m.created_at, m.updated_at, m.event_time, m.valid_from, m.valid_until, m.expires_at,"
    " m.delete_time, m.memory_id, m.owner_user, m.access_level, m.reader_roles, m.bucket, m.external_id, m.superseded_by,"
    " m.content_type, m.embedding_space, m.tags, m.source, m.metadata, m.content, m.request_hash"
)
# Sums, not OR: all three are always evaluated, so that the time taken does not tell why a row stayed hidden.
WAYS = """
  (p.access_level = 'PUBLIC') + (p.owner_user = :user AND p.access_level IN ('PRIVATE', 'ROLE'))
  + EXISTS (SELECT 1 FROM partition_roles r
            WHERE r.partition_id = p.partition_id AND r.role IN (SELECT value FROM json_each(:roles)))
"""
LIVE = "m.delete_time IS NULL AND (m.expires_at IS NULL OR m.expires_at > :now)"
VALID = f"""
  (:valid_at IS NULL
   OR (coalesce(m.valid_from, {-NEVER}) <= :valid_at AND coalesce(m.valid_until, {NEVER}) > :valid_at))
"""
VISIBLE_PARTITIONS = """
  SELECT partition_id FROM partitions WHERE access_level = 'PUBLIC'
  UNION SELECT partition_id FROM partitions WHERE owner_user = :user AND access_level IN ('PRIVATE', 'ROLE')
  UNION SELECT partition_id FROM partition_roles WHERE role IN (SELECT value FROM json_each(:roles))
"""
# An absent id joins partition 0, which nobody sees, and one comparison weighs every condition after the join: hidden, deleted,
# expired and absent ids take the same steps. The index alone answers it; only a visible memory's row is read.
_GET = f"""
  SELECT {COLUMNS} FROM (SELECT 1) LEFT JOIN memories m INDEXED BY memories_access ON m.memory_id = :memory_id
  JOIN partitions p ON p.partition_id = coalesce(m.partition_id, 0)
  WHERE min(1, {WAYS}) > (m.delete_time IS NOT NULL) + (coalesce(m.expires_at, {NEVER}) <= :now)
  ORDER BY m.owner_user = :user DESC, m.doc LIMIT 1
"""  # noqa: S608  # built of constants
_OWN = f"SELECT {COLUMNS} FROM memories m WHERE m.owner_user = ? AND m.memory_id = ?"  # noqa: S608  # built of constants
_ROW = f"SELECT {COLUMNS} FROM memories m WHERE m.doc = ?"  # noqa: S608  # built of constants
_BY_EXTERNAL_ID = f"""
  SELECT {COLUMNS} FROM memories m WHERE m.owner_user = :user AND m.external_claim = :external_id AND {LIVE}
"""  # noqa: S608  # built of constants
_FETCH = f"""
  SELECT {COLUMNS} FROM json_each(:docs) d JOIN memories m ON m.doc = d.value
  JOIN partitions p ON p.partition_id = m.partition_id
  WHERE ({WAYS}) > 0 AND {LIVE}
"""  # noqa: S608  # built of constants
_KEYS = f"""
  SELECT m.created_at, m.memory_id, m.doc, m.size_bytes FROM memories m
  WHERE m.partition_id = :partition AND {LIVE} AND m.doc <= :snapshot AND (:bucket IS NULL OR m.bucket = :bucket)
    AND (m.created_at, m.memory_id) < (:after_time, :after_id) AND {VALID} AND {{filter}}
  ORDER BY m.created_at DESC, m.memory_id DESC
"""  # noqa: S608  # built of constants
_COUNT = f"""
  SELECT count(*) FROM memories m WHERE m.partition_id IN ({VISIBLE_PARTITIONS}) AND {LIVE}
    AND (:bucket IS NULL OR m.bucket = :bucket) AND {VALID} AND {{filter}}
"""  # noqa: S608  # built of constants
_CHOSEN = f"""
  SELECT m.memory_id, m.doc, m.size_bytes
  FROM json_each(:ids) d LEFT JOIN memories m INDEXED BY memories_access ON m.memory_id = d.value
  JOIN partitions p ON p.partition_id = coalesce(m.partition_id, 0)
  WHERE min(1, {WAYS}) > (m.delete_time IS NOT NULL) + (coalesce(m.expires_at, {NEVER}) <= :now)
  ORDER BY d.key, m.owner_user = :user DESC, m.doc
"""  # noqa: S608  # built of constants
_MATCHING = (
    f"SELECT m.doc FROM memories m WHERE m.partition_id IN ({VISIBLE_PARTITIONS}) AND {LIVE} AND {VALID} AND {{filter}}"  # noqa: S608
)
_INVALID = f"""
  SELECT m.doc FROM memories m INDEXED BY memories_bounded
  WHERE m.partition_id IN ({VISIBLE_PARTITIONS}) AND (m.valid_from IS NOT NULL OR m.valid_until IS NOT NULL) AND NOT {VALID}
"""  # noqa: S608  # built of constants
# The vector that a row is found by first, then that of the space that is being filled.
_VECTORS = """
  SELECT s.name, v.vector, v.space_id, s.name IN (SELECT value FROM settings WHERE name = 'target_space') AS twin
  FROM vectors v JOIN spaces s USING (space_id) WHERE v.doc = ?
  ORDER BY s.name IN (SELECT value FROM settings WHERE name = 'active_space') DESC, twin
"""

Row = tuple[Any, ...]
Bindings = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StoredMemory:
    """A memory with what only the store knows of it."""

    doc: int
    partition_id: int
    memory: Memory
    request_hash: bytes | None


def to_us(time: datetime | None) -> int | None:
    """Return whole microseconds since 1970."""
    return None if time is None else (time - _EPOCH) // _MICROSECOND


def time_us(time: datetime) -> int:
    """Return whole microseconds since 1970."""
    return (time - _EPOCH) // _MICROSECOND


def from_us(value: int | None) -> datetime | None:
    """Return the aware UTC time of *value* microseconds since 1970."""
    return None if value is None else _EPOCH + timedelta(microseconds=value)


def access_bindings(caller: Caller, now: datetime) -> Bindings:
    """Return what the visibility parts of the statements need."""
    return {"user": caller.user, "roles": orjson.dumps(sorted(caller.roles)).decode(), "now": time_us(now)}


def read_visible(connection: apsw.Connection, caller: Caller, memory_id: str, now: datetime) -> StoredMemory:
    """Return one memory that *caller* may see, or raise ``MemoryNotFound``; hidden and absent ids take the same steps.

    Of several owners' memories of one id, which only imports make, it is the caller's own, else the oldest.
    """
    found = connection.execute(_GET, access_bindings(caller, now) | {"memory_id": memory_id}).fetchone()
    if found is None:
        raise MemoryNotFound(f"no memory {memory_id!r}", memory_id=memory_id)
    return row_to_memory(found)


def read_own(connection: apsw.Connection, owner: str, memory_id: str) -> StoredMemory | None:
    """Return *owner*'s row of *memory_id*, also when deleted or expired: for the writer alone. It meets no other owner's row."""
    found = connection.execute(_OWN, (owner, memory_id)).fetchone()
    return None if found is None else row_to_memory(found)


def read_row(connection: apsw.Connection, doc: int) -> StoredMemory:
    """Return the row *doc*, which there is, also when deleted or expired: for the writer alone."""
    (found,) = connection.execute(_ROW, (doc,))
    return row_to_memory(found)


def read_external(connection: apsw.Connection, caller: Caller, external_id: str, now: datetime) -> Memory | None:
    """Return the memory of *caller* that has the external id."""
    bindings = access_bindings(caller, now) | {"external_id": external_id}
    found = connection.execute(_BY_EXTERNAL_ID, bindings).fetchone()
    return None if found is None else row_to_memory(found).memory


def read_embedding(connection: apsw.Connection, doc: int) -> Embedding:
    """Return what a row is found by: its vector with those of its parts, and its twin if it has one."""
    first, *others = _embeddings(connection, doc)
    twins = (_with_parts(connection, doc, row) for row in others if row[3])
    return replace(_with_parts(connection, doc, first), twin=next(twins, None))


def read_pooled(connection: apsw.Connection, doc: int) -> Embedding:
    """Return the vector alone that a row is found by."""
    space, vector, *_ = _embeddings(connection, doc)[0]
    return Embedding(space, np.frombuffer(vector, dtype="<f4"))


def _embeddings(connection: apsw.Connection, doc: int) -> list[Row]:
    found: list[Row] = connection.execute(_VECTORS, (doc,)).fetchall()
    if not found:
        raise DataLoss(f"row {doc} has no vector; restore the data folder from a backup")
    return found


def _with_parts(connection: apsw.Connection, doc: int, row: Row) -> Embedding:
    space, vector, space_id, _ = row
    parts = (
        Part(part.start, part.end, np.frombuffer(part.vector, "<f4"))
        for part in read_part_rows(connection, doc, space_id)
    )
    return Embedding(space, np.frombuffer(vector, "<f4"), tuple(parts))


def read_many(connection: apsw.Connection, caller: Caller, docs: Sequence[int], now: datetime) -> dict[int, Memory]:
    """Return those of *docs* that *caller* may see, by doc."""
    bindings = access_bindings(caller, now) | {"docs": orjson.dumps(docs).decode()}
    return {row[0]: row_to_memory(row).memory for row in connection.execute(_FETCH, bindings)}


def read_batch(
    connection: apsw.Connection, caller: Caller, memory_ids: Sequence[str], now: datetime, max_bytes: int
) -> Batch:
    """Return memories by id, as ``BatchReader.get_many`` says."""
    with transaction(connection):
        bindings = access_bindings(caller, now) | {"ids": orjson.dumps(memory_ids).decode()}
        rows = connection.execute(_CHOSEN, bindings)
        visible = list({row[0]: row for row in reversed(list(rows))}.values())[::-1]  # the first of each id
        sizes = accumulate(size_bytes for _, _, size_bytes in visible)
        number = max(1, sum(size <= max_bytes for size in sizes))
        docs = [doc for _, doc, _ in visible[:number]]
        found = read_many(connection, caller, docs, now)
    return Batch(tuple(found[doc] for doc in docs), tuple(memory_id for memory_id, _, _ in visible[number:]))


def count_visible(connection: apsw.Connection, caller: Caller, now: datetime, selection: Selection) -> int:
    """Return how many memories of *selection* the caller may see."""
    condition, values = to_sql(selection.filter)
    bindings = access_bindings(caller, now) | {"bucket": selection.bucket, "valid_at": to_us(selection.valid_at)}
    return int(connection.execute(_COUNT.format(filter=condition), bindings | values).get)


def list_visible(connection: apsw.Connection, caller: Caller, plan: ListPlan) -> ListPage:
    """Return one page, as ``ListPlan`` says: a merge of the visible partitions, each read in order from its index."""
    with transaction(connection):
        bindings = list_bindings(connection, caller, plan)
        condition, values = to_sql(plan.filter)
        keys_of = _KEYS.format(filter=condition)
        cursors = [
            connection.execute(keys_of, bindings | values | {"partition": partition})
            for partition in visible_partitions(connection, bindings)
        ]
        keys, more = cut_page(heapq.merge(*cursors, reverse=True), plan)
        for cursor in cursors:
            cursor.close()
        docs = [key[2] for key in keys]
        found = read_many(connection, caller, docs, plan.now)
    return ListPage(tuple(found[doc] for doc in docs), more, bindings["snapshot"])


def list_bindings(connection: apsw.Connection, caller: Caller, plan: ListPlan) -> Bindings:
    """Return what the statements of a list need, but for the partition and the filter."""
    last_change = last_seq(connection)
    return access_bindings(caller, plan.now) | {
        "snapshot": last_change if plan.snapshot is None else plan.snapshot,
        "bucket": plan.bucket,
        "valid_at": to_us(plan.valid_at),
        "after_time": NEVER if plan.after is None else time_us(plan.after[0]),
        "after_id": "" if plan.after is None else plan.after[1],
    }


def visible_partitions(connection: apsw.Connection, bindings: Bindings) -> list[int]:
    """Return the partitions that the caller of *bindings* may read."""
    return [row[0] for row in connection.execute(VISIBLE_PARTITIONS, bindings)]


def matching_docs(connection: apsw.Connection, caller: Caller, plan: SearchPlan) -> NDArray[np.int64]:
    """Return the rows that *caller* may see, that pass *plan*'s filter and hold at its time, ascending."""
    condition, values = to_sql(plan.filter)
    bindings = access_bindings(caller, plan.now) | {"valid_at": to_us(plan.valid_at)}
    found = connection.execute(_MATCHING.format(filter=condition), bindings | values)
    docs: NDArray[np.int64] = np.fromiter((row[0] for row in found), np.int64)
    docs.sort()
    return docs


def invalid_docs(connection: apsw.Connection, caller: Caller, plan: SearchPlan) -> NDArray[np.int64]:
    """Return the rows that *caller* may see but that do not hold at *plan*'s time."""
    bindings = access_bindings(caller, plan.now) | {"valid_at": to_us(plan.valid_at)}
    return np.fromiter((row[0] for row in connection.execute(_INVALID, bindings)), np.int64)


def cut_page(keys: Iterator[Row], plan: ListPlan) -> tuple[list[Row], bool]:
    """Return the *keys* (creation time, id, doc, size, and what else) of one page, and whether others follow."""
    page: list[Row] = []
    size = 0
    for key in islice(keys, plan.limit + 1):
        size += key[3]
        if page and (len(page) == plan.limit or size > plan.max_bytes):
            return page, True
        page.append(key)
    return page, False


def last_seq(connection: apsw.Connection) -> int:
    """Return the number of the last change that this connection sees."""
    return int(connection.execute("SELECT coalesce(max(seq), 0) FROM changes").get)


def row_to_memory(row: Row) -> StoredMemory:
    """Return the memory of a row selected by this module's columns."""
    source = None if row[20] is None else orjson.loads(row[20])
    memory = Memory(
        revision=row[2],
        created_at=_EPOCH + timedelta(microseconds=row[3]),
        updated_at=_EPOCH + timedelta(microseconds=row[4]),
        event_time=from_us(row[5]),
        valid_from=from_us(row[6]),
        valid_until=from_us(row[7]),
        expires_at=from_us(row[8]),
        delete_time=from_us(row[9]),
        memory_id=row[10],
        owner_user=row[11],
        access_level=AccessLevel(row[12]),
        reader_roles=tuple(orjson.loads(row[13])),
        bucket=row[14],
        external_id=row[15],
        superseded_by=row[16],
        content_type=row[17],
        embedding_space=row[18],
        tags=tuple(orjson.loads(row[19])),
        source=source and Source(source["uri"], source["kind"], tuple(source["parent_memory_ids"])),
        metadata=orjson.loads(row[21]),
        content=row[22],
    )
    return StoredMemory(row[0], row[1], memory, row[23])


def memory_to_row(memory: Memory, partition_id: int, size_bytes: int, request_hash: bytes | None) -> Row:
    """Return the columns of table ``memories`` after ``doc``, in their order."""
    return (
        memory.memory_id,
        partition_id,
        memory.revision,
        size_bytes,
        time_us(memory.created_at),
        time_us(memory.updated_at),
        to_us(memory.event_time),
        to_us(memory.valid_from),
        to_us(memory.valid_until),
        to_us(memory.expires_at),
        to_us(memory.delete_time),
        memory.owner_user,
        memory.access_level.value,
        orjson.dumps(memory.reader_roles).decode(),
        memory.bucket,
        memory.external_id,
        memory.external_id or None,
        memory.superseded_by,
        memory.content_type,
        memory.embedding_space,
        request_hash,
        orjson.dumps(memory.tags).decode(),
        None if memory.source is None else orjson.dumps(memory.source).decode(),
        orjson.dumps(memory.metadata).decode(),
        memory.content,
    )
