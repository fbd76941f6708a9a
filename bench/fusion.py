"""Compares ways of fusing the two rankings of a hybrid search, on real text; prints a Markdown table.

    .venv/bin/python -m bench.fusion

Three kinds of queries against the same few thousand paragraphs: handwritten questions that share no content word with the note
that answers them, one-line summaries of functions for the paragraph that explains them, and three rare words of a paragraph, as
one remembers a name or an identifier.
"""

import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from bench.corpus import paragraphs
from bench.embedding_threshold import QUESTIONS, sample
from services.memory.domain import keyword
from services.models.sentence import THRESHOLD, SentenceModel

Floats = npt.NDArray[np.float64]
CANDIDATES = 100
RANK_CONSTANT = 60


class Keywords:
    """BM25 over all documents, as the stores compute it, and the score of a document that covers a whole query once."""

    def __init__(self, documents: Sequence[str]) -> None:
        counts = [Counter(keyword.tokenize(document)) for document in documents]
        self.holders = Counter(term for count in counts for term in count)
        self._size = len(documents)
        lengths = np.array([count.total() for count in counts], np.float64)
        self._norm = keyword.length_norm(lengths, float(lengths.mean()))
        self._postings: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for number, count in enumerate(counts):
            for term, times in count.items():
                self._postings[term].append((number, times))

    def scores(self, query: str) -> tuple[Floats, float]:
        """Return every document's score, and the sum of the query terms' weights."""
        scores = np.zeros(self._size)
        whole = 0.0
        for term in dict.fromkeys(keyword.tokenize(query)):
            weight = keyword.rarity(self._size, self.holders[term])
            whole += weight
            if term in self._postings:
                numbers, times = np.array(self._postings[term]).T
                scores[numbers] += keyword.term_score(weight, times.astype(np.float64), self._norm[numbers])
        return scores, whole


def ranking(scores: Floats, least: float) -> list[int]:
    """Return the best documents above *least*, best first."""
    order = np.argsort(-scores, kind="stable")[:CANDIDATES]
    return [int(number) for number in order if scores[number] > least]


def fused(dense: list[int], sparse: list[int], share: Callable[[int], float]) -> list[int]:
    """Return the documents of both rankings by reciprocal rank, those found by words weighted by *share*."""
    scores: dict[int, float] = defaultdict(float)
    for rank, number in enumerate(dense, 1):
        scores[number] += 1 / (RANK_CONSTANT + rank)
    for rank, number in enumerate(sparse, 1):
        scores[number] += share(number) / (RANK_CONSTANT + rank)
    return sorted(scores, key=lambda number: (-scores[number], number))


def shares(scores: Floats, whole: float, power: int) -> Callable[[int], float]:
    """Return how much of the query's weight a document covers, to the *power*."""

    def share(number: int) -> float:
        return float(min(1.0, scores[number] / whole) ** power)

    return share


def queries_over(
    pairs: Sequence[tuple[str, str]], known: Sequence[dict[str, str]]
) -> tuple[list[str], list[tuple[str, str, int]]]:
    """Return the documents, and (kind, query, document that it looks for)."""
    documents = [item["note"] for item in known] + [paragraph for _, paragraph in pairs] + paragraphs(4000)
    queries = [("question", item["question"], number) for number, item in enumerate(known)]
    queries += [("summary", summary, len(known) + number) for number, (summary, _) in enumerate(pairs[:300])]
    holders = Keywords(documents).holders
    rng = random.Random(1)  # noqa: S311
    for number in rng.sample(range(len(documents)), 200):
        rare = sorted(set(keyword.tokenize(documents[number])), key=lambda term: (holders[term], term))[:6]
        queries.append(("rare words", " ".join(rng.sample(rare, min(3, len(rare)))), number))
    return documents, queries


def main() -> None:
    """Measure and print."""
    known = [json.loads(line) for line in QUESTIONS.read_text().splitlines()]
    documents, queries = queries_over(sample(700), known)
    model = SentenceModel.load()
    vectors = np.stack([model.embed(document).values for document in documents])
    keywords = Keywords(documents)
    places: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for kind, query, wanted in queries:
        dense = ranking((vectors @ model.embed(query).values).astype(np.float64), THRESHOLD)
        scores, whole = keywords.scores(query)
        sparse = ranking(scores, 0.0)
        ways = {"vector alone": dense, "keyword alone": sparse}
        for power in (0, 1, 2, 3, 4):
            ways[f"fused, weight = coverage^{power}"] = fused(dense, sparse, shares(scores, whole, power))
        for way, found in ways.items():
            places[way][kind].append(found.index(wanted) + 1 if wanted in found else CANDIDATES * 10)
    kinds = list(dict.fromkeys(kind for kind, _, _ in queries))
    print(f"| share found first / among three / among ten | {' | '.join(kinds)} |\n|---|{'---|' * len(kinds)}")
    for way, by_kind in places.items():
        cells = [" / ".join(f"{np.mean(np.array(by_kind[kind]) <= top):.2f}" for top in (1, 3, 10)) for kind in kinds]
        print(f"| {way} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
