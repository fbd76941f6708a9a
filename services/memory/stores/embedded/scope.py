"""What a search may touch of each segment, and the choice of the best rows over all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import NamedTuple

import numpy as np

from services.memory.domain.ports import SearchPlan
from services.memory.stores.embedded.rows import time_us
from services.memory.stores.embedded.segment import Longs, Mask, Segment, Words
from services.memory.stores.embedded.vectors import Floats, Rows


@dataclass(frozen=True, slots=True)
class Scope:
    """A segment with the rows that exist for this search (statistics count them) and those it may return; None: all."""

    segment: Segment
    existing: Mask | None
    eligible: Mask | None


Place = tuple[int, int]  # number of the scope, row in its segment


class Candidate(NamedTuple):
    """A row that a ranking proposes. Candidates ascend from the best: equal scores by youth, then memory id."""

    negated_score: float
    negated_created: int
    memory_id: str
    place: Place

    @property
    def score(self) -> float:
        """The ranking's score."""
        return -self.negated_score


@dataclass(frozen=True, slots=True)
class Scored:
    """Rows of one scope and their scores."""

    rows: Rows
    scores: Floats


NOTHING = Scored(np.empty(0, np.int32), np.empty(0, np.float64))


def open_scope(segment: Segment, seq: int, plan: SearchPlan, words: Words) -> Scope:
    """Return what *plan* may touch of *segment* as it stood after change *seq*."""
    columns, now = segment.columns, time_us(plan.now)
    conditions: list[Mask] = []
    if segment.dead:
        conditions.append(columns.ends > seq)
    if segment.first_expiry <= now:
        conditions.append(columns.expires > now)
    if plan.snapshot is not None and segment.last_doc > plan.snapshot:
        conditions.append(columns.docs <= plan.snapshot)
    existing: Mask | None = np.logical_and.reduce(conditions) if conditions else None
    if plan.bucket is None:
        return Scope(segment, existing, existing)
    in_bucket: Mask = columns.buckets == words.buckets.get(plan.bucket, -1)
    return Scope(segment, existing, in_bucket if existing is None else existing & in_bucket)


def nth_best(values: Floats | Longs, n: int) -> float:
    """Return the *n*-th largest of *values*; minus infinity when there are fewer."""
    if len(values) < n:
        return -np.inf
    return float(np.partition(values, len(values) - n)[len(values) - n])


def best(scopes: Sequence[Scope], found: Sequence[Scored], wanted: int) -> list[Candidate]:
    """Return the *wanted* rows of highest score, best first."""
    kept = _above(found, nth_best(_joined([scored.scores for scored in found]), wanted))
    if sum(len(scored.rows) for scored in kept) > wanted:
        kept = _without_older_ties(scopes, kept, wanted)
    candidates: list[Candidate] = []
    for number, (scope, scored) in enumerate(zip(scopes, kept, strict=True)):
        columns, rows = scope.segment.columns, scored.rows.tolist()
        created = (-columns.created[scored.rows]).tolist()
        ids = [columns.ids[row] for row in rows]
        places = zip(repeat(number), rows, strict=False)
        candidates.extend(map(Candidate._make, zip((-scored.scores).tolist(), created, ids, places, strict=True)))
    candidates.sort()
    return candidates[:wanted]


def _joined(parts: Sequence[Floats]) -> Floats:
    return np.concatenate(parts) if parts else NOTHING.scores


def _above(found: Sequence[Scored], floor: float) -> list[Scored]:
    masks = [scored.scores >= floor for scored in found]
    return [Scored(scored.rows[mask], scored.scores[mask]) for scored, mask in zip(found, masks, strict=True)]


def _without_older_ties(scopes: Sequence[Scope], found: Sequence[Scored], wanted: int) -> list[Scored]:
    """Drop rows that tie at the lowest score and are too old to be among the *wanted*, for there may be very many."""
    floor = min(float(scored.scores.min()) for scored in found if len(scored.scores))
    created = [scope.segment.columns.created[scored.rows] for scope, scored in zip(scopes, found, strict=True)]
    tied = [scored.scores == floor for scored in found]
    room = wanted - sum(len(mask) - int(np.count_nonzero(mask)) for mask in tied)
    youngest = nth_best(np.concatenate([times[mask] for times, mask in zip(created, tied, strict=True)]), room)
    masks = [~mask | (times >= youngest) for times, mask in zip(created, tied, strict=True)]
    return [Scored(scored.rows[mask], scored.scores[mask]) for scored, mask in zip(found, masks, strict=True)]
