"""Deletions by filter over the rows."""

import apsw
import orjson

from services.memory.domain.audit import Act, Entry, Touched
from services.memory.domain.deletions import Deleted, DeletionPlan, Survey
from services.memory.filter.sql import to_sql
from services.memory.stores.embedded.database import transaction
from services.memory.stores.embedded.moving import Host
from services.memory.stores.embedded.rows import LIVE, NEVER, Bindings, Row, last_seq, read_own, time_us
from services.memory.stores.embedded.writer import Ground

_MEANT = f"m.owner_user = :owner AND m.doc > :after AND m.doc <= :until AND {LIVE} AND {{filter}}"
_COUNT = f"SELECT count(*) FROM memories m WHERE {_MEANT}"  # noqa: S608  # built of constants
_FIRST = f"SELECT m.doc, m.memory_id FROM memories m WHERE {_MEANT} ORDER BY m.doc LIMIT :limit"  # noqa: S608
_STILL = f"SELECT m.memory_id FROM memories m WHERE {_MEANT} AND m.doc IN (SELECT value FROM json_each(:docs)) ORDER BY m.doc"  # noqa: S608


class EmbeddedDeleter:
    """A ``DeletingStore`` over the rows of *host*."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def survey(self, plan: DeletionPlan, samples: int) -> Survey:
        """Return what *plan* means."""

        def read(connection: apsw.Connection) -> Survey:
            with transaction(connection):
                until = last_seq(connection)
                condition, bindings = _meaning(plan)
                count = int(connection.execute(_COUNT.format(filter=condition), bindings).get)
                first = connection.execute(_FIRST.format(filter=condition), bindings | {"limit": samples})
                return Survey(count, tuple(memory_id for _, memory_id in first), until)

        return await self._host.read(read)

    async def delete_some(self, plan: DeletionPlan, operation_id: str, limit: int, act: Act) -> Deleted:
        """Delete the next memories; they are looked for on a reader, so that the writer is held for their rows alone."""
        condition, bindings = _meaning(plan)
        docs = await self._host.read(
            lambda connection: [
                row[0] for row in connection.execute(_FIRST.format(filter=condition), bindings | {"limit": limit})
            ]
        )
        (count,) = await self._host.run(lambda ground: (_delete(ground, plan, docs, operation_id, act),))
        return Deleted(count, docs[-1] if len(docs) == limit else None)


def _meaning(plan: DeletionPlan) -> tuple[str, Bindings]:
    condition, bindings = to_sql(plan.filter)
    until = NEVER if plan.until is None else plan.until
    return condition, {"owner": plan.owner, "now": time_us(plan.now), "after": plan.after, "until": until, **bindings}


def _delete(ground: Ground, plan: DeletionPlan, docs: list[int], operation_id: str, act: Act) -> int:
    """Delete those of *docs* that are still meant; return how many the operation has deleted."""
    condition, bindings = _meaning(plan)
    chosen = bindings | {"docs": orjson.dumps(docs).decode()}
    rows: list[Row] = ground.connection.execute(_STILL.format(filter=condition), chosen).fetchall()
    memory_ids: list[str] = [memory_id for (memory_id,) in rows]
    for memory_id in memory_ids:
        stored = read_own(ground.connection, plan.owner, memory_id)
        assert stored is not None  # noqa: S101  # its row was just read
        hidden = ground.changes.hide(stored, max(plan.now, stored.memory.updated_at), "DELETED").index_change
        ground.index_changes.extend([hidden] if hidden else [])
    if memory_ids:
        ground.audit.append([Entry(act, "OK", tuple(Touched(memory_id, plan.owner) for memory_id in memory_ids))])
    return _tally(ground.connection, operation_id, len(memory_ids))


def _tally(connection: apsw.Connection, operation_id: str, number: int) -> int:
    """Add *number* to what the operation has deleted, in the same commit; return the sum."""
    name = f"deletion:{operation_id}"
    known = connection.execute("SELECT value FROM settings WHERE name = ?", (name,)).get
    count = number + int(known or 0)
    if number:
        connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, count))
    return count
