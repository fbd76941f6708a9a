"""What every memory store promises of lineage: both ways, and only through what the caller may see."""

from datetime import timedelta

import pytest

from services.memory.domain.lineage import Lineage
from services.memory.domain.memory import Memory, MemoryNotFound, Source
from services.memory.domain.ports import Create, MemoryStore
from services.mesh.caller import Caller
from tests.support.memories import ANN, BOB, NOW, PUBLIC, apply, creation, deletion, fill, revised

SECOND = timedelta(seconds=1)


def made_from(memory_id: str, *parents: str, at: int = 0, **fields: object) -> Create:
    """Return the creation of a memory, *at* seconds later, that names its parents."""
    source = Source(parent_memory_ids=parents)
    return creation(memory_id, at=NOW + at * SECOND, source=source, **fields)  # type: ignore[arg-type]


async def kin(store: MemoryStore, memory_id: str, caller: Caller = ANN) -> tuple[str, str]:
    """Return the ids of ancestors and descendants, joined."""
    lineage = await store.lineage(caller, memory_id, NOW)
    assert not lineage.truncated
    return " ".join(map(id_of, lineage.ancestors)), " ".join(map(id_of, lineage.descendants))


def id_of(memory: Memory) -> str:
    return memory.memory_id


async def test_lineage_goes_both_ways_the_nearest_first(store: MemoryStore) -> None:
    await fill(store, creation("a"), creation("b", at=NOW + SECOND), made_from("c", "a", "b", at=2))
    await fill(store, made_from("d", "c", at=3), made_from("e", "d", "a", at=4), creation("other"))

    assert await kin(store, "a") == ("", "e c d")
    assert await kin(store, "c") == ("b a", "d e")
    assert await kin(store, "e") == ("d a c b", "")
    assert await kin(store, "other") == ("", "")


async def test_newer_fact_descends_from_the_older_one(store: MemoryStore) -> None:
    (old,) = await apply(store, ANN, creation("old"))
    await apply(store, ANN, revised(old, superseded_by="new"), creation("new"))

    assert await kin(store, "old") == ("", "new")
    assert await kin(store, "new") == ("old", "")


async def test_changed_parents_count_at_once(store: MemoryStore) -> None:
    await fill(store, creation("a"), creation("b"))
    (child,) = await apply(store, ANN, made_from("c", "a"))
    await apply(store, ANN, revised(child, source=Source(parent_memory_ids=("b",))))

    assert [await kin(store, name) for name in "abc"] == [("", ""), ("", "c"), ("b", "")]


async def test_links_in_a_circle_end(store: MemoryStore) -> None:
    await fill(store, made_from("a", "b", "a"), made_from("b", "a"))

    assert await kin(store, "a") == ("b", "b")


async def test_lineage_leads_only_through_what_the_caller_may_see(store: MemoryStore) -> None:
    await fill(store, creation("a", access_level=PUBLIC), made_from("hidden", "a"))
    await fill(store, made_from("c", "hidden", access_level=PUBLIC), made_from("d", "a", owner="bob"))

    assert await kin(store, "a", ANN) == ("", "hidden c")
    assert await kin(store, "a", BOB) == ("", "d")
    assert await kin(store, "c", BOB) == ("", "")
    for memory_id in ("hidden", "absent"):
        with pytest.raises(MemoryNotFound):
            await store.lineage(BOB, memory_id, NOW)


async def test_deleted_and_expired_memories_have_no_kin(store: MemoryStore) -> None:
    await fill(store, creation("a"), made_from("expired", "a", expires_at=NOW))
    (child,) = await apply(store, ANN, made_from("c", "a"))
    await apply(store, ANN, deletion(child))

    assert await kin(store, "a") == ("", "")


async def test_bounds_cut_the_farthest_and_say_so(store: MemoryStore) -> None:
    await fill(store, creation("a"), made_from("b", "a"), made_from("c", "b"), made_from("d", "c"))
    size = (await store.get(ANN, "b", NOW)).size_bytes

    by_number = await store.lineage(ANN, "a", NOW, max_kin=2)
    by_size = await store.lineage(ANN, "a", NOW, max_bytes=2 * size)
    whole: Lineage = await store.lineage(ANN, "a", NOW, max_kin=3)

    for lineage in (by_number, by_size):
        assert ([id_of(memory) for memory in lineage.descendants], lineage.truncated) == (["b", "c"], True)
    assert (len(whole.descendants), whole.truncated) == (3, False)
