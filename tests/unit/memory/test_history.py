"""Going back: what a restore brings, what it embeds, and whom it refuses."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.memory.domain.draft import Draft
from services.memory.domain.history import History
from services.memory.domain.memories import Memories, NewMemory
from services.memory.domain.memory import AccessLevel, EtagMismatch, Memory, MemoryNotFound, NotOwner
from services.memory.domain.paging import InvalidPageToken
from services.memory.domain.ports import EmbeddingUnavailable
from services.memory.domain.revisions import RevisionNotFound
from services.mesh.caller import Caller
from services.mesh.errors import InvalidInput
from tests.support.memory import FakeEmbedder, vector_of
from tests.support.model_store import ModelMemoryStore

NOW = datetime(2030, 1, 2, 12, tzinfo=UTC)
ANN = Caller("ann")
BOB = Caller("bob")


class Bench:
    def __init__(self) -> None:
        self.store = ModelMemoryStore()
        self.embedder = FakeEmbedder()
        self.now = NOW
        self.memories = Memories(self.store, self.embedder, lambda: self.now)
        self.history = History(self.store, self.embedder, lambda: self.now)

    async def create(self, content: str = "tea", **fields: Any) -> Memory:
        return await self.memories.create(ANN, NewMemory(Draft(content, **fields)))

    async def update(self, memory: Memory, **fields: Any) -> Memory:
        self.now += timedelta(seconds=1)
        return await self.memories.update(
            ANN, memory.memory_id, lambda current: replace(Draft.of(current), **fields), ""
        )


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_restored_state_is_the_newest_revision(bench: Bench) -> None:
    first = await bench.create("tea", tags=("t",), valid_until=NOW + timedelta(days=1))
    await bench.update(first, content="coffee", tags=(), valid_until=None)
    bench.now += timedelta(seconds=1)

    restored = await bench.history.restore(ANN, first.memory_id, 1, "")

    assert restored == replace(first, revision=3, updated_at=bench.now)
    assert (await bench.store.get_embedding(ANN, first.memory_id, NOW)).vector.tolist() == vector_of("tea").tolist()
    page = await bench.history.list_page(ANN, first.memory_id, page_size=0, page_token="")
    assert [state.content for state in page.memories] == ["tea", "coffee", "tea"]


async def test_restore_embeds_only_another_content(bench: Bench) -> None:
    first = await bench.create("tea", tags=("t",))
    await bench.update(first, tags=())
    asked = len(bench.embedder.asked)

    await bench.history.restore(ANN, first.memory_id, 1, "")

    assert len(bench.embedder.asked) == asked


async def test_restore_without_a_vector_changes_nothing(bench: Bench) -> None:
    first = await bench.create("tea")
    second = await bench.update(first, content="coffee")
    bench.embedder.down = True

    with pytest.raises(EmbeddingUnavailable):
        await bench.history.restore(ANN, first.memory_id, 1, "")

    assert await bench.memories.get(ANN, first.memory_id) == second


async def test_restore_of_what_is_current_changes_nothing(bench: Bench) -> None:
    first = await bench.create("tea")
    second = await bench.update(first, content="coffee")
    back = await bench.history.restore(ANN, first.memory_id, 1, "")

    assert await bench.history.restore(ANN, first.memory_id, 1, "") == back
    assert await bench.history.restore(ANN, first.memory_id, back.revision, "") == back
    assert back.revision == second.revision + 1


async def test_restore_with_an_old_etag_is_a_mismatch(bench: Bench) -> None:
    first = await bench.create("tea")
    second = await bench.update(first, content="coffee")

    with pytest.raises(EtagMismatch):
        await bench.history.restore(ANN, first.memory_id, 1, first.etag)

    assert (await bench.history.restore(ANN, first.memory_id, 1, second.etag)).content == "tea"


async def test_restore_is_for_the_owner_and_for_states_that_are_there(bench: Bench) -> None:
    public = await bench.create("tea", access_level=AccessLevel.PUBLIC)
    private = await bench.create("coffee")

    with pytest.raises(NotOwner):
        await bench.history.restore(BOB, public.memory_id, 1, "")
    with pytest.raises(NotOwner):
        await bench.history.restore(BOB, public.memory_id, 9, "")
    with pytest.raises(MemoryNotFound):
        await bench.history.restore(BOB, private.memory_id, 1, "")
    with pytest.raises(RevisionNotFound):
        await bench.history.restore(ANN, private.memory_id, 2, "")
    for memory_id, revision in ((private.memory_id, 0), (private.memory_id, -1), ("", 1)):
        with pytest.raises(InvalidInput):
            await bench.history.restore(ANN, memory_id, revision, "")


async def test_state_from_before_a_deletion_can_be_restored_after_undelete(bench: Bench) -> None:
    first = await bench.create("tea")
    await bench.memories.delete(ANN, first.memory_id, "")
    with pytest.raises(MemoryNotFound):
        await bench.history.restore(ANN, first.memory_id, 1, "")

    back = await bench.history.undelete(ANN, first.memory_id)

    assert (back.content, back.revision, back.delete_time) == ("tea", 3, None)
    assert await bench.history.restore(ANN, first.memory_id, 2, "") == back


async def test_page_token_is_bound_to_caller_and_memory(bench: Bench) -> None:
    first = await bench.create("tea", access_level=AccessLevel.PUBLIC)
    await bench.update(first, tags=("t",))
    other = await bench.create("coffee", access_level=AccessLevel.PUBLIC)
    page = await bench.history.list_page(ANN, first.memory_id, page_size=1, page_token="")

    rest = await bench.history.list_page(ANN, first.memory_id, page_size=1, page_token=page.next_page_token)

    assert [state.revision for state in (*page.memories, *rest.memories)] == [2, 1]
    assert rest.next_page_token == ""
    for caller, memory_id in ((BOB, first.memory_id), (ANN, other.memory_id)):
        with pytest.raises(InvalidPageToken):
            await bench.history.list_page(caller, memory_id, page_size=1, page_token=page.next_page_token)
