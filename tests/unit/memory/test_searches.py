"""Searches: the plan that the store gets, what happens without vectors, and pages that keep their ranking."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from services.memory.domain.memory import Memory
from services.memory.domain.paging import InvalidPageToken
from services.memory.domain.ports import (
    EmbeddingUnavailable,
    InputKind,
    SearchHit,
    SearchMode,
    SearchPage,
    SearchPlan,
    StoreSecrets,
)
from services.memory.domain.searches import ALL_CUT, KEYWORD_ONLY, Found, Search, Searches
from services.mesh.caller import Caller
from services.mesh.errors import InvalidInput
from tests.support.memory import DIMENSION, SPACE, FakeEmbedder, vector_of

NOW = datetime(2030, 1, 2, 12, tzinfo=UTC)
ANN = Caller("ann")
BOB = Caller("bob")
VECTOR = (1.0,) + (0.0,) * (DIMENSION - 1)


@dataclass
class ScriptedStore:
    """Remembers plans and answers each with the next page of its script, then with nothing found."""

    pages: Sequence[SearchPage] = ()
    plans: list[SearchPlan] = field(default_factory=list)
    callers: list[Caller] = field(default_factory=list)
    secrets: StoreSecrets = field(default_factory=lambda: StoreSecrets(bytes(32), bytes(range(32))))

    async def search(self, caller: Caller, plan: SearchPlan) -> SearchPage:
        self.plans.append(plan)
        self.callers.append(caller)
        turn = len(self.plans) - 1
        return self.pages[turn] if turn < len(self.pages) else SearchPage((), more=False, snapshot=1)


class Bench:
    """Searches over a scripted store and a fake embedder, at a time that a test can change."""

    def __init__(self, *pages: SearchPage) -> None:
        self.store = ScriptedStore(pages)
        self.embedder = FakeEmbedder()
        self.now = NOW
        store: Any = self.store  # only what a search needs of one
        self._searches = Searches(store, self.embedder, lambda: self.now)

    async def search(self, caller: Caller = ANN, **fields: Any) -> Found:
        return await self._searches.search(caller, Search(**{"query": "green tea", **fields}))

    @property
    def plan(self) -> SearchPlan:
        return self.store.plans[-1]


def page(count: int, *, more: bool = False, snapshot: int = 7) -> SearchPage:
    hits = tuple(SearchHit(Memory(f"m{n}", "ann", "Green tea", NOW, NOW), 0.9, 1.0) for n in range(count))
    return SearchPage(hits, more, snapshot)


async def fields_refused(bench: Bench, **fields: Any) -> list[str]:
    with pytest.raises(InvalidInput) as refused:
        await bench.search(**fields)
    assert bench.store.plans == []
    return [violation.field for violation in refused.value.violations]


async def test_hybrid_search_gives_the_store_words_and_vector() -> None:
    bench = Bench()

    await bench.search()

    assert bench.plan.embedding is not None
    assert bench.plan == SearchPlan(
        SearchMode.HYBRID, NOW, top_k=10, limit=10, threshold=SPACE.threshold,
        valid_at=NOW, terms=("green", "tea"), embedding=bench.plan.embedding
    )  # fmt: skip
    assert np.array_equal(bench.plan.embedding.vector, vector_of("green tea"))
    assert bench.embedder.asked == [(("green tea",), InputKind.QUERY)]


async def test_vector_search_gives_the_store_no_words() -> None:
    bench = Bench()

    found = await bench.search(mode=SearchMode.VECTOR)

    assert (bench.plan.mode, bench.plan.terms) == (SearchMode.VECTOR, ())
    assert (found.mode, found.space, found.terms) == (SearchMode.VECTOR, SPACE, ())


async def test_keyword_search_asks_for_no_vector() -> None:
    bench = Bench()

    found = await bench.search(mode=SearchMode.KEYWORD)

    assert bench.embedder.asked == []
    assert (bench.plan.mode, bench.plan.embedding, bench.plan.threshold) == (SearchMode.KEYWORD, None, 1.0)
    assert (found.space, found.warnings) == (None, ())


@pytest.mark.parametrize(
    ("fields", "top_k", "limit"),
    [
        ({}, 10, 10),
        ({"top_k": 1}, 1, 1),
        ({"top_k": 1000}, 1000, 100),
        ({"top_k": 1000, "page_size": 7}, 1000, 7),
        ({"page_size": 100}, 10, 10),
        ({"top_k": 50, "page_size": 100}, 50, 50),
    ],
)
async def test_top_k_bounds_the_result_and_page_size_cuts_it(fields: dict[str, Any], top_k: int, limit: int) -> None:
    bench = Bench()

    await bench.search(**fields)

    assert (bench.plan.top_k, bench.plan.limit) == (top_k, limit)


async def test_bucket_of_nothing_means_all() -> None:
    bench = Bench()

    await bench.search()
    await bench.search(bucket="b")

    assert [plan.bucket for plan in bench.store.plans] == [None, "b"]


REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no-query": ({"query": ""}, ["query"]),
    "no-query-by-vector-alone": ({"query": "", "mode": SearchMode.VECTOR}, ["query"]),
    "no-query-though-a-vector-in-hybrid": ({"query": "", "query_vector": VECTOR}, ["query"]),
    "query-of-2049": ({"query": "q" * 2049}, ["query"]),
    "top-k-of-1001": ({"top_k": 1001}, ["top_k"]),
    "absurd-top-k": ({"top_k": 2**31 - 1}, ["top_k"]),
    "negative-top-k": ({"top_k": -1}, ["top_k"]),
    "page-size-of-101": ({"page_size": 101}, ["page_size"]),
    "negative-page-size": ({"page_size": -5}, ["page_size"]),
    "min-score-above-1": ({"min_score": 1.001}, ["min_score"]),
    "min-score-below-minus-1": ({"min_score": -1.001}, ["min_score"]),
    "min-score-nan": ({"min_score": math.nan}, ["min_score"]),
    "vector-with-nan": ({"query_vector": (math.nan, *VECTOR[1:])}, ["query_vector"]),
    "vector-with-infinity": ({"query_vector": (math.inf, *VECTOR[1:])}, ["query_vector"]),
    "vector-of-zeros": ({"query_vector": (0.0,) * DIMENSION}, ["query_vector"]),
    "vector-too-short": ({"query_vector": VECTOR[:-1]}, ["query_vector"]),
    "vector-too-long": ({"query_vector": (*VECTOR, 0.0)}, ["query_vector"]),
    "everything-at-once": (
        {"query": "", "min_score": 2.0, "query_vector": (math.nan,)},
        ["query", "min_score", "query_vector"],
    ),
}


@pytest.mark.parametrize(("fields", "named"), [pytest.param(*case, id=name) for name, case in REFUSED.items()])
async def test_search_beyond_a_rule_is_refused_with_its_fields(fields: dict[str, Any], named: list[str]) -> None:
    assert await fields_refused(Bench(), **fields) == named


@pytest.mark.parametrize("query", ["q" * 2048, "\N{PILE OF POO}" * 2048, "x"])
async def test_query_is_measured_in_code_points(query: str) -> None:
    bench = Bench()

    await bench.search(query=query)

    assert len(bench.store.plans) == 1


async def test_given_vector_is_scaled_to_length_1_and_asks_for_no_embedding() -> None:
    bench = Bench()

    await bench.search(mode=SearchMode.VECTOR, query="", query_vector=tuple(3e38 * value for value in VECTOR))

    assert bench.plan.embedding is not None
    assert bench.plan.embedding.space == SPACE.name
    assert np.array_equal(bench.plan.embedding.vector, np.array(VECTOR, np.float32))
    assert bench.embedder.asked == []


@pytest.mark.parametrize("mode", list(SearchMode))
async def test_explicit_min_score_is_the_threshold_and_cuts_what_is_unknown(mode: SearchMode) -> None:
    bench = Bench()

    await bench.search(mode=mode, min_score=0.25)

    assert (bench.plan.threshold, bench.plan.min_score) == (0.25, 0.25)
    assert bench.plan.embedding is not None, "cosines must be known"


async def test_min_score_of_zero_is_explicit() -> None:
    bench = Bench()

    await bench.search(min_score=0.0)

    assert (bench.plan.threshold, bench.plan.min_score) == (0.0, 0.0)


async def test_hybrid_search_answers_by_words_and_says_so_when_no_vector_can_be_had() -> None:
    bench = Bench(page(2))
    bench.embedder.down = True

    found = await bench.search()

    assert (bench.plan.mode, bench.plan.terms, bench.plan.embedding) == (SearchMode.KEYWORD, ("green", "tea"), None)
    assert (found.mode, found.space, found.warnings) == (SearchMode.KEYWORD, None, (KEYWORD_ONLY,))
    assert len(found.hits) == 2


async def test_hybrid_search_with_a_given_vector_answers_by_words_too_when_the_space_is_unknown() -> None:
    bench = Bench(page(2))
    bench.embedder.down = True

    found = await bench.search(query_vector=VECTOR)

    assert (found.mode, found.warnings) == (SearchMode.KEYWORD, (KEYWORD_ONLY,))


@pytest.mark.parametrize("fields", [{}, {"query_vector": VECTOR}], ids=["by-text", "by-given-vector"])
async def test_vector_search_says_with_advice_that_no_vector_can_be_had(fields: dict[str, Any]) -> None:
    bench = Bench()
    bench.embedder.down = True

    with pytest.raises(EmbeddingUnavailable) as refused:
        await bench.search(mode=SearchMode.VECTOR, **fields)

    assert refused.value.retry_after_s
    assert bench.store.plans == []


@pytest.mark.parametrize("mode", [SearchMode.KEYWORD, SearchMode.HYBRID])
async def test_min_score_that_cannot_be_judged_is_said_to_have_cut_all(mode: SearchMode) -> None:
    bench = Bench()
    bench.embedder.down = True

    found = await bench.search(mode=mode, min_score=0.5)

    assert (bench.plan.mode, bench.plan.min_score, bench.plan.embedding) == (SearchMode.KEYWORD, 0.5, None)
    assert found.warnings == (KEYWORD_ONLY, ALL_CUT)


async def test_next_page_goes_on_where_the_last_ended_in_the_same_snapshot() -> None:
    bench = Bench(page(4, more=True, snapshot=7), page(4, more=True, snapshot=7), page(2, more=True, snapshot=7))

    first = await bench.search(page_size=4)
    second = await bench.search(page_size=4, page_token=first.next_page_token)
    third = await bench.search(page_size=4, page_token=second.next_page_token)

    assert [(plan.offset, plan.limit, plan.snapshot) for plan in bench.store.plans] == [
        (0, 4, None),
        (4, 4, 7),
        (8, 2, 7),
    ]
    assert third.next_page_token == "", "top_k hits were given"


async def test_page_that_ended_early_is_followed_by_the_rest() -> None:
    bench = Bench(page(1, more=True), page(3))

    first = await bench.search()
    second = await bench.search(page_token=first.next_page_token)

    assert (bench.plan.offset, bench.plan.limit) == (1, 9)
    assert second.next_page_token == ""


async def test_last_page_has_no_token() -> None:
    assert (await Bench(page(3)).search()).next_page_token == ""


async def test_next_page_keeps_to_words_when_vectors_are_back() -> None:
    bench = Bench(page(4, more=True), page(4))
    bench.embedder.down = True
    first = await bench.search(page_size=4)
    bench.embedder.down = False

    second = await bench.search(page_size=4, page_token=first.next_page_token)

    assert [plan.mode for plan in bench.store.plans] == [SearchMode.KEYWORD] * 2
    assert (second.mode, second.warnings) == (SearchMode.KEYWORD, (KEYWORD_ONLY,))
    assert bench.embedder.asked == []


async def test_next_page_of_a_ranking_by_vector_is_refused_while_there_are_none() -> None:
    bench = Bench(page(4, more=True), page(4))
    first = await bench.search(page_size=4)
    bench.embedder.down = True

    with pytest.raises(EmbeddingUnavailable):
        await bench.search(page_size=4, page_token=first.next_page_token)


@pytest.mark.parametrize("mode", list(SearchMode))
async def test_next_page_still_knows_cosines_for_min_score(mode: SearchMode) -> None:
    bench = Bench(page(4, more=True), page(4))
    first = await bench.search(mode=mode, min_score=0.5, page_size=4)

    await bench.search(mode=mode, min_score=0.5, page_size=4, page_token=first.next_page_token)

    assert replace(bench.plan, offset=0, limit=4, snapshot=None) == replace(
        bench.store.plans[0], embedding=bench.plan.embedding
    )
    assert bench.plan.embedding is not None


async def test_page_size_may_change_between_pages() -> None:
    bench = Bench(page(4, more=True), page(2, more=True))
    first = await bench.search(page_size=4)

    await bench.search(page_size=2, page_token=first.next_page_token)

    assert (bench.plan.offset, bench.plan.limit) == (4, 2)


@pytest.mark.parametrize(
    "change",
    [
        {"query": "black tea"},
        {"top_k": 11},
        {"min_score": 0.5},
        {"mode": SearchMode.KEYWORD},
        {"bucket": "b"},
        {"query_vector": VECTOR},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_token_of_another_search_is_refused(change: dict[str, Any]) -> None:
    bench = Bench(page(4, more=True))
    first = await bench.search()

    with pytest.raises(InvalidPageToken):
        await bench.search(page_token=first.next_page_token, **change)


async def test_token_of_another_caller_and_of_another_hour_is_refused() -> None:
    bench = Bench(page(4, more=True))
    first = await bench.search()

    with pytest.raises(InvalidPageToken):
        await bench.search(BOB, page_token=first.next_page_token)
    bench.now += timedelta(hours=1, seconds=1)
    with pytest.raises(InvalidPageToken):
        await bench.search(page_token=first.next_page_token)


async def test_words_of_the_query_are_highlighted_in_code_points() -> None:
    bench = Bench(page(1))

    found = await bench.search(query="tea")

    assert [hit.highlights for hit in found.hits] == [((6, 9),)]


async def test_store_is_asked_as_the_caller() -> None:
    bench = Bench()

    await bench.search(Caller("ann", frozenset({"NURSE"})))

    assert bench.store.callers == [Caller("ann", frozenset({"NURSE"}))]
