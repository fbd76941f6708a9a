"""Several searches at once: each on its own, all in one answer."""

from datetime import UTC, datetime

import pytest

from services.memory.domain.batch_searches import BatchSearches
from services.memory.domain.draft import Draft
from services.memory.domain.memories import Memories, NewMemory
from services.memory.domain.ports import SearchMode
from services.memory.domain.reads import MAX_ANSWER_BYTES
from services.memory.domain.searches import Found, Search, Searches
from services.mesh.caller import Caller
from services.mesh.errors import InvalidInput, MemoryBoxError
from tests.support.memory import FakeEmbedder
from tests.support.model_store import ModelMemoryStore

NOW = datetime(2030, 1, 2, 12, tzinfo=UTC)
ANN = Caller("ann")


class Bench:
    def __init__(self) -> None:
        store, self.embedder = ModelMemoryStore(), FakeEmbedder()
        self.memories = Memories(store, self.embedder, lambda: NOW)
        self.searches = Searches(store, self.embedder, lambda: NOW)
        self.batch = BatchSearches(self.searches)


async def test_each_search_succeeds_or_fails_alone() -> None:
    bench = Bench()
    for content in ("green tea", "black coffee"):
        await bench.memories.create(ANN, NewMemory(Draft(content)))
    broken = InvalidInput("unreadable")
    bench.embedder.down = True
    asked: list[Search | MemoryBoxError] = [
        Search("tea"),
        broken,
        Search(""),
        Search("coffee", mode=SearchMode.VECTOR),
        Search("coffee"),
    ]

    outcomes = await bench.batch.search(ANN, asked)

    found = [
        [hit.hit.memory.content for hit in outcome.hits] if isinstance(outcome, Found) else outcome.reason
        for outcome in outcomes
    ]
    assert found == [["green tea"], "INVALID_INPUT", "INVALID_INPUT", "EMBEDDING_UNAVAILABLE", ["black coffee"]]
    assert outcomes[1] is broken


@pytest.mark.parametrize("number", [0, 17])
async def test_number_of_searches_is_bounded(number: int) -> None:
    with pytest.raises(InvalidInput):
        await Bench().batch.search(ANN, [Search("tea")] * number)


async def test_answers_fit_together_and_tokens_lead_to_the_rest() -> None:
    bench = Bench()
    words = "tea " * 225_000
    for number in range(4):
        await bench.memories.create(ANN, NewMemory(Draft(f"{words}{number}")))
    asked = [Search("tea", mode=SearchMode.KEYWORD)] * 3

    outcomes = await bench.batch.search(ANN, asked)

    founds = [outcome for outcome in outcomes if isinstance(outcome, Found)]
    sizes = [hit.hit.memory.size_bytes for found in founds for hit in found.hits]
    assert sum(sizes) <= MAX_ANSWER_BYTES
    assert [len(found.hits) for found in founds] == [3, 0, 0]
    for found in founds:
        ids = [hit.hit.memory.memory_id for hit in found.hits]
        token = found.next_page_token
        while token:
            page = await bench.searches.search(ANN, Search("tea", mode=SearchMode.KEYWORD, page_token=token))
            ids += [hit.hit.memory.memory_id for hit in page.hits]
            token = page.next_page_token
        assert len(ids) == len(set(ids)) == 4
