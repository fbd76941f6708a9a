"""How two rankings become one, the same for every store: reciprocal rank fusion, weighted by how much of the query was found."""

from typing import TypeVar

import numpy as np
import numpy.typing as npt

Number = TypeVar("Number", float, npt.NDArray[np.float64])

RANK_CONSTANT = 60  # Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion", SIGIR 2009
COVERAGE_POWER = 3  # measured by bench/fusion.py; see docs/adr/0007


def fused_score(vector_rank: Number, keyword_rank: Number, coverage: Number) -> Number:
    """Return what orders the hits of a hybrid search; ranks count from 1, and 0 stands for "not among the candidates".

    *coverage* in [0, 1] is the row's BM25 score as a share of the sum of the query terms' weights: about the share of the query,
    by information, that the row holds. A question in words of its own has some row that is first by words for the sake of one
    common word; with plain reciprocal ranks that row would tie with the first by meaning.
    """
    by_vector = (vector_rank > 0) / (RANK_CONSTANT + vector_rank)
    by_keyword = (keyword_rank > 0) * coverage**COVERAGE_POWER / (RANK_CONSTANT + keyword_rank)
    total: Number = by_vector + by_keyword
    return total
