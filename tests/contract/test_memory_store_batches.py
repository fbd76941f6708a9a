"""What every memory store promises of batches by id and of counts."""

from datetime import timedelta

import pytest

from services.memory.domain.ports import MemoryStore
from services.memory.domain.reads import Batch, Selection
from services.memory.filter import parse
from services.mesh.caller import Caller
from tests.support.memories import ANN, BOB, NOW, NURSE, PUBLIC, ROLE, apply, creation, deletion, fill

SECOND = timedelta(seconds=1)


async def ids_of(store: MemoryStore, caller: Caller, *memory_ids: str) -> list[str]:
    """Return the ids that a batch finds."""
    batch = await store.get_many(caller, memory_ids, NOW)
    assert batch.remaining_ids == ()
    return [memory.memory_id for memory in batch.memories]


async def test_batch_keeps_the_order_asked_and_leaves_out_what_is_absent(store: MemoryStore) -> None:
    await fill(store, *(creation(name, f"content {name}") for name in "abcd"))

    batch = await store.get_many(ANN, ["c", "absent", "a", "d"], NOW)

    assert [memory.content for memory in batch.memories] == ["content c", "content a", "content d"]
    assert batch.memories[0] == await store.get(ANN, "c", NOW)


async def test_batch_holds_only_what_the_caller_may_see(store: MemoryStore) -> None:
    await fill(
        store,
        creation("private"),
        creation("nurses", access_level=ROLE, reader_roles=("NURSE",)),
        creation("public", access_level=PUBLIC),
        creation("expired", access_level=PUBLIC, at=NOW - SECOND, expires_at=NOW),
    )
    (deleted,) = await apply(store, ANN, creation("deleted", access_level=PUBLIC))
    await apply(store, ANN, deletion(deleted))
    everything = ("private", "nurses", "public", "expired", "deleted")

    assert await ids_of(store, ANN, *everything) == ["private", "nurses", "public"]
    assert await ids_of(store, NURSE, *everything) == ["nurses", "public"]
    assert await ids_of(store, BOB, *everything) == ["public"]


async def test_batch_ends_early_and_names_the_visible_rest(store: MemoryStore) -> None:
    await fill(store, *(creation(name, "x" * 100) for name in "abc"), creation("hidden", "x" * 100, owner="bob"))
    wanted = ["a", "hidden", "b", "absent", "c"]
    size = (await store.get(ANN, "a", NOW)).size_bytes

    answers = {room: await store.get_many(ANN, wanted, NOW, room) for room in (1, 2 * size - 1, 2 * size, 3 * size)}

    found = {
        room: ([memory.memory_id for memory in batch.memories], list(batch.remaining_ids))
        for room, batch in answers.items()
    }
    assert found == {
        1: (["a"], ["b", "c"]),
        2 * size - 1: (["a"], ["b", "c"]),
        2 * size: (["a", "b"], ["c"]),
        3 * size: (["a", "b", "c"], []),
    }


@pytest.mark.parametrize("ids", [[], ["absent"], ["hidden"]])
async def test_batch_may_find_nothing(store: MemoryStore, ids: list[str]) -> None:
    await fill(store, creation("hidden", owner="bob"))

    assert await store.get_many(ANN, ids, NOW) == Batch((), ())


async def test_memory_is_found_by_its_owners_external_id_alone(store: MemoryStore) -> None:
    (mine,) = await apply(store, ANN, creation("m", external_id="x", access_level=PUBLIC))
    (gone,) = await apply(store, ANN, creation("gone", external_id="y"))
    await apply(store, ANN, deletion(gone))
    await fill(store, creation("expired", external_id="z", at=NOW - SECOND, expires_at=NOW), creation("none"))

    assert await store.find_external(ANN, "x", NOW) == mine
    assert await store.find_external(BOB, "x", NOW) is None
    for external_id in ("y", "z", "", "X"):
        assert await store.find_external(ANN, external_id, NOW) is None


async def test_count_is_of_the_selection(store: MemoryStore) -> None:
    await fill(
        store,
        creation("a", bucket="x", tags=("t",)),
        creation("b", bucket="x", valid_until=NOW),
        creation("c", valid_from=NOW + SECOND),
        creation("d", valid_from=NOW, valid_until=NOW + SECOND, tags=("t",)),
        creation("hidden", bucket="x", owner="bob"),
    )
    counts = {
        "all": Selection(),
        "bucket": Selection("x"),
        "filter": Selection(filter=parse('tags:"t"')),
        "both": Selection("x", parse('tags:"t"')),
        "valid": Selection(valid_at=NOW),
        "later": Selection(valid_at=NOW + SECOND),
        "nothing": Selection("y"),
    }

    found = {name: await store.count(ANN, NOW, selection) for name, selection in counts.items()}

    assert found == {"all": 4, "bucket": 2, "filter": 2, "both": 1, "valid": 2, "later": 2, "nothing": 0}
