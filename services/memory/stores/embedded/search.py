"""A search over index segments: both rankings, fusion, cuts and paging, all before any row is read."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.memory.domain.fusion import fused_score
from services.memory.domain.ports import MatchedPart, SearchMode, SearchPlan
from services.memory.stores.embedded.matching import NO_MATCHES, Matches, best_matching
from services.memory.stores.embedded.nearest import nearest
from services.memory.stores.embedded.scope import (
    NO_CANDIDATES,
    Candidates,
    Chosen,
    Scope,
    in_order,
    open_scope,
    rows_by_scope,
)
from services.memory.stores.embedded.segment import Longs, Segment, Words
from services.memory.stores.embedded.vectors import Floats, Query, prepare_query

MIN_CANDIDATES = 100  # each ranking gives at least so many to the fusion


@dataclass(frozen=True, slots=True)
class Ranked:
    """A row among the results: the fields of ``SearchHit``, and what paging and reading the row need."""

    doc: int
    revision: int
    size_bytes: int
    rank_score: float
    score: float | None
    vector_rank: int | None
    keyword_rank: int | None
    keyword_score: float | None
    matched_part: MatchedPart | None


@dataclass(frozen=True, slots=True)
class Ranking:
    """The rows of *plan*'s page, best first, whether others follow within ``top_k``, and what the cuts removed."""

    rows: list[Ranked]
    more: bool
    cut_by_threshold: int
    cut_by_min_score: int


@dataclass(frozen=True, slots=True)
class _Fused:
    """The candidates of both rankings, one index for each; a rank of 0 and a cosine of NaN stand for none."""

    candidates: Candidates
    cosines: Floats
    vector_ranks: Longs
    keyword_ranks: Longs
    keyword_scores: Floats


def rank(segments: Sequence[Segment], seq: int, plan: SearchPlan, words: Words, selected: Chosen | None) -> Ranking:
    """Return the page of *plan* over *segments* as they stood after change *seq*; *selected* as ``open_scope`` takes it."""
    scopes = [open_scope(segment, seq, plan, words, selected) for segment in segments]
    wanted = max(plan.top_k, MIN_CANDIDATES)
    query = _query(plan, words)
    close = NO_CANDIDATES if query is None or plan.mode is SearchMode.KEYWORD else nearest(scopes, query, wanted)
    dense = close.at_least(plan.threshold)
    sparse = NO_MATCHES if plan.mode is SearchMode.VECTOR else best_matching(scopes, plan.terms, wanted, words.terms)
    fused = _fuse(plan.mode, dense, sparse)
    order = in_order(scopes, fused.candidates)
    if plan.min_score is not None:
        _look_up_cosines(scopes, fused, order, query)
    kept = order if plan.min_score is None else order[fused.cosines[order] >= plan.min_score]
    top = kept[: plan.top_k]
    chosen = top[plan.offset : plan.offset + plan.limit]
    _look_up_cosines(scopes, fused, chosen, query)
    page = _cut_page(_ranked(scopes, fused, chosen, query), plan.max_bytes)
    more = plan.offset + len(page) < len(top)
    return Ranking(page, more, len(close) - len(dense), len(order) - len(kept))


def _query(plan: SearchPlan, words: Words) -> Query | None:
    if plan.embedding is None:
        return None
    space = words.spaces.get(plan.embedding.space)
    return None if space is None else prepare_query(space, plan.embedding.vector)


def _fuse(mode: SearchMode, dense: Candidates, sparse: Matches) -> _Fused:
    found = sparse.candidates
    places: Longs = np.union1d(dense.places, found.places)
    by_vector, by_keyword = places.searchsorted(dense.places), places.searchsorted(found.places)
    vector_ranks, keyword_ranks = np.zeros(len(places), np.int64), np.zeros(len(places), np.int64)
    vector_ranks[by_vector] = np.arange(1, len(dense) + 1)
    keyword_ranks[by_keyword] = np.arange(1, len(found) + 1)
    keyword_scores, coverage, cosines = np.zeros(len(places)), np.zeros(len(places)), np.full(len(places), np.nan)
    keyword_scores[by_keyword] = found.scores
    coverage[by_keyword] = sparse.coverage
    cosines[by_vector] = dense.scores
    match mode:
        case SearchMode.VECTOR:
            scores = cosines
        case SearchMode.KEYWORD:
            scores = keyword_scores
        case SearchMode.HYBRID:
            scores = fused_score(vector_ranks.astype(np.float64), keyword_ranks.astype(np.float64), coverage)
    return _Fused(Candidates(places, scores), cosines, vector_ranks, keyword_ranks, keyword_scores)


def _look_up_cosines(scopes: Sequence[Scope], fused: _Fused, indexes: Longs, query: Query | None) -> None:
    """Fill in those cosines of *indexes* that the dense ranking did not give, as far as there are vectors in the query's space."""
    missing = indexes[np.isnan(fused.cosines[indexes])]
    if query is None or not len(missing):
        return
    for scope, (own, rows) in zip(scopes, rows_by_scope(fused.candidates.places[missing], scopes), strict=True):
        block = scope.segment.blocks.get(query.space)
        if block is not None and len(rows):
            fused.cosines[missing[own]] = block.cosines_of(rows, query)


def _ranked(scopes: Sequence[Scope], fused: _Fused, chosen: Longs, query: Query | None) -> list[Ranked]:
    """Return the *chosen* candidates, in that order."""
    found: dict[int, Ranked] = {}
    for scope, (own, rows) in zip(scopes, rows_by_scope(fused.candidates.places[chosen], scopes), strict=True):
        columns = scope.segment.columns
        for index, row in zip(own.tolist(), rows.tolist(), strict=True):
            number = chosen[index]
            cosine = float(fused.cosines[number])
            keyword_rank = int(fused.keyword_ranks[number]) or None
            found[index] = Ranked(
                doc=int(columns.docs[row]),
                revision=int(columns.revisions[row]),
                size_bytes=int(columns.sizes[row]),
                rank_score=float(fused.candidates.scores[number]),
                score=None if np.isnan(cosine) else cosine,
                vector_rank=int(fused.vector_ranks[number]) or None,
                keyword_rank=keyword_rank,
                keyword_score=float(fused.keyword_scores[number]) if keyword_rank else None,
                matched_part=_matched_part(scope, row, query),
            )
    return [found[index] for index in range(len(chosen))]


def _matched_part(scope: Scope, row: int, query: Query | None) -> MatchedPart | None:
    block = None if query is None else scope.segment.blocks.get(query.space)
    if block is None or query is None or not block.has_parts:
        return None
    part = block.nearest_part(row, query)
    return None if part is None else MatchedPart(part.number, part.start, part.end)


def _cut_page(rows: Sequence[Ranked], max_bytes: int) -> list[Ranked]:
    page: list[Ranked] = []
    size = 0
    for row in rows:
        size += row.size_bytes
        if page and size > max_bytes:
            break
        page.append(row)
    return page
