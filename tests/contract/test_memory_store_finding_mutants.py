"""Stores that break a promise of counting or finding are caught by the test that is named for it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from services.memory.domain.audit import Act
from services.memory.domain.deletions import Deleted, DeletionPlan
from services.memory.domain.duplicates import DuplicatePage, DuplicatePlan
from services.memory.domain.facets import FacetCounts, FacetPlan
from services.memory.domain.memory import Memory
from services.memory.domain.neighbors import NeighborPlan
from services.memory.domain.reads import ALL
from services.memory.filter import EVERYTHING
from services.mesh.caller import Caller
from services.mesh.errors import MemoryBoxError
from tests.contract import test_memory_store_deletions as deletions
from tests.contract import test_memory_store_duplicates as duplicates
from tests.contract import test_memory_store_facets as facets
from tests.contract import test_memory_store_neighbors as neighbors
from tests.support.memories import BOB
from tests.support.model_deletions import ModelDeleter
from tests.support.model_duplicates import find_duplicates
from tests.support.model_facets import count_values
from tests.support.model_neighbors import find_neighbors
from tests.support.model_store import ModelMemoryStore, Record

Promise = Callable[[Any], Awaitable[None]]


class CountsHiddenValues(ModelMemoryStore):
    """Counts values of what the caller may not see."""

    async def facet(self, caller: Caller, plan: FacetPlan) -> FacetCounts:
        return count_values([record.memory for record in self.records.values()], plan.field, plan.limit)


class TellsTheTotal(ModelMemoryStore):
    """Hides values of others, but says how many memories there are."""

    async def facet(self, caller: Caller, plan: FacetPlan) -> FacetCounts:
        return replace(await super().facet(caller, plan), total_count=len(self.records))


class CountsBeforeSelecting(ModelMemoryStore):
    """Counts whatever the selection is."""

    async def facet(self, caller: Caller, plan: FacetPlan) -> FacetCounts:
        return await super().facet(caller, replace(plan, selection=ALL))


class ForgetsTheOthers(ModelMemoryStore):
    """Leaves out what is beyond the limit."""

    async def facet(self, caller: Caller, plan: FacetPlan) -> FacetCounts:
        return replace(await super().facet(caller, plan), other_count=0)


class MixesTypes(ModelMemoryStore):
    """Takes the number 1 for the text."""

    async def facet(self, caller: Caller, plan: FacetPlan) -> FacetCounts:
        counts = await super().facet(caller, plan)
        merged: dict[str, Any] = {}
        for facet in counts.facets:
            known = merged.get(facet.text)
            merged[facet.text] = replace(facet, count=facet.count + known.count) if known else facet
        return replace(counts, facets=tuple(merged.values()))


class GroupsWhatIsHidden(ModelMemoryStore):
    """Groups what the caller may not see."""

    async def duplicates(self, caller: Caller, plan: DuplicatePlan) -> DuplicatePage:
        return find_duplicates(list(self.records.values()), plan, self.spaces.shown.active, self.seq)


class GroupsWhatIsGone(ModelMemoryStore):
    """Forgets what is meant."""

    async def duplicates(self, caller: Caller, plan: DuplicatePlan) -> DuplicatePage:
        return await super().duplicates(caller, replace(plan, bucket=None, filter=EVERYTHING, valid_at=None))


class IgnoresTheMoment(ModelMemoryStore):
    """Lets later memories into a page of an earlier moment."""

    async def duplicates(self, caller: Caller, plan: DuplicatePlan) -> DuplicatePage:
        return await super().duplicates(caller, replace(plan, snapshot=None))


class ComparesContentsAlone(ModelMemoryStore):
    """Never looks at vectors."""

    async def duplicates(self, caller: Caller, plan: DuplicatePlan) -> DuplicatePage:
        return await super().duplicates(caller, replace(plan, min_score=None))


class CountsWhatIsShown(ModelMemoryStore):
    """Says that a group is as large as what is shown of it."""

    async def duplicates(self, caller: Caller, plan: DuplicatePlan) -> DuplicatePage:
        page = await super().duplicates(caller, plan)
        return replace(page, groups=tuple(replace(group, count=len(group.memories)) for group in page.groups))


class FillsItsPages(ModelMemoryStore):
    """Ends pages by the number of groups only."""

    async def duplicates(self, caller: Caller, plan: DuplicatePlan) -> DuplicatePage:
        return await super().duplicates(caller, replace(plan, max_bytes=1 << 60))


class StartsOver(ModelMemoryStore):
    """Answers every page with the first."""

    async def duplicates(self, caller: Caller, plan: DuplicatePlan) -> DuplicatePage:
        return replace(await super().duplicates(caller, replace(plan, after=0)), after=None)


class ShowsHiddenNeighbors(ModelMemoryStore):
    """Shows what stands beside a hit to whoever sees the hit."""

    async def neighbors(self, caller: Caller, plan: NeighborPlan) -> Sequence[tuple[Memory, ...]]:
        return find_neighbors([record.memory for record in self.records.values()], plan)


class ForgetsTheSource(ModelMemoryStore):
    """Takes what is next in time for a neighbour, wherever it comes from."""

    async def neighbors(self, caller: Caller, plan: NeighborPlan) -> Sequence[tuple[Memory, ...]]:
        visible = [record.memory for record in self._all_visible(caller, plan.now, None)]
        blank = NeighborPlan(tuple(_placeless(hit) for hit in plan.hits), plan.reach, plan.now, plan.valid_at)
        return find_neighbors([_placeless(memory) for memory in visible], blank)


class OrdersByWriting(ModelMemoryStore):
    """Orders neighbours by when they were written down."""

    async def neighbors(self, caller: Caller, plan: NeighborPlan) -> Sequence[tuple[Memory, ...]]:
        visible = [record.memory for record in self._all_visible(caller, plan.now, None)]
        hits = tuple(replace(hit, event_time=None) for hit in plan.hits)
        return find_neighbors([replace(one, event_time=None) for one in visible], replace(plan, hits=hits))


class ShowsPastNeighbors(ModelMemoryStore):
    """Shows neighbours that no longer hold."""

    async def neighbors(self, caller: Caller, plan: NeighborPlan) -> Sequence[tuple[Memory, ...]]:
        return await super().neighbors(caller, replace(plan, valid_at=None))


class ShowsAllNeighbors(ModelMemoryStore):
    """Knows no bound of an answer."""

    async def neighbors(self, caller: Caller, plan: NeighborPlan) -> Sequence[tuple[Memory, ...]]:
        return await super().neighbors(caller, replace(plan, max_bytes=1 << 60))


def _placeless(memory: Memory) -> Memory:
    return replace(memory, source=None, bucket="default", owner_user="")


class DeletesWhatOthersShare(ModelDeleter):
    """Deletes all that the owner may see."""

    def meant(self, plan: DeletionPlan) -> list[Record]:
        return [
            record
            for owner in {record.memory.owner_user for record in self._host.records.values()}
            for record in super(DeletesWhatOthersShare, self).meant(replace(plan, owner=owner))
        ]


class DeletesWhatCameLater(ModelDeleter):
    """Deletes what was created after the deletion began."""

    def meant(self, plan: DeletionPlan) -> list[Record]:
        return super().meant(replace(plan, until=None))


class DeletesWithoutAsking(ModelDeleter):
    """Deletes whatever the filter says."""

    def meant(self, plan: DeletionPlan) -> list[Record]:
        return super().meant(replace(plan, filter=EVERYTHING))


class CountsTheBatchAlone(ModelDeleter):
    """Says how many the last batch had."""

    async def delete_some(self, plan: DeletionPlan, operation_id: str, limit: int, act: Act) -> Deleted:
        self._counts.clear()
        return await super().delete_some(plan, operation_id, limit, act)


class StopsAfterABatch(ModelDeleter):
    """Says that nothing is left."""

    async def delete_some(self, plan: DeletionPlan, operation_id: str, limit: int, act: Act) -> Deleted:
        return replace(await super().delete_some(plan, operation_id, limit, act), after=None)


class DeletesForGood(ModelDeleter):
    """Removes what it should hide."""

    async def delete_some(self, plan: DeletionPlan, operation_id: str, limit: int, act: Act) -> Deleted:
        batch = self.meant(plan)[:limit]
        for record in batch:
            del self._host.records[record.memory.memory_id]
        return Deleted(len(batch), None)


async def hidden_duplicates(store: Any) -> None:
    await duplicates.test_duplicates_are_ones_own_unless_all_visible_are_asked_for(store, None)


async def gone_duplicates(store: Any) -> None:
    await duplicates.test_what_is_gone_or_not_meant_is_no_duplicate(store, None)


async def paged_duplicates(store: Any) -> None:
    await duplicates.test_pages_follow_each_other_and_keep_to_the_first_ones_moment(store, None)


async def large_group(store: Any) -> None:
    await duplicates.test_large_group_is_counted_whole_and_shown_in_part(store, None)


async def hidden_from_bob(store: Any) -> None:
    await facets.test_only_what_the_caller_may_see_is_counted(store, "bucket", BOB, 1)


MUTANTS: list[tuple[type[ModelMemoryStore], Promise]] = [
    (CountsHiddenValues, hidden_from_bob),
    (TellsTheTotal, hidden_from_bob),
    (CountsBeforeSelecting, facets.test_counts_are_of_the_selection),
    (ForgetsTheOthers, facets.test_what_is_beyond_the_limit_is_among_the_others),
    (GroupsWhatIsHidden, hidden_duplicates),
    (GroupsWhatIsGone, gone_duplicates),
    (IgnoresTheMoment, paged_duplicates),
    (StartsOver, paged_duplicates),
    (ComparesContentsAlone, duplicates.test_near_vectors_are_grouped_with_their_lowest_cosine),
    (CountsWhatIsShown, large_group),
    (FillsItsPages, duplicates.test_page_ends_early_by_size_and_shows_what_fits_of_its_first_group),
    (ShowsHiddenNeighbors, neighbors.test_neighbours_are_only_what_the_caller_may_see),
    (ForgetsTheSource, neighbors.test_neighbours_share_owner_and_source_or_without_one_the_bucket),
    (OrdersByWriting, neighbors.test_what_happened_counts_before_what_was_written_down),
    (ShowsPastNeighbors, neighbors.test_neighbours_exist_and_hold_at_the_moment),
    (ShowsAllNeighbors, neighbors.test_neighbours_end_at_the_size_of_an_answer),
    (MixesTypes, facets.test_metadata_values_keep_their_types_and_lists_count_each_element),
]


@pytest.mark.parametrize(("mutant", "promise"), MUTANTS, ids=lambda item: item.__name__)
async def test_broken_store_is_caught(mutant: type[ModelMemoryStore], promise: Promise) -> None:
    await promise(ModelMemoryStore())

    with pytest.raises((AssertionError, MemoryBoxError, pytest.fail.Exception)):
        await promise(mutant())


DELETERS: list[tuple[type[ModelDeleter], Promise]] = [
    (DeletesWhatOthersShare, deletions.test_deletion_goes_batch_by_batch_and_counts_all_of_them),
    (DeletesWhatCameLater, deletions.test_deletion_spares_what_was_created_after_it_began),
    (DeletesWithoutAsking, deletions.test_deletion_spares_what_no_longer_passes_the_filter_or_is_gone),
    (CountsTheBatchAlone, deletions.test_deletion_goes_batch_by_batch_and_counts_all_of_them),
    (StopsAfterABatch, deletions.test_deletion_goes_batch_by_batch_and_counts_all_of_them),
    (DeletesForGood, deletions.test_deleted_by_filter_is_a_change_each_and_can_be_undeleted),
]


@pytest.mark.parametrize(("mutant", "promise"), DELETERS, ids=lambda item: item.__name__)
async def test_broken_deleter_is_caught(mutant: type[ModelDeleter], promise: Promise) -> None:
    store = ModelMemoryStore()
    store.deleting = mutant(store)

    with pytest.raises((AssertionError, MemoryBoxError, pytest.fail.Exception)):
        await promise(store)


def test_every_mutant_is_tried() -> None:
    assert {mutant for mutant, _ in DELETERS} == set(ModelDeleter.__subclasses__())
