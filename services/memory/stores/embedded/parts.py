"""Parts of long contents as rows, each with a vector of its own beside the whole content's."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import apsw

from services.memory.domain.memory import Part

_INSERT = "INSERT INTO parts VALUES (?, ?, ?, ?, ?, ?, ?)"
_OF_SPACE = "SELECT part_no, first_char, end_char, vector FROM parts WHERE doc = ? AND space_id = ? ORDER BY part_no"


@dataclass(frozen=True, slots=True)
class PartRow:
    """A part as it is stored; *vector* is float32, little-endian."""

    number: int
    start: int
    end: int
    vector: bytes


def write_parts(connection: apsw.Connection, doc: int, revision: int, space_id: int, parts: Sequence[Part]) -> None:
    """Write the parts of a row that has none in this space: they go when its vector is deleted."""
    rows = (
        (doc, revision, space_id, number, part.start, part.end, part.vector.astype("<f4", copy=False).tobytes())
        for number, part in enumerate(parts)
    )
    connection.executemany(_INSERT, rows)


def docs_in_parts(connection: apsw.Connection) -> set[int]:
    """Return the rows that have parts."""
    return {row[0] for row in connection.execute("SELECT DISTINCT doc FROM parts")}


def read_part_rows(connection: apsw.Connection, doc: int, space_id: int) -> Iterator[PartRow]:
    """Yield the parts of a row in one space, in order."""
    for row in connection.execute(_OF_SPACE, (doc, space_id)):
        yield PartRow(*row)
