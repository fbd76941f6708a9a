"""The suites of moving and watching can fail: stores that break one promise each are caught by the test that is named for it."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from services.memory.domain.feed import FeedPage, FeedPlan
from services.memory.domain.ports import MemoryStore
from services.memory.domain.transfer import ExportChunk, ExportPlan, ImportChunk, ImportItem, ImportProgress
from services.memory.filter import EVERYTHING
from services.mesh.caller import Caller
from services.mesh.errors import MemoryBoxError
from tests.contract import test_memory_store_feed as feeding
from tests.contract import test_memory_store_moving as moving
from tests.support.memories import BOB, PUBLIC
from tests.support.model_feed import ModelFeed
from tests.support.model_moving import ModelMover
from tests.support.model_store import ModelMemoryStore

Promise = Callable[[MemoryStore], Awaitable[None]]


class ExportsTheOldestFirst(ModelMover):
    """Orders by the time of creation, which imports set."""

    async def export(self, caller: Caller, plan: ExportPlan) -> ExportChunk:
        chunk = await super().export(caller, plan)
        return replace(chunk, rows=tuple(sorted(chunk.rows, key=lambda row: row.memory.created_at)))


class ExportsWhatOthersShare(ModelMover):
    """Exports everything that the caller may see."""

    async def export(self, caller: Caller, plan: ExportPlan) -> ExportChunk:
        chunk = await super().export(caller, plan)
        others = {record.memory.owner_user for record in self._host.records.values()} - {caller.user}
        rows = [row for owner in others for row in (await super(type(self), self).export(Caller(owner), plan)).rows]
        seen = tuple(row for row in rows if row.memory.access_level == PUBLIC)
        return replace(chunk, rows=chunk.rows + seen)


class ForgetsTheMoment(ModelMover):
    """Lets what came later into an export."""

    async def export(self, caller: Caller, plan: ExportPlan) -> ExportChunk:
        return await super().export(caller, replace(plan, snapshot=None))


class FillsChunks(ModelMover):
    """Ends chunks by number of rows only."""

    async def export(self, caller: Caller, plan: ExportPlan) -> ExportChunk:
        return await super().export(caller, replace(plan, max_bytes=1 << 60))


class IgnoresExportFilters(ModelMover):
    """Exports all."""

    async def export(self, caller: Caller, plan: ExportPlan) -> ExportChunk:
        return await super().export(caller, replace(plan, filter=EVERYTHING))


class RepeatsChunks(ModelMover):
    """Takes any chunk, wherever the import is."""

    async def import_chunk(self, caller: Caller, chunk: ImportChunk) -> ImportProgress:
        at = (await self.import_progress(caller, chunk.import_id)).next_index
        return await super().import_chunk(caller, replace(chunk, first_index=at))


class SharesProgress(ModelMover):
    """Knows imports by their name alone."""

    async def import_progress(self, caller: Caller, import_id: str) -> ImportProgress:
        known = [progress for (_, name), progress in self._progress.items() if name == import_id]
        return known[0] if known else ImportProgress()


class TellsTakenIds(ModelMover):
    """Gives a new id where somebody else has the one that was sent, which tells that they do."""

    def _keep(self, caller: Caller, item: ImportItem) -> None:
        taken = item.memory.memory_id in self._host.records
        memory = replace(item.memory, memory_id=item.spare_id) if taken else item.memory
        super()._keep(caller, replace(item, memory=memory))


class Overwrites(ModelMover):
    """Takes the imported memory for the newer one."""

    def _keep(self, caller: Caller, item: ImportItem) -> None:
        known = self._host.records.get(item.memory.memory_id)
        if known is not None and known.memory.owner_user == caller.user:
            del self._host.records[item.memory.memory_id]
        super()._keep(caller, item)


class StartsAnew(ModelMover):
    """Gives imported memories revision 1."""

    def _keep(self, caller: Caller, item: ImportItem) -> None:
        super()._keep(caller, replace(item, memory=replace(item.memory, revision=1)))


class StopsAtARefusal(ModelMover):
    """Keeps nothing of a chunk after a bad item."""

    failed = False

    def _keep(self, caller: Caller, item: ImportItem) -> None:
        if self.failed:
            return
        try:
            super()._keep(caller, item)
        except MemoryBoxError:
            self.failed = True
            raise


class TellsEveryRefusal(ModelMover):
    """Keeps all refusals."""

    async def import_chunk(self, caller: Caller, chunk: ImportChunk) -> ImportProgress:
        progress = await super().import_chunk(caller, chunk)
        return replace(progress, refusals=progress.refusals * 2)


class TellsEveryone(ModelFeed):
    """Tells of changes as their owner would hear of them."""

    async def changes(self, caller: Caller, plan: FeedPlan) -> FeedPage:
        owners = {record.memory.owner_user for record in self._host.records.values()}
        pages = [await super(type(self), self).changes(Caller(owner), plan) for owner in owners]
        return pages[0] if pages else await super().changes(caller, plan)


class ShowsTheCurrentState(ModelFeed):
    """Shows the memory as it is in every event."""

    async def changes(self, caller: Caller, plan: FeedPlan) -> FeedPage:
        page = await super().changes(caller, plan)
        now = self._host.records
        return replace(page, events=tuple(replace(e, memory=now[e.memory_id].memory) for e in page.events))


class ShowsWhatWentOutOfSight(ModelFeed):
    """Shows others what was deleted."""

    async def changes(self, caller: Caller, plan: FeedPlan) -> FeedPage:
        page = await super().changes(caller, plan)
        now = self._host.records
        return replace(page, events=tuple(replace(e, memory=e.memory or now[e.memory_id].memory) for e in page.events))


class ForgetsWhoMay(ModelFeed):
    """Never tells that something left the caller's sight."""

    async def changes(self, caller: Caller, plan: FeedPlan) -> FeedPage:
        page = await super().changes(caller, plan)
        return replace(page, events=tuple(event for event in page.events if event.memory is not None))


class LosesTheLastOfAPage(ModelFeed):
    """Gives a position beyond what it told."""

    async def changes(self, caller: Caller, plan: FeedPlan) -> FeedPage:
        page = await super().changes(caller, plan)
        return replace(page, position=page.position + 1) if page.more else page


class TellsTwice(ModelFeed):
    """Includes the change that the caller has had."""

    async def changes(self, caller: Caller, plan: FeedPlan) -> FeedPage:
        return await super().changes(caller, replace(plan, after=max(0, plan.after - 1)))


class IgnoresFilters(ModelFeed):
    """Tells of everything."""

    async def changes(self, caller: Caller, plan: FeedPlan) -> FeedPage:
        return await super().changes(caller, replace(plan, filter=EVERYTHING))


class NeverWakes(ModelFeed):
    """Leaves watchers asleep."""

    def settle(self) -> None:
        self._wakers = set()
        super().settle()


async def shared_with_all(store: MemoryStore) -> None:
    await feeding.test_memory_that_comes_into_sight_is_created_and_one_that_leaves_it_deleted(
        store, {"access_level": PUBLIC}, BOB
    )


class TellsNoExpiry(ModelFeed):
    """Counts expiries and makes nothing of them."""

    async def tell_expired(self, now: datetime, limit: int) -> int:
        told = await super().tell_expired(now, limit)
        self._log = [entry for entry in self._log if entry[0] not in self._expired]
        return told


class TellsExpiriesAgain(ModelFeed):
    """Forgets which expiries were told."""

    async def tell_expired(self, now: datetime, limit: int) -> int:
        told = await super().tell_expired(now, limit)
        self._expired = dict.fromkeys(self._expired, "")
        return told


class TellsAllExpiries(ModelFeed):
    """Tells of every memory that has a time to expire, as if it had come."""

    async def tell_expired(self, now: datetime, limit: int) -> int:
        return await super().tell_expired(now + timedelta(hours=1), limit)


CAUGHT: list[tuple[Any, Promise]] = [
    (ExportsTheOldestFirst, moving.test_export_has_ones_own_memories_in_the_order_they_were_created),
    (ExportsWhatOthersShare, moving.test_export_has_ones_own_memories_in_the_order_they_were_created),
    (ForgetsTheMoment, moving.test_chunks_of_an_export_follow_each_other_and_keep_to_the_first_ones_moment),
    (FillsChunks, moving.test_chunk_of_an_export_ends_early_by_size_but_holds_one_memory),
    (IgnoresExportFilters, moving.test_export_can_be_filtered),
    (RepeatsChunks, moving.test_chunk_that_does_not_follow_is_refused_whole),
    (SharesProgress, moving.test_imports_of_two_owners_and_two_names_are_apart),
    (TellsTakenIds, moving.test_id_that_another_owner_has_is_kept_as_any_and_theirs_stays),
    (Overwrites, moving.test_ones_own_other_memory_with_that_id_is_not_overwritten),
    (StartsAnew, moving.test_imported_memory_is_kept_as_it_was),
    (StopsAtARefusal, moving.test_item_that_cannot_be_kept_leaves_the_others_alone),
    (TellsEveryRefusal, moving.test_refusals_are_counted_all_and_told_up_to_a_bound),
    (TellsEveryone, feeding.test_other_owners_private_memories_are_no_event),
    (ShowsTheCurrentState, feeding.test_owner_is_told_every_change_with_the_state_after_it),
    (ShowsWhatWentOutOfSight, feeding.test_deletion_shows_the_owner_what_was_deleted_and_others_the_id_alone),
    (ForgetsWhoMay, shared_with_all),
    (LosesTheLastOfAPage, feeding.test_page_ends_early_by_size_but_holds_one_event),
    (TellsTwice, feeding.test_pages_follow_each_other_without_loss_or_repetition),
    (IgnoresFilters, feeding.test_filter_narrows_what_is_in_sight),
    (TellsNoExpiry, feeding.test_expiry_is_a_deletion_to_whoever_saw_the_memory),
    (TellsExpiriesAgain, feeding.test_expiries_are_told_some_at_a_time_and_wake_watchers),
    (TellsAllExpiries, feeding.test_expiry_is_a_deletion_to_whoever_saw_the_memory),
    (NeverWakes, feeding.test_subscription_wakes_at_a_commit_also_at_one_before_the_wait),
]


@pytest.mark.parametrize(("mutant", "promise"), CAUGHT, ids=lambda item: item.__name__)
async def test_broken_store_fails(mutant: Any, promise: Promise) -> None:
    store: Any = ModelMemoryStore()
    setattr(store, "moving" if issubclass(mutant, ModelMover) else "feed", mutant(store))

    with pytest.raises((AssertionError, MemoryBoxError, TimeoutError, pytest.fail.Exception)):
        await promise(store)


def test_every_mutant_is_tried() -> None:
    mutants = {*ModelMover.__subclasses__(), *ModelFeed.__subclasses__()}

    assert {mutant for mutant, _ in CAUGHT} == mutants
