"""An audit log that is obviously right: one list of events, and the people in it."""

import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from services.memory.domain.audit import (
    ANCHOR,
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
from tests.support.filters import interpret

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
OWN = "memory/model"


class ModelAuditLog:
    """The port, by definition."""

    def __init__(self) -> None:
        self.events: list[KeptEvent] = []
        self.heads: dict[str, tuple[int, bytes]] = {}
        self.people: dict[str, str] = {}

    async def append(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self.chain(OWN, entry)

    def chain(self, writer_id: str, entry: Entry) -> None:
        """Put an event at the end of a chain."""
        seq, last_hash = self.heads.get(writer_id, (0, GENESIS))
        people = [self.person(item.owner_user) if item.owner_user else "" for item in entry.touched]
        touched = [(item.resource_id, who) for item, who in zip(entry.touched, people, strict=True) if item.resource_id]
        event = AuditEvent(
            writer_id,
            seq + 1,
            last_hash,
            (entry.act.at - EPOCH) // timedelta(microseconds=1),
            self.person(entry.act.actor),
            entry.act.method,
            entry.outcome,
            entry.act.trace_id,
            tuple(resource_id for resource_id, _ in touched),
            tuple(who for _, who in touched),
        )
        self.events.append(KeptEvent(len(self.events) + 1, event, event.digest()))
        self.heads[writer_id] = (seq + 1, event.digest())

    def person(self, user: str) -> str:
        """Return what stands for *user*."""
        return self.people.setdefault(user, pseudonym(secrets.token_bytes(32), user))

    async def take_in(self, writer_id: str, events: Sequence[ForeignEvent]) -> int:
        last, _ = self.heads.get(writer_id, (0, GENESIS))
        new = [event for event in events if event.seq > last]
        if new and new[0].seq != last + 1:
            raise AuditGap("events are missing", last_seq=str(last))
        for event in new:
            self.chain(writer_id, event.entry)
        return self.heads.get(writer_id, (0, GENESIS))[0]

    async def page(self, plan: AuditPlan) -> AuditPage:
        me = None if plan.about is None else self.people.get(plan.about, "")
        meant = [kept for kept in reversed(self.events) if plan.before is None or kept.number < plan.before]
        shown = [self.shown(kept, me) for kept in meant if me is None or me in {kept.event.actor, *kept.event.owners}]
        passing = [kept for kept in shown if interpret(plan.filter, fields_of(kept))]
        events = passing[: plan.limit]
        return AuditPage(tuple(events), events[-1].number if len(passing) > plan.limit else None)

    def shown(self, kept: KeptEvent, me: str | None) -> KeptEvent:
        """Return an event as *me* may know it; None may know everything."""
        names = {sign: user for user, sign in self.people.items()}
        named = replace(kept, actor_user=names.get(kept.event.actor, ""))
        if me in {None, kept.event.actor}:
            return named
        own = [place for place, who in enumerate(kept.event.owners) if who == me]
        ids, owners = ([values[place] for place in own] for values in (kept.event.resource_ids, kept.event.owners))
        return replace(named, event=replace(kept.event, resource_ids=tuple(ids), owners=tuple(owners)))

    async def verify(self) -> Verification:
        walks: dict[str, ChainWalk] = {}
        heads: dict[str, tuple[int, bytes]] = {}
        first: KeptEvent | None = None
        for kept in self.events:
            event = kept.event
            anchored = event.method != ANCHOR or event.resource_ids == (anchor_id(heads),)
            if not (walks.setdefault(event.writer_id, ChainWalk()).holds(kept) and anchored):
                first = first or kept
            heads[event.writer_id] = (event.seq, kept.hash)
        for writer_id, (seq, last_hash) in self.heads.items():
            if not walks.get(writer_id, ChainWalk()).ends_with(seq, last_hash):
                lost = AuditEvent(writer_id, seq, b"", 0, "", "", "", "", (), ())
                first = first or KeptEvent(len(self.events) + 1, lost, last_hash)
        return Verification(len(self.events), first, max((k.event.event_time_us for k in self.events), default=None))

    async def anchor(self, at: datetime) -> str | None:
        if not self.events or self.events[-1].event.method == ANCHOR:
            return None
        root = anchor_id(self.heads)
        await self.append([Entry(Act(AUTHOR, ANCHOR, at), "OK", (Touched(root),))])
        return root

    async def knows(self, method: str, resource_ids: Sequence[str]) -> bool:
        return any((k.event.method, k.event.resource_ids) == (method, tuple(resource_ids)) for k in self.events)

    async def tamper(self, number: int, outcome: str | None) -> None:
        """Change the outcome of an event behind the log's back, or take the event away."""
        (kept,) = (kept for kept in self.events if kept.number == number)
        if outcome is None:
            self.events.remove(kept)
        else:
            self.events[self.events.index(kept)] = replace(kept, event=replace(kept.event, outcome=outcome))

    async def forget(self, user: str) -> None:
        """Erase a name with its key."""
        self.people.pop(user, None)


def fields_of(kept: KeptEvent) -> Any:
    """Return what a filter of events may speak of."""
    event = kept.event
    return SimpleNamespace(
        event_time=EPOCH + timedelta(microseconds=event.event_time_us),
        method=event.method,
        actor_user=kept.actor_user,
        actor_pseudonym=event.actor,
        outcome=event.outcome,
        resource_ids=list(event.resource_ids),
        trace_id=event.trace_id,
        writer_id=event.writer_id,
        seq=event.seq,
    )
