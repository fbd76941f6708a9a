"""Creating with an external id that is in use: update, leave or refuse; never across owners."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.memory.domain.draft import Draft
from services.memory.domain.memories import Memories, NewMemory, OnDuplicate
from services.memory.domain.memory import ExternalIdTaken, Memory, RequestIdReused
from services.mesh.caller import Caller
from services.mesh.errors import InvalidInput, MemoryBoxError
from tests.support.memory import FakeEmbedder
from tests.support.model_store import ModelMemoryStore

NOW = datetime(2030, 1, 2, 12, tzinfo=UTC)
ANN = Caller("ann")
BOB = Caller("bob")
UPDATE, KEEP, REJECT = OnDuplicate.UPDATE, OnDuplicate.RETURN_EXISTING, OnDuplicate.REJECT


class Bench:
    def __init__(self) -> None:
        self.store, self.embedder = ModelMemoryStore(), FakeEmbedder()
        self.now = NOW
        self.memories = Memories(self.store, self.embedder, lambda: self.now)

    async def put(
        self,
        content: str,
        on_duplicate: OnDuplicate = UPDATE,
        request_id: str = "",
        caller: Caller = ANN,
        **fields: Any,
    ) -> Memory:
        return await self.memories.create(caller, put(content, on_duplicate, request_id, **fields))


def put(content: str, on_duplicate: OnDuplicate = UPDATE, request_id: str = "", **fields: Any) -> NewMemory:
    return NewMemory(Draft(content, **({"external_id": "note"} | fields)), request_id, on_duplicate)


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_known_external_id_updates_the_whole_memory(bench: Bench) -> None:
    first = await bench.put("tea", tags=("t",), bucket="work")
    bench.now += timedelta(seconds=1)

    second = await bench.put("coffee")

    expected = replace(first, content="coffee", tags=(), bucket="default", revision=2, updated_at=bench.now)
    assert second == expected
    assert len(bench.store.records) == 1


async def test_saying_the_same_again_changes_and_embeds_nothing(bench: Bench) -> None:
    first = await bench.put("tea")
    asked = len(bench.embedder.asked)

    assert await bench.put("tea") == first
    assert len(bench.embedder.asked) == asked


async def test_existing_memory_can_be_left_or_defended(bench: Bench) -> None:
    first = await bench.put("tea", REJECT)

    assert await bench.put("coffee", KEEP) == first
    with pytest.raises(ExternalIdTaken):
        await bench.put("coffee", REJECT)
    assert await bench.memories.get(ANN, first.memory_id) == first


async def test_external_ids_of_others_lead_nowhere(bench: Bench) -> None:
    mine = await bench.put("tea")

    theirs = await bench.put("coffee", caller=BOB)

    assert theirs.memory_id != mine.memory_id
    assert (await bench.memories.get(ANN, mine.memory_id)).content == "tea"


async def test_memory_without_external_id_is_always_new(bench: Bench) -> None:
    first, second = await bench.put("tea", external_id=""), await bench.put("tea", external_id="")

    assert first.memory_id != second.memory_id


async def test_request_id_still_belongs_to_one_request(bench: Bench) -> None:
    first = await bench.put("tea", request_id="r")

    assert await bench.put("tea", request_id="r") == first
    with pytest.raises(RequestIdReused):
        await bench.put("coffee", request_id="r")
    assert (await bench.put("coffee", request_id="s")).memory_id == first.memory_id


async def test_updating_a_superseded_memory_makes_it_hold_again(bench: Bench) -> None:
    first = await bench.put("tea")
    record = bench.store.records[first.memory_id]
    closed = replace(first, superseded_by="other", valid_until=NOW)
    bench.store.records[first.memory_id] = replace(record, memory=closed)

    again = await bench.put("tea")

    assert (again.superseded_by, again.valid_until) == ("", None)


async def test_many_at_once_make_one_memory(bench: Bench) -> None:
    made = await asyncio.gather(*(bench.put(f"tea {number}") for number in range(5)))

    assert len({memory.memory_id for memory in made}) == 1
    assert sorted(memory.revision for memory in made) == [1, 2, 3, 4, 5]


async def test_batch_holds_both_kinds_in_order(bench: Bench) -> None:
    first = await bench.put("tea")
    items: list[NewMemory | MemoryBoxError] = [
        put("plain", REJECT, external_id=""),
        put("coffee"),
        InvalidInput("unreadable"),
        put("x", REJECT),
    ]

    answers = await bench.memories.create_batch(ANN, items)

    said = [answer.content if isinstance(answer, Memory) else type(answer).__name__ for answer in answers]
    assert said == ["plain", "coffee", "InvalidInput", "ExternalIdTaken"]
    assert isinstance(answers[1], Memory)
    assert answers[1].memory_id == first.memory_id


class SlowWithTea(FakeEmbedder):
    """Takes its time for one content."""

    async def embed(self, texts: Sequence[str], *request: Any) -> Any:
        for _ in range(20 * ("tea" in texts)):
            await asyncio.sleep(0)
        return await super().embed(texts, *request)


@pytest.mark.parametrize("last", [UPDATE, KEEP, REJECT])
async def test_items_of_a_batch_with_one_external_id_take_effect_in_order(last: OnDuplicate) -> None:
    memories = Memories(ModelMemoryStore(), SlowWithTea(), lambda: NOW)

    answers = await memories.create_batch(ANN, [put("tea"), put("coffee"), put("water", last)])

    said = [(answer.content, answer.revision) for answer in answers if isinstance(answer, Memory)]
    third = {UPDATE: [("water", 3)], KEEP: [("coffee", 2)], REJECT: []}[last]
    assert said == [("tea", 1), ("coffee", 2), *third]
