"""Measures, beside the parts of the embedded store, what it could have used instead; prints milliseconds and ratios.

Run: ``python -m bench.store_alternatives [--memories 100000]``. The same contents, vectors and queries as ``bench.store``.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import apsw
import numpy as np

from bench.store import QUERIES, contents, questions, vectors
from services.memory.domain.keyword import tokenize
from services.memory.domain.memory import Vector
from services.memory.stores.embedded.terms import count_terms, terms_to_columns
from services.memory.stores.embedded.vectors import build_block, cosines, prepare_query

WANTED = 100


def median_ms(calls: Sequence[Callable[[], object]]) -> float:
    """Return the median time of *calls*."""
    times = []
    for call in calls:
        began = time.perf_counter()
        call()
        times.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times)


def scans(memories: int) -> dict[str, float]:
    """Return one exact scan for the nearest 100 by int8 codes and bounds, and by a float32 product."""
    rows, points = vectors(memories), vectors(QUERIES, seed=5)
    block = build_block(np.arange(memories, dtype=np.int32), rows, np.zeros((memories, 2), np.int32))

    def by_codes(point: Vector) -> object:
        query = prepare_query(0, point)
        low, high = block.bounds(query)
        close = np.flatnonzero(high >= np.partition(low, memories - WANTED)[memories - WANTED])
        return cosines(block.vectors[close], query.exact)

    def by_product(point: Vector) -> object:
        scores = rows @ point
        return np.argpartition(scores, memories - WANTED)[memories - WANTED :]

    return {
        "int8 codes, bounds, exact rescoring": median_ms([partial(by_codes, point) for point in points]),
        "float32 product (numpy)": median_ms([partial(by_product, point) for point in points]),
    }


def full_text(texts: Sequence[str]) -> dict[str, float]:
    """Return one search of SQLite's FTS5 for any of the query's words, best 100 by its BM25."""
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE VIRTUAL TABLE words USING fts5(content, tokenize = 'porter unicode61')")
    with connection:
        connection.executemany("INSERT INTO words VALUES (?)", ((text,) for text in texts))
    statement = "SELECT rowid FROM words WHERE words MATCH ? ORDER BY rank LIMIT ?"
    queries = [" OR ".join(question.split()) for question in questions(texts, QUERIES)]

    def search(query: str) -> object:
        return connection.execute(statement, (query, WANTED)).fetchall()

    return {"FTS5": median_ms([partial(search, query) for query in queries])}


def opening(texts: Sequence[str]) -> dict[str, float]:
    """Return, for all texts, tokenising them again and reading their stored terms."""
    columns = [terms_to_columns(*count_terms(text)) for text in texts]

    def read() -> None:
        numbers: dict[str, int] = {}
        joined = "\n".join(terms for terms, _ in columns)
        for term in joined.split("\n"):
            numbers.setdefault(term, len(numbers))
        np.concatenate([np.frombuffer(counts, "<u4") for _, counts in columns])

    def tokenise() -> None:
        for text in texts:
            tokenize(text)

    return {"terms read from their rows": median_ms([read]), "terms tokenised again": median_ms([tokenise])}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memories", type=int, default=100_000)
    count = parser.parse_args().memories
    for title, figures in (
        ("nearest 100", scans(count)),
        ("words", full_text(made := contents(count))),
        ("opening", opening(made)),
    ):
        for name, ms in figures.items():
            print(f"{title}: {name}: {ms:.2f} ms")
