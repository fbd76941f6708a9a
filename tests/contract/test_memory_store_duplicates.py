"""What every memory store promises of duplicates."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from services.memory.domain.duplicates import MAX_MEMBERS, DuplicateGroup, DuplicatePlan
from services.memory.domain.ports import MemoryStore
from services.memory.filter import parse
from services.mesh.caller import Caller
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
    revised,
    vector,
)
from tests.support.model_store import ModelMemoryStore

NORTH = vector(0, 1, 0)
NEAR_EAST = vector(20, 1, 0)
NEARER_EAST = vector(20, 0.5, 0)


def plan(**fields: Any) -> DuplicatePlan:
    """Return a plan for a page of at most 100 groups."""
    defaults: dict[str, Any] = {"limit": 100, "now": NOW}
    return DuplicatePlan(**(defaults | fields))


async def groups_of(store: MemoryStore, caller: Caller = ANN, **fields: Any) -> list[DuplicateGroup]:
    """Return all groups, page by page."""
    wanted, groups = plan(**fields), list[DuplicateGroup]()
    while True:
        page = await store.duplicates(caller, wanted)
        groups += page.groups
        if page.after is None:
            return groups
        assert page.after > wanted.after or page.groups
        wanted = replace(wanted, after=page.after, snapshot=page.snapshot)


def ids(groups: Sequence[DuplicateGroup]) -> list[list[str]]:
    """Return the ids of each group."""
    return [[memory.memory_id for memory in group.memories] for group in groups]


async def test_equal_contents_are_grouped_whatever_case_and_blanks(store: MemoryStore) -> None:
    contents = ["Green  tea", "cake", "green tea\n", "\uff47reen tea", "tea green", "Cake", "!!", "??"]
    await fill(store, *(creation(f"m{n}", text, embedding=NORTH) for n, text in enumerate(contents)))

    groups = await groups_of(store)

    assert ids(groups) == [["m0", "m2", "m3"], ["m1", "m5"]]
    assert [(group.count, group.similarity) for group in groups] == [(3, None), (2, None)]


async def test_near_vectors_are_grouped_with_their_lowest_cosine(store: MemoryStore) -> None:
    await fill(
        store,
        creation("east", "a", embedding=EAST),
        creation("north", "b", embedding=NORTH),
        creation("nearer", "c", embedding=NEARER_EAST),
        creation("near", "d", embedding=NEAR_EAST),
    )

    found = await groups_of(store, min_score=0.99)
    lowest = float((EAST.vector.astype(np.float64) * NEAR_EAST.vector.astype(np.float64)).sum())

    assert ids(found) == [["east", "nearer", "near"]]
    assert (found[0].count, found[0].similarity) == (3, lowest)
    assert ids(await groups_of(store, min_score=lowest)) == [["east", "nearer", "near"]]
    assert ids(await groups_of(store, min_score=lowest + 1e-12)) == [["east", "nearer"]]


async def test_only_what_has_no_older_duplicate_represents_others(store: MemoryStore) -> None:
    first, second, third = vector(1, 0, 0), vector(1, 0.3, 0), vector(1, 0.6, 0)
    await fill(
        store,
        creation("a", "a", embedding=first),
        creation("b", "b", embedding=second),
        creation("c", "c", embedding=third),
    )

    assert ids(await groups_of(store, min_score=0.955)) == [["a", "b"]]


async def test_equal_contents_are_duplicates_also_where_vectors_are_compared(store: MemoryStore) -> None:
    await fill(store, creation("a", "Tea", embedding=EAST), creation("b", "tea", embedding=NORTH))

    (group,) = await groups_of(store, min_score=0.9)

    assert (ids([group]), group.count, group.similarity) == ([["a", "b"]], 2, 0.0)


@pytest.mark.parametrize("min_score", [None, 0.9], ids=["content", "vector"])
async def test_duplicates_are_ones_own_unless_all_visible_are_asked_for(
    store: MemoryStore, min_score: float | None
) -> None:
    await fill(
        store,
        creation("mine", "tea"),
        creation("public", "tea", owner="bob", access_level=PUBLIC),
        creation("private", "tea", owner="bob"),
    )

    assert ids(await groups_of(store, min_score=min_score)) == []
    assert ids(await groups_of(store, min_score=min_score, visible=True)) == [["mine", "public"]]
    assert ids(await groups_of(store, BOB, min_score=min_score, visible=True)) == [["public", "private"]]


@pytest.mark.parametrize("min_score", [None, 0.9], ids=["content", "vector"])
async def test_what_is_gone_or_not_meant_is_no_duplicate(store: MemoryStore, min_score: float | None) -> None:
    made = [creation(name, "tea") for name in ("kept", "deleted", "changed", "twin")]
    await fill(
        store,
        *made,
        creation("elsewhere", "tea", bucket="work"),
        creation("expired", "tea", at=NOW - timedelta(days=1), expires_at=NOW),
        creation("over", "tea", valid_until=NOW),
        creation("tagged", "tea", tags=("x",)),
    )
    await apply(store, ANN, deletion(made[1].memory))
    await apply(store, ANN, revised(made[2].memory, NORTH, content="cake"))

    groups = await groups_of(
        store, min_score=min_score, bucket="default", filter=parse("NOT tags:x"), valid_at=NOW + timedelta(seconds=1)
    )

    assert ids(groups) == [["kept", "twin"]]


@pytest.mark.parametrize("min_score", [None, 0.9], ids=["content", "vector"])
async def test_pages_follow_each_other_and_keep_to_the_first_ones_moment(
    store: MemoryStore, min_score: float | None
) -> None:
    directions = [vector(*row) for row in np.eye(5)]
    await fill(store, *(creation(f"m{n}", f"text {n % 5}", embedding=directions[n % 5]) for n in range(10)))
    first = await store.duplicates(ANN, plan(limit=2, min_score=min_score))
    await fill(store, *(creation(f"late{n}", f"text {n}", embedding=directions[n]) for n in range(5)))

    assert first.after is not None
    rest = await groups_of(store, limit=2, min_score=min_score, after=first.after, snapshot=first.snapshot)

    assert ids(first.groups) == [["m0", "m5"], ["m1", "m6"]]
    assert ids(rest) == [["m2", "m7"], ["m3", "m8"], ["m4", "m9"]]


async def test_page_ends_early_by_size_and_shows_what_fits_of_its_first_group(store: MemoryStore) -> None:
    await fill(store, *(creation(f"m{n}", "x" * 1000, embedding=EAST) for n in range(4)))
    await fill(store, *(creation(f"n{n}", "y" * 1000, embedding=NORTH) for n in range(2)))
    size = (await store.get(ANN, "m0", NOW)).size_bytes

    tight = await store.duplicates(ANN, plan(max_bytes=1))
    wide = await store.duplicates(ANN, plan(max_bytes=5 * size))

    assert (ids(tight.groups), tight.groups[0].count) == ([["m0", "m1"]], 4)
    assert ids(wide.groups) == [["m0", "m1", "m2", "m3"]]
    assert ids(await groups_of(store, max_bytes=5 * size)) == [["m0", "m1", "m2", "m3"], ["n0", "n1"]]


@pytest.mark.parametrize("min_score", [None, 0.9], ids=["content", "vector"])
async def test_large_group_is_counted_whole_and_shown_in_part(store: MemoryStore, min_score: float | None) -> None:
    await fill(store, *(creation(f"m{n:03}", "tea") for n in range(MAX_MEMBERS + 5)))

    (group,) = await groups_of(store, min_score=min_score)

    assert ids([group]) == [[f"m{n:03}" for n in range(MAX_MEMBERS)]]
    assert group.count == MAX_MEMBERS + 5


@pytest.mark.parametrize("threshold", [-1.0, 0.2, 0.6, 0.9])
async def test_groups_by_vector_equal_those_of_the_plain_model(store: MemoryStore, threshold: float) -> None:
    dice, model = np.random.default_rng(7), ModelMemoryStore()
    for number in range(40):
        embedding = vector(*dice.integers(-2, 3, 4) + dice.normal(0, 0.05, 4))
        made = creation(f"m{number}", f"text {number % 37}", embedding=embedding)
        await fill(store, made)
        await fill(model, made)

    found = await groups_of(store, min_score=threshold, limit=3)

    assert found == await groups_of(model, min_score=threshold, limit=3)
    assert found == await groups_of(store, min_score=threshold, max_compared=1)
