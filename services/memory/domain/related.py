"""Memories near to a given one."""

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from services.memory.domain.active_space import ATTEMPTS
from services.memory.domain.memories import bounded, required_id, utc_now
from services.memory.domain.ports import Embedder, MemoryStore, SearchHit, SearchMode, SearchPlan
from services.memory.domain.reads import MAX_ANSWER_BYTES
from services.memory.domain.searches import DEFAULT_TOP_K, MAX_TOP_K
from services.memory.domain.spaces import SpaceMoved
from services.mesh.caller import Caller
from services.mesh.errors import InvalidInput, Violation


@dataclass(frozen=True, slots=True)
class Likeness:
    """What is asked to be near to which memory; 0 and None stand for the defaults."""

    memory_id: str
    top_k: int = 0
    min_score: float | None = None


class Related:
    """Finds what is near to a memory by the memory's own vector: nothing is embedded."""

    def __init__(self, store: MemoryStore, embedder: Embedder, clock: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._embedder = embedder
        self._clock = clock

    async def find(self, caller: Caller, asked: Likeness) -> tuple[SearchHit, ...]:
        """Return the nearest memories but for the one itself, nearest first; fewer when they would exceed an answer.

        Raises ``InvalidInput``, ``MemoryNotFound``, and without ``min_score`` ``EmbeddingUnavailable``, as the space's threshold
        comes from the embedding service.
        """
        top_k = bounded("top_k", asked.top_k, DEFAULT_TOP_K, MAX_TOP_K)
        _check(asked)
        for _ in range(ATTEMPTS - 1):
            with suppress(SpaceMoved):  # between reading the vector and comparing it
                return await self._find(caller, asked, top_k)
        return await self._find(caller, asked, top_k)

    async def _find(self, caller: Caller, asked: Likeness, top_k: int) -> tuple[SearchHit, ...]:
        now = self._clock()
        own = await self._store.get(caller, required_id(asked.memory_id), now)
        embedding = await self._store.get_embedding(caller, asked.memory_id, now)
        plan = SearchPlan(
            mode=SearchMode.VECTOR,
            now=now,
            top_k=top_k + 1,  # it finds itself too
            limit=top_k + 1,
            threshold=await self._threshold(asked),
            embedding=embedding,
            valid_at=now,
            min_score=asked.min_score,
            max_bytes=MAX_ANSWER_BYTES + own.size_bytes,
        )
        page = await self._store.search(caller, plan)
        others = [hit for hit in page.hits if hit.memory.memory_id != asked.memory_id]
        return _fitting(others[:top_k])

    async def _threshold(self, asked: Likeness) -> float:
        if asked.min_score is not None:
            return asked.min_score
        return (await self._embedder.active_space()).threshold


def _check(asked: Likeness) -> None:
    if asked.min_score is not None and not -1.0 <= asked.min_score <= 1.0:  # not a number fails too
        shown = asked.min_score if math.isfinite(asked.min_score) else "no finite number"
        description = f"must be -1 to 1, got {shown}"
        raise InvalidInput(f"min_score {description}", violations=[Violation("min_score", description)])


def _fitting(hits: list[SearchHit]) -> tuple[SearchHit, ...]:
    """Return as many of *hits* as fit in one answer."""
    size = 0
    for number, hit in enumerate(hits):
        size += hit.memory.size_bytes
        if size > MAX_ANSWER_BYTES:
            return tuple(hits[:number])
    return tuple(hits)
