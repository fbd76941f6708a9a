"""The audit log in the data folder: events are rows, committed by the one writer, together with what they speak of."""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import apsw
import orjson

from services.memory.domain.audit import (
    ANCHOR,
    AUDIT_FIELDS,
    AUTHOR,
    GENESIS,
    Act,
    AuditEvent,
    AuditPage,
    AuditPlan,
    ChainWalk,
    Entry,
    ForeignEvent,
    KeptEvent,
    Touched,
    Verification,
    anchor_id,
    pseudonym,
)
from services.memory.domain.audits import AuditGap
from services.memory.filter.sql import Table, to_sql
from services.memory.stores.embedded.database import transaction
from services.memory.stores.embedded.rows import time_us

_KEY_BYTES = 32
_COLUMNS = (
    "e.event_no, e.writer_id, e.seq, e.prev_hash, e.hash, e.event_time, e.actor, e.method, e.outcome, e.trace_id,"
    " e.resource_ids, e.owners, coalesce(p.user, '')"
)
_FROM = "FROM audit_events e LEFT JOIN audit_people p ON p.pseudonym = e.actor"
_ALL = f"""
  SELECT {_COLUMNS} {_FROM} WHERE e.event_no < :before AND e.event_no >= :first AND {{filter}} ORDER BY e.event_no DESC LIMIT :limit
"""  # built of constants
_ABOUT = f"""
  SELECT {_COLUMNS} FROM audit_subjects s JOIN audit_events e USING (event_no) LEFT JOIN audit_people p ON p.pseudonym = e.actor
  WHERE s.pseudonym = :about AND s.event_no < :before AND s.event_no >= :first AND {{filter}} ORDER BY s.event_no DESC LIMIT :limit
"""  # noqa: S608  # built of constants
_LAST_OF_ALL = "SELECT coalesce(max(event_no), 0) FROM audit_events"
_LAST_ABOUT = "SELECT coalesce(max(event_no), 0) FROM audit_subjects WHERE pseudonym = :about"
_OLDER = "SELECT EXISTS (SELECT 1 FROM audit_events WHERE event_no < :first)"
_OLDER_ABOUT = "SELECT EXISTS (SELECT 1 FROM audit_subjects WHERE pseudonym = :about AND event_no < :first)"
_SHOWN = {
    "event_time": "e.event_time",
    "method": "e.method",
    "actor_user": "coalesce(p.user, '')",
    "actor_pseudonym": "e.actor",
    "outcome": "e.outcome",
    "resource_ids": "e.resource_ids",
    "trace_id": "e.trace_id",
    "writer_id": "e.writer_id",
    "seq": "e.seq",
}
_OWN_IDS = """
  iif(e.actor = :about, e.resource_ids, (SELECT json_group_array(r.value) FROM json_each(e.resource_ids) r
    JOIN json_each(e.owners) o ON o.key = r.key WHERE o.value = :about))
"""
_EVENTS = Table(AUDIT_FIELDS, _SHOWN)
_EVENTS_ABOUT = Table(AUDIT_FIELDS, _SHOWN | {"resource_ids": _OWN_IDS})
_CHAINS = f"SELECT {_COLUMNS} {_FROM} ORDER BY e.event_no"  # built of constants
_INSERT = f"INSERT INTO audit_events VALUES ({','.join('?' * 12)})"  # noqa: S608  # built of constants
_END = (1 << 63) - 1

Row = tuple[Any, ...]
Head = tuple[int, bytes]  # seq and hash of a chain's last event


def new_writer_id(service: str) -> str:
    """Return the name of the chain of one life of a process."""
    return f"{service}/{secrets.token_hex(16)}"


class AuditWriter:
    """Appends to chains inside the writer's transaction."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._writer_id = new_writer_id("memory")

    def append(self, entries: Sequence[Entry]) -> None:
        """Append to the chain of this process."""
        seq, last_hash = self._head(self._writer_id)
        for entry in entries:
            seq += 1
            last_hash = self._insert(self._writer_id, seq, last_hash, entry)
        self._set_head(self._writer_id, seq, last_hash)

    def take_in(self, writer_id: str, events: Sequence[ForeignEvent]) -> int:
        """Append what is new to another service's chain; return its last seq."""
        seq, last_hash = self._head(writer_id)
        new = [event for event in events if event.seq > seq]
        if not new:
            return seq
        if new[0].seq != seq + 1:
            raise AuditGap(f"events {seq + 1} to {new[0].seq - 1} of {writer_id!r} are missing", last_seq=str(seq))
        for event in new:
            last_hash = self._insert(writer_id, event.seq, last_hash, event.entry)
        self._set_head(writer_id, new[-1].seq, last_hash)
        return new[-1].seq

    def anchor(self, at: datetime) -> str | None:
        """Append an anchor of all chains to the chain of this process, unless the last event already is one."""
        last = self._connection.execute("SELECT method FROM audit_events ORDER BY event_no DESC LIMIT 1").get
        if last in {None, ANCHOR}:
            return None
        root = anchor_id(read_heads(self._connection))
        self.append([Entry(Act(AUTHOR, ANCHOR, at), "OK", (Touched(root),))])
        return root

    def _insert(self, writer_id: str, seq: int, prev_hash: bytes, entry: Entry) -> bytes:
        act = entry.act
        actor = self._person(act.actor)
        owners = tuple(self._person(item.owner_user) if item.owner_user else "" for item in entry.touched)
        named = [
            (item.resource_id, owner) for item, owner in zip(entry.touched, owners, strict=True) if item.resource_id
        ]
        event = AuditEvent(
            writer_id=writer_id,
            seq=seq,
            prev_hash=prev_hash,
            event_time_us=time_us(act.at),
            actor=actor,
            method=act.method,
            outcome=entry.outcome,
            trace_id=act.trace_id,
            resource_ids=tuple(resource_id for resource_id, _ in named),
            owners=tuple(owner for _, owner in named),
        )
        event_hash = event.digest()
        self._connection.execute(_INSERT, (None, *_event_to_row(event, event_hash)))
        number = self._connection.last_insert_rowid()
        subjects = {actor, *filter(None, owners)}
        rows = ((subject, number) for subject in subjects)
        self._connection.executemany("INSERT INTO audit_subjects VALUES (?, ?)", rows)
        return event_hash

    def _person(self, user: str) -> str:
        """Return the pseudonym of *user*, made when they are first seen."""
        known = find_pseudonym(self._connection, user)
        if known is not None:
            return known
        key = secrets.token_bytes(_KEY_BYTES)
        made = pseudonym(key, user)
        self._connection.execute("INSERT INTO audit_people VALUES (?, ?, ?)", (user, made, key))
        return made

    def _head(self, writer_id: str) -> Head:
        found = self._connection.execute(
            "SELECT seq, hash FROM audit_chains WHERE writer_id = ?", (writer_id,)
        ).fetchone()
        return (0, GENESIS) if found is None else (found[0], found[1])

    def _set_head(self, writer_id: str, seq: int, last_hash: bytes) -> None:
        self._connection.execute("INSERT OR REPLACE INTO audit_chains VALUES (?, ?, ?)", (writer_id, seq, last_hash))


def find_pseudonym(connection: apsw.Connection, user: str) -> str | None:
    """Return what stands for *user* in events; None when there are none, or the name was erased."""
    found = connection.execute("SELECT pseudonym FROM audit_people WHERE user = ?", (user,)).fetchone()
    return None if found is None else str(found[0])


def read_page(connection: apsw.Connection, plan: AuditPlan) -> AuditPage:
    """Return one page. What someone else touched besides the things of whom it is *about* is left out."""
    with transaction(connection):
        about = None if plan.about is None else find_pseudonym(connection, plan.about)
        if plan.about is not None and about is None:
            return AuditPage((), None)
        condition, values = to_sql(plan.filter, table=_EVENTS if about is None else _EVENTS_ABOUT)
        bindings: dict[str, Any] = {"about": about, "limit": plan.limit + 1, **values}
        last = int(connection.execute(_LAST_OF_ALL if about is None else _LAST_ABOUT, bindings).get)
        before = last + 1 if plan.before is None else plan.before
        first = max(before - plan.max_examined, 1)
        statement = (_ALL if about is None else _ABOUT).format(filter=condition)
        bindings |= {"before": before, "first": first}
        found = [_row_to_event(row) for row in connection.execute(statement, bindings)]
        older = bool(connection.execute(_OLDER if about is None else _OLDER_ABOUT, bindings).get)
    events = found[: plan.limit]
    shown = tuple(events if about is None else (_as_seen_by(event, about) for event in events))
    if len(found) > plan.limit:
        return AuditPage(shown, events[-1].number)
    return AuditPage(shown, first if older else None)


def verify(connection: apsw.Connection) -> Verification:
    """Walk all chains at one moment."""
    walks: dict[str, ChainWalk] = {}
    heads: dict[str, Head] = {}
    first: KeptEvent | None = None
    count, until = 0, None
    with transaction(connection):
        for row in connection.execute(_CHAINS):
            kept = _row_to_event(row)
            anchored = kept.event.method != ANCHOR or kept.event.resource_ids == (anchor_id(heads),)
            if not (walks.setdefault(kept.event.writer_id, ChainWalk()).holds(kept) and anchored):
                first = first or kept
            heads[kept.event.writer_id] = (kept.event.seq, kept.hash)
            count += 1
            until = max(kept.event.event_time_us, until or 0)
        for lost in _lost_ends(connection, walks):
            first = first or lost
    return Verification(count, first, until)


def knows(connection: apsw.Connection, method: str, resource_ids: Sequence[str]) -> bool:
    """Say whether there is an event of *method* with exactly these ids."""
    statement = "SELECT EXISTS (SELECT 1 FROM audit_events WHERE method = ? AND resource_ids = ?)"
    return bool(connection.execute(statement, (method, orjson.dumps(resource_ids).decode())).get)


def _lost_ends(connection: apsw.Connection, walks: dict[str, ChainWalk]) -> Iterator[KeptEvent]:
    """Yield what stands for the last event of each chain that does not end where its writer last stood."""
    heads = read_heads(connection)
    for writer_id in sorted({*heads, *walks}):
        seq, last_hash = heads.get(writer_id, (0, GENESIS))
        if not walks.get(writer_id, ChainWalk()).ends_with(seq, last_hash):
            yield KeptEvent(_END, AuditEvent(writer_id, seq, b"", 0, "", "", "", "", (), ()), last_hash)


def read_heads(connection: apsw.Connection) -> dict[str, Head]:
    """Return where each chain stands, as its writer left it."""
    rows = connection.execute("SELECT writer_id, seq, hash FROM audit_chains")
    return {writer_id: (int(seq), bytes(last_hash)) for writer_id, seq, last_hash in rows}


def _event_to_row(event: AuditEvent, event_hash: bytes) -> Row:
    """Return the columns of table ``audit_events`` after ``event_no``, in their order."""
    return (
        event.writer_id,
        event.seq,
        event.prev_hash,
        event_hash,
        event.event_time_us,
        event.actor,
        event.method,
        event.outcome,
        event.trace_id,
        orjson.dumps(event.resource_ids).decode(),
        orjson.dumps(event.owners).decode(),
    )


def _row_to_event(row: Row) -> KeptEvent:
    """Return the event of a row selected by this module's columns."""
    event = AuditEvent(
        writer_id=row[1],
        seq=row[2],
        prev_hash=row[3],
        event_time_us=row[5],
        actor=row[6],
        method=row[7],
        outcome=row[8],
        trace_id=row[9],
        resource_ids=tuple(orjson.loads(row[10])),
        owners=tuple(orjson.loads(row[11])),
    )
    return KeptEvent(row[0], event, row[4], row[12])


def _as_seen_by(kept: KeptEvent, person: str) -> KeptEvent:
    event = kept.event
    if event.actor == person:
        return kept
    own = [place for place, owner in enumerate(event.owners) if owner == person]
    ids, owners = (tuple(values[place] for place in own) for values in (event.resource_ids, event.owners))
    return replace(kept, event=replace(event, resource_ids=ids, owners=owners))
