"""Newer facts: what is closed when, what goes over, and what a repetition does."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.memory.domain.draft import Draft
from services.memory.domain.history import History
from services.memory.domain.memories import Memories, NewMemory
from services.memory.domain.memory import (
    AccessLevel,
    ExternalIdTaken,
    Memory,
    MemoryNotFound,
    NotOwner,
    RequestIdReused,
)
from services.memory.domain.ports import EmbeddingUnavailable
from services.memory.domain.superseding import AlreadySuperseded, Superseding
from services.mesh.caller import Caller
from services.mesh.errors import InvalidInput
from tests.support.memory import FakeEmbedder
from tests.support.model_store import ModelMemoryStore

NOW = datetime(2030, 1, 2, 12, tzinfo=UTC)
DAY = timedelta(days=1)
ANN = Caller("ann")
BOB = Caller("bob")


class Bench:
    def __init__(self) -> None:
        self.store = ModelMemoryStore()
        self.embedder = FakeEmbedder()
        self.now = NOW
        self.memories = Memories(self.store, self.embedder, lambda: self.now)
        self.history = History(self.store, self.embedder, lambda: self.now)
        self.superseding = Superseding(self.store, self.embedder, lambda: self.now)

    async def create(self, content: str = "lives in Bern", **fields: Any) -> Memory:
        return await self.memories.create(ANN, NewMemory(Draft(content, **fields)))

    async def supersede(
        self, old: Memory, content: str = "lives in Rome", request_id: str = "", caller: Caller = ANN, **fields: Any
    ) -> Memory:
        return await self.superseding.supersede(caller, old.memory_id, NewMemory(Draft(content, **fields), request_id))

    async def read(self, memory: Memory) -> Memory:
        return await self.memories.get(ANN, memory.memory_id)

    async def listed(self) -> list[str]:
        page = await self.memories.list_page(ANN, page_size=0, page_token="", bucket="")
        return [memory.content for memory in page.memories]


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_old_memory_is_closed_where_the_new_one_begins(bench: Bench) -> None:
    old = await bench.create()
    bench.now += DAY

    new = await bench.supersede(old)

    closed = await bench.read(old)
    assert closed == replace(old, revision=2, updated_at=bench.now, superseded_by=new.memory_id, valid_until=bench.now)
    assert (new.content, new.revision, new.valid_from, new.owner_user) == ("lives in Rome", 1, bench.now, "ann")
    assert await bench.listed() == ["lives in Rome"]


async def test_moment_of_change_may_be_another_than_now(bench: Bench) -> None:
    moved = NOW - 10 * DAY
    old = await bench.create()

    new = await bench.supersede(old, valid_from=moved)

    assert (new.valid_from, (await bench.read(old)).valid_until) == (moved, moved)


async def test_memory_that_ended_before_keeps_its_end(bench: Bench) -> None:
    old = await bench.create(valid_until=NOW - DAY)

    await bench.supersede(old)

    assert (await bench.read(old)).valid_until == NOW - DAY


async def test_moment_must_lie_after_the_old_ones_begin_and_before_the_new_ones_end(bench: Bench) -> None:
    old = await bench.create(valid_from=NOW)

    wrong: list[dict[str, Any]] = [{}, {"valid_from": NOW - DAY}, {"valid_from": NOW + DAY, "valid_until": NOW + DAY}]
    for fields in wrong:
        with pytest.raises(InvalidInput):
            await bench.supersede(old, **fields)
    bench.now += DAY
    with pytest.raises(InvalidInput):
        await bench.supersede(old, valid_until=NOW + DAY / 2)

    assert await bench.read(old) == old


async def test_restoring_the_old_state_opens_it_again(bench: Bench) -> None:
    old = await bench.create()
    bench.now += DAY
    await bench.supersede(old)

    await bench.history.restore(ANN, old.memory_id, 1, "")

    reopened = await bench.read(old)
    assert (reopened.superseded_by, reopened.valid_until) == ("", None)
    assert sorted(await bench.listed()) == ["lives in Bern", "lives in Rome"]


async def test_external_id_that_both_name_goes_over(bench: Bench) -> None:
    old = await bench.create(external_id="home")
    bench.now += DAY

    new = await bench.supersede(old, external_id="home")

    assert (new.external_id, (await bench.read(old)).external_id) == ("home", "")
    with pytest.raises(ExternalIdTaken):
        await bench.history.restore(ANN, old.memory_id, 1, "")


async def test_superseded_memory_cannot_be_superseded_again(bench: Bench) -> None:
    old = await bench.create()
    bench.now += DAY
    new = await bench.supersede(old)

    with pytest.raises(AlreadySuperseded) as told:
        await bench.supersede(old, "lives in Oslo")

    assert told.value.context["superseded_by"] == new.memory_id
    bench.now += DAY
    await bench.supersede(new, "lives in Oslo")
    assert await bench.listed() == ["lives in Oslo"]


async def test_only_the_owner_supersedes(bench: Bench) -> None:
    public, private = await bench.create(access_level=AccessLevel.PUBLIC), await bench.create()

    with pytest.raises(NotOwner):
        await bench.supersede(public, caller=BOB)
    with pytest.raises(MemoryNotFound):
        await bench.supersede(private, caller=BOB)


async def test_repetition_returns_the_first_result_and_closes_nothing_again(bench: Bench) -> None:
    old = await bench.create()
    bench.now += DAY
    new = await bench.supersede(old, request_id="r")
    await bench.history.restore(ANN, old.memory_id, 1, "")
    reopened = await bench.read(old)
    bench.now += DAY

    assert await bench.supersede(old, request_id="r") == new
    assert await bench.read(old) == reopened


async def test_request_id_belongs_to_one_request(bench: Bench) -> None:
    old, other = await bench.create(), await bench.create("likes tea")
    bench.now += DAY
    await bench.supersede(old, request_id="r")

    with pytest.raises(RequestIdReused):
        await bench.supersede(other, request_id="r")
    with pytest.raises(RequestIdReused):
        await bench.supersede(old, "lives in Oslo", request_id="r")
    with pytest.raises(RequestIdReused):
        await bench.memories.create(ANN, NewMemory(Draft("lives in Rome"), "r"))


async def test_merged_memories_are_all_closed_and_point_at_the_new_one(bench: Bench) -> None:
    olds = [await bench.create(f"likes tea {number}", external_id=f"x{number}") for number in range(3)]
    bench.now += DAY
    ids = [old.memory_id for old in olds]
    request = NewMemory(Draft("likes tea", external_id="x1"), "r")

    new = await bench.superseding.merge(ANN, ids, request)

    closed = [await bench.read(old) for old in olds]
    assert {memory.superseded_by for memory in closed} == {new.memory_id}
    assert [memory.external_id for memory in closed] == ["x0", "", "x2"]
    assert await bench.listed() == ["likes tea"]
    assert await bench.superseding.merge(ANN, ids, request) == new
    lineage = await bench.store.lineage(ANN, new.memory_id, bench.now)
    assert {memory.memory_id for memory in lineage.ancestors} == set(ids)


async def test_merge_changes_nothing_when_one_memory_is_not_to_be_had(bench: Bench) -> None:
    mine, other = await bench.create(), await bench.create("likes tea")
    foreign = await bench.memories.create(BOB, NewMemory(Draft("secret")))
    bench.now += DAY
    new = NewMemory(Draft("merged"))

    for ids in ([mine.memory_id, foreign.memory_id], [mine.memory_id, "absent"]):
        with pytest.raises(MemoryNotFound):
            await bench.superseding.merge(ANN, ids, new)
    for ids in ([], [mine.memory_id], [mine.memory_id] * 2, [mine.memory_id, ""], [f"m{n}" for n in range(65)]):
        with pytest.raises(InvalidInput):
            await bench.superseding.merge(ANN, ids, new)

    assert [await bench.read(mine), await bench.read(other)] == [mine, other]


async def test_nothing_is_closed_when_the_new_memory_cannot_be_kept(bench: Bench) -> None:
    old = await bench.create()
    await bench.create("likes tea", external_id="taken")
    bench.now += DAY

    with pytest.raises(ExternalIdTaken):
        await bench.supersede(old, external_id="taken")
    bench.embedder.down = True
    with pytest.raises(EmbeddingUnavailable):
        await bench.supersede(old)

    assert await bench.read(old) == old
