"""The change feed of the rows: what each change is to one caller, decided as of the moment it is read."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

import apsw

from services.memory.domain.feed import EventKind, FeedEvent, FeedPage, FeedPlan
from services.memory.domain.memory import Memory
from services.memory.filter import EVERYTHING
from services.memory.filter.sql import to_sql
from services.memory.stores.embedded.bell import Bell, BellRope
from services.memory.stores.embedded.database import transaction
from services.memory.stores.embedded.expiring import is_due, tell_expired
from services.memory.stores.embedded.moving import Host
from services.memory.stores.embedded.rows import (
    COLUMNS,
    VISIBLE_PARTITIONS,
    Bindings,
    access_bindings,
    from_us,
    last_seq,
    row_to_memory,
    time_us,
)
from services.mesh.caller import Caller

_WINDOW = 20_000  # changes that one read looks at; most may be none of the caller's business
# Changes of schema 2 and older do not say who could read before and after; the row as it is now stands in.
_CHANGES = f"""
  WITH visible AS MATERIALIZED ({VISIBLE_PARTITIONS}),
  seen AS (
    SELECT c.seq, c.memory_id, c.revision, c.revision - (c.kind <> 'EXPIRED') AS former, c.at, m.doc, m.revision AS current, m.owner_user = :user AS own,
      coalesce(c.partition_before, iif(c.kind = 'CREATED', 0, m.partition_id)) IN visible AS before,
      coalesce(c.partition_after, iif(c.kind = 'DELETED', 0, m.partition_id)) IN visible AS after,
      m.partition_id IN visible AND m.delete_time IS NULL AND (m.expires_at IS NULL OR m.expires_at > :now) AS readable
    FROM changes c LEFT JOIN memories m ON m.doc = c.doc
    WHERE c.seq > :after AND c.seq <= :until
  )
  SELECT seq, memory_id, revision, former, at, doc, current, own, before, after, readable FROM seen WHERE before OR after ORDER BY seq
"""  # noqa: S608  # built of constants
_STATE = f"SELECT {COLUMNS} FROM {{table}} m WHERE m.doc = :doc AND m.revision = :revision AND {{filter}}"  # noqa: S608

Row = tuple[Any, ...]


class EmbeddedFeed:
    """A ``FeedStore`` over the rows of *host*; *bell* rings at its commits."""

    def __init__(self, host: Host, bell: Bell) -> None:
        self._host = host
        self._bell = bell

    def subscribe(self, caller: Caller) -> AbstractContextManager[BellRope]:
        """Return what wakes *caller*'s watcher."""
        return self._bell.subscribe(caller)

    async def position(self) -> int:
        """Return the number of the last change."""
        return await self._host.read(last_seq)

    async def tell_expired(self, now: datetime, limit: int) -> int:
        """Make changes of expiries; looks before it writes, as most of the time there is nothing."""
        now_us = time_us(now)
        if not await self._host.read(lambda connection: is_due(connection, now_us)):
            return 0
        return await self._host.run(lambda ground: tell_expired(ground, now_us, limit))

    async def changes(self, caller: Caller, plan: FeedPlan) -> FeedPage:
        """Return the next events for *caller*."""
        return await self._host.read(lambda connection: read_changes(connection, caller, plan))


def read_changes(connection: apsw.Connection, caller: Caller, plan: FeedPlan) -> FeedPage:
    """Return one page, as ``FeedStore.changes`` says."""
    with transaction(connection):
        last = last_seq(connection)
        until = min(last, plan.after + _WINDOW)
        bindings = access_bindings(caller, plan.now) | {"after": plan.after, "until": until}
        events: list[FeedEvent] = []
        size = 0
        cursor = connection.execute(_CHANGES, bindings)
        for event in _events(connection, cursor, plan):
            events.append(event)
            size += 0 if event.memory is None else event.memory.size_bytes
            if len(events) == plan.limit or size >= plan.max_bytes:
                until = event.number
                break
        cursor.close()
    return FeedPage(tuple(events), max(until, plan.after), until < last)


def _events(connection: apsw.Connection, rows: Iterator[Row], plan: FeedPlan) -> Iterator[FeedEvent]:
    condition, values = to_sql(plan.filter)

    def state(doc: int | None, revision: int, current: int | None) -> Memory | None:
        """Return a state if there is one that passes the filter."""
        statement = _STATE.format(table="memories" if revision == current else "revisions", filter=condition)
        bindings: Bindings = {"doc": doc, "revision": revision, **values}
        found = connection.execute(statement, bindings).fetchone()
        return None if found is None else row_to_memory(found).memory

    for seq, memory_id, revision, former, at, doc, current, own, before, after, readable in rows:
        known = before and (plan.filter == EVERYTHING or state(doc, former, current) is not None)
        memory = state(doc, revision, current) if after or own else None
        moment = from_us(at)
        assert moment is not None  # noqa: S101  # the column is NOT NULL
        if after and memory is not None:
            if readable:
                kind = EventKind.UPDATED if known else EventKind.CREATED
                yield FeedEvent(seq, kind, memory_id, memory, moment)
        elif known:
            yield FeedEvent(seq, EventKind.DELETED, memory_id, memory if own else None, moment)
