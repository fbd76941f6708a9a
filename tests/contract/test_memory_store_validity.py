"""What every memory store promises of the times for which memories hold, and of units that are repeated."""

from dataclasses import replace
from datetime import timedelta

import pytest

from services.memory.domain.memory import RequestIdReused
from services.memory.domain.ports import MemoryStore, SearchPlan
from services.memory.filter import parse
from tests.support.memories import (
    ANN,
    EAST,
    NOW,
    apply,
    creation,
    deletion,
    fill,
    found,
    hybrid_search,
    keyword_search,
    listed,
    revised,
    vector_search,
)

SECOND = timedelta(seconds=1)
PLANS = [
    pytest.param(vector_search(EAST), id="vector"),
    pytest.param(keyword_search("tea"), id="keyword"),
    pytest.param(hybrid_search("tea", EAST), id="hybrid"),
]


async def bounded(store: MemoryStore) -> None:
    """Keep memories that hold always, until now, from now on, for this second, and from the next second on."""
    await fill(
        store,
        creation("always"),
        creation("over", valid_until=NOW),
        creation("begun", valid_from=NOW),
        creation("brief", valid_from=NOW, valid_until=NOW + SECOND),
        creation("later", valid_from=NOW + SECOND),
    )


HELD = {
    NOW - SECOND: {"always", "over"},
    NOW: {"always", "begun", "brief"},
    NOW + SECOND - timedelta(microseconds=1): {"always", "begun", "brief"},
    NOW + SECOND: {"always", "begun", "later"},
    None: {"always", "over", "begun", "brief", "later"},
}


async def test_list_holds_what_holds_at_the_moment(store: MemoryStore) -> None:
    await bounded(store)

    for moment, names in HELD.items():
        assert set(await listed(store, ANN, valid_at=moment)) == names


@pytest.mark.parametrize("plan", PLANS)
async def test_search_finds_what_holds_at_the_moment(store: MemoryStore, plan: SearchPlan) -> None:
    await bounded(store)

    for moment, names in HELD.items():
        assert set(await found(store, ANN, replace(plan, valid_at=moment))) == names
        filtered = replace(plan, valid_at=moment, filter=parse("memory_id != later"))
        assert set(await found(store, ANN, filtered)) == names - {"later"}


async def test_what_does_not_hold_is_read_by_its_id(store: MemoryStore) -> None:
    await bounded(store)

    assert (await store.get(ANN, "over", NOW + SECOND)).valid_until == NOW


async def test_validity_leaves_keyword_scores_alone(store: MemoryStore) -> None:
    await fill(store, creation("a", "green tea"), creation("b", "black tea"), creation("c", "tea", valid_until=NOW))
    whole = await store.search(ANN, keyword_search("green tea"))
    now = await store.search(ANN, keyword_search("green tea", valid_at=NOW))

    scores = {hit.memory.memory_id: hit.rank_score for hit in whole.hits}
    assert {hit.memory.memory_id: hit.rank_score for hit in now.hits} == {name: scores[name] for name in "ab"}


async def test_changed_bounds_count_at_once(store: MemoryStore) -> None:
    (memory,) = await apply(store, ANN, creation("m"))
    assert await found(store, ANN, keyword_search("tea", valid_at=NOW)) == ["m"]

    (closed,) = await apply(store, ANN, revised(memory, valid_until=NOW))
    assert await found(store, ANN, keyword_search("tea", valid_at=NOW)) == []
    assert await listed(store, ANN, valid_at=NOW) == []

    await apply(store, ANN, revised(closed, valid_until=None))
    assert await found(store, ANN, keyword_search("tea", valid_at=NOW)) == ["m"]


async def test_repeated_unit_does_nothing_and_returns_what_it_made(store: MemoryStore) -> None:
    (old,) = await apply(store, ANN, creation("old"))
    unit = (revised(old, superseded_by="new", valid_until=NOW), creation("new", request_hash=b"h"))
    closed, new = await apply(store, ANN, *unit)
    (opened,) = await apply(store, ANN, revised(closed, superseded_by="", valid_until=None))

    assert await apply(store, ANN, *unit) == (new,)
    assert await store.get(ANN, "old", NOW) == opened


async def test_unit_with_a_reused_request_id_does_nothing(store: MemoryStore) -> None:
    (old,) = await apply(store, ANN, creation("old"))
    await apply(store, ANN, creation("new", request_hash=b"h"))

    with pytest.raises(RequestIdReused):
        await apply(store, ANN, deletion(old), creation("new", "other", request_hash=b"other"))

    assert await store.get(ANN, "old", NOW) == old
