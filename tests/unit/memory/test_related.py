"""What is near to a memory: by which threshold, without itself, and within one answer."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from services.memory.domain.draft import Draft
from services.memory.domain.memories import Memories, NewMemory
from services.memory.domain.memory import AccessLevel, Memory, MemoryNotFound
from services.memory.domain.ports import EmbeddingUnavailable
from services.memory.domain.reads import MAX_ANSWER_BYTES
from services.memory.domain.related import Likeness, Related
from services.mesh.caller import Caller
from services.mesh.errors import InvalidInput
from tests.support.memory import FakeEmbedder
from tests.support.model_store import ModelMemoryStore

NOW = datetime(2030, 1, 2, 12, tzinfo=UTC)
ANN = Caller("ann")
BOB = Caller("bob")


class Bench:
    def __init__(self) -> None:
        self.store = ModelMemoryStore()
        self.embedder = FakeEmbedder()
        self.memories = Memories(self.store, self.embedder, lambda: NOW)
        self.related = Related(self.store, self.embedder, lambda: NOW)

    async def create(self, content: str, caller: Caller = ANN, **fields: Any) -> Memory:
        return await self.memories.create(caller, NewMemory(Draft(content, **fields)))

    async def near(self, memory: Memory, caller: Caller = ANN, **asked: Any) -> list[str]:
        hits = await self.related.find(caller, Likeness(memory.memory_id, **asked))
        return [hit.memory.content for hit in hits]


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_nearest_come_first_without_the_memory_itself(bench: Bench) -> None:
    tea = await bench.create("green tea cup")
    for content in ("green tea cup", "green tea", "tea pot", "zebra"):
        await bench.create(content)

    assert (await bench.near(tea, min_score=-1.0))[:3] == ["green tea cup", "green tea", "tea pot"]
    assert len(await bench.near(tea, min_score=-1.0)) == 4


async def test_threshold_is_the_spaces_unless_a_score_is_given(bench: Bench) -> None:
    tea = await bench.create("green tea")
    await bench.create("green tea cup")
    await bench.create("zebra stripes")

    assert await bench.near(tea) == ["green tea cup"]
    assert await bench.near(tea, min_score=0.999) == []
    assert len(await bench.near(tea, min_score=-1.0)) == 2


async def test_top_k_counts_only_others(bench: Bench) -> None:
    first, *_ = [await bench.create("tea") for _ in range(15)]

    assert len(await bench.near(first, top_k=3)) == 3
    assert len(await bench.near(first)) == 10


async def test_only_what_the_caller_may_see_is_near(bench: Bench) -> None:
    public = await bench.create("tea", access_level=AccessLevel.PUBLIC)
    await bench.create("tea")
    await bench.create("tea", BOB)

    assert len(await bench.near(public, BOB)) == 1
    private = await bench.create("tea")
    with pytest.raises(MemoryNotFound):
        await bench.near(private, BOB)


async def test_answer_stays_within_its_size_and_is_never_empty_for_a_large_memory(bench: Bench) -> None:
    words = "tea " * 250_000
    large = [await bench.create(words + str(number)) for number in range(5)]

    hits = await bench.related.find(ANN, Likeness(large[0].memory_id, min_score=-1.0))

    assert 1 <= len(hits) < 4
    assert sum(hit.memory.size_bytes for hit in hits) <= MAX_ANSWER_BYTES


async def test_given_score_needs_no_embedding_service(bench: Bench) -> None:
    tea = await bench.create("tea")
    await bench.create("tea")
    bench.embedder.down = True

    assert await bench.near(tea, min_score=0.5) == ["tea"]
    with pytest.raises(EmbeddingUnavailable):
        await bench.near(tea)


@pytest.mark.parametrize(
    "wrong", [{"top_k": 1001}, {"top_k": -1}, {"min_score": 1.1}, {"min_score": float("nan")}, {"memory_id": ""}]
)
async def test_wrong_requests_are_refused(bench: Bench, wrong: dict[str, Any]) -> None:
    tea = await bench.create("tea")

    with pytest.raises(InvalidInput):
        await bench.related.find(ANN, replace(Likeness(tea.memory_id), **wrong))
