"""What a search may touch of each segment, and the choice of the best rows over all of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.memory.domain.ports import SearchPlan
from services.memory.stores.embedded.rows import time_us
from services.memory.stores.embedded.segment import Longs, Mask, Segment, Words
from services.memory.stores.embedded.vectors import Floats, Rows

_ROW_BITS = 32


@dataclass(frozen=True, slots=True)
class Scope:
    """A segment with the rows that exist for this search (statistics count them) and those it may return; None: all."""

    segment: Segment
    existing: Mask | None
    eligible: Mask | None


@dataclass(frozen=True, slots=True)
class Chosen:
    """The rows that a search may return, by their docs; *inverted*: all but these."""

    docs: Longs
    inverted: bool = False


@dataclass(frozen=True, slots=True)
class Scored:
    """Rows of one scope and their scores."""

    rows: Rows
    scores: Floats


NOTHING = Scored(np.empty(0, np.int32), np.empty(0, np.float64))


@dataclass(frozen=True, slots=True)
class Candidates:
    """Rows that a ranking proposes, best first, with that ranking's scores; ``places`` are made by ``place_of``."""

    places: Longs
    scores: Floats

    def __len__(self) -> int:
        return len(self.places)

    def at_least(self, floor: float) -> "Candidates":
        """Return those whose score reaches *floor*."""
        kept = self.scores >= floor
        return Candidates(self.places[kept], self.scores[kept])


NO_CANDIDATES = Candidates(np.empty(0, np.int64), NOTHING.scores)


def place_of(number: int, rows: Rows) -> Longs:
    """Return what stands for *rows* of the scope *number* among those of all scopes."""
    return rows.astype(np.int64) | number << _ROW_BITS


def rows_by_scope(places: Longs, scopes: Sequence[Scope]) -> list[tuple[Longs, Rows]]:
    """Return, for each scope, which of *places* are its own (as indexes) and their rows."""
    numbers, rows = places >> _ROW_BITS, (places & ((1 << _ROW_BITS) - 1)).astype(np.int32)
    found = (np.flatnonzero(numbers == number) for number in range(len(scopes)))
    return [(own, rows[own]) for own in found]


def open_scope(segment: Segment, seq: int, plan: SearchPlan, words: Words, chosen: Chosen | None) -> Scope:
    """Return what *plan* may touch of *segment* as it stood after change *seq*; *chosen* None: every row."""
    columns, now = segment.columns, time_us(plan.now)
    conditions: list[Mask] = []
    if segment.dead:
        conditions.append(columns.ends > seq)
    if segment.first_expiry <= now:
        conditions.append(columns.expires > now)
    if plan.snapshot is not None and segment.last_doc > plan.snapshot:
        conditions.append(columns.docs <= plan.snapshot)
    existing: Mask | None = np.logical_and.reduce(conditions) if conditions else None
    if plan.bucket is not None:
        conditions.append(columns.buckets == words.buckets.get(plan.bucket, -1))
    if chosen is not None:
        conditions.append(np.isin(columns.docs, chosen.docs, invert=chosen.inverted))
    eligible: Mask | None = np.logical_and.reduce(conditions) if conditions else None
    return Scope(segment, existing, eligible)


def nth_best(values: Floats | Longs, n: int) -> float:
    """Return the *n*-th largest of *values*; minus infinity when there are fewer."""
    if len(values) < n:
        return -np.inf
    return float(np.partition(values, len(values) - n)[len(values) - n])


def best(scopes: Sequence[Scope], found: Sequence[Scored], wanted: int) -> Candidates:
    """Return the *wanted* rows of highest score, in the order of ``in_order``."""
    if not found:
        return NO_CANDIDATES
    floor = nth_best(np.concatenate([scored.scores for scored in found]), wanted)
    places, scores, created = [], [], []
    for number, (scope, scored) in enumerate(zip(scopes, found, strict=True)):
        above = scored.scores >= floor
        rows = scored.rows[above]
        places.append(place_of(number, rows))
        scores.append(scored.scores[above])
        created.append(scope.segment.columns.created[rows])
    candidates = Candidates(np.concatenate(places), np.concatenate(scores))
    chosen = _without_older_ties(candidates.scores, np.concatenate(created), floor, wanted)
    candidates = Candidates(candidates.places[chosen], candidates.scores[chosen])
    order = in_order(scopes, candidates)[:wanted]
    return Candidates(candidates.places[order], candidates.scores[order])


def in_order(scopes: Sequence[Scope], candidates: Candidates) -> Longs:
    """Return the indexes that sort by score descending, equal ones by creation time descending, then memory id."""
    places, scores = candidates.places, candidates.scores
    by_scope = rows_by_scope(places, scopes)
    created = np.empty(len(places), np.int64)
    for scope, (own, rows) in zip(scopes, by_scope, strict=True):
        created[own] = scope.segment.columns.created[rows]
    order: Longs = np.lexsort((-created, -scores))
    tied = (np.diff(scores[order]) == 0) & (np.diff(created[order]) == 0)
    if not tied.any():
        return order
    ids = [""] * len(places)
    for scope, (own, rows) in zip(scopes, by_scope, strict=True):
        for index, row in zip(own.tolist(), rows.tolist(), strict=True):
            ids[index] = scope.segment.columns.ids[row]
    keys = [
        (-score, -time, memory_id)
        for score, time, memory_id in zip(scores.tolist(), created.tolist(), ids, strict=True)
    ]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64)


def _without_older_ties(scores: Floats, created: Longs, floor: float, wanted: int) -> Longs:
    """Return which to sort: among many rows tied at the *floor* only the youngest can be among the *wanted*."""
    if len(scores) <= wanted:
        return np.arange(len(scores))
    tied = scores == floor
    room = wanted - int(np.count_nonzero(~tied))
    youngest = nth_best(created[tied], room)
    return np.flatnonzero(~tied | (created >= youngest))
