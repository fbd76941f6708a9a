"""What every store promises of usage, quotas and statistics, and that a store which breaks a promise is caught."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from services.memory.domain.ports import MemoryStore, Undelete
from services.memory.domain.quotas import MAX_SAMPLES, Quota, QuotaExceeded, QuotaStore, StorageStats, Usage
from services.memory.stores.embedded import EmbeddedMemoryStore
from services.memory.stores.embedded.governing import EmbeddedQuotas
from services.mesh.errors import MemoryBoxError
from tests.support.memories import ANN, BOB, NOW, apply, creation, deletion, fill, listed, revised
from tests.support.model_quotas import BoundedModelStore, ModelQuotas

BRACES = len("{}")  # metadata that nobody set
Pair = tuple[MemoryStore, QuotaStore]


@pytest.fixture(params=["embedded", "model"])
async def pair(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pair]:
    if request.param == "model":
        model = BoundedModelStore()
        yield model, ModelQuotas(model)
        return
    store = await EmbeddedMemoryStore.open(tmp_path / "data")
    yield store, EmbeddedQuotas(store)
    await store.close()


async def test_usage_counts_utf_8_and_metadata_of_one_owner(pair: Pair) -> None:
    store, quotas = pair
    await fill(store, creation("m1", "four", metadata={"n": 1}), creation("m2", "\N{HOT BEVERAGE}"))
    await fill(store, creation("m3", "another's", owner="bob"))

    assert await quotas.usage("ann") == Usage("ann", 2, len('four{"n":1}') + 3 + BRACES, 0, Quota())
    assert await quotas.usage("nobody") == Usage("nobody", 0, 0, 0, Quota())


async def test_former_states_and_deleted_memories_count(pair: Pair) -> None:
    store, quotas = pair
    await fill(store, creation("m1", "four"))
    (longer,) = await apply(store, ANN, revised(await store.get(ANN, "m1", NOW), content="longer"))
    rewritten = await quotas.usage("ann")
    await apply(store, ANN, deletion(longer))

    assert (rewritten.content_bytes, rewritten.revision_bytes) == (6 + BRACES, 4 + BRACES)
    deleted = await quotas.usage("ann")
    assert (deleted.memory_count, deleted.content_bytes, deleted.revision_bytes) == (1, 6 + BRACES, 10 + 2 * BRACES)


async def test_quota_of_memories_refuses_one_more_and_lets_changes_through(pair: Pair) -> None:
    store, quotas = pair
    await quotas.set_quota("ann", Quota(max_memories=2))
    await fill(store, creation("m1"), creation("m2"))

    with pytest.raises(QuotaExceeded):
        await apply(store, ANN, creation("m3"))

    assert await listed(store, ANN) == ["m2", "m1"]
    assert (await quotas.usage("ann")).memory_count == 2
    await apply(store, ANN, revised(await store.get(ANN, "m1", NOW), content="much longer than before"))
    await apply(store, BOB, creation("m4", owner="bob"))


async def test_quota_of_bytes_lets_through_what_shrinks(pair: Pair) -> None:
    store, quotas = pair
    await fill(store, creation("m1", "x" * 50))
    await quotas.set_quota("ann", Quota(max_content_bytes=60))
    current = await store.get(ANN, "m1", NOW)

    with pytest.raises(QuotaExceeded):
        await apply(store, ANN, revised(current, content="y" * 50))
    with pytest.raises(QuotaExceeded):
        await apply(store, ANN, creation("m2", "x" * 20))

    (tagged,) = await apply(store, ANN, revised(current, tags=("t",)))
    (shrunk,) = await apply(store, ANN, revised(tagged, content="x"))
    (gone,) = await apply(store, ANN, deletion(shrunk))
    await apply(store, ANN, Undelete("m1", gone.updated_at + timedelta(seconds=1)))


async def test_one_refused_change_takes_its_whole_unit_back(pair: Pair) -> None:
    store, quotas = pair
    await quotas.set_quota("ann", Quota(max_memories=1))

    with pytest.raises(QuotaExceeded):
        await apply(store, ANN, creation("m1"), creation("m2"))

    assert await listed(store, ANN) == []
    assert (await quotas.usage("ann")).memory_count == 0


async def test_quota_is_what_was_set_last_and_none_lets_everything_through(pair: Pair) -> None:
    store, quotas = pair
    await quotas.set_quota("ann", Quota(max_memories=1, max_content_bytes=9))
    first = (await quotas.usage("ann")).quota
    await quotas.set_quota("ann", Quota())

    assert first == Quota(1, 9)
    assert (await quotas.usage("ann")).quota == Quota()
    await fill(store, creation("m1", "x" * 50), creation("m2", "x" * 50))


async def test_statistics_tell_living_from_deleted(pair: Pair) -> None:
    store, quotas = pair
    await fill(store, creation("m1"), creation("m2"), creation("m3", owner="bob"))
    await apply(store, ANN, deletion(await store.get(ANN, "m1", NOW)))

    stats = await quotas.stats()

    assert (stats.memory_count, stats.deleted_count, stats.samples) == (2, 1, ())
    assert stats.size_bytes > 0


async def test_last_sample_of_a_day_stays_and_days_are_in_order(pair: Pair) -> None:
    store, quotas = pair
    for day in ("2030-01-02", "2030-01-01"):
        await quotas.sample(day)
    await fill(store, creation("m1"))
    await quotas.sample("2030-01-02")

    samples = (await quotas.stats()).samples
    assert [(one.day, one.memory_count) for one in samples] == [("2030-01-01", 0), ("2030-01-02", 1)]


async def test_oldest_samples_make_room(pair: Pair) -> None:
    _, quotas = pair
    days = [(date(2030, 1, 1) + timedelta(days=number)).isoformat() for number in range(MAX_SAMPLES + 2)]
    for day in days:
        await quotas.sample(day)

    assert [one.day for one in (await quotas.stats()).samples] == days[2:]


class CountsCharacters(ModelQuotas):
    """Takes characters for bytes."""

    def counted(self, owner: str) -> Usage:
        wide = [r.memory.content for r in self.host.records.values() if r.memory.owner_user == owner]
        usage = super().counted(owner)
        return replace(usage, content_bytes=usage.content_bytes - sum(len(c.encode()) - len(c) for c in wide))


class CountsEveryone(ModelQuotas):
    """Counts memories whosever they are."""

    def counted(self, owner: str) -> Usage:
        return replace(super().counted(owner), memory_count=len(self.host.records))


class ForgetsTheFormer(ModelQuotas):
    """Does not count former states."""

    def counted(self, owner: str) -> Usage:
        return replace(super().counted(owner), revision_bytes=0)


class EnforcesNothing(ModelQuotas):
    """Knows no limit when it matters."""

    def counted(self, owner: str) -> Usage:
        return replace(super().counted(owner), quota=Quota())

    async def usage(self, owner: str) -> Usage:
        return replace(self.counted(owner), quota=self.kept.get(owner, Quota()))


class CountsMemoriesOnly(EnforcesNothing):
    """Does not hold bytes to their limit."""

    def counted(self, owner: str) -> Usage:
        limit = self.kept.get(owner, Quota())
        return replace(super().counted(owner), quota=replace(limit, max_content_bytes=0))


class KeepsTheFirstQuota(ModelQuotas):
    """Keeps a quota for good."""

    async def set_quota(self, owner: str, quota: Quota) -> None:
        self.kept.setdefault(owner, quota)


class CountsTheDeleted(ModelQuotas):
    """Takes the deleted for living."""

    async def stats(self) -> StorageStats:
        stats = await super().stats()
        return replace(stats, memory_count=stats.memory_count + stats.deleted_count)


class KeepsTheFirstSample(ModelQuotas):
    """Looks at a day once."""

    async def sample(self, day: str) -> None:
        if day not in self.days:
            await super().sample(day)


class KeepsTheOldest(ModelQuotas):
    """Makes no room."""

    async def sample(self, day: str) -> None:
        if len(self.days) < MAX_SAMPLES:
            await super().sample(day)


CAUGHT: list[tuple[type[ModelQuotas], Callable[[Any], Awaitable[None]]]] = [
    (CountsCharacters, test_usage_counts_utf_8_and_metadata_of_one_owner),
    (CountsEveryone, test_usage_counts_utf_8_and_metadata_of_one_owner),
    (ForgetsTheFormer, test_former_states_and_deleted_memories_count),
    (EnforcesNothing, test_quota_of_memories_refuses_one_more_and_lets_changes_through),
    (EnforcesNothing, test_one_refused_change_takes_its_whole_unit_back),
    (CountsMemoriesOnly, test_quota_of_bytes_lets_through_what_shrinks),
    (KeepsTheFirstQuota, test_quota_is_what_was_set_last_and_none_lets_everything_through),
    (CountsTheDeleted, test_statistics_tell_living_from_deleted),
    (KeepsTheFirstSample, test_last_sample_of_a_day_stays_and_days_are_in_order),
    (KeepsTheOldest, test_oldest_samples_make_room),
]


@pytest.mark.parametrize(("mutant", "promise"), CAUGHT, ids=lambda item: item.__name__)
async def test_broken_store_is_caught(mutant: type[ModelQuotas], promise: Callable[[Any], Awaitable[None]]) -> None:
    store = BoundedModelStore()

    with pytest.raises((AssertionError, MemoryBoxError, pytest.fail.Exception)):
        await promise((store, mutant(store)))


def test_every_mutant_is_tried() -> None:
    direct = set(ModelQuotas.__subclasses__())
    assert {mutant for mutant, _ in CAUGHT} == direct | {one for mutant in direct for one in mutant.__subclasses__()}
