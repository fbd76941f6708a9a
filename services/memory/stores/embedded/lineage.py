"""Which memories were made from which, as rows."""

from collections.abc import Iterable
from datetime import datetime

import apsw
import orjson

from services.memory.domain.lineage import Lineage
from services.memory.domain.memory import Memory
from services.memory.stores.embedded.database import transaction
from services.memory.stores.embedded.rows import LIVE, WAYS, Bindings, Row, access_bindings, read_many, read_visible
from services.mesh.caller import Caller

_REACHED = f"""
  SELECT m.memory_id, m.doc, m.size_bytes FROM ({{links}}) l JOIN memories m ON m.memory_id = l.memory_id
  JOIN partitions p ON p.partition_id = m.partition_id
  WHERE ({WAYS}) > 0 AND {LIVE} ORDER BY m.created_at DESC, m.memory_id DESC
"""  # noqa: S608  # built of constants
_PARENTS = _REACHED.format(
    links="""
  SELECT s.value AS memory_id FROM memories f, json_each(f.source, '$.parent_memory_ids') s
  WHERE f.memory_id IN (SELECT value FROM json_each(:ids))
  UNION SELECT f.memory_id FROM memories f
  WHERE f.superseded_by IN (SELECT value FROM json_each(:ids)) AND f.superseded_by <> ''
"""
)
_CHILDREN = _REACHED.format(
    links="""
  SELECT f.memory_id FROM parents s JOIN memories f USING (doc) WHERE s.parent_id IN (SELECT value FROM json_each(:ids))
  UNION SELECT f.superseded_by FROM memories f
  WHERE f.memory_id IN (SELECT value FROM json_each(:ids)) AND f.superseded_by <> ''
"""
)


def write_parents(connection: apsw.Connection, doc: int, memory: Memory, before: Memory | None = None) -> None:
    """Keep what *memory*, the row *doc*, says it was made from, in place of what it said *before*."""
    new, old = _parents(memory), set() if before is None else _parents(before)
    connection.executemany("DELETE FROM parents WHERE parent_id = ? AND doc = ?", _pairs(old - new, doc))
    connection.executemany("INSERT INTO parents VALUES (?, ?)", _pairs(new - old, doc))


def _parents(memory: Memory) -> set[str]:
    return set(memory.source.parent_memory_ids) if memory.source else set()


def _pairs(parents: Iterable[str], doc: int) -> list[tuple[str, int]]:
    return [(parent, doc) for parent in parents]


def read_lineage(
    connection: apsw.Connection, caller: Caller, memory_id: str, now: datetime, *, max_kin: int, max_bytes: int
) -> Lineage:
    """Return the kin of one memory, as ``LineageReader`` says."""
    bindings = access_bindings(caller, now)
    with transaction(connection):
        start = read_visible(connection, caller, memory_id, now).memory.memory_id
        up, more_up = _walk(connection, _PARENTS, bindings, start, (max_kin, max_bytes))
        down, more_down = _walk(connection, _CHILDREN, bindings, start, (max_kin, max_bytes))
        found = read_many(connection, caller, [*up, *down], now)
    return Lineage(tuple(found[doc] for doc in up), tuple(found[doc] for doc in down), more_up or more_down)


def _walk(
    connection: apsw.Connection, step: str, bindings: Bindings, start: str, bounds: tuple[int, int]
) -> tuple[list[int], bool]:
    """Return the rows reached by *step* from *start* within *bounds* (how many, how many bytes), and whether there are more."""
    max_kin, max_bytes = bounds
    docs: list[int] = []
    seen, frontier, size = {start}, [start], 0
    while frontier:
        reached: list[Row] = connection.execute(step, bindings | {"ids": orjson.dumps(frontier).decode()}).fetchall()
        frontier = []
        for memory_id, doc, size_bytes in reached:
            if memory_id in seen:
                continue
            size += size_bytes
            if len(docs) == max_kin or size > max_bytes:
                return docs, True
            seen.add(memory_id)
            docs.append(doc)
            frontier.append(memory_id)
    return docs, False
