"""What a search may touch of each segment, and the choice of the best rows over all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
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


class Place(NamedTuple):
    """A row of the searched segments."""

    segment: int
    row: int


class Candidate(NamedTuple):
    """A row that a ranking proposes, with that ranking's score."""

    place: Place
    score: float


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
    """Return the *wanted* rows of highest score, best first; equal ones by creation time descending, then memory id."""
    floor = nth_best(np.concatenate([scored.scores for scored in found]), wanted) if found else 0.0
    above = [scored.scores >= floor for scored in found]
    scores = np.concatenate(
        [scored.scores[keep] for scored, keep in zip(found, above, strict=True)] or [NOTHING.scores]
    )
    places = [
        Place(number, row)
        for number, (scored, keep) in enumerate(zip(found, above, strict=True))
        for row in scored.rows[keep].tolist()
    ]
    created = np.array([scopes[place.segment].segment.columns.created[place.row] for place in places], np.int64)
    chosen = _without_older_ties(scores, created, floor, wanted)
    keyed = [
        (-float(scores[i]), -int(created[i]), scopes[places[i].segment].segment.columns.ids[places[i].row], places[i])
        for i in chosen.tolist()
    ]
    keyed.sort()
    return [Candidate(place, -negated) for negated, _, _, place in keyed[:wanted]]


def _without_older_ties(scores: Floats, created: Longs, floor: float, wanted: int) -> Longs:
    """Return which to sort: among many rows tied at the *floor* only the youngest can be among the *wanted*."""
    if len(scores) <= wanted:
        return np.arange(len(scores))
    tied = scores == floor
    room = wanted - int(np.count_nonzero(~tied))
    youngest = nth_best(created[tied], room)
    return np.flatnonzero(~tied | (created >= youngest))
