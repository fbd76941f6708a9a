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

# Parents are named by id, whoever owns them; what supersedes has the same owner.
_REACHED = f"""
  SELECT m.doc, m.size_bytes FROM ({{links}}) l JOIN memories m ON m.memory_id = l.memory_id AND m.owner_user = coalesce(l.owner, m.owner_user)
  JOIN partitions p ON p.partition_id = m.partition_id
  WHERE ({WAYS}) > 0 AND {LIVE} ORDER BY m.created_at DESC, m.memory_id DESC, m.doc DESC
"""  # noqa: S608  # built of constants
_AMONG = "IN (SELECT value FROM json_each(:docs))"
_PARENTS = _REACHED.format(
    links=f"""
  SELECT s.value AS memory_id, NULL AS owner FROM memories f, json_each(f.source, '$.parent_memory_ids') s WHERE f.doc {_AMONG}
  UNION SELECT o.memory_id, o.owner_user FROM memories f JOIN memories o ON o.superseded_by = f.memory_id AND o.owner_user = f.owner_user
  WHERE f.doc {_AMONG} AND o.superseded_by <> ''
"""  # noqa: S608  # built of constants
)
_CHILDREN = _REACHED.format(
    links=f"""
  SELECT f.memory_id, f.owner_user AS owner FROM memories n JOIN parents s ON s.parent_id = n.memory_id JOIN memories f ON f.doc = s.doc
  WHERE n.doc {_AMONG}
  UNION SELECT f.superseded_by, f.owner_user FROM memories f WHERE f.doc {_AMONG} AND f.superseded_by <> ''
"""  # noqa: S608  # built of constants
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
        start = read_visible(connection, caller, memory_id, now).doc
        up, more_up = _walk(connection, _PARENTS, bindings, start, (max_kin, max_bytes))
        down, more_down = _walk(connection, _CHILDREN, bindings, start, (max_kin, max_bytes))
        found = read_many(connection, caller, [*up, *down], now)
    return Lineage(tuple(found[doc] for doc in up), tuple(found[doc] for doc in down), more_up or more_down)


def _walk(
    connection: apsw.Connection, step: str, bindings: Bindings, start: int, bounds: tuple[int, int]
) -> tuple[list[int], bool]:
    """Return the rows reached by *step* from *start* within *bounds* (how many, how many bytes), and whether there are more."""
    max_kin, max_bytes = bounds
    docs: list[int] = []
    seen, frontier, size = {start}, [start], 0
    while frontier:
        reached: list[Row] = connection.execute(step, bindings | {"docs": orjson.dumps(frontier).decode()}).fetchall()
        frontier = []
        for doc, size_bytes in reached:
            if doc in seen:
                continue
            size += size_bytes
            if len(docs) == max_kin or size > max_bytes:
                return docs, True
            seen.add(doc)
            docs.append(doc)
            frontier.append(doc)
    return docs, False
