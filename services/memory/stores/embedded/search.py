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
    """A row among the results: the fields of ``SearchHit``, and what paging and reading the row need."""

    doc: int
    revision: int
    size_bytes: int
    rank_score: float
    score: float | None
    vector_rank: int | None
    keyword_rank: int | None
    keyword_score: float | None


@dataclass(frozen=True, slots=True)
class Ranking:
    """The first ``top_k`` rows, best first, and what the cuts removed."""

    rows: list[Ranked]
    cut_by_threshold: int
    cut_by_min_score: int


def rank(segments: Sequence[Segment], seq: int, plan: SearchPlan, words: Words) -> Ranking:
    """Return the result of *plan* over *segments* as they stood after change *seq*."""
    scopes = [open_scope(segment, seq, plan, words) for segment in segments]
    wanted = max(plan.top_k, MIN_CANDIDATES)
    query = _query(plan, words)
    close = [] if query is None or plan.mode is SearchMode.KEYWORD else nearest(scopes, query, wanted)
    dense = [candidate for candidate in close if candidate.score >= plan.threshold]
    sparse = [] if plan.mode is SearchMode.VECTOR else best_matching(scopes, plan.terms, wanted, words.terms)
    fused = _fuse(scopes, plan.mode, dense, sparse, query)
    least = plan.min_score
    kept = fused if least is None else [row for row in fused if row.score is not None and row.score >= least]
    return Ranking(kept[: plan.top_k], len(close) - len(dense), len(fused) - len(kept))


def cut_page(rows: Sequence[Ranked], plan: SearchPlan) -> tuple[list[Ranked], bool]:
    """Return the rows of *plan*'s page, and whether others follow."""
    page: list[Ranked] = []
    size = 0
    for row in rows[plan.offset : plan.offset + plan.limit]:
        size += row.size_bytes
        if page and size > plan.max_bytes:
            break
        page.append(row)
    return page, plan.offset + len(page) < len(rows)


def _query(plan: SearchPlan, words: Words) -> Query | None:
    if plan.embedding is None:
        return None
    space = words.spaces.get(plan.embedding.space)
    return None if space is None else prepare_query(space, plan.embedding.vector)


def _fuse(
    scopes: Sequence[Scope],
    mode: SearchMode,
    dense: Sequence[Candidate],
    sparse: Sequence[Candidate],
    query: Query | None,
) -> list[Ranked]:
    """Return the candidates of both rankings, best first; ties by creation time descending, then memory id."""
    vector_ranks = {candidate.place: rank for rank, candidate in enumerate(dense, 1)}
    keyword_ranks = {candidate.place: rank for rank, candidate in enumerate(sparse, 1)}
    keyword_scores = {candidate.place: candidate.score for candidate in sparse}
    scores = _cosines(scopes, [place for place in keyword_ranks if place not in vector_ranks], query)
    scores.update((candidate.place, candidate.score) for candidate in dense)
    keyed = []
    for place in vector_ranks | keyword_ranks:
        columns = scopes[place.segment].segment.columns
        vector_rank, keyword_rank = vector_ranks.get(place), keyword_ranks.get(place)
        ranked = Ranked(
            doc=int(columns.docs[place.row]),
            revision=int(columns.revisions[place.row]),
            size_bytes=int(columns.sizes[place.row]),
            rank_score=_rank_score(mode, scores.get(place), keyword_scores.get(place), vector_rank, keyword_rank),
            score=scores.get(place),
            vector_rank=vector_rank,
            keyword_rank=keyword_rank,
            keyword_score=keyword_scores.get(place),
        )
        keyed.append(((-ranked.rank_score, -int(columns.created[place.row]), columns.ids[place.row]), ranked))
    keyed.sort(key=lambda pair: pair[0])
    return [ranked for _, ranked in keyed]


def _rank_score(
    mode: SearchMode,
    score: float | None,
    keyword_score: float | None,
    vector_rank: int | None,
    keyword_rank: int | None,
) -> float:
    if mode is SearchMode.HYBRID:
        ranks = [rank for rank in (vector_rank, keyword_rank) if rank is not None]
        return sum(1.0 / (RANK_CONSTANT + rank) for rank in ranks)
    return (score if mode is SearchMode.VECTOR else keyword_score) or 0.0


def _cosines(scopes: Sequence[Scope], places: Sequence[Place], query: Query | None) -> dict[Place, float]:
    """Return the cosines of *places* as far as they have a vector in the query's space."""
    if query is None:
        return {}
    by_segment: dict[int, list[int]] = {}
    for place in places:
        by_segment.setdefault(place.segment, []).append(place.row)
    found: dict[Place, float] = {}
    for number, rows in by_segment.items():
        block = scopes[number].segment.blocks.get(query.space)
        if block is not None:
            values = block.cosines_of(np.array(rows, np.int32), query)
            found |= {
                Place(number, row): float(value) for row, value in zip(rows, values, strict=True) if not np.isnan(value)
            }
    return found
