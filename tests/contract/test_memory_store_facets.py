"""What every memory store promises of counts by value."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.memory.domain.facets import FACET_FIELDS, FACET_TIMES, Facet, FacetCounts, FacetField, FacetPlan, TimeUnit
from services.memory.domain.memory import Source
from services.memory.domain.ports import MemoryStore
from services.memory.domain.reads import ALL, Selection
from services.memory.filter import parse, parse_path
from services.mesh.caller import Caller
from tests.support.memories import ANN, BOB, NOW, NURSE, PUBLIC, ROLE, apply, creation, deletion, fill
from tests.support.model_store import ModelMemoryStore


async def counts_of(
    store: MemoryStore, field: str, caller: Caller = ANN, limit: int = 100, selection: Selection = ALL
) -> FacetCounts:
    """Return the counts by *field*, which may be ``time/UNIT``."""
    name, _, unit = field.partition("/")
    wanted = FacetField(parse_path(name), TimeUnit(unit) if unit else None)
    return await store.facet(caller, FacetPlan(wanted, limit, NOW, selection))


def pairs(counts: FacetCounts) -> list[tuple[object, int]]:
    """Return values and counts."""
    return [(facet.value, facet.count) for facet in counts.facets]


async def test_values_are_counted_most_frequent_first_and_ties_by_value(store: MemoryStore) -> None:
    buckets = {"a": "work", "b": "home", "c": "work", "d": "attic"}
    await fill(store, *(creation(name, bucket=bucket) for name, bucket in buckets.items()))

    counts = await counts_of(store, "bucket")

    assert counts == FacetCounts((Facet("work", 2), Facet("attic", 1), Facet("home", 1)), 0, 0, 4)


async def test_what_is_beyond_the_limit_is_among_the_others(store: MemoryStore) -> None:
    await fill(store, *(creation(f"m{number}", tags=tuple("abcd"[: number + 1])) for number in range(4)))
    await fill(store, creation("bare"))

    counts = await counts_of(store, "tags", limit=2)

    assert counts == FacetCounts((Facet("a", 4), Facet("b", 3)), other_count=3, unset_count=1, total_count=5)


@pytest.mark.parametrize(("caller", "expected"), [(ANN, 3), (NURSE, 2), (BOB, 1)], ids=["owner", "role", "anyone"])
@pytest.mark.parametrize("field", ["bucket", "owner_user", "tags", "metadata.kind", "created_at/DAY"])
async def test_only_what_the_caller_may_see_is_counted(
    store: MemoryStore, field: str, caller: Caller, expected: int
) -> None:
    shown: dict[str, Any] = {"tags": ("t",), "metadata": {"kind": "k"}}
    await fill(
        store,
        creation("private", **shown),
        creation("nurses", access_level=ROLE, reader_roles=("NURSE",), **shown),
        creation("public", access_level=PUBLIC, **shown),
        creation("expired", at=NOW - timedelta(days=1), access_level=PUBLIC, expires_at=NOW, **shown),
    )
    (gone,) = await apply(store, ANN, creation("gone", access_level=PUBLIC, **shown))
    await apply(store, ANN, deletion(gone))

    counts = await counts_of(store, field, caller)

    assert [count for _, count in pairs(counts)] == [expected]
    assert (counts.other_count, counts.unset_count, counts.total_count) == (0, 0, expected)


async def test_counts_are_of_the_selection(store: MemoryStore) -> None:
    await fill(
        store,
        creation("a", bucket="work", tags=("x",)),
        creation("b", bucket="home", tags=("x", "y")),
        creation("c", bucket="work", tags=("y",), valid_until=NOW),
    )

    by_bucket = await counts_of(store, "tags", selection=Selection(bucket="work"))
    by_filter = await counts_of(store, "bucket", selection=Selection(filter=parse("tags:y")))
    of_now = await counts_of(store, "bucket", selection=Selection(valid_at=NOW))

    assert pairs(by_bucket) == [("x", 1), ("y", 1)]
    assert pairs(by_filter) == [("home", 1), ("work", 1)]
    assert pairs(of_now) == [("home", 1), ("work", 1)]


async def test_metadata_values_keep_their_types_and_lists_count_each_element(store: MemoryStore) -> None:
    values = [1, 1.0, "1", True, None, {"inner": 1}, [1, "1", 1], [], ["x", ["y"], {"z": 1}]]
    await fill(store, *(creation(f"m{place}", metadata={"v": value}) for place, value in enumerate(values)))
    await fill(store, creation("bare"))

    counts = await counts_of(store, "metadata.v")

    assert pairs(counts) == [(1.0, 3), ("1", 2), (True, 1), (None, 1), ("x", 1)]
    assert [facet.text for facet in counts.facets] == ["1", "1", "true", "null", "x"]
    assert (counts.unset_count, counts.total_count) == (3, 10)


async def test_metadata_paths_lead_through_objects_and_lists_of_them(store: MemoryStore) -> None:
    await fill(
        store,
        creation("a", metadata={"people": [{"name": "kim"}, {"name": "lee"}, "no object"], "a b": {"c": 2}}),
        creation("b", metadata={"people": {"name": "kim"}}),
    )

    assert pairs(await counts_of(store, "metadata.people.name")) == [("kim", 2), ("lee", 1)]
    assert pairs(await counts_of(store, 'metadata."a b".c')) == [(2.0, 1)]


async def test_times_count_by_the_first_day_of_their_stretch(store: MemoryStore) -> None:
    times = [
        datetime(2026, 3, 1, 23, 59, 59, 999999, tzinfo=UTC),  # a Sunday
        datetime(2026, 3, 2, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    ]
    await fill(store, *(creation(f"m{place}", event_time=time) for place, time in enumerate(times)), creation("none"))

    days = await counts_of(store, "event_time/DAY")
    weeks = await counts_of(store, "event_time/WEEK")
    months = await counts_of(store, "event_time/MONTH")

    expected_days = ["0001-01-01", "1969-12-31", "2026-03-01", "2026-03-02", "9999-12-31"]
    assert pairs(days) == [(day, 1) for day in expected_days]
    assert [value for value, _ in pairs(weeks)] == [
        "0001-01-01",
        "1969-12-29",
        "2026-02-23",
        "2026-03-02",
        "9999-12-27",
    ]
    assert pairs(months)[0] == ("2026-03-01", 2)
    assert days.unset_count == weeks.unset_count == months.unset_count == 1


async def test_unset_source_counts_as_unset(store: MemoryStore) -> None:
    await fill(store, creation("a", source=Source(kind="mail")), creation("b", source=Source()), creation("c"))

    assert await counts_of(store, "source.kind") == FacetCounts((Facet("mail", 1),), 0, 2, 3)


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.floats(-2, 2), st.sampled_from(["", "1", "x", "ä"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)
MEMORIES = st.fixed_dictionaries(
    {
        "bucket": st.sampled_from(["default", "b", "B", "ä"]),
        "tags": st.lists(st.sampled_from(["t", "T", "ü", "2"]), unique=True, max_size=3).map(tuple),
        "metadata": st.dictionaries(st.sampled_from("ab"), VALUES, max_size=2),
        "event_time": st.none() | st.datetimes(timezones=st.just(UTC)),
        "owner": st.sampled_from(["ann", "bob"]),
        "access_level": st.sampled_from([PUBLIC, creation("x").memory.access_level]),
    }
)
FIELDS = st.sampled_from(
    [name for name in FACET_FIELDS if name not in (*FACET_TIMES, "content_type")]
) | st.sampled_from(
    ["metadata.a", "metadata.a.b", "metadata.b.a", "event_time/DAY", "event_time/WEEK", "event_time/MONTH"]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    memories=st.lists(MEMORIES, max_size=6), fields=st.lists(FIELDS, min_size=1, max_size=4), limit=st.integers(1, 4)
)
async def test_counts_equal_those_of_the_plain_model(
    store: MemoryStore, memories: list[dict[str, Any]], fields: list[str], limit: int
) -> None:
    model, run = ModelMemoryStore(), uuid.uuid4().hex
    made = [creation(f"{run}-{n}", content_type=f"x/{run}", **fields_of) for n, fields_of in enumerate(memories)]
    await fill(store, *made)
    await fill(model, *made)
    only = Selection(filter=parse(f'content_type = "x/{run}"'))

    for field in fields:
        expected = await counts_of(model, field, limit=limit)
        assert await counts_of(store, field, limit=limit, selection=only) == expected
