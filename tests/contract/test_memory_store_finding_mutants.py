"""Stores that break a promise of counting or finding are caught by the test that is named for it."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from services.memory.domain.audit import Act
from services.memory.domain.deletions import Deleted, DeletionPlan
from services.memory.domain.facets import FacetCounts, FacetPlan
from services.memory.domain.reads import ALL
from services.memory.filter import EVERYTHING
from services.mesh.caller import Caller
from services.mesh.errors import MemoryBoxError
from tests.contract import test_memory_store_deletions as deletions
from tests.contract import test_memory_store_facets as facets
from tests.support.memories import BOB
from tests.support.model_deletions import ModelDeleter
from tests.support.model_facets import count_values
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


async def hidden_from_bob(store: Any) -> None:
    await facets.test_only_what_the_caller_may_see_is_counted(store, "bucket", BOB, 1)


MUTANTS: list[tuple[type[ModelMemoryStore], Promise]] = [
    (CountsHiddenValues, hidden_from_bob),
    (TellsTheTotal, hidden_from_bob),
    (CountsBeforeSelecting, facets.test_counts_are_of_the_selection),
    (ForgetsTheOthers, facets.test_what_is_beyond_the_limit_is_among_the_others),
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
