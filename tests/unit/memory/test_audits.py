"""Recording acts: what waits, when it is written, and what happens while it cannot be."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from services.memory.domain.audit import (
    Act,
    AuditEvent,
    AuditPage,
    AuditPlan,
    ChainWalk,
    Entry,
    ForeignEvent,
    KeptEvent,
    Verification,
    merkle_root,
    pseudonym,
)
from services.memory.domain.audits import Recorder
from services.mesh.errors import BackendUnavailable

ENTRY = Entry(Act("ann", "a.B/C", datetime(2030, 1, 1, tzinfo=UTC)), "OK")


class FakeLog:
    """Keeps entries in a list, unless it is ``down``."""

    def __init__(self) -> None:
        self.down = False
        self.commits: list[Sequence[Entry]] = []

    async def append(self, entries: Sequence[Entry]) -> None:
        if self.down:
            raise BackendUnavailable("down")
        self.commits.append(entries)

    async def take_in(self, writer_id: str, events: Sequence[ForeignEvent]) -> int:
        return len(events)

    async def page(self, plan: AuditPlan) -> AuditPage:
        return AuditPage((), None)

    async def anchor(self, at: datetime) -> str | None:
        return None

    async def knows(self, method: str, resource_ids: Sequence[str]) -> bool:
        return False

    async def verify(self) -> Verification:
        return Verification(0, None, None)


async def test_synchronous_recorder_returns_when_the_entry_is_written() -> None:
    log = FakeLog()

    await Recorder(log, synchronous=True).record(ENTRY)

    assert log.commits == [(ENTRY,)]


async def test_entries_that_come_together_are_written_together() -> None:
    log = FakeLog()
    recorder = Recorder(log, synchronous=False)

    await asyncio.gather(*(recorder.record(ENTRY) for _ in range(10)))
    await recorder.close()

    assert [len(entries) for entries in log.commits] == [10]


async def test_closing_writes_what_waits_without_waiting_for_its_turn() -> None:
    log = FakeLog()
    recorder = Recorder(log, synchronous=False, flush_s=3600)
    await recorder.record(ENTRY)
    await asyncio.sleep(0)  # it waits for more to come

    async with asyncio.timeout(20):
        await recorder.close()

    assert log.commits == [[ENTRY]]


async def test_entries_outlast_a_log_that_is_down() -> None:
    log = FakeLog()
    log.down = True
    recorder = Recorder(log, synchronous=False, flush_s=0.001)
    await recorder.record(ENTRY)
    with pytest.raises(BackendUnavailable):
        await recorder.flush()

    log.down = False
    await recorder.record(ENTRY)
    await recorder.close()

    assert sum(len(entries) for entries in log.commits) == 2


async def test_calls_fail_when_too_much_waits_for_a_log_that_is_down() -> None:
    log = FakeLog()
    log.down = True
    recorder = Recorder(log, synchronous=False, max_waiting=1)
    await recorder.record(ENTRY)

    with pytest.raises(BackendUnavailable):
        await recorder.record(ENTRY)

    log.down = False
    await recorder.close()
    assert sum(len(entries) for entries in log.commits) == 1


def test_pseudonym_needs_the_persons_own_key() -> None:
    assert pseudonym(b"1", "ann") == pseudonym(b"1", "ann")
    assert len({pseudonym(b"1", "ann"), pseudonym(b"2", "ann"), pseudonym(b"1", "bob")}) == 3


FIRST = AuditEvent("memory/1", 1, b"", 5, "p", "a.B/C", "OK", "", ("m",), ("o",))


@pytest.mark.parametrize(
    "change",
    [
        {"writer_id": "x"},
        {"seq": 2},
        {"prev_hash": b"x"},
        {"event_time_us": 6},
        {"actor": "q"},
        {"method": "d"},
        {"outcome": "ABORTED"},
        {"trace_id": "t"},
        {"resource_ids": ("n",)},
        {"owners": ("r",)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_field_of_an_event_is_under_its_hash(change: dict[str, object]) -> None:
    assert replace(FIRST, **change).digest() != FIRST.digest()  # type: ignore[arg-type]


def test_chain_holds_only_in_order_and_without_gaps() -> None:
    second = replace(FIRST, seq=2, prev_hash=FIRST.digest())
    kept = [KeptEvent(1, FIRST, FIRST.digest()), KeptEvent(2, second, second.digest())]
    whole, gapped = ChainWalk(), ChainWalk()

    assert [whole.holds(item) for item in kept] == [True, True]
    assert whole.ends_with(2, second.digest())
    assert not gapped.holds(kept[1])


def test_merkle_root_is_that_of_rfc_6962() -> None:
    # Roots of the first 0, 1, 2, 3 and 7 of the leaves that the Certificate Transparency project tests with.
    leaves = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")]
    roots = [merkle_root(leaves[:count]).hex() for count in (0, 1, 2, 3, 7)]

    assert roots == [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    ]
