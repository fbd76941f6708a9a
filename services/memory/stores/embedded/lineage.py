"""Which memories were made from which, as rows."""

from collections.abc import Iterable

import apsw

from services.memory.domain.memory import Memory


def write_parents(connection: apsw.Connection, doc: int, memory: Memory, before: Memory | None = None) -> None:
    """Keep what *memory*, the row *doc*, says it was made from, in place of what it said *before*."""
    new, old = _parents(memory), set() if before is None else _parents(before)
    connection.executemany("DELETE FROM parents WHERE parent_id = ? AND doc = ?", _pairs(old - new, doc))
    connection.executemany("INSERT INTO parents VALUES (?, ?)", _pairs(new - old, doc))


def _parents(memory: Memory) -> set[str]:
    return set(memory.source.parent_memory_ids) if memory.source else set()


def _pairs(parents: Iterable[str], doc: int) -> list[tuple[str, int]]:
    return [(parent, doc) for parent in parents]
