"""What every memory store promises of searches."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from services.memory.domain import keyword
from services.memory.domain.ports import MemoryStore, SearchHit, SearchPlan
from tests.support.memories import (
    ANN,
    EAST,
    NOW,
    PUBLIC,
    apply,
    creation,
    deletion,
    fill,
    found,
    hybrid_search,
    keyword_search,
    vector,
    vector_search,
)

SECOND = timedelta(seconds=1)
ANGLES = {"m0": 0, "m30": 30, "m60": 60, "m90": 90, "m180": 180}


def at_angle(degrees: float) -> tuple[float, float, float]:
    """Return a direction so far from EAST."""
    return float(np.cos(np.radians(degrees))), float(np.sin(np.radians(degrees))), 0.0


async def fill_angles(store: MemoryStore) -> None:
    """Create one memory at each of ANGLES."""
    for name, degrees in ANGLES.items():
        await fill(store, creation(name, f"text {name}", embedding=vector(*at_angle(degrees))))


async def hits_by_id(store: MemoryStore, plan: SearchPlan) -> dict[str, SearchHit]:
    """Return the hits of one page by memory id."""
    return {hit.memory.memory_id: hit for hit in (await store.search(ANN, plan)).hits}


async def test_vector_search_is_by_cosine(store: MemoryStore) -> None:
    await fill_angles(store)

    page = await store.search(ANN, vector_search(EAST))

    assert [hit.memory.memory_id for hit in page.hits] == list(ANGLES)
    assert [hit.score for hit in page.hits] == pytest.approx([1.0, 3**0.5 / 2, 0.5, 0.0, -1.0], abs=1e-6)
    assert all(hit.rank_score == hit.score and -1.0 <= hit.rank_score <= 1.0 for hit in page.hits)
    assert [hit.vector_rank for hit in page.hits] == [1, 2, 3, 4, 5]
    assert all(hit.keyword_rank is None and hit.keyword_score is None for hit in page.hits)


async def test_vector_search_cuts_below_the_threshold_and_counts_what_it_cut(store: MemoryStore) -> None:
    await fill_angles(store)

    page = await store.search(ANN, vector_search(EAST, threshold=0.7))

    assert [hit.memory.memory_id for hit in page.hits] == ["m0", "m30"]
    assert page.cut_by_threshold == 3


async def test_threshold_is_inclusive(store: MemoryStore) -> None:
    await fill(store, creation("m", embedding=vector(0.6, 0.8, 0)))
    page = await store.search(ANN, vector_search(EAST))
    score = page.hits[0].score
    assert score is not None

    assert await found(store, ANN, vector_search(EAST, threshold=score)) == ["m"]
    assert await found(store, ANN, vector_search(EAST, min_score=score)) == ["m"]
    assert await found(store, ANN, vector_search(EAST, threshold=score + 1e-12)) == []


async def test_keyword_search_finds_rare_words_first(store: MemoryStore) -> None:
    await fill(
        store,
        creation("both", "green tea"),
        creation("rare", "green mountains"),
        creation("common", "tea time"),
        creation("none", "coffee"),
        creation("other", "tea house"),
    )

    page = await store.search(ANN, keyword_search("green tea"))

    ids = [hit.memory.memory_id for hit in page.hits]
    assert ids[:2] == ["both", "rare"]
    assert sorted(ids[2:]) == ["common", "other"]
    assert [hit.keyword_rank for hit in page.hits] == [1, 2, 3, 4]
    assert all(hit.rank_score == hit.keyword_score and hit.rank_score > 0 for hit in page.hits)
    assert all(hit.score is None and hit.vector_rank is None for hit in page.hits)


async def test_keyword_score_is_bm25_over_what_the_caller_may_see(store: MemoryStore) -> None:
    await fill(store, creation("a", "tea tea cup"), creation("b", "cup"), creation("c", "water glass with ice"))

    (hit,) = (await store.search(ANN, keyword_search("tea"))).hits

    norm = keyword.length_norm(3.0, 8 / 3)
    assert hit.keyword_score == keyword.term_score(keyword.rarity(3, 1), 2.0, norm)


async def test_keyword_search_counts_a_repeated_query_word_once(store: MemoryStore) -> None:
    await fill(store, creation("a", "tea"), creation("b", "cup"))

    once = await hits_by_id(store, keyword_search("tea"))
    twice = await hits_by_id(store, keyword_search("tea tea"))

    assert once == twice


@pytest.mark.parametrize("query", ["", "!?", "absent"])
async def test_keyword_search_without_a_known_word_finds_nothing(store: MemoryStore, query: str) -> None:
    await fill(store, creation("a", "tea"), creation("blank", "!!!"))

    assert await found(store, ANN, keyword_search(query)) == []


async def test_keyword_search_gives_cosines_when_a_vector_is_given(store: MemoryStore) -> None:
    await fill(store, creation("a", "tea", embedding=vector(0.6, 0.8, 0)))

    hits = await hits_by_id(store, keyword_search("tea", embedding=EAST))

    assert hits["a"].score == pytest.approx(0.6)
    assert (await hits_by_id(store, keyword_search("tea")))["a"].score is None


async def test_threshold_leaves_keyword_candidates_alone(store: MemoryStore) -> None:
    await fill(store, creation("far", "tea", embedding=vector(-1, 0, 0)), creation("near", "cup"))

    page = await store.search(ANN, hybrid_search("tea", EAST, threshold=0.5))

    assert {hit.memory.memory_id for hit in page.hits} == {"far", "near"}
    assert page.cut_by_threshold == 1


async def test_min_score_cuts_every_hit_with_a_lower_or_unknown_cosine(store: MemoryStore) -> None:
    await fill(store, creation("far", "tea", embedding=vector(-1, 0, 0)), creation("near", "tea"))

    for plan in (hybrid_search("tea", EAST, min_score=0.5), keyword_search("tea", embedding=EAST, min_score=0.5)):
        page = await store.search(ANN, plan)

        assert [hit.memory.memory_id for hit in page.hits] == ["near"]
        assert page.cut_by_min_score == 1
    unknown = await store.search(ANN, keyword_search("tea", min_score=-1.0))
    assert (unknown.hits, unknown.cut_by_min_score) == ((), 2)


async def test_hybrid_search_adds_reciprocal_ranks_weighted_by_coverage(store: MemoryStore) -> None:
    await fill(
        store,
        creation("both", "tea cup", embedding=vector(*at_angle(10))),
        creation("dense", "water", embedding=vector(*at_angle(0))),
        creation("sparse", "tea", embedding=vector(*at_angle(120))),
    )

    hits = await hits_by_id(store, hybrid_search("tea", EAST, threshold=0.0))

    coverage = (hits["both"].keyword_score or 0.0) / keyword.rarity(3, 2)
    assert list(hits) == ["both", "dense", "sparse"]
    assert coverage < 1.0
    assert hits["both"].rank_score == pytest.approx(1 / 62 + coverage**3 / 62)
    assert hits["dense"].rank_score == pytest.approx(1 / 61)
    assert hits["sparse"].rank_score == pytest.approx(1 / 61)  # shorter than average: covers the query wholly
    assert (hits["dense"].vector_rank, hits["dense"].keyword_rank) == (1, None)
    assert (hits["sparse"].vector_rank, hits["sparse"].keyword_rank) == (None, 1)
    assert hits["sparse"].score == pytest.approx(-0.5)


async def test_equal_ranks_are_ordered_by_youth_then_id(store: MemoryStore) -> None:
    for name, age in (("c", 0), ("a", 0), ("b", 0), ("z", -1), ("y", 1)):
        await fill(store, creation(name, "tea", at=NOW - age * SECOND))

    for plan in (vector_search(EAST), keyword_search("tea"), hybrid_search("tea", EAST)):
        assert await found(store, ANN, plan) == ["z", "a", "b", "c", "y"]


async def test_equal_ranks_are_ordered_before_the_candidates_are_cut(store: MemoryStore) -> None:
    for number in range(150):
        await fill(store, creation(f"m{number:03}", "tea", at=NOW + (number * 7 % 150) * SECOND))
    youngest = sorted(range(150), key=lambda number: -(number * 7 % 150))[:5]

    for plan in (vector_search(EAST), keyword_search("tea"), hybrid_search("tea", EAST)):
        assert await found(store, ANN, replace(plan, limit=5)) == [f"m{number:03}" for number in youngest]


async def test_pages_join_to_the_whole_result(store: MemoryStore) -> None:
    for number in range(40):
        await fill(store, creation(f"m{number:02}", "tea " * (number % 5 + 1), embedding=vector(1, number % 7, 0)))
    whole = await found(store, ANN, hybrid_search("tea", EAST, top_k=33, limit=100))

    pages = [
        await store.search(ANN, hybrid_search("tea", EAST, top_k=33, limit=10, offset=at)) for at in (0, 10, 20, 30)
    ]

    assert len(whole) == 33
    assert [hit.memory.memory_id for page in pages for hit in page.hits] == whole
    assert [page.more for page in pages] == [True, True, True, False]


async def test_page_ends_early_at_its_size(store: MemoryStore) -> None:
    await fill(store, *(creation(name, "tea" + "." * 97) for name in "abc"))
    two = 2 * (await store.get(ANN, "a", NOW)).size_bytes

    page = await store.search(ANN, vector_search(EAST, max_bytes=two))
    next_page = await store.search(ANN, vector_search(EAST, max_bytes=two, offset=2))

    assert [hit.memory.memory_id for hit in page.hits] == ["a", "b"]
    assert page.more
    assert [hit.memory.memory_id for hit in next_page.hits] == ["c"]
    assert not next_page.more
    assert len(await found(store, ANN, vector_search(EAST, max_bytes=1))) == 1


async def test_later_creations_stay_out_of_a_snapshot(store: MemoryStore) -> None:
    await fill(store, creation("a", "tea"), creation("b", "tea cup", embedding=vector(1, 1, 0)))
    plan = hybrid_search("tea", EAST, limit=1)
    first = await store.search(ANN, plan)
    whole = await store.search(ANN, replace(plan, limit=10))
    await fill(store, creation("late", "tea tea tea"))

    rest = await store.search(ANN, replace(plan, limit=10, offset=1, snapshot=first.snapshot))

    assert first.more
    assert first.hits + rest.hits == whole.hits
    assert rest.snapshot == first.snapshot
    assert "late" in await found(store, ANN, replace(plan, limit=10))


async def test_search_can_be_limited_to_a_bucket(store: MemoryStore) -> None:
    await fill(store, creation("a", "tea", bucket="x"), creation("b", "tea", bucket="y"))

    for plan in (vector_search(EAST), keyword_search("tea"), hybrid_search("tea", EAST)):
        assert await found(store, ANN, replace(plan, bucket="x")) == ["a"]
        assert await found(store, ANN, replace(plan, bucket="none")) == []


async def test_statistics_forget_what_was_deleted_or_expired(store: MemoryStore) -> None:
    await fill(store, creation("a", "tea cup"), creation("b", "water"))
    before = await store.search(ANN, keyword_search("tea"))
    (gone,) = await apply(store, ANN, creation("c", "tea tea"))
    await apply(store, ANN, deletion(gone))
    await fill(store, creation("d", "tea", expires_at=NOW))

    after = await store.search(ANN, keyword_search("tea"))

    assert after.hits == before.hits


async def test_scores_do_not_depend_on_the_order_of_writes(store: MemoryStore) -> None:
    names = [f"m{number:02}" for number in range(60)]
    creations = {
        name: creation(name, f"tea {name} " * (place % 3 + 1), embedding=vector(1, place, 2), access_level=PUBLIC)
        for place, name in enumerate(names)
    }
    await fill(store, *(creations[name] for name in names))
    plan = hybrid_search("tea m07", vector(1, 2, 3), top_k=100, limit=100)
    before = await hits_by_id(store, plan)
    for name in names[::-3]:
        await apply(store, ANN, deletion(creations[name].memory))
    for name in names[::-3]:
        again = creations[name]
        await fill(store, replace(again, memory=replace(again.memory, memory_id=f"{name}x")))

    after = await hits_by_id(store, plan)

    untouched = set(names) - set(names[::-3])
    assert [after[name].score for name in untouched] == [before[name].score for name in untouched]
    assert [after[name].keyword_score for name in untouched] == [before[name].keyword_score for name in untouched]


async def test_search_of_an_empty_store_finds_nothing(store: MemoryStore) -> None:
    page = await store.search(ANN, hybrid_search("tea", EAST))

    assert (page.hits, page.more, page.snapshot) == ((), False, 0)


async def test_top_k_beyond_all_rows_gives_all(store: MemoryStore) -> None:
    for number in range(130):
        await fill(store, creation(f"m{number}", "tea", embedding=vector(1, number, 0)))

    for plan in (vector_search(EAST), keyword_search("tea"), hybrid_search("tea", EAST)):
        page = await store.search(ANN, replace(plan, top_k=1000, limit=1000))

        assert len(page.hits) == 130
        assert not page.more
