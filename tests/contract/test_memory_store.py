"""What every memory store promises of writes, reads by id, lists and counts."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from services.memory.domain.memory import (
    EtagMismatch,
    ExternalIdTaken,
    Memory,
    MemoryNotFound,
    NotOwner,
    RequestIdReused,
    Source,
)
from services.memory.domain.ports import Delete, MemoryStore
from services.memory.domain.revisions import RevisionPlan
from services.mesh.caller import Caller
from services.mesh.errors import InvalidInput
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
    hybrid_search,
    keyword_search,
    listed,
    listing,
    revised,
    vector,
    vector_search,
)

SECOND = timedelta(seconds=1)
EVERYTHING = Memory(
    memory_id="full",
    owner_user="ann",
    content="naïve 東京 \U0001f375 text\nwith lines",
    created_at=NOW,
    updated_at=NOW,
    external_id="ext/1",
    content_type="text/markdown",
    bucket="work",
    access_level=ROLE,
    reader_roles=("Z", "A"),
    event_time=NOW - SECOND,
    valid_from=NOW - 2 * SECOND,
    valid_until=NOW + SECOND,
    superseded_by="other",
    expires_at=NOW + 2 * SECOND,
    metadata={"a": {"b": [1, 2.5, None, "x", True]}, "ключ": "значение"},
    tags=("b", "a"),
    source=Source("file:///x", "note", ("p1", "p2")),
    embedding_space="model-a",
)


async def test_create_keeps_every_field(store: MemoryStore) -> None:
    (created,) = await apply(store, ANN, replace(creation("full"), memory=EVERYTHING))

    assert created == EVERYTHING
    assert await store.get(ANN, "full", NOW) == EVERYTHING


async def test_create_keeps_the_vector_bit_by_bit(store: MemoryStore) -> None:
    await fill(store, creation("m", embedding=vector(0.1, -0.2, 0.3)))

    kept = await store.get_embedding(ANN, "m", NOW)

    assert kept.space == "model-a"
    assert np.array_equal(kept.vector, vector(0.1, -0.2, 0.3).vector)


async def test_write_is_seen_by_every_read_once_acknowledged(store: MemoryStore) -> None:
    for number in range(30):
        name = f"m{number}"
        await fill(store, creation(name, f"word{number}"))

        assert (await store.get(ANN, name, NOW)).content == f"word{number}"
        assert await found(store, ANN, keyword_search(f"word{number}")) == [name]
        assert await store.count(ANN, NOW) == number + 1


async def test_create_answers_with_the_stored_memory_when_repeated(store: MemoryStore) -> None:
    first = creation("m", request_hash=b"h")
    (created,) = await apply(store, ANN, first)
    (updated,) = await apply(store, ANN, revised(created, content="changed"))

    (repeated,) = await apply(store, ANN, first)

    assert repeated == updated
    assert await store.count(ANN, NOW) == 1


async def test_create_is_done_once_when_repeated_at_once(store: MemoryStore) -> None:
    answers = await asyncio.gather(*(apply(store, ANN, creation("m", request_hash=b"h")) for _ in range(20)))

    assert all(answer == answers[0] for answer in answers)
    assert await listed(store, ANN) == ["m"]


@pytest.mark.parametrize("hashes", [(b"h", b"other"), (b"h", None), (None, b"h"), (None, None)])
async def test_create_refuses_a_known_id_with_another_request(
    store: MemoryStore, hashes: tuple[bytes | None, bytes | None]
) -> None:
    await fill(store, creation("m", "first", request_hash=hashes[0]))

    with pytest.raises(RequestIdReused):
        await fill(store, creation("m", "second", request_hash=hashes[1]))

    assert (await store.get(ANN, "m", NOW)).content == "first"


async def test_id_that_another_owner_has_is_as_free_as_any(store: MemoryStore) -> None:
    await fill(store, creation("m", "his", owner="bob", request_hash=b"h"), creation("m", "hers", request_hash=b"h"))

    (changed,) = await apply(store, ANN, revised(await store.get(ANN, "m", NOW), content="hers too"))
    (gone,) = await apply(store, BOB, deletion(await store.get(BOB, "m", NOW)))

    assert (await store.get(ANN, "m", NOW)).content == "hers too"
    assert await listed(store, ANN) == ["m"]
    with pytest.raises(MemoryNotFound):
        await store.get(BOB, "m", NOW)
    assert (changed.revision, gone.content) == (2, "his")


async def test_of_several_memories_of_one_id_ones_own_is_meant_else_the_oldest(store: MemoryStore) -> None:
    await fill(
        store,
        creation("m", "his", owner="bob", access_level=PUBLIC),
        creation("m", "hers", access_level=PUBLIC),
    )

    for caller, content in ((ANN, "hers"), (BOB, "his"), (Caller("carl"), "his")):
        assert (await store.get(caller, "m", NOW)).content == content
        batch = await store.get_many(caller, ["m"], NOW)
        assert [memory.content for memory in batch.memories] == [content]
        revisions = await store.list_revisions(caller, RevisionPlan("m", 10, NOW))
        assert [memory.content for memory in revisions.revisions] == [content]


async def test_create_is_only_for_oneself(store: MemoryStore) -> None:
    with pytest.raises(NotOwner):
        await apply(store, BOB, creation("m", owner="ann"))


async def test_create_refuses_an_external_id_in_use(store: MemoryStore) -> None:
    await fill(store, creation("m1", external_id="x"))

    with pytest.raises(ExternalIdTaken):
        await fill(store, creation("m2", external_id="x"))

    assert await listed(store, ANN) == ["m1"]


async def test_external_ids_of_two_owners_do_not_meet(store: MemoryStore) -> None:
    await fill(store, creation("m1", owner="ann", external_id="x"), creation("m2", owner="bob", external_id="x"))

    assert await store.count(ANN, NOW) == 1
    assert await store.count(BOB, NOW) == 1


async def test_external_id_is_free_again_after_delete(store: MemoryStore) -> None:
    (first,) = await apply(store, ANN, creation("m1", external_id="x"))
    await apply(store, ANN, deletion(first))

    await fill(store, creation("m2", external_id="x"))

    assert await listed(store, ANN) == ["m2"]


async def test_external_id_is_free_again_after_expiry(store: MemoryStore) -> None:
    await fill(store, creation("m1", external_id="x", expires_at=NOW + SECOND))

    await fill(store, creation("m2", external_id="x", at=NOW + SECOND))

    assert await listed(store, ANN, now=NOW + SECOND) == ["m2"]


async def test_replace_refuses_an_external_id_in_use(store: MemoryStore) -> None:
    await fill(store, creation("m1", external_id="x"))
    (second,) = await apply(store, ANN, creation("m2", external_id="y"))

    with pytest.raises(ExternalIdTaken):
        await apply(store, ANN, revised(second, external_id="x"))

    assert (await store.get(ANN, "m2", NOW)).external_id == "y"


async def test_replace_gives_up_the_old_external_id(store: MemoryStore) -> None:
    (first,) = await apply(store, ANN, creation("m1", external_id="x"))
    await apply(store, ANN, revised(first, external_id="y"))

    await fill(store, creation("m2", external_id="x"))

    assert await store.count(ANN, NOW) == 2


async def test_replace_puts_the_next_revision(store: MemoryStore) -> None:
    (created,) = await apply(store, ANN, creation("m", "tea"))

    (updated,) = await apply(store, ANN, revised(created, vector(0, 1, 0), content="coffee", tags=("t",)))

    assert (updated.revision, updated.content, updated.tags) == (2, "coffee", ("t",))
    assert await store.get(ANN, "m", NOW) == updated
    assert await found(store, ANN, keyword_search("tea")) == []
    assert await found(store, ANN, keyword_search("coffee")) == ["m"]
    assert np.array_equal((await store.get_embedding(ANN, "m", NOW)).vector, vector(0, 1, 0).vector)


async def test_replace_keeps_vector_and_terms_when_the_content_stays(store: MemoryStore) -> None:
    (created,) = await apply(store, ANN, creation("m", "tea", embedding=vector(1, 2, 3)))

    (updated,) = await apply(store, ANN, revised(created, bucket="other"))

    assert updated.embedding_space == "model-a"
    assert await found(store, ANN, hybrid_search("tea", vector(1, 2, 3), bucket="other")) == ["m"]
    assert np.array_equal((await store.get_embedding(ANN, "m", NOW)).vector, vector(1, 2, 3).vector)


async def test_replace_of_an_older_revision_is_a_mismatch(store: MemoryStore) -> None:
    (created,) = await apply(store, ANN, creation("m"))
    await apply(store, ANN, revised(created, content="second"))

    with pytest.raises(EtagMismatch):
        await apply(store, ANN, revised(created, content="third"))

    assert (await store.get(ANN, "m", NOW)).content == "second"


async def test_one_of_many_replacements_at_once_wins(store: MemoryStore) -> None:
    (created,) = await apply(store, ANN, creation("m"))
    attempts = (apply(store, ANN, revised(created, content=f"try {number}")) for number in range(20))

    answers = await asyncio.gather(*attempts, return_exceptions=True)

    won = [answer for answer in answers if isinstance(answer, tuple)]
    assert len(won) == 1
    assert all(isinstance(answer, tuple | EtagMismatch) for answer in answers)
    assert await store.get(ANN, "m", NOW) == won[0][0]


async def test_delete_hides_a_memory_from_every_read(store: MemoryStore) -> None:
    (created,) = await apply(store, ANN, creation("m", "tea"))

    (deleted,) = await apply(store, ANN, deletion(created))

    assert (deleted.revision, deleted.delete_time) == (2, NOW + SECOND)
    with pytest.raises(MemoryNotFound):
        await store.get(ANN, "m", NOW)
    with pytest.raises(MemoryNotFound):
        await store.get_embedding(ANN, "m", NOW)
    assert await listed(store, ANN) == []
    assert await found(store, ANN, hybrid_search("tea", EAST)) == []
    assert await store.count(ANN, NOW) == 0


async def test_delete_of_an_older_revision_is_a_mismatch(store: MemoryStore) -> None:
    (created,) = await apply(store, ANN, creation("m"))
    await apply(store, ANN, revised(created))

    with pytest.raises(EtagMismatch):
        await apply(store, ANN, deletion(created))

    assert await listed(store, ANN) == ["m"]


async def test_delete_without_a_revision_takes_the_current_one(store: MemoryStore) -> None:
    (created,) = await apply(store, ANN, creation("m"))
    await apply(store, ANN, revised(created))

    (deleted,) = await apply(store, ANN, Delete("m", None, NOW))

    assert deleted.revision == 3


async def test_deleted_memory_cannot_be_changed(store: MemoryStore) -> None:
    (created,) = await apply(store, ANN, creation("m"))
    (deleted,) = await apply(store, ANN, deletion(created))

    with pytest.raises(MemoryNotFound):
        await apply(store, ANN, revised(deleted))
    with pytest.raises(MemoryNotFound):
        await apply(store, ANN, deletion(deleted))


async def test_expired_memory_is_gone_from_its_time_on(store: MemoryStore) -> None:
    await fill(store, creation("m", "tea", expires_at=NOW + SECOND))
    before, after = NOW + SECOND - timedelta(microseconds=1), NOW + SECOND

    assert await listed(store, ANN, now=before) == ["m"]
    assert await found(store, ANN, hybrid_search("tea", EAST, now=before)) == ["m"]
    assert await store.count(ANN, before) == 1
    assert await listed(store, ANN, now=after) == []
    assert await found(store, ANN, hybrid_search("tea", EAST, now=after)) == []
    assert await store.count(ANN, after) == 0
    with pytest.raises(MemoryNotFound):
        await store.get(ANN, "m", after)
    with pytest.raises(MemoryNotFound):
        await apply(store, ANN, Delete("m", None, after))


async def test_unit_of_work_is_done_whole(store: MemoryStore) -> None:
    (old,) = await apply(store, ANN, creation("old"))

    created, deleted, second = await apply(store, ANN, creation("new"), deletion(old), creation("new2"))

    assert (created.memory_id, deleted.memory_id, second.memory_id) == ("new", "old", "new2")
    assert sorted(await listed(store, ANN)) == ["new", "new2"]


async def test_unit_of_work_leaves_nothing_when_one_change_fails(store: MemoryStore) -> None:
    (old,) = await apply(store, ANN, creation("old", "tea"))

    with pytest.raises(EtagMismatch):
        await apply(store, ANN, creation("new", "coffee"), revised(old, content="x"), revised(old, content="y"))

    assert await store.get(ANN, "old", NOW) == old
    assert await listed(store, ANN) == ["old"]
    assert await found(store, ANN, hybrid_search("tea coffee x y", EAST)) == ["old"]


async def test_unit_of_work_may_create_change_and_delete_the_same_memory(store: MemoryStore) -> None:
    first = creation("m", "tea")
    second = revised(first.memory, content="coffee")

    await apply(store, ANN, first, second, deletion(second.memory), creation("kept"))

    assert await listed(store, ANN) == ["kept"]
    assert await found(store, ANN, keyword_search("tea coffee")) == ["kept"]


async def test_failing_units_leave_others_alone(store: MemoryStore) -> None:
    good = [apply(store, ANN, creation(f"m{number}", external_id=f"e{number}")) for number in range(20)]
    await asyncio.gather(*good)
    mixed = [
        apply(store, ANN, creation(f"n{number}", external_id=f"e{number}" if number % 2 else ""))
        for number in range(20)
    ]

    answers = await asyncio.gather(*mixed, return_exceptions=True)

    assert [isinstance(answer, ExternalIdTaken) for answer in answers] == [bool(number % 2) for number in range(20)]
    assert await store.count(ANN, NOW) == 30


async def test_cancelled_caller_leaves_the_work_whole_or_undone(store: MemoryStore) -> None:
    tasks = [asyncio.ensure_future(apply(store, ANN, creation(f"a{n}"), creation(f"b{n}"))) for n in range(40)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await fill(store, creation("last"))

    ids = set(await listed(store, ANN))

    assert all((f"a{n}" in ids) == (f"b{n}" in ids) for n in range(40))
    assert all(f"a{n}" in ids for n in range(1, 40, 2))
    assert len(await found(store, ANN, keyword_search("tea", top_k=100, limit=100))) == len(ids)


@pytest.mark.parametrize("components", [(0.5, 0.5, 0.5), (float("nan"), 0, 1), (float("inf"), 0, 0)])
async def test_vector_must_be_of_length_one(store: MemoryStore, components: tuple[float, ...]) -> None:
    wrong = replace(EAST, vector=np.array(components, np.float32))

    with pytest.raises(InvalidInput):
        await fill(store, creation("m", embedding=wrong))

    assert await store.count(ANN, NOW) == 0


async def test_vectors_of_one_space_have_one_dimension(store: MemoryStore) -> None:
    await fill(store, creation("m"))

    with pytest.raises(InvalidInput):
        await fill(store, creation("n", embedding=vector(1, 0)))
    with pytest.raises(InvalidInput):
        await store.search(ANN, vector_search(vector(1, 0)))


async def test_list_is_youngest_first_and_ties_by_descending_id(store: MemoryStore) -> None:
    await fill(store, creation("b"), creation("old", at=NOW - SECOND), creation("c", access_level=PUBLIC))
    await fill(store, creation("a", access_level=ROLE, reader_roles=("R",)), creation("new", at=NOW + SECOND))

    assert await listed(store, ANN) == ["new", "c", "b", "a", "old"]


async def test_list_pages_hold_each_memory_once(store: MemoryStore) -> None:
    levels = ("PRIVATE", "PUBLIC", "ROLE")
    for number in range(25):
        at = NOW - (number % 4) * SECOND
        await fill(store, creation(f"m{number:02}", at=at, access_level=type(ROLE)(levels[number % 3])))
    whole = await listed(store, ANN)

    paged: list[str] = []
    plan, more = listing(limit=4), True
    while more:
        page = await store.list(ANN, plan)
        paged += [memory.memory_id for memory in page.memories]
        last, more = page.memories[-1], page.more
        plan = replace(plan, after=(last.created_at, last.memory_id), snapshot=page.snapshot)

    assert len(whole) == 25
    assert paged == whole


async def test_list_leaves_out_what_was_created_after_its_snapshot(store: MemoryStore) -> None:
    await fill(store, creation("a"), creation("b", at=NOW - SECOND))
    first = await store.list(ANN, listing(limit=1))
    await fill(store, creation("late", at=NOW - SECOND / 2))

    second = await store.list(ANN, listing(after=(NOW, "a"), snapshot=first.snapshot))

    assert first.more
    assert [memory.memory_id for memory in second.memories] == ["b"]
    assert second.snapshot == first.snapshot


async def test_list_can_be_limited_to_a_bucket(store: MemoryStore) -> None:
    await fill(store, creation("a", bucket="x"), creation("b", bucket="y"), creation("c", bucket="x"))

    assert await listed(store, ANN, bucket="x") == ["c", "a"]
    assert await listed(store, ANN, bucket="none") == []


async def test_list_page_ends_early_at_its_size(store: MemoryStore) -> None:
    await fill(store, *(creation(name, "é" * 50, metadata={"k": "v" * 90}) for name in "abc"))
    two = 2 * (await store.get(ANN, "a", NOW)).size_bytes

    page = await store.list(ANN, listing(max_bytes=two - 1))
    small = await store.list(ANN, listing(max_bytes=1))

    assert [memory.memory_id for memory in page.memories] == ["c"]
    assert page.more
    assert [memory.memory_id for memory in small.memories] == ["c"]
    assert len((await store.list(ANN, listing(max_bytes=two))).memories) == 2


async def test_list_says_that_nothing_follows(store: MemoryStore) -> None:
    await fill(store, creation("a"), creation("b"))

    assert not (await store.list(ANN, listing(limit=2))).more
    assert not (await store.list(BOB, listing(limit=2))).more


async def test_secrets_are_two_different_keys(store: MemoryStore) -> None:
    assert len(store.secrets.id_key) == len(store.secrets.token_key) == 32
    assert store.secrets.id_key != store.secrets.token_key
