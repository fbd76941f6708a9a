"""What every memory store promises of former states: all are kept, and nobody learns what was kept from them."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from services.memory.domain.memory import AccessLevel, ExternalIdTaken, Memory, MemoryNotFound, NotOwner
from services.memory.domain.ports import MemoryStore, Undelete
from services.memory.domain.revisions import RevisionNotFound, RevisionPage, RevisionPlan
from services.memory.filter import parse
from services.mesh.caller import Caller
from tests.support.memories import (
    ANN,
    BOB,
    EAST,
    NOW,
    NURSE,
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
)

SECOND = timedelta(seconds=1)
PRIVATE = AccessLevel.PRIVATE


async def revisions(store: MemoryStore, caller: Caller, memory_id: str = "m", limit: int = 100) -> RevisionPage:
    """Return the first page of a memory's states."""
    return await store.list_revisions(caller, RevisionPlan(memory_id, limit, NOW))


async def changed(store: MemoryStore, *contents: str) -> list[Memory]:
    """Keep memory ``m`` with the first of *contents*, then with each other one; return all states."""
    states = list(await apply(store, ANN, creation("m", contents[0])))
    for content in contents[1:]:
        states += await apply(store, ANN, revised(states[-1], vector(0, 1, 0), content=content))
    return states


def undeletion(memory: Memory) -> Undelete:
    return Undelete(memory.memory_id, memory.updated_at + SECOND)


async def test_every_state_is_kept_whole_newest_first(store: MemoryStore) -> None:
    (first,) = await apply(store, ANN, creation("m", "tea", tags=("t",), metadata={"k": [1.5, None]}, external_id="x"))
    (second,) = await apply(store, ANN, revised(first, bucket="other", valid_until=NOW))
    (third,) = await apply(store, ANN, revised(second, vector(0, 1, 0), content="coffee", tags=(), external_id=""))

    page = await revisions(store, ANN)

    assert page.revisions == (third, second, first)
    assert not page.more


async def test_new_memory_has_one_state(store: MemoryStore) -> None:
    (only,) = await changed(store, "tea")

    assert (await revisions(store, ANN)).revisions == (only,)


async def test_pages_hold_each_state_once_while_others_are_added(store: MemoryStore) -> None:
    states = await changed(store, *"abcdefg")
    paged: list[Memory] = []
    before, more = None, True
    while more:
        page = await store.list_revisions(ANN, RevisionPlan("m", 3, NOW, before))
        paged += page.revisions
        before, more = page.revisions[-1].revision, page.more
        (newest,) = await apply(store, ANN, revised(await store.get(ANN, "m", NOW), bucket=f"b{before}"))

    assert newest.revision > len(states)
    assert paged == states[::-1]


async def test_page_ends_early_at_its_size(store: MemoryStore) -> None:
    states = await changed(store, "a" * 50, "b" * 50, "c" * 50)
    two = states[1].size_bytes + states[2].size_bytes

    sizes = {
        room: len((await store.list_revisions(ANN, RevisionPlan("m", 9, NOW, max_bytes=room))).revisions)
        for room in (1, two - 1, two)
    }

    assert sizes == {1: 1, two - 1: 1, two: 2}


async def test_one_state_is_read_by_its_number(store: MemoryStore) -> None:
    states = await changed(store, "a", "b", "c")

    assert [await store.get_revision(ANN, "m", number, NOW) for number in (1, 2, 3)] == states
    for number in (0, 4):
        with pytest.raises(RevisionNotFound):
            await store.get_revision(ANN, "m", number, NOW)


async def test_history_of_a_hidden_memory_looks_absent(store: MemoryStore) -> None:
    await changed(store, "a", "b")
    for memory_id in ("m", "absent"):
        with pytest.raises(MemoryNotFound):
            await revisions(store, BOB, memory_id)
        with pytest.raises(MemoryNotFound):
            await store.get_revision(BOB, memory_id, 1, NOW)


async def test_history_of_a_deleted_or_expired_memory_is_hidden_from_its_owner_too(store: MemoryStore) -> None:
    (state,) = await changed(store, "a")
    await apply(store, ANN, deletion(state))
    await fill(store, creation("expired", at=NOW - SECOND, expires_at=NOW))

    for memory_id in ("m", "expired"):
        with pytest.raises(MemoryNotFound):
            await revisions(store, ANN, memory_id)
        with pytest.raises(MemoryNotFound):
            await store.get_revision(ANN, memory_id, 1, NOW)


async def test_readers_see_only_states_that_they_could_read_then(store: MemoryStore) -> None:
    (private,) = await apply(store, ANN, creation("m", "secret"))
    (shared,) = await apply(
        store, ANN, revised(private, EAST, content="for nurses", access_level=ROLE, reader_roles=("NURSE",))
    )
    (public,) = await apply(store, ANN, revised(shared, EAST, content="for all", access_level=PUBLIC, reader_roles=()))

    assert (await revisions(store, ANN)).revisions == (public, shared, private)
    assert (await revisions(store, NURSE)).revisions == (public, shared)
    assert (await revisions(store, BOB)).revisions == (public,)
    assert await store.get_revision(NURSE, "m", 2, NOW) == shared
    for reader, hidden in ((NURSE, 1), (BOB, 1), (BOB, 2), (Caller(NURSE.user), 2)):
        with pytest.raises(RevisionNotFound):
            await store.get_revision(reader, "m", hidden, NOW)


async def test_page_of_a_reader_tells_nothing_of_hidden_states(store: MemoryStore) -> None:
    (state,) = await apply(store, ANN, creation("m", "secret"))
    (public,) = await apply(store, ANN, revised(state, access_level=PUBLIC))

    page = await revisions(store, BOB, limit=1)

    assert page == RevisionPage((public,), more=False)


async def test_readers_lose_the_history_with_the_memory(store: MemoryStore) -> None:
    (public,) = await apply(store, ANN, creation("m", access_level=PUBLIC))
    await apply(store, ANN, revised(public, access_level=PRIVATE))

    with pytest.raises(MemoryNotFound):
        await revisions(store, BOB)


async def test_readers_do_not_see_that_a_memory_was_deleted_for_a_while(store: MemoryStore) -> None:
    (public,) = await apply(store, ANN, creation("m", access_level=PUBLIC))
    (deleted,) = await apply(store, ANN, deletion(public))
    (back,) = await apply(store, ANN, undeletion(deleted))

    assert (await revisions(store, ANN)).revisions == (back, deleted, public)
    assert (await revisions(store, BOB)).revisions == (back, public)


async def test_failed_unit_leaves_no_state_behind(store: MemoryStore) -> None:
    (state,) = await changed(store, "a")

    with pytest.raises(MemoryNotFound):
        await apply(store, ANN, revised(state, bucket="b"), deletion(creation("absent").memory))

    assert (await revisions(store, ANN)).revisions == (state,)


async def test_undeleted_memory_is_in_every_read_again(store: MemoryStore) -> None:
    (created,) = await apply(store, ANN, creation("m", "green tea", embedding=vector(1, 2, 3)))
    (deleted,) = await apply(store, ANN, deletion(created))

    (back,) = await apply(store, ANN, undeletion(deleted))

    assert back == replace(created, revision=3, updated_at=NOW + 2 * SECOND)
    assert await store.get(ANN, "m", NOW) == back
    assert await listed(store, ANN) == ["m"]
    assert await found(store, ANN, keyword_search("tea")) == ["m"]
    assert await found(store, ANN, hybrid_search("tea", vector(1, 2, 3))) == ["m"]
    assert (await store.get_embedding(ANN, "m", NOW)).space == "model-a"
    assert await store.count(ANN, NOW) == 1


async def test_undeleted_memory_keeps_its_readers(store: MemoryStore) -> None:
    (created,) = await apply(store, ANN, creation("m", access_level=ROLE, reader_roles=("NURSE",)))
    (deleted,) = await apply(store, ANN, deletion(created))

    await apply(store, ANN, undeletion(deleted))

    assert await listed(store, NURSE) == ["m"]
    assert await listed(store, BOB) == []


async def test_memory_that_is_not_deleted_stays_as_it_is_when_undeleted(store: MemoryStore) -> None:
    (created,) = await apply(store, ANN, creation("m"))

    assert await apply(store, ANN, undeletion(created)) == (created,)
    assert (await revisions(store, ANN)).revisions == (created,)


async def test_undelete_is_for_the_owner_and_shows_nothing_to_others(store: MemoryStore) -> None:
    (public,) = await apply(store, ANN, creation("m", access_level=PUBLIC))

    with pytest.raises(NotOwner):
        await apply(store, BOB, undeletion(public))
    await apply(store, ANN, deletion(public))
    for memory_id in ("m", "absent"):
        with pytest.raises(MemoryNotFound):
            await apply(store, BOB, Undelete(memory_id, NOW))


async def test_expired_memory_cannot_be_undeleted(store: MemoryStore) -> None:
    (created,) = await apply(store, ANN, creation("m", expires_at=NOW + 2 * SECOND))
    (deleted,) = await apply(store, ANN, deletion(created))

    with pytest.raises(MemoryNotFound):
        await apply(store, ANN, Undelete("m", deleted.updated_at + SECOND))


async def test_undelete_takes_the_external_id_back_or_is_refused(store: MemoryStore) -> None:
    (first,) = await apply(store, ANN, creation("m", external_id="x"))
    (deleted,) = await apply(store, ANN, deletion(first))
    (other,) = await apply(store, ANN, creation("n", external_id="x"))

    with pytest.raises(ExternalIdTaken):
        await apply(store, ANN, undeletion(deleted))
    await apply(store, ANN, deletion(other))
    await apply(store, ANN, undeletion(deleted))

    with pytest.raises(ExternalIdTaken):
        await fill(store, creation("o", external_id="x"))


async def as_of(store: MemoryStore, caller: Caller, moment: datetime, **fields: Any) -> list[str]:
    """Return the contents of a list as of *moment*, after making sure that reads by id agree."""
    page = await store.list(caller, listing(as_of=moment, **fields))
    for memory in page.memories:
        assert await store.get_as_of(caller, memory.memory_id, moment, NOW) == memory
    return [memory.content for memory in page.memories]


async def test_reads_as_of_a_moment_show_the_state_of_then(store: MemoryStore) -> None:
    await changed(store, "first", "second", "third")

    for moment, expected in (
        (NOW - SECOND, []),
        (NOW, ["first"]),
        (NOW + SECOND, ["second"]),
        (NOW + 1.5 * SECOND, ["second"]),
        (NOW + 2 * SECOND, ["third"]),
        (NOW + 9 * SECOND, ["third"]),
    ):
        assert await as_of(store, ANN, moment) == expected
    with pytest.raises(MemoryNotFound):
        await store.get_as_of(ANN, "m", NOW - SECOND, NOW)


async def test_reads_as_of_a_moment_look_at_that_states_bucket_filter_and_validity(store: MemoryStore) -> None:
    (first,) = await apply(store, ANN, creation("m", "first", bucket="x", tags=("t",)))
    await apply(store, ANN, revised(first, EAST, content="second", bucket="y", tags=(), valid_until=NOW))

    assert await as_of(store, ANN, NOW, bucket="x", filter=parse('tags:"t"'), valid_at=NOW) == ["first"]
    assert await as_of(store, ANN, NOW, bucket="y") == []
    assert await as_of(store, ANN, NOW + SECOND, bucket="y") == ["second"]
    assert await as_of(store, ANN, NOW + SECOND, bucket="y", valid_at=NOW + SECOND) == []
    assert await as_of(store, ANN, NOW + SECOND, filter=parse('tags:"t"')) == []


async def test_readers_see_as_of_a_moment_only_what_they_could_read_then(store: MemoryStore) -> None:
    (private,) = await apply(store, ANN, creation("m", "secret"))
    await apply(store, ANN, revised(private, EAST, content="open", access_level=PUBLIC))

    assert await as_of(store, ANN, NOW) == ["secret"]
    assert await as_of(store, BOB, NOW) == []
    assert await as_of(store, BOB, NOW + SECOND) == ["open"]
    with pytest.raises(MemoryNotFound):
        await store.get_as_of(BOB, "m", NOW, NOW)


async def test_what_is_deleted_now_or_was_then_is_not_there_as_of_a_moment(store: MemoryStore) -> None:
    (gone,) = await apply(store, ANN, creation("gone", "gone"))
    await apply(store, ANN, deletion(gone))
    (created,) = await apply(store, ANN, creation("back", "back"))
    (deleted,) = await apply(store, ANN, deletion(created))
    await apply(store, ANN, undeletion(deleted))
    (brief,) = await apply(store, ANN, creation("brief", "brief", expires_at=NOW + SECOND))
    await apply(
        store, ANN, replace(revised(brief, expires_at=None), memory=replace(brief, revision=2, expires_at=None))
    )

    assert await as_of(store, ANN, NOW) == ["brief", "back"]
    assert await as_of(store, ANN, NOW + SECOND) == ["brief"]
    assert await as_of(store, ANN, NOW + 2 * SECOND) == ["brief", "back"]


async def test_pages_as_of_a_moment_hold_each_memory_once(store: MemoryStore) -> None:
    for number in range(9):
        (memory,) = await apply(store, ANN, creation(f"m{number}", f"{number}", at=NOW + number * SECOND / 10))
        if number % 2:
            await apply(store, ANN, revised(memory, EAST, content=f"{number} later"))

    paged: list[str] = []
    plan, more = listing(as_of=NOW + SECOND, limit=2), True
    while more:
        page = await store.list(ANN, plan)
        paged += [memory.content for memory in page.memories]
        last, more = page.memories[-1], page.more
        plan = replace(plan, after=(last.created_at, last.memory_id), snapshot=page.snapshot)

    assert paged == ["8", "7", "6", "5", "4", "3", "2", "1", "0"]
