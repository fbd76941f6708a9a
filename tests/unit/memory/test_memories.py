"""Keeping memories: what is embedded and when, repeated creates, and updates that meet others."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.memory.domain.draft import Draft
from services.memory.domain.memories import UPDATE_ATTEMPTS, Memories, NewMemory
from services.memory.domain.memory import (
    AccessLevel,
    EtagMismatch,
    ExternalIdTaken,
    Memory,
    MemoryNotFound,
    NotOwner,
    RequestIdReused,
)
from services.memory.domain.ports import EmbeddingUnavailable, UnitOfWork
from services.mesh.caller import Caller
from services.mesh.errors import InvalidInput, MemoryBoxError
from tests.support.memory import SPACE, FakeEmbedder
from tests.support.model_store import ModelMemoryStore

NOW = datetime(2030, 1, 2, 12, tzinfo=UTC)
ANN = Caller("ann")
BOB = Caller("bob")


class Crowded(ModelMemoryStore):
    """A store in which somebody else is a little faster, as often as told."""

    rivals = 0

    async def apply(self, work: UnitOfWork) -> tuple[Memory, ...]:
        if self.rivals:
            self.rivals -= 1
            raise EtagMismatch("changed")
        return await super().apply(work)


class Bench:
    def __init__(self) -> None:
        self.store = Crowded()
        self.embedder = FakeEmbedder()
        self.now = NOW
        self.memories = Memories(self.store, self.embedder, lambda: self.now)

    async def create(self, content: str = "tea", request_id: str = "", caller: Caller = ANN, **fields: Any) -> Memory:
        return await self.memories.create(caller, new(content, request_id, **fields))

    async def update(self, memory: Memory, etag: str = "", caller: Caller = ANN, **fields: Any) -> Memory:
        return await self.memories.update(caller, memory.memory_id, changing(**fields), etag)


def new(content: str = "tea", request_id: str = "", **fields: Any) -> NewMemory:
    return NewMemory(Draft(content, **fields), request_id)


def changing(**fields: Any) -> Callable[[Memory], Draft]:
    return lambda memory: replace(Draft.of(memory), **fields)


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_created_memory_is_the_callers_first_revision(bench: Bench) -> None:
    memory = await bench.create("tea", tags=("t",))

    assert (memory.owner_user, memory.revision, memory.embedding_space) == ("ann", 1, SPACE.name)
    assert memory.created_at == memory.updated_at == NOW
    assert await bench.memories.get(ANN, memory.memory_id) == memory


async def test_create_is_refused_before_anything_is_embedded(bench: Bench) -> None:
    for wrong in (new(""), new("tea", "bad id"), new("tea", tags=("",))):
        with pytest.raises(InvalidInput):
            await bench.memories.create(ANN, wrong)

    assert bench.embedder.asked == []


async def test_create_without_a_vector_keeps_nothing(bench: Bench) -> None:
    bench.embedder.down = True

    with pytest.raises(EmbeddingUnavailable):
        await bench.create()

    assert bench.store.records == {}


async def test_repeated_create_returns_the_first_result(bench: Bench) -> None:
    first = await bench.create("tea", "r1")
    bench.now += timedelta(days=1)

    assert await bench.create("tea", "r1") == first
    assert len(bench.store.records) == 1


async def test_request_id_with_another_body_is_refused(bench: Bench) -> None:
    await bench.create("tea", "r1")

    with pytest.raises(RequestIdReused):
        await bench.create("tea", "r1", tags=("t",))


async def test_request_ids_of_two_owners_do_not_meet(bench: Bench) -> None:
    mine, theirs = await bench.create("tea", "r1"), await bench.create("coffee", "r1", BOB)

    assert mine.memory_id != theirs.memory_id
    assert await bench.create("tea", "r1") == mine


async def test_batch_keeps_what_is_good_and_says_what_is_wrong_with_the_rest(bench: Bench) -> None:
    await bench.create("tea", external_id="taken")
    broken = InvalidInput("unreadable")
    items: list[NewMemory | MemoryBoxError] = [
        new("a"),
        broken,
        new(""),
        new("b", external_id="taken"),
        new("c", "bad id"),
        new("d"),
    ]

    results = await bench.memories.create_batch(ANN, items)

    kinds = [type(result) for result in results]
    assert kinds == [Memory, InvalidInput, InvalidInput, ExternalIdTaken, InvalidInput, Memory]
    assert results[1] is broken
    assert [result.content for result in results if isinstance(result, Memory)] == ["a", "d"]
    assert bench.embedder.asked[-1][0] == ("a", "b", "d")


async def test_batch_without_vectors_fails_item_by_item(bench: Bench) -> None:
    bench.embedder.down = True

    results = await bench.memories.create_batch(ANN, [new("a"), new("")])

    assert [type(result) for result in results] == [EmbeddingUnavailable, InvalidInput]


async def test_batch_of_nothing_good_asks_for_no_vectors(bench: Bench) -> None:
    results = await bench.memories.create_batch(ANN, [new(""), new("")])

    assert all(isinstance(result, InvalidInput) for result in results)
    assert bench.embedder.asked == []


@pytest.mark.parametrize("count", [0, 101])
async def test_batch_of_a_wrong_size_is_refused_whole(bench: Bench, count: int) -> None:
    with pytest.raises(InvalidInput) as refused:
        await bench.memories.create_batch(ANN, [new()] * count)

    assert [violation.field for violation in refused.value.violations] == ["requests"]
    assert bench.store.records == {}


@pytest.mark.parametrize(
    "items",
    [
        [new("x" * (1 << 20))] * 3,
        [new("x", metadata={"a": "y" * 60_000})] * 18,
        [new("x" * 24_000, tags=tuple(f"{number:0128}" for number in range(64)))] * 100,
    ],
    ids=["contents", "metadata", "tags"],
)
async def test_batch_whose_answer_would_not_fit_is_refused_before_anything_is_kept(
    bench: Bench, items: list[NewMemory]
) -> None:
    with pytest.raises(InvalidInput) as refused:
        await bench.memories.create_batch(ANN, items)

    assert [violation.field for violation in refused.value.violations] == ["requests"]
    assert bench.store.records == {}


async def test_batch_of_100_is_kept_in_order(bench: Bench) -> None:
    results = await bench.memories.create_batch(ANN, [new(str(number)) for number in range(100)])

    assert [result.content for result in results if isinstance(result, Memory)] == [str(n) for n in range(100)]


async def test_same_request_id_twice_in_a_batch_makes_one_memory(bench: Bench) -> None:
    one, other, odd = await bench.memories.create_batch(ANN, [new("a", "r"), new("a", "r"), new("b", "r")])

    assert one == other
    assert isinstance(odd, RequestIdReused)
    assert len(bench.store.records) == 1


async def test_update_of_the_content_embeds_it_anew(bench: Bench) -> None:
    memory = await bench.create("tea")
    bench.now += timedelta(seconds=1)

    changed = await bench.update(memory, content="coffee")

    assert (changed.content, changed.revision, changed.updated_at) == ("coffee", 2, bench.now)
    assert changed.created_at == memory.created_at
    assert bench.embedder.asked[-1][0] == ("coffee",)


async def test_update_of_other_fields_embeds_nothing(bench: Bench) -> None:
    memory = await bench.create("tea")
    bench.embedder.down = True

    assert (await bench.update(memory, tags=("t",))).tags == ("t",)


async def test_update_that_changes_nothing_makes_no_revision(bench: Bench) -> None:
    memory = await bench.create("tea")

    assert await bench.update(memory, content="tea") == memory


async def test_update_is_never_older_than_what_it_replaces(bench: Bench) -> None:
    memory = await bench.create("tea")
    bench.now -= timedelta(seconds=5)  # a clock was set back

    assert (await bench.update(memory, content="coffee")).updated_at == memory.updated_at


async def test_update_beyond_a_rule_changes_nothing(bench: Bench) -> None:
    memory = await bench.create("tea")

    with pytest.raises(InvalidInput):
        await bench.update(memory, content="")

    assert await bench.memories.get(ANN, memory.memory_id) == memory


async def test_update_without_etag_is_tried_again_when_another_came_first(bench: Bench) -> None:
    memory = await bench.create("tea")
    bench.store.rivals = UPDATE_ATTEMPTS - 1

    assert (await bench.update(memory, content="coffee")).content == "coffee"


async def test_update_without_etag_gives_up_in_the_end(bench: Bench) -> None:
    memory = await bench.create("tea")
    bench.store.rivals = UPDATE_ATTEMPTS

    with pytest.raises(EtagMismatch):
        await bench.update(memory, content="coffee")


async def test_update_with_etag_is_tried_once(bench: Bench) -> None:
    memory = await bench.create("tea")
    bench.store.rivals = 1

    with pytest.raises(EtagMismatch):
        await bench.update(memory, memory.etag, content="coffee")


async def test_stale_etag_is_refused_for_update_and_delete(bench: Bench) -> None:
    memory = await bench.create("tea")
    await bench.update(memory, content="coffee")

    with pytest.raises(EtagMismatch):
        await bench.update(memory, memory.etag, content="cocoa")
    with pytest.raises(EtagMismatch):
        await bench.memories.delete(ANN, memory.memory_id, memory.etag)


async def test_others_public_memory_is_read_and_not_changed(bench: Bench) -> None:
    memory = await bench.create("tea", access_level=AccessLevel.PUBLIC)
    attempts: tuple[Callable[[], Awaitable[object]], ...] = (
        lambda: bench.update(memory, caller=BOB, content="coffee"),
        lambda: bench.update(memory, caller=BOB, content="tea"),
        lambda: bench.memories.delete(BOB, memory.memory_id, ""),
        lambda: bench.memories.delete(BOB, memory.memory_id, memory.etag),
    )

    assert await bench.memories.get(BOB, memory.memory_id) == memory
    for attempt in attempts:
        with pytest.raises(NotOwner):
            await attempt()


async def test_others_private_memory_does_not_exist(bench: Bench) -> None:
    memory = await bench.create("tea")
    attempts: tuple[Callable[[], Awaitable[object]], ...] = (
        lambda: bench.memories.get(BOB, memory.memory_id),
        lambda: bench.memories.get_embedding(BOB, memory.memory_id),
        lambda: bench.update(memory, caller=BOB, content="coffee"),
        lambda: bench.update(memory, "stale", BOB, content="coffee"),
        lambda: bench.memories.delete(BOB, memory.memory_id, ""),
        lambda: bench.memories.delete(BOB, memory.memory_id, "stale"),
    )

    for attempt in attempts:
        with pytest.raises(MemoryNotFound):
            await attempt()
    assert bench.embedder.asked == [(("tea",), bench.embedder.asked[0][1])], "nothing of Bob's was embedded"


@pytest.mark.parametrize("page_size", [-1, 1001, 2**31 - 1])
async def test_page_size_out_of_range_is_refused(bench: Bench, page_size: int) -> None:
    with pytest.raises(InvalidInput) as refused:
        await bench.memories.list_page(ANN, page_size=page_size, page_token="", bucket="")

    assert [violation.field for violation in refused.value.violations] == ["page_size"]


@pytest.mark.parametrize("attempt", ["get", "get_embedding", "delete"])
async def test_memory_id_must_be_given(bench: Bench, attempt: str) -> None:
    call = getattr(bench.memories, attempt)
    arguments = ("", "") if attempt == "delete" else ("",)

    with pytest.raises(MemoryBoxError) as refused:
        await call(ANN, *arguments)

    assert [violation.field for violation in refused.value.violations] == ["memory_id"]
