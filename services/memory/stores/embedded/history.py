"""Former states of memories as rows; who may see one is part of every statement."""

import heapq
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import TypeVar

import apsw
import orjson

from services.memory.domain.lineage import MAX_KIN, MAX_KIN_BYTES, Lineage
from services.memory.domain.memory import Memory, MemoryNotFound
from services.memory.domain.ports import ListPage, ListPlan
from services.memory.domain.revisions import RevisionNotFound, RevisionPage, RevisionPlan
from services.memory.filter.sql import to_sql
from services.memory.stores.embedded.database import transaction
from services.memory.stores.embedded.lineage import read_lineage
from services.memory.stores.embedded.rows import (
    COLUMNS,
    NEVER,
    VALID,
    WAYS,
    StoredMemory,
    access_bindings,
    cut_page,
    list_bindings,
    read_many,
    read_visible,
    row_to_memory,
    time_us,
    visible_partitions,
)
from services.mesh.caller import Caller

_STATE = (
    "doc, revision, memory_id, partition_id, size_bytes, created_at, updated_at, event_time, valid_from, valid_until, expires_at,"
    " delete_time, owner_user, access_level, reader_roles, bucket, external_id, superseded_by, content_type, embedding_space,"
    " request_hash, tags, source, metadata, content"
)
_KEEP = f"INSERT INTO revisions ({_STATE}) SELECT {_STATE} FROM memories WHERE doc = ?"  # noqa: S608  # built of constants
# Bound to the owner's partitions or, for anyone else, to states that were readable for a while.
_SEEN = f"""
  (m.owner_user = :user OR (({WAYS}) > 0 AND m.delete_time IS NULL AND coalesce(m.expires_at, {NEVER}) > m.updated_at))
"""
_FORMER = f"""
  SELECT {COLUMNS} FROM revisions m JOIN partitions p USING (partition_id)
  WHERE m.doc = :doc AND m.revision BETWEEN :lowest AND :highest AND {_SEEN} ORDER BY m.revision DESC
"""  # noqa: S608  # built of constants

_STATE_AT = "(SELECT max(r.revision) FROM revisions r WHERE r.doc = c.doc AND r.updated_at <= :as_of)"
_THERE = f"m.delete_time IS NULL AND coalesce(m.expires_at, {NEVER}) > :as_of"
_FORMER_AT = f"""
  SELECT {COLUMNS} FROM memories c JOIN revisions m ON m.doc = c.doc AND m.revision = {_STATE_AT}
  JOIN partitions p ON p.partition_id = m.partition_id
  WHERE c.doc = :doc AND {_THERE} AND {_SEEN}
"""  # noqa: S608  # built of constants
_MEANT = f"""
  c.partition_id = :partition AND c.delete_time IS NULL AND coalesce(c.expires_at, {NEVER}) > :now AND c.doc <= :snapshot
  AND (c.created_at, c.memory_id) < (:after_time, :after_id)
  AND {_THERE} AND (:bucket IS NULL OR m.bucket = :bucket) AND {VALID}
"""
# States of one partition's memories: those that are current still, and those that were current then.
_KEYS_AT = (
    f"""
  SELECT m.created_at, m.memory_id, m.doc, m.size_bytes, m.revision FROM memories c JOIN memories m ON m.doc = c.doc
  WHERE c.updated_at <= :as_of AND {_MEANT} AND {{filter}} ORDER BY c.created_at DESC, c.memory_id DESC
""",  # noqa: S608  # built of constants
    f"""
  SELECT m.created_at, m.memory_id, m.doc, m.size_bytes, m.revision
  FROM memories c JOIN revisions m ON m.doc = c.doc AND m.revision = {_STATE_AT}
  JOIN partitions p ON p.partition_id = m.partition_id
  WHERE c.updated_at > :as_of AND {_MEANT} AND {_SEEN} AND {{filter}} ORDER BY c.created_at DESC, c.memory_id DESC
""",  # noqa: S608  # built of constants
)
_STATES = f"""
  SELECT {COLUMNS} FROM json_each(:keys) k JOIN revisions m ON m.doc = k.value ->> 0 AND m.revision = k.value ->> 1
"""  # noqa: S608  # built of constants

Found = TypeVar("Found")


def keep_state(connection: apsw.Connection, doc: int) -> None:
    """Keep the current state of row *doc*, which is about to be replaced."""
    connection.execute(_KEEP, (doc,))


def list_revisions(connection: apsw.Connection, caller: Caller, plan: RevisionPlan) -> RevisionPage:
    """Return one page, as ``RevisionPlan`` says."""
    with transaction(connection):
        stored = read_visible(connection, caller, plan.memory_id, plan.now)
        highest = NEVER if plan.before is None else plan.before - 1
        states = _states(connection, caller, stored, 1, highest)
        return _cut_page(states, plan)


def read_revision(connection: apsw.Connection, caller: Caller, memory_id: str, revision: int, now: datetime) -> Memory:
    """Return one state that *caller* may see, or raise ``MemoryNotFound`` or ``RevisionNotFound``."""
    with transaction(connection):
        stored = read_visible(connection, caller, memory_id, now)
        for memory in _states(connection, caller, stored, revision, revision):
            return memory
    raise RevisionNotFound(f"memory {memory_id!r} has no revision {revision}", memory_id=memory_id)


def read_as_of(connection: apsw.Connection, caller: Caller, memory_id: str, as_of: datetime, now: datetime) -> Memory:
    """Return the state that was current at *as_of*, or raise ``MemoryNotFound``."""
    with transaction(connection):
        stored = read_visible(connection, caller, memory_id, now)
        if stored.memory.updated_at <= as_of:
            if stored.memory.expires_at is None or stored.memory.expires_at > as_of:
                return stored.memory
        else:
            bindings = access_bindings(caller, now) | {"doc": stored.doc, "as_of": time_us(as_of)}
            for row in connection.execute(_FORMER_AT, bindings):
                return row_to_memory(row).memory
    raise MemoryNotFound(f"no memory {memory_id!r} at that time", memory_id=memory_id)


def list_as_of(connection: apsw.Connection, caller: Caller, plan: ListPlan) -> ListPage:
    """Return one page of former states, as ``ListPlan`` says."""
    assert plan.as_of is not None  # noqa: S101  # the caller looked
    with transaction(connection):
        bindings = list_bindings(connection, caller, plan) | {"as_of": time_us(plan.as_of)}
        condition, values = to_sql(plan.filter)
        cursors = [
            connection.execute(keys.format(filter=condition), bindings | values | {"partition": partition})
            for partition in visible_partitions(connection, bindings)
            for keys in _KEYS_AT
        ]
        chosen, more = cut_page(heapq.merge(*cursors, reverse=True), plan)
        for cursor in cursors:
            cursor.close()
        keys = [(row[2], row[4]) for row in chosen]
        found = _read_states(connection, caller, keys, plan.now)
    return ListPage(tuple(found[key] for key in keys), more, bindings["snapshot"])


def _read_states(
    connection: apsw.Connection, caller: Caller, keys: Sequence[tuple[int, int]], now: datetime
) -> dict[tuple[int, int], Memory]:
    """Return the states of *keys*, docs with revisions, which are current or former ones."""
    current = read_many(connection, caller, [doc for doc, _ in keys], now)
    found = {(doc, memory.revision): memory for doc, memory in current.items()}
    former = [key for key in keys if key not in found]
    for row in connection.execute(_STATES, {"keys": orjson.dumps(former).decode()}):
        state = row_to_memory(row)
        found[state.doc, state.memory.revision] = state.memory
    return found


def _states(
    connection: apsw.Connection, caller: Caller, stored: StoredMemory, lowest: int, highest: int
) -> Iterator[Memory]:
    """Yield the states of *stored* with revisions from *lowest* to *highest* that *caller* may see, newest first."""
    if lowest <= stored.memory.revision <= highest:
        yield stored.memory
    bindings = access_bindings(caller, stored.memory.updated_at) | {
        "doc": stored.doc,
        "lowest": lowest,
        "highest": highest,
    }
    cursor = connection.execute(_FORMER, bindings)
    try:
        for row in cursor:
            yield row_to_memory(row).memory
    finally:
        cursor.close()


def _cut_page(states: Iterable[Memory], plan: RevisionPlan) -> RevisionPage:
    page: list[Memory] = []
    size = 0
    for memory in islice(states, plan.limit + 1):
        size += memory.size_bytes
        if page and (len(page) == plan.limit or size > plan.max_bytes):
            return RevisionPage(tuple(page), more=True)
        page.append(memory)
    return RevisionPage(tuple(page), more=False)


class HistoryReads(ABC):
    """The embedded store's reads of former states and of lineage."""

    @abstractmethod
    async def _read(self, read: Callable[[apsw.Connection], Found]) -> Found: ...

    async def list_revisions(self, caller: Caller, plan: RevisionPlan) -> RevisionPage:
        """Return one page, or raise ``MemoryNotFound``."""
        return await self._read(lambda connection: list_revisions(connection, caller, plan))

    async def get_revision(self, caller: Caller, memory_id: str, revision: int, now: datetime) -> Memory:
        """Return one state, or raise ``MemoryNotFound`` or ``RevisionNotFound``."""
        return await self._read(lambda connection: read_revision(connection, caller, memory_id, revision, now))

    async def get_as_of(self, caller: Caller, memory_id: str, as_of: datetime, now: datetime) -> Memory:
        """Return the state that was current at *as_of*, or raise ``MemoryNotFound``."""
        return await self._read(lambda connection: read_as_of(connection, caller, memory_id, as_of, now))

    async def lineage(
        self, caller: Caller, memory_id: str, now: datetime, max_kin: int = MAX_KIN, max_bytes: int = MAX_KIN_BYTES
    ) -> Lineage:
        """Return the kin of one memory, or raise ``MemoryNotFound``."""
        return await self._read(
            lambda connection: read_lineage(connection, caller, memory_id, now, max_kin=max_kin, max_bytes=max_bytes)
        )
