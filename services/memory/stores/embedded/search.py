"""A search over index segments: both rankings, fusion, cuts and paging, all before any row is read."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.memory.domain.ports import SearchMode, SearchPlan
from services.memory.stores.embedded.matching import best_matching
from services.memory.stores.embedded.nearest import nearest
from services.memory.stores.embedded.scope import Candidate, Place, Scope, open_scope
from services.memory.stores.embedded.segment import Segment, Words
from services.memory.stores.embedded.vectors import Query, prepare_query

RANK_CONSTANT = 60  # reciprocal rank fusion; Cormack, Clarke and Buettcher (2009)
MIN_CANDIDATES = 100  # each ranking gives at least so many to the fusion


@dataclass(frozen=True, slots=True)
class Ranked:
    """A row of the page: the fields of ``SearchHit``, and what identifies the row's state."""

    doc: int
    revision: int
    rank_score: float
    score: float | None
    vector_rank: int | None
    keyword_rank: int | None
    keyword_score: float | None


@dataclass(frozen=True, slots=True)
class RankedPage:
    """The rows of one page, best first, whether others follow, and what the cuts removed."""

    rows: list[Ranked]
    more: bool
    cut_by_threshold: int
    cut_by_min_score: int


def rank(segments: Sequence[Segment], seq: int, plan: SearchPlan, words: Words) -> RankedPage:
    """Return the page of *plan* over *segments* as they stood after change *seq*."""
    scopes = [open_scope(segment, seq, plan, words) for segment in segments]
    wanted = max(plan.top_k, MIN_CANDIDATES)
    query = _query(plan, words)
    close = [] if query is None or plan.mode is SearchMode.KEYWORD else nearest(scopes, query, wanted)
    dense = [candidate for candidate in close if candidate.score >= plan.threshold]
    sparse = [] if plan.mode is SearchMode.VECTOR else best_matching(scopes, plan.terms, wanted, words.terms)
    fused = _fuse(dense, sparse) if plan.mode is SearchMode.HYBRID else dense or sparse
    kept = fused if plan.min_score is None else _not_below(plan.min_score, scopes, fused, query)
    top = kept[: plan.top_k]
    page = _cut_page(scopes, top, plan)
    rows = _describe(scopes, page, dense, sparse, query)
    return RankedPage(rows, plan.offset + len(page) < len(top), len(close) - len(dense), len(fused) - len(kept))


def _query(plan: SearchPlan, words: Words) -> Query | None:
    if plan.embedding is None:
        return None
    space = words.spaces.get(plan.embedding.space)
    return None if space is None else prepare_query(space, plan.embedding.vector)


def _fuse(dense: Sequence[Candidate], sparse: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates of both rankings by the sum of their reciprocal ranks."""
    fused: dict[Place, Candidate] = {}
    for ranking in (dense, sparse):
        for rank, candidate in enumerate(ranking, 1):
            other = fused.get(candidate.place)
            negated = -1.0 / (RANK_CONSTANT + rank) + (0.0 if other is None else other.negated_score)
            _, created, memory_id, place = candidate
            fused[place] = Candidate(negated, created, memory_id, place)
    return sorted(fused.values())


def _not_below(
    least: float, scopes: Sequence[Scope], candidates: Sequence[Candidate], query: Query | None
) -> list[Candidate]:
    scores = _cosines(scopes, candidates, query)
    return [candidate for candidate in candidates if scores.get(candidate.place, -np.inf) >= least]


def _cut_page(scopes: Sequence[Scope], top: Sequence[Candidate], plan: SearchPlan) -> list[Candidate]:
    page: list[Candidate] = []
    size = 0
    for candidate in top[plan.offset : plan.offset + plan.limit]:
        number, row = candidate.place
        size += int(scopes[number].segment.columns.sizes[row])
        if page and size > plan.max_bytes:
            break
        page.append(candidate)
    return page


def _describe(
    scopes: Sequence[Scope],
    page: Sequence[Candidate],
    dense: Sequence[Candidate],
    sparse: Sequence[Candidate],
    query: Query | None,
) -> list[Ranked]:
    vector_ranks = {candidate.place: rank for rank, candidate in enumerate(dense, 1)}
    keyword_ranks = {candidate.place: rank for rank, candidate in enumerate(sparse, 1)}
    scores = _cosines(scopes, page, query)
    rows = []
    for candidate in page:
        place = candidate.place
        columns = scopes[place[0]].segment.columns
        keyword_rank = keyword_ranks.get(place)
        rows.append(
            Ranked(
                doc=int(columns.docs[place[1]]),
                revision=int(columns.revisions[place[1]]),
                rank_score=candidate.score,
                score=scores.get(place),
                vector_rank=vector_ranks.get(place),
                keyword_rank=keyword_rank,
                keyword_score=None if keyword_rank is None else sparse[keyword_rank - 1].score,
            )
        )
    return rows


def _cosines(scopes: Sequence[Scope], candidates: Sequence[Candidate], query: Query | None) -> dict[Place, float]:
    """Return the cosines of *candidates* as far as they have a vector in the query's space."""
    if query is None:
        return {}
    by_scope: dict[int, list[int]] = {}
    for candidate in candidates:
        number, row = candidate.place
        by_scope.setdefault(number, []).append(row)
    found: dict[Place, float] = {}
    for number, rows in by_scope.items():
        block = scopes[number].segment.blocks.get(query.space)
        if block is not None:
            values = block.cosines_of(np.array(rows, np.int32), query).tolist()
            found.update(((number, row), value) for row, value in zip(rows, values, strict=True) if value == value)  # noqa: PLR0124  # NaN
    return found
