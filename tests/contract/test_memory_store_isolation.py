"""What every memory store promises of who may see and do what: what a caller may not see does not exist for them."""

from collections.abc import Awaitable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from services.memory.domain.memory import AccessLevel, MemoryNotFound, NotOwner
from services.memory.domain.ports import MemoryStore, SearchPlan
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
    vector_search,
)

SECOND = timedelta(seconds=1)
BOBS = creation("secret", "tea password", owner="bob")
PLANS = [
    pytest.param(vector_search(EAST), id="vector"),
    pytest.param(keyword_search("tea password"), id="keyword"),
    pytest.param(hybrid_search("tea password", EAST), id="hybrid"),
]


async def is_found(read: Awaitable[object]) -> bool:
    """Tell whether *read* finds its memory."""
    try:
        await read
    except MemoryNotFound:
        return False
    return True


async def sees(store: MemoryStore, caller: Caller, memory_id: str) -> bool:
    """Tell whether *caller* sees a memory, after making sure that all reads agree."""
    by_list = memory_id in await listed(store, caller)
    by_search = memory_id in await found(store, caller, hybrid_search("tea", EAST))
    by_vector = memory_id in await found(store, caller, vector_search(EAST))
    by_words = memory_id in await found(store, caller, keyword_search("tea"))
    by_id = await is_found(store.get(caller, memory_id, NOW))
    has_vector = await is_found(store.get_embedding(caller, memory_id, NOW))
    assert [by_list, by_search, by_vector, by_words, has_vector] == [by_id] * 5
    return by_id


async def test_private_memory_exists_for_its_owner_alone(store: MemoryStore) -> None:
    await fill(store, BOBS)

    assert await sees(store, BOB, "secret")
    for stranger in (ANN, NURSE, Caller("Bob"), Caller("bob "), Caller(""), Caller("ann", frozenset({"bob"}))):
        assert not await sees(store, stranger, "secret")
        assert await store.count(stranger, NOW) == 0


async def test_private_memory_ignores_reader_roles(store: MemoryStore) -> None:
    await fill(store, creation("m", access_level=AccessLevel.PRIVATE, reader_roles=("NURSE",)))

    assert not await sees(store, NURSE, "m")


async def test_role_memory_exists_for_its_owner_and_holders_of_a_role(store: MemoryStore) -> None:
    await fill(store, creation("m", access_level=ROLE, reader_roles=("NURSE", "DOCTOR")))

    assert await sees(store, ANN, "m")
    assert await sees(store, NURSE, "m")
    assert await sees(store, Caller("x", frozenset({"OTHER", "DOCTOR"})), "m")
    assert not await sees(store, BOB, "m")
    assert not await sees(store, Caller("x", frozenset({"nurse", "NURS", "NURSE,DOCTOR", "PUBLIC"})), "m")


async def test_role_memory_without_roles_exists_for_its_owner_alone(store: MemoryStore) -> None:
    await fill(store, creation("m", access_level=ROLE, reader_roles=()))

    assert await sees(store, ANN, "m")
    assert not await sees(store, NURSE, "m")


async def test_public_memory_exists_for_everyone(store: MemoryStore) -> None:
    await fill(store, creation("m", access_level=PUBLIC))

    for caller in (ANN, BOB, NURSE, Caller("")):
        assert await sees(store, caller, "m")


async def test_memory_seen_by_several_ways_is_there_once(store: MemoryStore) -> None:
    both = Caller("ann", frozenset({"A", "B"}))
    await fill(store, creation("m", access_level=ROLE, reader_roles=("A", "B", "A")))

    assert await listed(store, both) == ["m"]
    assert await found(store, both, hybrid_search("tea", EAST)) == ["m"]
    assert await store.count(both, NOW) == 1


async def test_readers_see_changes_of_access_at_once(store: MemoryStore) -> None:
    (memory,) = await apply(store, ANN, creation("m"))
    steps: list[tuple[dict[str, Any], bool, bool]] = [
        ({"access_level": ROLE, "reader_roles": ("NURSE",)}, True, False),
        ({"access_level": PUBLIC}, True, True),
        ({"access_level": ROLE, "reader_roles": ("DOCTOR",)}, False, False),
        ({"access_level": AccessLevel.PRIVATE, "reader_roles": ()}, False, False),
    ]

    for fields, for_nurse, for_bob in steps:
        (memory,) = await apply(store, ANN, revised(memory, **fields))

        assert await sees(store, ANN, "m")
        assert await sees(store, NURSE, "m") is for_nurse
        assert await sees(store, BOB, "m") is for_bob


async def test_caller_without_the_role_any_more_sees_no_more(store: MemoryStore) -> None:
    await fill(store, creation("m", access_level=ROLE, reader_roles=("NURSE",)))

    assert await sees(store, NURSE, "m")
    assert not await sees(store, Caller(NURSE.user), "m")


async def test_hidden_memory_cannot_be_changed_and_looks_absent(store: MemoryStore) -> None:
    await fill(store, BOBS)
    for change in (revised(BOBS.memory, content="mine"), deletion(BOBS.memory)):
        absent = (
            revised(creation("absent").memory) if hasattr(change, "memory") else replace(change, memory_id="absent")
        )

        with pytest.raises(MemoryNotFound) as hidden:
            await apply(store, ANN, change)
        with pytest.raises(MemoryNotFound) as missing:
            await apply(store, ANN, absent)

        assert str(hidden.value).replace("secret", "absent") == str(missing.value)
        assert type(hidden.value) is type(missing.value)
    assert (await store.get(BOB, "secret", NOW)).content == "tea password"


@pytest.mark.parametrize("access", [{"access_level": PUBLIC}, {"access_level": ROLE, "reader_roles": ("NURSE",)}])
async def test_readable_memory_can_only_be_changed_by_its_owner(store: MemoryStore, access: dict[str, Any]) -> None:
    (memory,) = await apply(store, ANN, creation("m", **access))

    with pytest.raises(NotOwner):
        await apply(store, NURSE, revised(memory, content="mine"))
    with pytest.raises(NotOwner):
        await apply(store, NURSE, deletion(memory))
    with pytest.raises(NotOwner):
        await apply(store, NURSE, replace(deletion(memory), expected_revision=77))

    assert await store.get(NURSE, "m", NOW) == memory


async def test_replace_cannot_give_a_memory_away(store: MemoryStore) -> None:
    (memory,) = await apply(store, ANN, creation("m"))

    with pytest.raises(NotOwner):
        await apply(store, ANN, revised(memory, owner_user="bob"))

    assert await store.count(BOB, NOW) == 0


@pytest.mark.parametrize("plan", PLANS)
async def test_other_owners_writes_leave_scores_bit_identical(store: MemoryStore, plan: SearchPlan) -> None:
    await fill(store, *(creation(f"m{n:02}", f"tea {n} " * (n % 4 + 1), embedding=vector(9, n, 1)) for n in range(40)))
    await fill(store, creation("pub", "tea leaves", owner="carl", access_level=PUBLIC, embedding=vector(1, 1, 1)))
    before = await store.search(ANN, plan)

    for number in range(60):
        name = f"b{number}"
        await fill(store, creation(name, "tea password " * 9, owner="bob", embedding=vector(9, number, 1)))
        if number % 3 == 0:
            await apply(store, BOB, deletion(creation(name, owner="bob").memory))
    after = await store.search(ANN, plan)

    assert before.hits
    assert after.hits == before.hits
    assert (after.more, after.cut_by_threshold, after.cut_by_min_score) == (
        before.more,
        before.cut_by_threshold,
        before.cut_by_min_score,
    )


async def test_other_owners_writes_change_no_list_or_count(store: MemoryStore) -> None:
    await fill(store, creation("a"), creation("b", at=NOW - SECOND))
    before = await store.list(ANN, listing(limit=1))

    await fill(store, creation("hidden", owner="bob", at=NOW - SECOND / 2))

    after = await store.list(ANN, listing(limit=1))
    assert (after.memories, after.more) == (before.memories, before.more)
    assert await listed(store, ANN) == ["a", "b"]
    assert await store.count(ANN, NOW) == 2


async def test_cursor_at_a_hidden_memory_tells_nothing(store: MemoryStore) -> None:
    await fill(
        store, creation("a"), creation("hidden", owner="bob", at=NOW - SECOND), creation("z", at=NOW - 2 * SECOND)
    )

    assert await listed(store, ANN, after=(NOW - SECOND, "hidden")) == ["z"]


async def test_bucket_and_words_of_others_find_nothing(store: MemoryStore) -> None:
    await fill(store, creation("hidden", "zanzibar", owner="bob", bucket="bobs"), creation("mine", "tea"))

    assert await listed(store, ANN, bucket="bobs") == []
    assert await found(store, ANN, keyword_search("zanzibar")) == []
    assert await found(store, ANN, hybrid_search("zanzibar", EAST, bucket="bobs")) == []
