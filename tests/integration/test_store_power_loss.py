"""What was acknowledged survives a power loss at any moment."""

import asyncio
import random
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from services.memory.domain.memory import AccessLevel, Memory
from services.memory.domain.ports import Change, Delete, Undelete
from services.memory.stores.embedded import EmbeddedMemoryStore, IntegrityCheck
from services.mesh.errors import BackendUnavailable, DataLoss
from tests.support.memories import (
    ANN,
    NOW,
    apply,
    creation,
    deletion,
    fill,
    keyword_search,
    listing,
    revised,
    vector,
    vector_search,
)
from tests.support.power_loss import Disk, Journal, Operation, RecordedDisk

CRASH_POINTS = 1000
HISTORIES = 20
CALLERS = 3
WRITES = 8  # of each caller in each of two openings
CHECKPOINT_BYTES = 64 << 10  # small, so that checkpoints run beside commits
RAM = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # noqa: S108  # a copy of the disk; nothing there must survive us
EVERYTHING: dict[str, Any] = {"top_k": 1000, "limit": 1000, "max_bytes": 1 << 30}


@dataclass
class History:
    """What was asked of a store and what it acknowledged, each with its moment (number of operations before it)."""

    journal: Journal = field(default_factory=Journal)
    asked: list[tuple[int, str, int, str]] = field(default_factory=list)  # moment, memory id, revision, content
    acknowledged: list[tuple[int, Memory]] = field(default_factory=list)

    def now(self) -> int:
        """Return this moment."""
        return len(self.journal.operations)

    async def write(self, store: EmbeddedMemoryStore, rng: random.Random, name: str) -> None:
        """Create, replace and delete some memories, one after the other."""
        living: dict[str, Memory] = {}
        for number in range(WRITES):
            change = choose(rng, living, f"{name}-{number}")
            self.asked.append((self.now(), *description(change)))
            (memory,) = await apply(store, ANN, change)
            self.acknowledged.append((self.now(), memory))
            living[memory.memory_id] = memory
            if memory.delete_time is not None:
                del living[memory.memory_id]


def choose(rng: random.Random, living: dict[str, Memory], new_id: str) -> Change:
    """Return a random change; contents are short, a page, or several pages long."""
    kind = rng.choice(("create", "replace", "delete")) if living else "create"
    content = f"{new_id} " + "tea " * rng.choice((1, 40, 4000))
    direction = vector(*(rng.random() + 0.1 for _ in range(4)))
    if kind == "create":
        level = rng.choice(tuple(AccessLevel))
        return creation(new_id, content, embedding=direction, access_level=level, request_hash=b"h")
    memory = living[rng.choice(sorted(living))]
    return revised(memory, direction, content=content) if kind == "replace" else deletion(memory)


def description(change: Change) -> tuple[str, int, str]:
    """Return memory id, revision and content that *change* leads to; a deletion has no content."""
    if isinstance(change, Delete):
        return change.memory_id, (change.expected_revision or 0) + 1, ""
    assert not isinstance(change, Undelete)  # no history has one
    return change.memory.memory_id, change.memory.revision, change.memory.content


async def record(seed: int) -> History:
    """Run a random history of several callers at once over two openings of a store on a recorded disk."""
    history, rng, vfs = History(), random.Random(seed), f"recorded-{seed}"
    disk = RecordedDisk(vfs, history.journal)
    with tempfile.TemporaryDirectory(dir=RAM) as folder:
        for opening in range(2):
            store = await EmbeddedMemoryStore.open(Path(folder), vfs=vfs, checkpoint_bytes=CHECKPOINT_BYTES)
            names = [f"m{opening}{caller}" for caller in range(CALLERS)]
            await asyncio.gather(*(history.write(store, random.Random(rng.random()), name) for name in names))
            if opening == 0 or rng.random() < 0.5:
                await store.close()
        await store.close()
    disk.unregister()
    return history


def check(history: History, moment: int, kept: dict[str, Memory]) -> None:
    """Check that *kept* is what a power loss at *moment* may leave."""
    asked = {(memory_id, revision): content for at, memory_id, revision, content in history.asked if at <= moment}
    last_asked = dict(sorted(asked))
    last_acknowledged = {memory.memory_id: memory for at, memory in history.acknowledged if at <= moment}
    for memory_id, memory in kept.items():
        assert asked.get((memory_id, memory.revision)) == memory.content, "a memory that nobody wrote"
    for memory_id, memory in last_acknowledged.items():
        survivor = kept.get(memory_id)
        if survivor is not None:
            assert survivor.revision >= memory.revision, "an acknowledged change is lost"
            assert memory.delete_time is None, "a deleted memory is back"
        elif memory.delete_time is None:
            deleting = (memory_id, last_asked[memory_id])
            assert deleting[1] > memory.revision, "an acknowledged memory is lost"
            assert asked[deleting] == "", "an acknowledged memory is lost"


async def open_and_check(history: History, moment: int, folder: Path) -> None:
    """Open what the power loss left: rows whole, indexes equal to them, every promise kept."""
    store = await EmbeddedMemoryStore.open(folder, integrity=IntegrityCheck.FULL)
    try:
        listed = (await store.list(ANN, listing(limit=1000, max_bytes=1 << 30))).memories
        by_words = await store.search(ANN, keyword_search("tea", **EVERYTHING))
        by_vector = await store.search(ANN, vector_search(vector(1, 1, 1, 1), **EVERYTHING))
        assert max(Counter(memory.memory_id for memory in listed).values(), default=1) == 1
        check(history, moment, {memory.memory_id: memory for memory in listed})
        rows = sorted((memory.memory_id, memory.revision) for memory in listed)
        for page in (by_words, by_vector):
            assert sorted((hit.memory.memory_id, hit.memory.revision) for hit in page.hits) == rows
        if moment % 20 == 0:
            await fill(store, creation("after", embedding=vector(1, 1, 1, 1)))
            assert await store.count(ANN, NOW) == len(rows) + 1
    finally:
        await store.close()


@pytest.mark.timeout(600)
async def test_acknowledged_writes_survive_power_loss_at_any_moment() -> None:
    rng = random.Random(20261123)
    checked = 0
    for seed in range(HISTORIES):
        history = await record(seed)
        assert len(history.acknowledged) == 2 * CALLERS * WRITES
        moments = sorted(rng.sample(range(history.now()), CRASH_POINTS // HISTORIES))
        disk, played = Disk(), 0
        for moment in moments:
            for operation in history.journal.operations[played:moment]:
                disk.play(operation)
            played = moment
            with tempfile.TemporaryDirectory(dir=RAM) as parent:
                disk.lose_power(Path(parent) / "data", rng)
                await open_and_check(history, moment, Path(parent) / "data")
            checked += 1

    assert checked == CRASH_POINTS


async def test_power_loss_without_syncs_is_noticed() -> None:
    """The check above can fail: a store that forgets to sync is caught within a few moments."""
    history, rng, caught = await record(1), random.Random(1), 0
    for moment in rng.sample(range(history.now() // 2, history.now()), 10):
        disk = Disk()
        for operation in history.journal.operations[:moment]:
            disk.play(Operation("write", operation.name) if operation.kind == "sync" else operation)
        with tempfile.TemporaryDirectory(dir=RAM) as parent:
            disk.lose_power(Path(parent) / "data", rng)
            try:
                await open_and_check(history, moment, Path(parent) / "data")
            except (AssertionError, DataLoss, BackendUnavailable):
                caught += 1

    assert caught >= 5
