"""Taking memories out of the rows, and in: the adapter of the moving port."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import apsw

from services.memory.domain.audit import Act, Entry, Touched, current_act
from services.memory.domain.transfer import (
    ExportChunk,
    Exported,
    ExportPlan,
    ImportChunk,
    ImportProgress,
)
from services.memory.filter.sql import to_sql
from services.memory.stores.embedded.database import transaction
from services.memory.stores.embedded.imports import PreparedImport, prepare_import, read_progress
from services.memory.stores.embedded.rows import access_bindings, last_seq, read_many, read_pooled
from services.memory.stores.embedded.writer import Ground
from services.mesh.caller import Caller

Found = TypeVar("Found")

_OWNED = """
  SELECT m.doc, m.size_bytes FROM memories m
  WHERE m.owner_user = :user AND m.doc > :after AND m.doc <= :snapshot
    AND m.delete_time IS NULL AND (m.expires_at IS NULL OR m.expires_at > :now) AND {filter}
  ORDER BY m.doc LIMIT :limit + 1
"""


class Host(Protocol):
    """What of the store the mover uses."""

    async def read(self, read: Callable[[apsw.Connection], Found]) -> Found: ...
    async def run(self, task: Callable[[Ground], Found]) -> Found: ...


class EmbeddedMover:
    """A ``MovingStore`` over the rows of *host*."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def export(self, caller: Caller, plan: ExportPlan) -> ExportChunk:
        """Return the next rows that *caller* owns."""
        return await self._host.read(lambda connection: read_export(connection, caller, plan))

    async def import_progress(self, caller: Caller, import_id: str) -> ImportProgress:
        """Return how far the caller's import is."""
        return await self._host.read(lambda connection: read_progress(connection, caller, import_id))

    async def import_chunk(self, caller: Caller, chunk: ImportChunk) -> ImportProgress:
        """Commit *chunk* with the progress of its import."""
        prepared, act = await asyncio.to_thread(prepare_import, caller, chunk), current_act()
        progress = await self._host.run(lambda ground: keep_import(ground, prepared, act))
        if act is not None:
            act.written = True
        return progress


def keep_import(ground: Ground, prepared: PreparedImport, act: Act | None) -> ImportProgress:
    """Keep a chunk inside the writer's transaction, and record the act that it is part of."""
    outcomes = prepared.apply_to(ground.connection, ground.changes)
    if act is not None:
        touched = tuple(Touched(outcome.memory.memory_id, outcome.memory.owner_user) for outcome in outcomes)
        ground.audit.append([Entry(act, "OK", touched)])
    ground.index_changes.extend(outcome.index_change for outcome in outcomes if outcome.index_change is not None)
    return read_progress(ground.connection, prepared.caller, prepared.chunk.import_id)


def read_export(connection: apsw.Connection, caller: Caller, plan: ExportPlan) -> ExportChunk:
    """Return a chunk in a short transaction of its own: a long one would keep the log from starting over."""
    condition, values = to_sql(plan.filter)
    with transaction(connection):
        snapshot = last_seq(connection) if plan.snapshot is None else plan.snapshot
        bindings = access_bindings(caller, plan.now)
        bindings |= {"after": plan.after, "snapshot": snapshot, "limit": plan.limit}
        keys: list[tuple[Any, ...]] = connection.execute(_OWNED.format(filter=condition), bindings | values).fetchall()
        docs = _fitting(keys, plan)
        found = read_many(connection, caller, docs, plan.now)
        vectors = {doc: read_pooled(connection, doc) for doc in docs} if plan.with_embeddings else {}
    rows = tuple(Exported(doc, found[doc], vectors.get(doc)) for doc in docs)
    return ExportChunk(rows, len(docs) < len(keys), snapshot)


def _fitting(keys: list[tuple[Any, ...]], plan: ExportPlan) -> list[int]:
    docs: list[int] = []
    size = 0
    for doc, size_bytes in keys[: plan.limit]:
        size += size_bytes
        if docs and size > plan.max_bytes:
            break
        docs.append(doc)
    return docs
