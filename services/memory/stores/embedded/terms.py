"""A content's terms as they are kept beside its row."""

import apsw
import numpy as np
import numpy.typing as npt

from services.memory.domain.keyword import tokenize

Counts = npt.NDArray[np.uint32]
Terms = tuple[str, ...]


def count_terms(content: str) -> tuple[Terms, Counts]:
    """Return the distinct terms of *content* and how often each occurs."""
    counted: dict[str, int] = {}
    for term in tokenize(content):
        counted[term] = counted.get(term, 0) + 1
    return tuple(counted), np.fromiter(counted.values(), np.uint32, len(counted))


def terms_to_columns(terms: Terms, counts: Counts) -> tuple[str, bytes]:
    """Return the two columns of table ``terms``; no term holds a line feed."""
    return "\n".join(terms), counts.astype("<u4").tobytes()


def read_terms(connection: apsw.Connection, doc: int) -> tuple[Terms, Counts]:
    """Return the terms that are kept of row *doc*, and how often each occurs."""
    ((column, counts),) = connection.execute("SELECT terms, counts FROM terms WHERE doc = ?", (doc,))
    return tuple(column.split("\n")) if column else (), np.frombuffer(counts, "<u4").astype(np.uint32, copy=False)


def number_of_terms(column: str) -> int:
    """Return how many terms *column* holds."""
    return column.count("\n") + 1 if column else 0
