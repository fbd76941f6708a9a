"""What every store promises of the audit log, and that a store which breaks a promise is caught."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest

from services.memory.domain.audit import (
    AUDIT_FIELDS,
    Act,
    AuditLog,
    AuditPage,
    AuditPlan,
    Entry,
    ForeignEvent,
    KeptEvent,
    Touched,
    Verification,
)
from services.memory.domain.audits import AuditGap
from services.memory.filter import EVERYTHING, parse
from services.memory.stores.embedded import EmbeddedMemoryStore
from services.memory.stores.embedded.governing import EmbeddedAuditLog
from services.mesh.errors import MemoryBoxError
from tests.support.memories import NOW
from tests.support.model_audit import ModelAuditLog

GET, DELETE = "memorybox.memory.v1.MemoryService/GetMemory", "memorybox.memory.v1.MemoryService/DeleteMemory"


class OpenLog(AuditLog, Protocol):
    """A log that a test can reach into."""

    async def tamper(self, number: int, outcome: str | None) -> None:
        """Change the outcome of an event behind the log's back, or take the event away."""
        ...

    async def forget(self, user: str) -> None:
        """Erase a name with its key."""
        ...


class OpenEmbeddedLog(EmbeddedAuditLog):
    """The log of a data folder that is open in the test's hands."""

    def __init__(self, store: EmbeddedMemoryStore) -> None:
        super().__init__(store)
        self.store = store

    async def tamper(self, number: int, outcome: str | None) -> None:
        if outcome is None:
            await self._change("DELETE FROM audit_events WHERE event_no = ?", number)
        else:
            await self._change("UPDATE audit_events SET outcome = ? WHERE event_no = ?", outcome, number)

    async def forget(self, user: str) -> None:
        await self._change("DELETE FROM audit_people WHERE user = ?", user)

    async def _change(self, statement: str, *values: Any) -> None:
        await self.store.run(lambda ground: list(ground.connection.execute(statement, values)))


@pytest.fixture(params=["embedded", "model"])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenLog]:
    if request.param == "model":
        yield ModelAuditLog()
        return
    store = await EmbeddedMemoryStore.open(tmp_path / "data")
    yield OpenEmbeddedLog(store)
    await store.close()


def entry(actor: str, method: str = GET, *touched: Touched, outcome: str = "OK", at: datetime = NOW) -> Entry:
    return Entry(Act(actor, method, at, "0" * 32), outcome, touched)


async def shown(log: AuditLog, about: str | None = None, text: str = "", limit: int = 100) -> list[KeptEvent]:
    """Return the events of one page, the youngest first."""
    wanted = parse(text, schema=AUDIT_FIELDS) if text else EVERYTHING
    return list((await log.page(AuditPlan(limit, about, filter=wanted))).events)


async def filled(log: AuditLog) -> None:
    """Record that bob and ann read a memory of ann's and one of carl's, and ann deleted hers."""
    both = (Touched("m1", "ann"), Touched("m2", "carl"))
    await log.append([entry("bob", GET, *both), entry("ann", GET, *both)])
    await log.append([entry("ann", DELETE, Touched("m1", "ann"), at=NOW + timedelta(seconds=1))])


async def test_events_are_whole_chained_and_youngest_first(log: OpenLog) -> None:
    await filled(log)

    third, second, first = [kept.event for kept in await shown(log)]

    assert [event.seq for event in (first, second, third)] == [1, 2, 3]
    assert [first.prev_hash, second.prev_hash, third.prev_hash] == [b"", first.digest(), second.digest()]
    assert (third.method, third.outcome, third.resource_ids) == (DELETE, "OK", ("m1",))
    assert third.event_time_us - first.event_time_us == 1_000_000
    assert third.actor == second.actor != first.actor
    assert "ann" not in third.actor


async def test_person_sees_own_acts_whole_and_of_others_what_is_theirs(log: OpenLog) -> None:
    await filled(log)

    assert [kept.event.resource_ids for kept in await shown(log, "ann")] == [("m1",), ("m1", "m2"), ("m1",)]
    assert [kept.event.resource_ids for kept in await shown(log, "carl")] == [("m2",), ("m2",)]
    assert [kept.actor_user for kept in await shown(log, "bob")] == ["bob"]
    assert await shown(log, "nobody") == []


async def test_filter_narrows_what_is_shown_and_sees_no_more(log: OpenLog) -> None:
    await filled(log)

    assert [kept.event.seq for kept in await shown(log, text="actor_user = bob")] == [1]
    assert [kept.event.seq for kept in await shown(log, text='method:"DeleteMemory"')] == [3]
    assert [kept.event.seq for kept in await shown(log, text="resource_ids:m2")] == [2, 1]
    assert [kept.event.seq for kept in await shown(log, "carl", "resource_ids:m1")] == []


async def test_pages_go_through_everything_once(log: OpenLog) -> None:
    await log.append([entry("ann") for _ in range(5)])
    seen: list[int] = []
    before = None

    for _ in range(3):
        page = await log.page(AuditPlan(2, None, before))
        seen += [kept.event.seq for kept in page.events]
        before = page.before

    assert seen == [5, 4, 3, 2, 1]
    assert before is None


async def test_events_of_another_service_are_taken_in_once_and_without_a_gap(log: OpenLog) -> None:
    events = [ForeignEvent(seq, entry("ann", f"analyst/{seq}")) for seq in (1, 2, 3)]

    assert await log.take_in("analyst/1", events[:2]) == 2
    assert await log.take_in("analyst/1", events) == 3
    assert await log.take_in("analyst/1", events[:1]) == 3
    with pytest.raises(AuditGap):
        await log.take_in("analyst/1", [replace(events[0], seq=5)])

    kept = await shown(log)
    assert [(one.event.writer_id, one.event.seq) for one in kept] == [("analyst/1", seq) for seq in (3, 2, 1)]
    assert (await log.verify()).first_broken is None


async def test_what_was_not_touched_verifies(log: OpenLog) -> None:
    empty = await log.verify()
    await filled(log)

    found = await log.verify()

    assert empty == Verification(0, None, None)
    assert (found.event_count, found.first_broken) == (3, None)
    assert found.verified_until_us == (await shown(log))[0].event.event_time_us


@pytest.mark.parametrize("outcome", ["PERMISSION_DENIED", None])
async def test_first_event_that_was_changed_or_is_missing_is_named(log: OpenLog, outcome: str | None) -> None:
    await filled(log)
    await log.tamper(2, outcome)

    broken = (await log.verify()).first_broken

    assert broken is not None
    assert broken.event.seq == (2 if outcome else 3)


async def test_missing_end_of_a_chain_is_noticed(log: OpenLog) -> None:
    await filled(log)
    await log.tamper(3, None)

    broken = (await log.verify()).first_broken

    assert broken is not None
    assert broken.event.seq == 3


async def test_anchor_stands_for_all_chains_and_is_made_only_when_they_grew(log: OpenLog) -> None:
    assert await log.anchor(NOW) is None
    await filled(log)
    await log.take_in("analyst/1", [ForeignEvent(1, entry("ann"))])

    root = await log.anchor(NOW)
    again = await log.anchor(NOW)
    await log.append([entry("ann")])
    other = await log.anchor(NOW)

    assert root is not None
    assert root.startswith("merkle:")
    assert again is None
    assert other not in {None, root}
    assert (await log.verify()).first_broken is None
    assert [kept.event.resource_ids for kept in await shown(log)][2] == (root,)


async def test_names_can_be_forgotten_and_chains_hold(log: OpenLog) -> None:
    await filled(log)
    await log.forget("ann")

    assert [kept.actor_user for kept in await shown(log)] == ["", "", "bob"]
    assert await shown(log, "ann") == []
    assert (await log.verify()).first_broken is None

    await log.append([entry("ann")])
    after, before, *_ = await shown(log)
    assert (after.actor_user, before.actor_user) == ("ann", "")
    assert after.event.actor != before.event.actor


async def test_event_is_known_by_its_method_and_exactly_its_ids(log: OpenLog) -> None:
    await filled(log)

    assert await log.knows(GET, ["m1", "m2"])
    assert not await log.knows(GET, ["m1"])
    assert not await log.knows(GET, ["m2", "m1"])
    assert not await log.knows(DELETE, ["m1", "m2"])


class ChainsNothing(ModelAuditLog):
    """Begins a chain with every event."""

    def chain(self, writer_id: str, entry: Entry) -> None:
        self.heads.pop(writer_id, None)
        super().chain(writer_id, entry)


class ShowsWhatIsNotTheirs(ModelAuditLog):
    """Shows all ids of an event to whom it concerns."""

    def shown(self, kept: KeptEvent, me: str | None) -> KeptEvent:
        return super().shown(kept, None)


class FiltersWhatIsHidden(ModelAuditLog):
    """Lets a filter look at what is not shown."""

    async def page(self, plan: AuditPlan) -> AuditPage:
        everything = await super().page(replace(plan, about=None))
        mine = await super().page(replace(plan, filter=EVERYTHING))
        numbers = {kept.number for kept in everything.events}
        return AuditPage(tuple(kept for kept in mine.events if kept.number in numbers), mine.before)


class RepeatsTheLast(ModelAuditLog):
    """Begins a page with the last event of the page before."""

    async def page(self, plan: AuditPlan) -> AuditPage:
        page = await super().page(plan)
        return replace(page, before=page.before and page.before + 1)


class TakesInTwice(ModelAuditLog):
    """Keeps what comes again."""

    async def take_in(self, writer_id: str, events: Sequence[ForeignEvent]) -> int:
        for event in events:
            self.chain(writer_id, event.entry)
        return self.heads[writer_id][0]


class MindsNoGap(ModelAuditLog):
    """Takes whatever comes after the last."""

    async def take_in(self, writer_id: str, events: Sequence[ForeignEvent]) -> int:
        last, _ = self.heads.get(writer_id, (0, b""))
        new = [event for event in events if event.seq > last]
        return await super().take_in(writer_id, [replace(one, seq=last + 1 + n) for n, one in enumerate(new)])


class BelievesItself(ModelAuditLog):
    """Finds everything in order."""

    async def verify(self) -> Verification:
        return replace(await super().verify(), first_broken=None)


class LooksAtNoEnd(ModelAuditLog):
    """Takes the last event that is there for the last."""

    async def verify(self) -> Verification:
        self.heads = {kept.event.writer_id: (kept.event.seq, kept.hash) for kept in self.events}
        return await super().verify()


class AnchorsForever(ModelAuditLog):
    """Anchors anchors."""

    async def anchor(self, at: datetime) -> str | None:
        root = await super().anchor(at)
        if root is None and self.events:
            await self.append([entry("ann")])
            return await super().anchor(at)
        return root


class RemembersNames(ModelAuditLog):
    """Forgets nobody."""

    async def forget(self, user: str) -> None:
        """Do nothing."""


class KnowsRoughly(ModelAuditLog):
    """Knows an event by some of its ids."""

    async def knows(self, method: str, resource_ids: Sequence[str]) -> bool:
        wanted = set(resource_ids)
        return any(kept.event.method == method and wanted <= set(kept.event.resource_ids) for kept in self.events)


async def _named_when_changed(log: OpenLog) -> None:
    await test_first_event_that_was_changed_or_is_missing_is_named(log, "PERMISSION_DENIED")


CAUGHT: list[tuple[type[ModelAuditLog], Callable[[Any], Awaitable[None]]]] = [
    (ChainsNothing, test_events_are_whole_chained_and_youngest_first),
    (ShowsWhatIsNotTheirs, test_person_sees_own_acts_whole_and_of_others_what_is_theirs),
    (FiltersWhatIsHidden, test_filter_narrows_what_is_shown_and_sees_no_more),
    (RepeatsTheLast, test_pages_go_through_everything_once),
    (TakesInTwice, test_events_of_another_service_are_taken_in_once_and_without_a_gap),
    (MindsNoGap, test_events_of_another_service_are_taken_in_once_and_without_a_gap),
    (BelievesItself, _named_when_changed),
    (LooksAtNoEnd, test_missing_end_of_a_chain_is_noticed),
    (AnchorsForever, test_anchor_stands_for_all_chains_and_is_made_only_when_they_grew),
    (RemembersNames, test_names_can_be_forgotten_and_chains_hold),
    (KnowsRoughly, test_event_is_known_by_its_method_and_exactly_its_ids),
]


@pytest.mark.parametrize(("mutant", "promise"), CAUGHT, ids=lambda item: item.__name__)
async def test_broken_log_is_caught(mutant: type[ModelAuditLog], promise: Callable[[Any], Awaitable[None]]) -> None:
    with pytest.raises((AssertionError, MemoryBoxError, pytest.fail.Exception)):
        await promise(mutant())


def test_every_mutant_is_tried() -> None:
    assert {mutant for mutant, _ in CAUGHT} == set(ModelAuditLog.__subclasses__())
