"""What a store must do for exports and imports."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from services.memory.domain.memory import Memory
from services.memory.domain.ports import MemoryStore
from services.memory.domain.transfer import (
    MAX_REFUSALS,
    ExportChunk,
    ExportPlan,
    ImportChunk,
    ImportConflict,
    ImportItem,
    ImportProgress,
    Refusal,
)
from services.memory.filter import parse
from services.mesh.caller import Caller
from tests.support.memories import (
    ANN,
    BOB,
    EAST,
    NOW,
    PUBLIC,
    ROLE,
    apply,
    creation,
    deletion,
    fill,
    found,
    keyword_search,
    listed,
    revised,
    vector,
    vector_search,
)

NORTH = vector(0, 1, 0)
EARLIER = NOW - timedelta(days=400)


async def export(store: MemoryStore, caller: Caller = ANN, **fields: Any) -> ExportChunk:
    defaults: dict[str, Any] = {"limit": 100, "now": NOW}
    return await store.moving.export(caller, ExportPlan(**(defaults | fields)))


async def exported(store: MemoryStore, caller: Caller = ANN, **fields: Any) -> list[str]:
    return [row.memory.memory_id for row in (await export(store, caller, **fields)).rows]


def foreign(memory_id: str = "m-1", content: str = "tea", *, owner: str = "ann", **fields: Any) -> ImportItem:
    """Return an item as another store may have exported it."""
    defaults: dict[str, Any] = {"created_at": EARLIER, "updated_at": EARLIER + timedelta(days=1), "revision": 7}
    return ImportItem(Memory(memory_id, owner, content, **(defaults | fields)), NORTH, f"spare-{memory_id}")


async def take_in(
    store: MemoryStore, *items: ImportItem | Refusal, caller: Caller = ANN, import_id: str = "i", first: int = 0
) -> ImportProgress:
    return await store.moving.import_chunk(caller, ImportChunk(import_id, first, items, NOW))


async def test_export_has_ones_own_memories_in_the_order_they_were_created(store: MemoryStore) -> None:
    await fill(
        store,
        creation("young", at=NOW),
        creation("old", at=EARLIER),
        creation("public", access_level=PUBLIC),
        creation("role", access_level=ROLE, reader_roles=("NURSE",)),
        creation("bobs", owner="bob"),
        creation("bobs-public", owner="bob", access_level=PUBLIC),
    )

    assert await exported(store) == ["young", "old", "public", "role"]
    assert await exported(store, Caller("nina", frozenset({"NURSE"}))) == []


async def test_export_keeps_its_order_when_memories_change(store: MemoryStore) -> None:
    await fill(store, creation("a"), creation("b"))
    (memory,) = (row.memory for row in (await export(store, limit=1)).rows)
    await apply(store, ANN, revised(memory, content="coffee", access_level=PUBLIC))

    assert await exported(store) == ["a", "b"]


async def test_export_leaves_out_what_is_deleted_or_expired(store: MemoryStore) -> None:
    await fill(store, creation("kept"), creation("gone"), creation("late", expires_at=NOW))
    memories = {row.memory.memory_id: row.memory for row in (await export(store)).rows}
    await apply(store, ANN, deletion(memories["gone"]))

    assert await exported(store) == ["kept"]


async def test_chunks_of_an_export_follow_each_other_and_keep_to_the_first_ones_moment(store: MemoryStore) -> None:
    await fill(store, *(creation(f"m{n}") for n in range(5)))
    first = await export(store, limit=2)
    await fill(store, creation("later"))

    second = await export(store, limit=2, after=first.rows[-1].number, snapshot=first.snapshot)
    last = await export(store, limit=2, after=second.rows[-1].number, snapshot=second.snapshot)

    chunks = [first, second, last]
    assert [row.memory.memory_id for chunk in chunks for row in chunk.rows] == ["m0", "m1", "m2", "m3", "m4"]
    assert [chunk.more for chunk in chunks] == [True, True, False]


async def test_chunk_of_an_export_ends_early_by_size_but_holds_one_memory(store: MemoryStore) -> None:
    await fill(store, *(creation(f"m{n}", "x" * 1000) for n in range(4)))

    assert await exported(store, max_bytes=2500) == ["m0", "m1"]
    assert await exported(store, max_bytes=1) == ["m0"]


async def test_export_has_vectors_when_asked_for(store: MemoryStore) -> None:
    await fill(store, creation("m", embedding=NORTH))

    (row,) = (await export(store, with_embeddings=True)).rows

    assert row.embedding is not None
    assert (row.embedding.space, row.embedding.vector.tolist()) == (NORTH.space, NORTH.vector.tolist())
    assert (await export(store)).rows[0].embedding is None


async def test_export_can_be_filtered(store: MemoryStore) -> None:
    await fill(store, creation("a", bucket="work"), creation("b"), creation("c", bucket="work"))

    assert await exported(store, filter=parse('bucket = "work"')) == ["a", "c"]
    assert (await export(store, filter=parse('bucket = "work"'), limit=1)).more


async def test_imported_memory_is_kept_as_it_was(store: MemoryStore) -> None:
    item = foreign(superseded_by="other", metadata={"a": 1.5}, tags=("t",), expires_at=NOW + timedelta(days=1))

    progress = await take_in(store, item)

    (row,) = (await export(store, with_embeddings=True)).rows
    assert row.memory == replace(item.memory, embedding_space=NORTH.space)
    assert row.embedding is not None
    assert row.embedding.vector.tolist() == NORTH.vector.tolist()
    assert progress == ImportProgress(1, 1)
    assert progress.failed_count == 0


async def test_imported_memory_is_found_and_listed(store: MemoryStore) -> None:
    await fill(store, creation("own", "coffee"))

    await take_in(store, foreign())

    assert await listed(store, ANN) == ["own", "m-1"]
    assert await found(store, ANN, keyword_search("tea")) == ["m-1"]
    assert await found(store, ANN, vector_search(NORTH, top_k=1)) == ["m-1"]
    assert await listed(store, BOB) == []


async def test_chunk_that_does_not_follow_is_refused_whole(store: MemoryStore) -> None:
    await take_in(store, foreign("a"))

    for first in (0, 2):
        with pytest.raises(ImportConflict):
            await take_in(store, foreign("b"), first=first)

    assert await exported(store) == ["a"]
    assert await store.moving.import_progress(ANN, "i") == ImportProgress(1, 1)


async def test_imports_of_two_owners_and_two_names_are_apart(store: MemoryStore) -> None:
    await take_in(store, foreign("a"))

    assert await store.moving.import_progress(BOB, "i") == ImportProgress()
    assert await store.moving.import_progress(ANN, "j") == ImportProgress()
    await take_in(store, foreign("b", owner="bob"), caller=BOB)
    assert await exported(store, BOB) == ["b"]


async def test_id_that_another_owner_has_is_kept_as_any_and_theirs_stays(store: MemoryStore) -> None:
    await fill(store, creation("m-1", "hers"))

    progress = await take_in(store, foreign("m-1", "his", owner="bob"), foreign("m-2", owner="bob"), caller=BOB)

    assert (progress.imported_count, progress.failed_count) == (2, 0)
    assert await exported(store, BOB) == ["m-1", "m-2"]
    assert (await store.get(BOB, "m-1", NOW)).content == "his"
    assert (await store.get(ANN, "m-1", NOW)).content == "hers"


async def test_id_of_a_deleted_memory_gives_way(store: MemoryStore) -> None:
    (memory,) = await apply(store, ANN, creation("m-1"))
    await apply(store, ANN, deletion(memory))

    await take_in(store, foreign("m-1"))

    assert await exported(store) == ["spare-m-1"]


async def test_ones_own_same_memory_is_not_kept_twice(store: MemoryStore) -> None:
    await take_in(store, foreign())

    again = await take_in(store, foreign(), import_id="another")

    assert again == ImportProgress(1, 1)
    assert await exported(store) == ["m-1"]


async def test_ones_own_other_memory_with_that_id_is_not_overwritten(store: MemoryStore) -> None:
    await take_in(store, foreign())

    progress = await take_in(store, foreign(content="coffee"), import_id="another")

    assert [(refusal.index, refusal.reason) for refusal in progress.refusals] == [(0, "MEMORY_ID_TAKEN")]
    assert (await store.get(ANN, "m-1", NOW)).content == "tea"


async def test_item_that_cannot_be_kept_leaves_the_others_alone(store: MemoryStore) -> None:
    await fill(store, creation("own", external_id="e"))
    refused = Refusal(1, "INVALID_ARGUMENT", "INVALID_INPUT", "memory.content must be more", (), {"a": "b"})

    progress = await take_in(store, foreign("a"), refused, foreign("b", external_id="e"), foreign("c"))

    assert await exported(store) == ["own", "a", "c"]
    assert (progress.next_index, progress.imported_count, progress.failed_count) == (4, 2, 2)
    assert progress.refusals[0] == refused
    taken = progress.refusals[1]
    assert (taken.index, taken.code, taken.reason) == (2, "ALREADY_EXISTS", "EXTERNAL_ID_TAKEN")
    assert progress == await store.moving.import_progress(ANN, "i")


async def test_refusals_are_counted_all_and_told_up_to_a_bound(store: MemoryStore) -> None:
    def refusals(first: int) -> list[Refusal]:
        return [Refusal(first + n, "INVALID_ARGUMENT", "INVALID_INPUT", "wrong") for n in range(70)]

    await take_in(store, *refusals(0))
    progress = await take_in(store, *refusals(70), first=70)

    assert progress.failed_count == 140
    assert [refusal.index for refusal in progress.refusals] == list(range(MAX_REFUSALS))


async def test_import_gives_nothing_to_another_owner(store: MemoryStore) -> None:
    progress = await take_in(store, foreign(owner="ann"), caller=BOB)

    assert [refusal.code for refusal in progress.refusals] == ["PERMISSION_DENIED"]
    assert await exported(store, ANN) == []


async def test_imported_memory_can_be_changed(store: MemoryStore) -> None:
    await take_in(store, foreign())
    (row,) = (await export(store)).rows

    (changed,) = await apply(store, ANN, revised(row.memory, EAST, content="coffee"))

    assert changed.revision == 8
    assert changed.created_at == EARLIER
