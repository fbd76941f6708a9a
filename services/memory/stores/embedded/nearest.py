"""The dense ranking: the rows nearest to a query, exactly."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.memory.stores.embedded.scope import NOTHING, Candidates, Scope, Scored, best, nth_best
from services.memory.stores.embedded.segment import Longs
from services.memory.stores.embedded.vectors import Floats, Query, Rows, VectorBlock, cosines


@dataclass(frozen=True, slots=True)
class _Scan:
    """Places in a scope's vectors that may be the best of their row, with bounds: *low* of each row, *high* of each place."""

    block: VectorBlock
    places: Longs
    low: Floats
    high: Floats

    def exact(self, floor: float, query: Query) -> Scored:
        """Return every row that may reach *floor*; those that do have their highest cosine."""
        close = self.places[self.high >= floor]
        rows, scores = self.block.rows[close], cosines(self.block.vectors[close], query.exact)
        if self.block.has_parts and len(rows):
            firsts = _row_starts(rows)
            rows, scores = rows[firsts], np.maximum.reduceat(scores, firsts)
        return Scored(rows, scores)


def nearest(scopes: Sequence[Scope], query: Query, wanted: int) -> Candidates:
    """Return the *wanted* eligible rows of highest cosine; no row outside can be above the last one inside.

    A row's cosine is the highest of its vectors'. A scan over int8 codes bounds the cosine of every vector. One whose upper bound
    stays below the *wanted*-th best lower bound of the rows is out for certain, as is one below its own row's lower bound; the
    cosines of all others are computed from their float32 vectors.
    """
    scans = [_scan(scope, query) for scope in scopes]
    floor = nth_best(np.concatenate([scan.low for scan in scans if scan] or [NOTHING.scores]), wanted)
    return best(scopes, [NOTHING if scan is None else scan.exact(floor, query) for scan in scans], wanted)


def _scan(scope: Scope, query: Query) -> _Scan | None:
    """Return the eligible vectors of the scope in the query's space."""
    block = scope.segment.blocks.get(query.space)
    if block is None:
        return None
    low, high = block.bounds(query)
    places = np.arange(len(low))
    if scope.eligible is not None:
        places = np.flatnonzero(scope.eligible[block.rows])
        low, high = low[places], high[places]
    if not block.has_parts or not len(places):
        return _Scan(block, places, low, high)
    firsts = _row_starts(block.rows[places])
    low = np.maximum.reduceat(low, firsts)
    close = high >= np.repeat(low, np.diff(firsts, append=len(places)))
    return _Scan(block, places[close], low, high[close])


def _row_starts(rows: Rows) -> Longs:
    """Return where each row begins among *rows*, which ascend with repetitions."""
    return np.flatnonzero(np.diff(rows, prepend=-1))
