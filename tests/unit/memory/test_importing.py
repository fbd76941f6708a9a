"""Rules of imports: where vectors come from, what ends a stream, and what of it is kept."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from services.memory.domain.draft import Draft
from services.memory.domain.importing import CHUNK_BYTES, CHUNK_ITEMS, Imports, Incoming
from services.memory.domain.memory import Embedding, Part
from services.memory.domain.ports import EmbeddingSpace, InputKind
from services.memory.domain.transfer import ImportProgress
from services.mesh.caller import Caller
from services.mesh.errors import DeadlineExceeded, MemoryBoxError
from tests.support.model_store import ModelMemoryStore

ANN = Caller("ann")
NOW = datetime(2030, 1, 2, tzinfo=UTC)
OWN = Embedding("space", np.array([1.0, 0.0], np.float32))
MADE = Embedding("space", np.array([0.0, 1.0], np.float32), (Part(0, 5, np.array([0.0, 1.0], np.float32)),))


class PartsEmbedder:
    """Makes the same vector of every text, with one part; its model reads 10 tokens at once."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def active_space(self) -> EmbeddingSpace:
        return EmbeddingSpace("space", 2, 0.5, window_tokens=10)

    async def embed(self, texts: Sequence[str], kind: InputKind) -> tuple[EmbeddingSpace, list[Embedding]]:
        self.asked += texts
        return await self.active_space(), [MADE] * len(texts)


class Clock:
    """Goes on by *step* at each look."""

    def __init__(self, step: timedelta = timedelta(0)) -> None:
        self._now = NOW
        self._step = step

    def __call__(self) -> datetime:
        self._now += self._step
        return self._now


class Setting:
    """Imports into a model store."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.store = ModelMemoryStore()
        self.embedder = PartsEmbedder()
        self.imports = Imports(self.store.moving, b"k" * 32, self.embedder, clock or Clock())
        self.taken = 0

    async def run(self, items: Sequence[Incoming | MemoryBoxError], *, cut: bool = False) -> ImportProgress:
        async def stream() -> AsyncIterator[Incoming | MemoryBoxError]:
            for item in items:
                self.taken += 1
                yield item

        async def confirm_end() -> None:
            if cut:
                raise asyncio.CancelledError

        return await self.imports.run(ANN, "i", 0, stream(), confirm_end)

    def contents(self) -> list[str]:
        return [record.memory.content for record in self.store.records.values()]


def item(content: str = "tea", embedding: Embedding | None = OWN) -> Incoming:
    return Incoming(Draft(content=content), embedding=embedding)


async def test_stream_that_was_cut_keeps_no_partial_chunk() -> None:
    setting = Setting()

    with pytest.raises(asyncio.CancelledError):
        await setting.run([item(f"tea {n}") for n in range(CHUNK_ITEMS + 5)], cut=True)

    assert len(setting.contents()) == CHUNK_ITEMS
    assert (await setting.store.moving.import_progress(ANN, "i")).next_index == CHUNK_ITEMS


async def test_stream_goes_on_behind_what_another_one_committed_meanwhile() -> None:
    setting = Setting()
    items = [item(f"tea {n}") for n in range(CHUNK_ITEMS + 20)]
    progress_of = setting.store.moving.import_progress

    async def overtaken(caller: Caller, import_id: str) -> ImportProgress:
        """Let another stream of the import be there just after this one looked."""
        known = await progress_of(caller, import_id)
        setting.store.moving.import_progress = progress_of  # type: ignore[method-assign]
        await setting.run(items[:30])
        return known

    setting.store.moving.import_progress = overtaken  # type: ignore[method-assign]
    progress = await setting.run(items)

    assert (progress.next_index, progress.imported_count) == (CHUNK_ITEMS + 20, CHUNK_ITEMS + 20)
    assert setting.contents() == [f"tea {n}" for n in range(CHUNK_ITEMS + 20)]


async def test_chunk_ends_by_size_too() -> None:
    setting = Setting()

    with pytest.raises(asyncio.CancelledError):
        await setting.run([item("x" * (CHUNK_BYTES // 2)) for _ in range(3)], cut=True)

    assert len(setting.contents()) == 2


async def test_stream_ends_after_a_quarter_of_an_hour_with_what_is_durable() -> None:
    setting = Setting(Clock(timedelta(minutes=4)))

    with pytest.raises(DeadlineExceeded):
        await setting.run([item(f"tea {n}") for n in range(CHUNK_ITEMS * 10)])

    kept = len(setting.contents())
    assert 0 < kept < CHUNK_ITEMS * 10
    assert (await setting.store.moving.import_progress(ANN, "i")).next_index == kept == setting.taken


async def test_short_contents_vector_is_taken_over_as_it_is() -> None:
    setting = Setting()

    await setting.run([item("tea")])

    (record,) = setting.store.records.values()
    assert record.embedding == OWN
    assert setting.embedder.asked == []


async def test_long_content_keeps_its_vector_and_gets_its_parts_anew() -> None:
    setting = Setting()

    await setting.run([item("a content of more than ten tokens"), item("tea")])

    long, short = setting.store.records.values()
    assert long.embedding.vector is OWN.vector
    assert long.embedding.parts == MADE.parts
    assert short.embedding.parts == ()
    assert setting.embedder.asked == ["a content of more than ten tokens"]


async def test_items_id_is_the_same_in_every_run_of_the_same_import() -> None:
    first, second = Setting(), Setting()

    await first.run([item(), item("coffee")])
    await second.run([item(), item("coffee")])

    assert list(first.store.records) == list(second.store.records)
    assert len(first.store.records) == 2
