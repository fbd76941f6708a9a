"""Embedding in the active space: twins while another is filled, and writes embedded anew when the space has moved."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from services.memory.domain.active_space import ATTEMPTS, ActiveSpaceEmbedder
from services.memory.domain.draft import Draft
from services.memory.domain.history import History
from services.memory.domain.importing import Imports, Incoming
from services.memory.domain.memories import Memories, NewMemory
from services.memory.domain.ports import InputKind, SpaceNotServed, UnitOfWork
from services.memory.domain.related import Likeness, Related
from services.memory.domain.searches import Search, Searches
from services.memory.domain.spaces import Filling, SpaceMoved, Spaces
from services.mesh.caller import Caller
from tests.support.memory import NEXT_SPACE, SPACE, FakeEmbedder, vector_of
from tests.support.model_store import ModelMemoryStore

ANN = Caller("ann")
NOW = datetime(2030, 1, 2, tzinfo=UTC)


class MovingStore(ModelMemoryStore):
    """Moves to the other space just before the next ``moves`` calls that bring a vector: between embedding and use."""

    def __init__(self) -> None:
        super().__init__()
        self.moves = 0

    async def move(self) -> None:
        """Fill the other space with what the fake embedder would, and switch."""
        target = NEXT_SPACE if self.spaces.shown.active == SPACE.name else SPACE
        await self.spaces.set_target(target.name)
        for row in await self.spaces.unfilled(target.name, 0, 1000, 1 << 30):
            embedding = replace(await _embedding(row.content, target.name))
            await self.spaces.fill([Filling(row.number, row.revision, embedding)])
        assert await self.spaces.switch()
        await self.spaces.sweep(1000)

    async def _move_maybe(self) -> None:
        if self.moves:
            self.moves -= 1
            await self.move()

    async def apply(self, work: UnitOfWork) -> Any:
        await self._move_maybe()
        return await super().apply(work)

    async def search(self, caller: Caller, plan: Any) -> Any:
        await self._move_maybe()
        return await super().search(caller, plan)


async def _embedding(text: str, space: str) -> Any:
    models = FakeEmbedder()
    models.served.append(NEXT_SPACE)
    _, (embedding,) = await models.embed([text], InputKind.DOCUMENT, space)
    return embedding


class Bench:
    """Use cases over a store that moves."""

    def __init__(self) -> None:
        self.store, self.models = MovingStore(), FakeEmbedder()
        self.models.served.append(NEXT_SPACE)
        self.embedder = ActiveSpaceEmbedder(self.models, self.store.spaces)
        self.memories = Memories(self.store, self.embedder, lambda: NOW)
        self.searches = Searches(self.store, self.embedder, lambda: NOW)

    async def create(self, content: str) -> Any:
        return await self.memories.create(ANN, NewMemory(Draft(content=content)))

    async def found(self, query: str) -> tuple[str, list[str]]:
        found = await self.searches.search(ANN, Search(query, min_score=0.9))
        assert found.space is not None
        return found.space.name, [one.hit.memory.content for one in found.hits]


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_active_space_is_the_stores_whatever_the_service_prefers(bench: Bench) -> None:
    assert (await bench.embedder.active_space()) == SPACE
    await bench.create("tea")

    bench.models.served.reverse()

    assert (await bench.embedder.active_space()) == SPACE
    assert (await bench.embedder.embed(["tea"], InputKind.QUERY))[0] == SPACE


async def test_documents_get_a_twin_while_another_space_is_filled(bench: Bench) -> None:
    await bench.create("tea")
    await bench.store.spaces.set_target(NEXT_SPACE.name)

    _, (document,) = await bench.embedder.embed(["tea"], InputKind.DOCUMENT)
    _, (query,) = await bench.embedder.embed(["tea"], InputKind.QUERY)

    assert document.twin is not None
    assert (document.space, document.twin.space) == (SPACE.name, NEXT_SPACE.name)
    assert document.twin.vector.tolist() == vector_of("tea", NEXT_SPACE).tolist()
    assert query.twin is None


async def test_write_succeeds_where_its_twin_cannot_be_had(bench: Bench) -> None:
    await bench.create("tea")
    await bench.store.spaces.set_target(NEXT_SPACE.name)
    bench.models.served.remove(NEXT_SPACE)

    await bench.create("coffee")

    assert (await bench.store.spaces.count_unfilled(NEXT_SPACE.name))[0] == 2


async def test_space_that_is_not_served_is_said(bench: Bench) -> None:
    await bench.create("tea")
    bench.models.served[:] = [NEXT_SPACE]

    with pytest.raises(SpaceNotServed, match=NEXT_SPACE.name):
        await bench.create("coffee")
    with pytest.raises(SpaceNotServed):
        await bench.embedder.active_space()


async def test_write_is_embedded_anew_when_the_space_has_moved(bench: Bench) -> None:
    first = await bench.create("green tea")
    bench.store.moves = 1

    created = await bench.create("black tea")

    assert created.embedding_space == NEXT_SPACE.name
    assert await bench.found("black tea") == (NEXT_SPACE.name, ["black tea"])
    bench.store.moves = 1
    await bench.memories.update(ANN, first.memory_id, lambda _: Draft(content="mint tea"), "")
    assert await bench.found("mint tea") == (SPACE.name, ["mint tea"])
    bench.store.moves = 1
    await History(bench.store, bench.embedder, lambda: NOW).restore(ANN, first.memory_id, 1, "")
    assert await bench.found("green tea") == (NEXT_SPACE.name, ["green tea"])


async def test_search_is_embedded_anew_when_the_space_has_moved(bench: Bench) -> None:
    first = await bench.create("green tea")
    await bench.create("green tea")
    bench.store.moves = 1

    assert await bench.found("green tea") == (NEXT_SPACE.name, ["green tea"] * 2)
    bench.store.moves = 1
    hits = await Related(bench.store, bench.embedder, lambda: NOW).find(ANN, Likeness(first.memory_id))
    assert [hit.memory.content for hit in hits] == ["green tea"]


async def test_import_is_embedded_anew_when_the_space_has_moved(bench: Bench) -> None:
    await bench.create("green tea")
    imports = Imports(bench.store.moving, bytes(32), bench.embedder, lambda: NOW)
    own = await _embedding("black tea", SPACE.name)
    kept = bench.store.moving.import_chunk
    moved = False

    async def moving(caller: Caller, chunk: Any) -> Any:
        nonlocal moved
        if not moved:
            moved = True
            await bench.store.move()
        return await kept(caller, chunk)

    bench.store.moving.import_chunk = moving  # type: ignore[method-assign]

    async def items() -> Any:
        yield Incoming(Draft(content="black tea"), embedding=own)

    async def confirmed() -> None:
        return None

    progress = await imports.run(ANN, "i", 0, items(), confirmed)

    assert (progress.imported_count, progress.refusals) == (1, ())
    assert await bench.found("black tea") == (NEXT_SPACE.name, ["black tea"])


async def test_space_that_moves_all_the_time_is_an_error_in_the_end(bench: Bench) -> None:
    await bench.create("green tea")
    bench.store.moves = ATTEMPTS

    with pytest.raises(SpaceMoved):
        await bench.create("black tea")
    assert (await bench.store.spaces.current()) in {Spaces(SPACE.name), Spaces(NEXT_SPACE.name)}
