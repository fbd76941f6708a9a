"""The dense ranking: the rows nearest to a query, exactly."""

from collections.abc import Sequence

import numpy as np

from services.memory.stores.embedded.scope import NOTHING, Candidates, Scope, Scored, best, nth_best
from services.memory.stores.embedded.segment import Longs
from services.memory.stores.embedded.vectors import Floats, Query, VectorBlock, cosines


def nearest(scopes: Sequence[Scope], query: Query, wanted: int) -> Candidates:
    """Return the *wanted* eligible rows of highest cosine; no row outside can be above the last one inside.

    A scan over int8 codes bounds every row's cosine. A row whose upper bound stays below the *wanted*-th best lower bound
    is out for certain; the cosines of all others are computed from their float32 vectors.
    """
    scans = [_scan(scope, query) for scope in scopes]
    floor = nth_best(np.concatenate([scan[2] for scan in scans if scan] or [NOTHING.scores]), wanted)
    found = []
    for scan in scans:
        if scan is None:
            found.append(NOTHING)
            continue
        block, places, _, high = scan
        close = places[high >= floor]
        found.append(Scored(block.rows[close], cosines(block.vectors[close], query.exact)))
    return best(scopes, found, wanted)


def _scan(scope: Scope, query: Query) -> tuple[VectorBlock, Longs, Floats, Floats] | None:
    """Return the eligible places in the scope's vectors with bounds below and above their cosines."""
    block = scope.segment.blocks.get(query.space)
    if block is None:
        return None
    low, high = block.bounds(query)
    if scope.eligible is None:
        return block, np.arange(len(low)), low, high
    places = np.flatnonzero(scope.eligible[block.rows])
    return block, places, low[places], high[places]
