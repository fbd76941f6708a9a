"""Embeds in the space that the store compares in, whichever the embedding service prefers; also while that changes."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace

from services.memory.domain.memory import Embedding, Memory
from services.memory.domain.ports import (
    Change,
    Create,
    Embedder,
    EmbeddingModels,
    EmbeddingSpace,
    InputKind,
    MemoryStore,
    Replace,
    SpaceNotServed,
    UnitOfWork,
)
from services.memory.domain.spaces import SpaceMoved, SpaceStore
from services.mesh.errors import MemoryBoxError

ATTEMPTS = 3  # a re-embedding moves the space once, and the next one takes its time

_log = logging.getLogger(__name__)


class ActiveSpaceEmbedder:
    """An ``Embedder`` in the active space of *spaces*; documents get a twin in the space that is being filled."""

    def __init__(self, models: EmbeddingModels, spaces: SpaceStore) -> None:
        self._models = models
        self._spaces = spaces

    async def active_space(self) -> EmbeddingSpace:
        """Return the active space, the embedding service's first one as long as there is none. Raises ``SpaceNotServed``."""
        return find_space(await self._models.spaces(), (await self._spaces.current()).active)

    async def embed(self, texts: Sequence[str], kind: InputKind) -> tuple[EmbeddingSpace, list[Embedding]]:
        """Return one embedding per text. Raises ``EmbeddingUnavailable``, ``SpaceNotServed``."""
        spaces = await self._spaces.current()
        if kind is InputKind.QUERY or not spaces.target:
            return await self._models.embed(texts, kind, spaces.active)
        (space, embeddings), twins = await asyncio.gather(
            self._models.embed(texts, kind, spaces.active), self._twins(texts, spaces.target)
        )
        return space, [replace(embedding, twin=twin) for embedding, twin in zip(embeddings, twins, strict=True)]

    async def _twins(self, texts: Sequence[str], target: str) -> Sequence[Embedding | None]:
        try:
            _, embeddings = await self._models.embed(texts, InputKind.DOCUMENT, target)
        except MemoryBoxError as error:  # the re-embedding embeds them later
            _log.warning("a write is not embedded in the new space yet", extra={"reason": error.reason})
            return [None] * len(texts)
        return embeddings


def find_space(served: Sequence[EmbeddingSpace], name: str) -> EmbeddingSpace:
    """Return the space called *name*, the first of *served* for ''. Raises ``SpaceNotServed``."""
    for space in served:
        if name in {"", space.name}:
            return space
    raise SpaceNotServed.of(name, [space.name for space in served])


async def apply(store: MemoryStore, embedder: Embedder, work: UnitOfWork) -> tuple[Memory, ...]:
    """Commit *work*, embedded anew if its vectors are of a space that was left meanwhile. Raises what ``MemoryStore.apply`` does."""
    for _ in range(ATTEMPTS - 1):
        try:
            return await store.apply(work)
        except SpaceMoved:
            work = replace(work, changes=await _embedded_anew(embedder, work.changes))
    return await store.apply(work)


async def _embedded_anew(embedder: Embedder, changes: Sequence[Change]) -> tuple[Change, ...]:
    stale = [change for change in changes if isinstance(change, Create | Replace) and change.embedding is not None]
    _, embeddings = await embedder.embed([change.memory.content for change in stale], InputKind.DOCUMENT)
    anew = {
        id(change): replace(change, embedding=embedding) for change, embedding in zip(stale, embeddings, strict=True)
    }
    return tuple(anew.get(id(change), change) for change in changes)
