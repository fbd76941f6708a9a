"""What every memory store promises of embedding spaces: one is compared in, another can be filled and takes its place at once."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from services.memory.domain.memory import Embedding, Memory, Part
from services.memory.domain.ports import MatchedPart, MemoryStore, SearchPage, SearchPlan, Undelete
from services.memory.domain.spaces import Filling, SpaceMoved, Spaces, Unfilled
from services.memory.domain.transfer import ImportChunk, ImportItem
from tests.support.memories import (
    ANN,
    BOB,
    EAST,
    NOW,
    PUBLIC,
    apply,
    creation,
    deletion,
    fill,
    found,
    hybrid_search,
    listed,
    revised,
    vector,
    vector_search,
)
from tests.support.model_store import ModelMemoryStore

OLD, NEW = EAST.space, "model-b"
TEXTS = {"a": "green tea", "b": "black tea", "c": "a cup of coffee"}
MUCH = {"limit": 100, "max_bytes": 1 << 20}


def in_new(content: str) -> Embedding:
    """Return what *content* is in the new space: of another dimension, and with parts if it is long."""
    rng = np.random.default_rng(sum(content.encode()))
    parts: tuple[Part, ...] = ()
    if len(content) > 100:
        parts = (Part(0, 50, vector(1, 0, 0, 0).vector), Part(50, len(content), vector(0, 1, 0, 0).vector))
    return replace(vector(*rng.standard_normal(4), space=NEW), parts=parts)


def fillings(rows: list[Unfilled]) -> list[Filling]:
    return [Filling(row.number, row.revision, in_new(row.content)) for row in rows]


async def fill_all(store: MemoryStore) -> int:
    """Fill the new space, one memory at a time."""
    await store.spaces.set_target(NEW)
    count, after = 0, 0
    while rows := list(await store.spaces.unfilled(NEW, after, 1, 1)):
        count += await store.spaces.fill(fillings(rows))
        after = rows[-1].number
    return count


async def sweep_all(store: MemoryStore) -> int:
    count = 0
    while dropped := await store.spaces.sweep(2):
        assert dropped <= 2
        count += dropped
    return count


async def tea(store: MemoryStore) -> None:
    await fill(store, *(creation(name, text) for name, text in TEXTS.items()))


def plans(content: str) -> tuple[SearchPlan, ...]:
    embedding = replace(in_new(content), parts=())
    return vector_search(embedding), hybrid_search(content, embedding)


async def pages(store: MemoryStore, content: str) -> list[SearchPage]:
    """Return what is found, without the numbers of snapshots."""
    return [replace(await store.search(ANN, plan), snapshot=0) for plan in plans(content)]


async def test_first_vector_names_the_space(store: MemoryStore) -> None:
    assert await store.spaces.current() == Spaces()

    await tea(store)

    assert await store.spaces.current() == Spaces(OLD)


async def test_vector_of_another_space_is_refused_and_leaves_nothing(store: MemoryStore) -> None:
    (memory,) = await apply(store, ANN, creation("m"))
    other = vector(1, 0, 0, space=NEW)
    item = ImportItem(replace(memory, memory_id="i"), other, "spare")

    with pytest.raises(SpaceMoved):
        await apply(store, ANN, creation("n", embedding=other))
    with pytest.raises(SpaceMoved):
        await apply(store, ANN, creation("n"), creation("o", embedding=other))
    with pytest.raises(SpaceMoved):
        await apply(store, ANN, revised(memory, other))
    with pytest.raises(SpaceMoved):
        await store.moving.import_chunk(ANN, ImportChunk("i", 0, (item,), NOW))

    assert await listed(store, ANN) == ["m"]
    assert await store.get(ANN, "m", NOW) == memory
    assert (await store.moving.import_progress(ANN, "i")).next_index == 0
    assert await store.spaces.current() == Spaces(OLD)


async def test_vectors_of_two_spaces_are_never_compared(store: MemoryStore) -> None:
    await fill(store, creation("a", "tea"))

    for plan in (vector_search, lambda embedding: hybrid_search("tea", embedding)):
        with pytest.raises(SpaceMoved):
            await store.search(ANN, plan(vector(1, 0, 0, space=NEW)))


async def test_filling_shows_nothing_before_the_switch(store: MemoryStore) -> None:
    await tea(store)
    before = await store.search(ANN, hybrid_search("tea", EAST))

    await fill_all(store)

    assert await store.search(ANN, hybrid_search("tea", EAST)) == before
    assert await store.spaces.current() == Spaces(OLD, NEW)
    with pytest.raises(SpaceMoved):
        await store.search(ANN, plans("tea")[0])


async def test_switch_finds_what_a_store_finds_that_knows_the_new_space_alone(store: MemoryStore) -> None:
    await tea(store)
    long = creation("long", "tea " * 50, owner="bob", access_level=PUBLIC)
    await fill(store, long, creation("hidden", "tea", owner="bob"))
    fresh = ModelMemoryStore()
    for name, text in TEXTS.items():
        await fill(fresh, creation(name, text, embedding=in_new(text)))
    await fill(fresh, replace(long, embedding=in_new(long.memory.content)))

    await fill_all(store)
    assert await store.spaces.switch()
    for _ in range(2):
        for text in (*TEXTS.values(), "tea"):
            assert _shown(await pages(store, text)) == _shown(await pages(fresh, text))
        await sweep_all(store)

    assert await store.spaces.current() == Spaces(NEW)
    with pytest.raises(SpaceMoved):
        await store.search(ANN, vector_search(EAST))


def _shown(found_pages: list[SearchPage]) -> list[SearchPage]:
    """Return the pages but for which space each memory says it lies in, which changes bit by bit."""
    return [
        replace(page, hits=tuple(replace(hit, memory=replace(hit.memory, embedding_space="")) for hit in page.hits))
        for page in found_pages
    ]


async def test_switch_waits_for_every_memory_also_deleted_ones(store: MemoryStore) -> None:
    await tea(store)
    (gone,) = await apply(store, ANN, creation("gone"))
    await apply(store, ANN, deletion(gone))
    await store.spaces.set_target(NEW)
    rows = list(await store.spaces.unfilled(NEW, 0, **MUCH))
    assert await store.spaces.count_unfilled(NEW) == (4, 4)

    for row in rows:
        assert not await store.spaces.switch()
        assert await store.spaces.fill(fillings([row])) == 1

    assert await store.spaces.count_unfilled(NEW) == (0, 4)
    assert await store.spaces.switch()


async def test_switch_without_a_target_does_nothing(store: MemoryStore) -> None:
    await tea(store)

    assert not await store.spaces.switch()
    assert await store.spaces.current() == Spaces(OLD)


async def test_deleted_memory_comes_back_in_the_new_space(store: MemoryStore) -> None:
    (gone,) = await apply(store, ANN, creation("gone", "green tea"))
    await apply(store, ANN, deletion(gone))
    await fill_all(store)
    await store.spaces.switch()

    await apply(store, ANN, Undelete("gone", NOW + timedelta(seconds=5)))

    assert await found(store, ANN, plans("green tea")[0]) == ["gone"]


async def test_unfilled_come_in_order_and_bounded(store: MemoryStore) -> None:
    await tea(store)

    rows = list(await store.spaces.unfilled(NEW, 0, **MUCH))

    assert [(row.revision, row.content) for row in rows] == [(1, text) for text in TEXTS.values()]
    assert list(await store.spaces.unfilled(NEW, rows[0].number, **MUCH)) == rows[1:]
    assert list(await store.spaces.unfilled(NEW, 0, 2, 1 << 20)) == rows[:2]
    assert list(await store.spaces.unfilled(NEW, 0, 9, len("green teablack tea"))) == rows[:2]
    assert list(await store.spaces.unfilled(NEW, 0, 9, 1)) == rows[:1]
    assert list(await store.spaces.unfilled(OLD, 0, **MUCH)) == []


async def test_filling_of_a_content_that_has_changed_is_left_out(store: MemoryStore) -> None:
    (memory,) = await apply(store, ANN, creation("m", "green tea"))
    await store.spaces.set_target(NEW)
    (row,) = await store.spaces.unfilled(NEW, 0, **MUCH)

    await apply(store, ANN, revised(memory, vector(0, 1, 0), content="black tea"))

    assert await store.spaces.fill(fillings([row])) == 0
    (changed,) = await store.spaces.unfilled(NEW, 0, **MUCH)
    assert (changed.number, changed.content) == (row.number, "black tea")
    assert await store.spaces.fill(fillings([changed])) == 1


async def test_filling_outlives_a_change_of_anything_but_the_content(store: MemoryStore) -> None:
    (memory,) = await apply(store, ANN, creation("m", "green tea"))
    await store.spaces.set_target(NEW)
    (row,) = await store.spaces.unfilled(NEW, 0, **MUCH)
    (second,) = await apply(store, ANN, revised(memory, tags=("x",)))

    assert await store.spaces.fill(fillings([row])) == 1
    await apply(store, ANN, revised(second, access_level=PUBLIC))

    assert await store.spaces.switch()
    assert await found(store, BOB, plans("green tea")[0]) == ["m"]


async def test_write_with_a_twin_needs_no_filling(store: MemoryStore) -> None:
    await tea(store)
    await fill_all(store)

    (memory,) = await apply(store, ANN, creation("d", "mint tea", embedding=replace(EAST, twin=in_new("mint tea"))))
    (old,) = await apply(store, ANN, creation("e", "old", embedding=replace(EAST, twin=in_new("old"))))
    await apply(store, ANN, revised(old, replace(EAST, twin=in_new("new")), content="new"))

    assert memory.embedding_space == OLD
    assert await store.spaces.switch()
    assert (await found(store, ANN, plans("mint tea")[0]))[0] == "d"
    assert (await found(store, ANN, plans("new")[0]))[0] == "e"


async def test_write_without_a_twin_is_filled_before_the_switch(store: MemoryStore) -> None:
    await tea(store)
    await fill_all(store)
    await apply(store, ANN, creation("d", "mint tea"))

    assert not await store.spaces.switch()
    await fill_all(store)

    assert await store.spaces.switch()
    assert (await found(store, ANN, plans("mint tea")[0]))[0] == "d"


async def test_twin_of_a_space_that_is_not_being_filled_is_not_kept(store: MemoryStore) -> None:
    await apply(store, ANN, creation("a", embedding=replace(EAST, twin=in_new("tea"))))

    assert await store.spaces.count_unfilled(NEW) == (1, 1)


async def test_abandoned_filling_leaves_everything_as_it_was(store: MemoryStore) -> None:
    await tea(store)
    before = await store.search(ANN, hybrid_search("tea", EAST))
    await fill_all(store)

    await store.spaces.set_target("")

    assert not await store.spaces.switch()
    assert await sweep_all(store) == len(TEXTS)
    assert await store.search(ANN, hybrid_search("tea", EAST)) == before
    assert await store.spaces.current() == Spaces(OLD)
    assert await store.spaces.count_unfilled(NEW) == (len(TEXTS), len(TEXTS))


async def test_filling_of_an_abandoned_space_is_left_out(store: MemoryStore) -> None:
    await tea(store)
    await store.spaces.set_target(NEW)
    rows = list(await store.spaces.unfilled(NEW, 0, **MUCH))

    await store.spaces.set_target("")

    assert await store.spaces.fill(fillings(rows)) == 0


async def test_sweep_drops_what_the_switch_left_and_memories_say_where_they_lie(store: MemoryStore) -> None:
    await tea(store)
    await fill_all(store)
    assert await sweep_all(store) == 0

    await store.spaces.switch()

    assert (await store.get_embedding(ANN, "a", NOW)).space == NEW
    assert await sweep_all(store) == len(TEXTS)
    assert [(await store.get(ANN, name, NOW)).embedding_space for name in TEXTS] == [NEW] * 3
    assert await store.spaces.count_unfilled(OLD) == (len(TEXTS), len(TEXTS))


async def test_write_of_the_space_before_the_switch_is_refused(store: MemoryStore) -> None:
    await tea(store)
    await fill_all(store)
    await store.spaces.switch()

    with pytest.raises(SpaceMoved):
        await apply(store, ANN, creation("late"))
    (kept,) = await apply(store, ANN, creation("late", embedding=in_new("late")))

    assert kept.embedding_space == NEW


async def test_parts_are_found_in_the_new_space(store: MemoryStore) -> None:
    await fill(store, creation("long", "tea " * 50))
    await fill_all(store)
    await store.spaces.switch()

    (hit,) = (await store.search(ANN, vector_search(vector(0, 1, 0, 0, space=NEW)))).hits

    assert (hit.score, hit.matched_part) == (1.0, MatchedPart(1, 50, 200))


async def test_memory_changes_by_the_switch_in_nothing_else(store: MemoryStore) -> None:
    (memory,) = await apply(store, ANN, creation("m", "green tea", tags=("x",)))
    await fill_all(store)
    await store.spaces.switch()
    await sweep_all(store)

    kept: Memory = await store.get(ANN, "m", NOW)

    assert kept == replace(memory, embedding_space=NEW)
