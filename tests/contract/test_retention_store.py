"""What every store promises of retention, and that a store which breaks a promise is caught."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from services.memory.domain.feed import EventKind, FeedPlan
from services.memory.domain.memory import MemoryNotFound
from services.memory.domain.ports import MemoryStore, Undelete
from services.memory.domain.retention import Cutoffs, Due, RetentionPolicy, RetentionStore
from services.memory.stores.embedded import EmbeddedMemoryStore
from services.memory.stores.embedded.governing import EmbeddedRetention
from services.mesh.errors import MemoryBoxError
from tests.support.memories import ANN, NOW, apply, creation, deletion, fill, listed
from tests.support.model_retention import ModelRetention
from tests.support.model_store import ModelMemoryStore, Record

DAY = timedelta(days=1)
Pair = tuple[MemoryStore, RetentionStore]


@pytest.fixture(params=["embedded", "model"])
async def pair(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pair]:
    if request.param == "model":
        model = ModelMemoryStore()
        yield model, ModelRetention(model)
        return
    store = await EmbeddedMemoryStore.open(tmp_path / "data")
    yield store, EmbeddedRetention(store)
    await store.close()


async def aged(store: MemoryStore) -> None:
    """Keep memories last changed 3, 2 and 1 days ago, of two owners."""
    for days, owner in ((3, "ann"), (2, "bob"), (1, "ann")):
        await fill(store, creation(f"m{days}", owner=owner, at=NOW - days * DAY))


async def test_policy_is_what_was_set_last_and_none_at_first(pair: Pair) -> None:
    _, retention = pair
    none = await retention.policy()
    await retention.set_policy(RetentionPolicy(30, 60))
    await retention.set_policy(RetentionPolicy(None, 90))

    assert none == RetentionPolicy()
    assert await retention.policy() == RetentionPolicy(None, 90)


async def test_due_is_what_was_unchanged_or_hidden_before_the_cutoff(pair: Pair) -> None:
    store, retention = pair
    await aged(store)
    await apply(store, ANN, deletion(await store.get(ANN, "m3", NOW)))

    assert await retention.due(Cutoffs(None, None)) == Due(0, 0)
    assert await retention.due(Cutoffs(NOW - 2 * DAY, NOW - 2 * DAY)) == Due(0, 1)
    assert await retention.due(Cutoffs(NOW - DAY, NOW - 3 * DAY)) == Due(1, 0)
    assert await retention.due(Cutoffs(NOW, NOW)) == Due(2, 1)


async def test_archived_memories_are_hidden_told_and_can_be_brought_back(pair: Pair) -> None:
    store, retention = pair
    await aged(store)
    before = await store.feed.position()

    counts = [await retention.archive_some(NOW - DAY, 1, NOW) for _ in range(3)]

    events = (await store.feed.changes(ANN, FeedPlan(before, NOW, 10))).events
    assert counts == [1, 1, 0]
    assert await listed(store, ANN) == ["m1"]
    assert [(event.kind, event.memory_id) for event in events] == [(EventKind.DELETED, "m3")]
    (back,) = await apply(store, ANN, Undelete("m3", NOW + DAY))
    assert (back.revision, back.delete_time) == (3, None)


async def test_purged_memories_are_gone_for_good_and_others_stay(pair: Pair) -> None:
    store, retention = pair
    await aged(store)
    await retention.archive_some(NOW - DAY, 10, NOW)

    early = await retention.purge_some(NOW, 10)
    purged = await retention.purge_some(NOW + DAY, 10)

    assert (early, purged) == (0, 2)
    with pytest.raises(MemoryNotFound):
        await apply(store, ANN, Undelete("m3", NOW + DAY))
    assert await listed(store, ANN) == ["m1"]
    assert await retention.due(Cutoffs(None, NOW + 9 * DAY)) == Due(0, 0)


async def test_purge_goes_by_the_batch(pair: Pair) -> None:
    store, retention = pair
    await aged(store)
    await retention.archive_some(NOW, 10, NOW)

    assert [await retention.purge_some(NOW + DAY, 2) for _ in range(3)] == [2, 1, 0]


class ForgetsThePolicy(ModelRetention):
    """Keeps the first policy."""

    async def set_policy(self, policy: RetentionPolicy) -> None:
        self.kept = policy if self.kept.is_empty else self.kept


class CountsTheCutoff(ModelRetention):
    """Takes what was changed at the cutoff for older."""

    def stale(self, cutoff: datetime | None) -> list[Record]:
        return super().stale(cutoff and cutoff + timedelta(microseconds=1))


class ArchivesForGood(ModelRetention):
    """Removes what it should hide."""

    async def archive_some(self, cutoff: datetime, limit: int, now: datetime) -> int:
        due = self.stale(cutoff)[:limit]
        for record in due:
            del self.host.records[record.memory.memory_id]
        return len(due)


class ArchivesSilently(ModelRetention):
    """Tells no watcher."""

    async def archive_some(self, cutoff: datetime, limit: int, now: datetime) -> int:
        count = await super().archive_some(cutoff, limit, now)
        self.host.feed._log.clear()
        return count


class PurgesTheLiving(ModelRetention):
    """Purges by age alone."""

    def hidden(self, cutoff: datetime | None) -> list[Record]:
        return [*super().hidden(cutoff), *self.stale(cutoff)]


class KnowsNoBatch(ModelRetention):
    """Does everything at once."""

    async def purge_some(self, cutoff: datetime, limit: int) -> int:
        return await super().purge_some(cutoff, 1_000_000)


CAUGHT: list[tuple[type[ModelRetention], Callable[[Any], Awaitable[None]]]] = [
    (ForgetsThePolicy, test_policy_is_what_was_set_last_and_none_at_first),
    (CountsTheCutoff, test_due_is_what_was_unchanged_or_hidden_before_the_cutoff),
    (ArchivesForGood, test_archived_memories_are_hidden_told_and_can_be_brought_back),
    (ArchivesSilently, test_archived_memories_are_hidden_told_and_can_be_brought_back),
    (PurgesTheLiving, test_purged_memories_are_gone_for_good_and_others_stay),
    (KnowsNoBatch, test_purge_goes_by_the_batch),
]


@pytest.mark.parametrize(("mutant", "promise"), CAUGHT, ids=lambda item: item.__name__)
async def test_broken_store_is_caught(mutant: type[ModelRetention], promise: Callable[[Any], Awaitable[None]]) -> None:
    store = ModelMemoryStore()

    with pytest.raises((AssertionError, MemoryBoxError, pytest.fail.Exception)):
        await promise((store, mutant(store)))


def test_every_mutant_is_tried() -> None:
    assert {mutant for mutant, _ in CAUGHT} == set(ModelRetention.__subclasses__())
