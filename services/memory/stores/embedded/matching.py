"""The keyword ranking: BM25 with statistics over exactly the rows that exist for the caller."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.memory.domain import keyword
from services.memory.stores.embedded.scope import NO_CANDIDATES, Candidates, Scope, Scored, best
from services.memory.stores.embedded.segment import Frequencies, Vocabulary
from services.memory.stores.embedded.vectors import Floats, Rows

_UNKNOWN = -1

Posting = tuple[Rows, Frequencies]


@dataclass(frozen=True, slots=True)
class Matches:
    """Rows found by words; ``coverage`` is each score as a share of the sum of the query terms' weights, at most 1."""

    candidates: Candidates
    coverage: Floats


NO_MATCHES = Matches(NO_CANDIDATES, NO_CANDIDATES.scores)


def best_matching(scopes: Sequence[Scope], terms: Sequence[str], wanted: int, vocabulary: Vocabulary) -> Matches:
    """Return the *wanted* eligible rows of highest BM25 score among those with at least one of *terms*."""
    # Terms that nobody has take the same steps as those that only rows hidden from the caller have.
    numbers = [vocabulary.get(term, _UNKNOWN) for term in dict.fromkeys(terms)]
    documents = sum(_count(scope) for scope in scopes)
    length = sum(_total_length(scope) for scope in scopes)
    if not numbers or not length:
        return NO_MATCHES
    found = [[scope.segment.postings.find(number) for number in numbers] for scope in scopes]
    weights = []
    for place in range(len(numbers)):
        holders = sum(_holders(scope, postings[place]) for scope, postings in zip(scopes, found, strict=True))
        weights.append(keyword.rarity(documents, holders))
    average = length / documents
    scored = [_score(scope, postings, weights, average) for scope, postings in zip(scopes, found, strict=True)]
    candidates = best(scopes, scored, wanted)
    return Matches(candidates, np.minimum(candidates.scores / sum(weights), 1.0))


def _count(scope: Scope) -> int:
    return len(scope.segment) if scope.existing is None else int(np.count_nonzero(scope.existing))


def _total_length(scope: Scope) -> int:
    if scope.existing is None:
        return scope.segment.total_length
    return int(scope.segment.columns.lengths[scope.existing].sum())


def _holders(scope: Scope, posting: Posting) -> int:
    rows, _ = posting
    return len(rows) if scope.existing is None else int(np.count_nonzero(scope.existing[rows]))


def _score(scope: Scope, postings: Sequence[Posting], weights: Sequence[float], average: float) -> Scored:
    """Return the rows with any of the terms; each row's sum runs in the order of the query's terms."""
    scores = np.zeros(len(scope.segment))
    lengths = scope.segment.columns.lengths
    for (rows, counts), weight in zip(postings, weights, strict=True):
        if len(rows):
            norm: Floats = keyword.length_norm(lengths[rows].astype(np.float64), average)
            scores[rows] += keyword.term_score(weight, counts.astype(np.float64), norm)
    if scope.eligible is not None:
        scores[~scope.eligible] = 0.0
    rows = np.flatnonzero(scores).astype(np.int32)
    return Scored(rows, scores[rows])
