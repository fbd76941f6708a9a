"""Former states of memories as rows; who may see one is part of every statement."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import TypeVar

import apsw

from services.memory.domain.lineage import MAX_KIN, MAX_KIN_BYTES, Lineage
from services.memory.domain.memory import Memory
from services.memory.domain.revisions import RevisionNotFound, RevisionPage, RevisionPlan
from services.memory.stores.embedded.database import transaction
from services.memory.stores.embedded.lineage import read_lineage
from services.memory.stores.embedded.rows import (
    COLUMNS,
    NEVER,
    WAYS,
    StoredMemory,
    access_bindings,
    read_visible,
    row_to_memory,
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

    async def lineage(
        self, caller: Caller, memory_id: str, now: datetime, max_kin: int = MAX_KIN, max_bytes: int = MAX_KIN_BYTES
    ) -> Lineage:
        """Return the kin of one memory, or raise ``MemoryNotFound``."""
        return await self._read(
            lambda connection: read_lineage(connection, caller, memory_id, now, max_kin=max_kin, max_bytes=max_bytes)
        )
