"""Memories, changes and plans for tests of stores, with the values that do not matter filled in."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from services.memory.domain.keyword import tokenize
from services.memory.domain.memory import AccessLevel, Embedding, Memory
from services.memory.domain.ports import (
    Change,
    Create,
    Delete,
    ListPlan,
    MemoryStore,
    Replace,
    SearchMode,
    SearchPlan,
    UnitOfWork,
)
from services.mesh.caller import Caller

NOW = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
ANN = Caller("ann")
BOB = Caller("bob")
NURSE = Caller("nina", frozenset({"NURSE"}))
ROLE = AccessLevel.ROLE
PUBLIC = AccessLevel.PUBLIC


def vector(*components: float, space: str = "model-a") -> Embedding:
    """Return an embedding in the direction of *components*."""
    direction = np.array(components, np.float64)
    return Embedding(space, (direction / np.linalg.norm(direction)).astype(np.float32))


EAST = vector(1, 0, 0)


def creation(
    memory_id: str,
    content: str = "tea",
    *,
    owner: str = "ann",
    at: datetime = NOW,
    embedding: Embedding = EAST,
    request_hash: bytes | None = None,
    **fields: Any,
) -> Create:
    """Return the creation of a memory, PRIVATE unless said."""
    return Create(Memory(memory_id, owner, content, at, at, **fields), embedding, request_hash)


def revised(memory: Memory, embedding: Embedding | None = None, **fields: Any) -> Replace:
    """Return the next revision of *memory*, a second later, with *fields* changed."""
    later = memory.updated_at + timedelta(seconds=1)
    return Replace(replace(memory, revision=memory.revision + 1, updated_at=later, **fields), embedding)


def deletion(memory: Memory) -> Delete:
    """Return the deletion of *memory* as it is."""
    return Delete(memory.memory_id, memory.revision, memory.updated_at + timedelta(seconds=1))


async def apply(store: MemoryStore, caller: Caller, *changes: Change) -> tuple[Memory, ...]:
    """Apply *changes* as one unit."""
    return await store.apply(UnitOfWork(caller, changes))


async def fill(store: MemoryStore, *creations: Create) -> None:
    """Create memories, each by its owner."""
    for change in creations:
        await apply(store, Caller(change.memory.owner_user), change)


def listing(**fields: Any) -> ListPlan:
    """Return a plan for a list of at most 100."""
    defaults: dict[str, Any] = {"limit": 100, "now": NOW}
    return ListPlan(**(defaults | fields))


def keyword_search(text: str, **fields: Any) -> SearchPlan:
    """Return a plan that finds by words."""
    return _plan(SearchMode.KEYWORD, {"terms": tuple(tokenize(text))} | fields)


def vector_search(embedding: Embedding, **fields: Any) -> SearchPlan:
    """Return a plan that finds by cosine, whatever it is."""
    return _plan(SearchMode.VECTOR, {"embedding": embedding} | fields)


def hybrid_search(text: str, embedding: Embedding, **fields: Any) -> SearchPlan:
    """Return a plan that finds by both."""
    return _plan(SearchMode.HYBRID, {"terms": tuple(tokenize(text)), "embedding": embedding} | fields)


def _plan(mode: SearchMode, fields: dict[str, Any]) -> SearchPlan:
    defaults: dict[str, Any] = {"now": NOW, "top_k": 10, "limit": 10, "threshold": -1.0}
    return SearchPlan(mode, **(defaults | fields))


async def listed(store: MemoryStore, caller: Caller, **fields: Any) -> list[str]:
    """Return the ids of one page."""
    return [memory.memory_id for memory in (await store.list(caller, listing(**fields))).memories]


async def found(store: MemoryStore, caller: Caller, plan: SearchPlan) -> list[str]:
    """Return the ids of one page of hits."""
    return [hit.memory.memory_id for hit in (await store.search(caller, plan)).hits]
