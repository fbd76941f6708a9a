"""Embedding spaces of the model store, by definition."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from services.memory.domain.memory import Embedding
from services.memory.domain.spaces import Filling, SpaceMoved, Spaces, Unfilled

if TYPE_CHECKING:
    from tests.support.model_store import ModelMemoryStore, Record


class ModelSpaces:
    """The port of spaces over the records of *host*: a record's vector, and its twin in at most one other space."""

    def __init__(self, host: "ModelMemoryStore") -> None:
        self._host = host
        self.shown = Spaces()

    def placed(self, embedding: Embedding) -> Embedding:
        """Return *embedding* as a write may bring it."""
        if not self.shown.active:
            self.shown = Spaces(embedding.space)
        if embedding.space != self.shown.active:
            raise SpaceMoved(embedding.space, self.shown.active)
        fits = embedding.twin is not None and embedding.twin.space == self.shown.target
        return embedding if fits else replace(embedding, twin=None)

    async def current(self) -> Spaces:
        return self.shown

    async def set_target(self, space: str) -> None:
        self.shown = replace(self.shown, target="" if space == self.shown.active else space)

    async def count_unfilled(self, space: str) -> tuple[int, int]:
        records = list(self._host.records.values())
        return sum(vector_in(record, space) is None for record in records), len(records)

    async def unfilled(self, space: str, after: int, limit: int, max_bytes: int) -> Sequence[Unfilled]:
        records = sorted(self._host.records.values(), key=lambda record: record.created_seq)
        lacking = [one for one in records if one.created_seq > after and vector_in(one, space) is None][:limit]
        sizes = [len(record.memory.content.encode()) for record in lacking]
        fitting = [one for place, one in enumerate(lacking) if not place or sum(sizes[: place + 1]) <= max_bytes]
        return [Unfilled(one.created_seq, self._content_revision(one), one.memory.content) for one in fitting]

    async def fill(self, fillings: Sequence[Filling]) -> int:
        return sum(self._fill(filling) for filling in fillings)

    def _fill(self, filling: Filling) -> bool:
        space = filling.embedding.space
        for memory_id, record in self._host.records.items():
            same = record.created_seq == filling.number and self._content_revision(record) == filling.revision
            if same and space == self.shown.target and vector_in(record, space) is None:
                filled = replace(record.embedding, twin=filling.embedding)
                self._host.records[memory_id] = replace(record, embedding=filled)
                return True
        return False

    def _content_revision(self, record: "Record") -> int:
        states = (*self._host.former.get(self._host.key_of(record.memory), ()), record.memory)
        others = [state.revision for state in states if state.content != record.memory.content]
        return max(others, default=record.memory.revision - len(states)) + 1

    async def switch(self) -> bool:
        lacking, _ = await self.count_unfilled(self.shown.target)
        if lacking or not self.shown.target:
            return False
        for memory_id, record in self._host.records.items():
            twin = record.embedding.twin
            assert twin is not None
            former = replace(record.embedding, twin=None)
            self._host.records[memory_id] = replace(record, embedding=replace(twin, twin=former))
        self.shown = Spaces(self.shown.target)
        return True

    async def sweep(self, limit: int) -> int:
        twins = [(name, record.embedding.twin) for name, record in self._host.records.items()]
        stale = [name for name, twin in twins if twin is not None and twin.space != self.shown.target][:limit]
        for memory_id in stale:
            record = self._host.records[memory_id]
            memory = replace(record.memory, embedding_space=self.shown.active)
            self._host.records[memory_id] = replace(
                record, memory=memory, embedding=replace(record.embedding, twin=None)
            )
        return len(stale)


def vector_in(record: "Record", space: str) -> Embedding | None:
    """Return the embedding of *record* in *space*."""
    both = (record.embedding, record.embedding.twin)
    return next((embedding for embedding in both if embedding is not None and embedding.space == space), None)
