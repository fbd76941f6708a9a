"""The suite can fail: stores that break one promise each are caught by the test that is named for it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from services.memory.domain.lineage import MAX_KIN, MAX_KIN_BYTES, Lineage
from services.memory.domain.memory import Memory
from services.memory.domain.ports import (
    Create,
    ListPage,
    ListPlan,
    MatchedPart,
    MemoryStore,
    Replace,
    SearchPage,
    SearchPlan,
    Undelete,
    UnitOfWork,
)
from services.memory.domain.reads import ALL, MAX_ANSWER_BYTES, Batch, Selection
from services.memory.domain.revisions import RevisionPage, RevisionPlan
from services.mesh.caller import Caller
from services.mesh.errors import MemoryBoxError
from tests.contract import test_memory_store as basics
from tests.contract import test_memory_store_batches as batches
from tests.contract import test_memory_store_history as history
from tests.contract import test_memory_store_isolation as isolation
from tests.contract import test_memory_store_lineage as lineages
from tests.contract import test_memory_store_parts as parts
from tests.contract import test_memory_store_search as searching
from tests.contract import test_memory_store_validity as validity
from tests.support.memories import EAST, hybrid_search, vector_search
from tests.support.model_store import ModelMemoryStore, Record, may_see

Promise = Callable[[MemoryStore], Awaitable[None]]


class ShowsEverything(ModelMemoryStore):
    """Reads by id without asking who reads."""

    async def get(self, caller: Caller, memory_id: str, now: datetime) -> Memory:
        return self.records[memory_id].memory


class CountsEverything(ModelMemoryStore):
    """Counts what the caller may not see."""

    async def count(self, caller: Caller, now: datetime, selection: Selection = ALL) -> int:
        return len(self.records)


class FiltersAfterPaging(ModelMemoryStore):
    """Cuts the page first and removes what the caller may not see afterwards."""

    async def list(self, caller: Caller, plan: ListPlan) -> ListPage:
        owners = {record.memory.owner_user for record in self.records.values()}
        pages = [await super(FiltersAfterPaging, self).list(Caller(owner), plan) for owner in owners]
        rows = sorted((m for page in pages for m in page.memories), key=lambda m: (m.created_at, m.memory_id))[::-1]
        kept = tuple(m for m in rows[: plan.limit] if m.owner_user == caller.user)
        return ListPage(kept, len(rows) > plan.limit, self.seq)


class GlobalStatistics(ModelMemoryStore):
    """Takes keyword statistics over all rows: other owners' writes shift scores."""

    async def search(self, caller: Caller, plan: SearchPlan) -> SearchPage:
        page = await super().search(caller, plan)
        factor = 1.0 + len(self.records) / 1e6
        return replace(page, hits=tuple(replace(hit, rank_score=hit.rank_score * factor) for hit in page.hits))


class KeepsHalf(ModelMemoryStore):
    """Applies changes one by one, so that a failing unit leaves its first half."""

    async def apply(self, work: UnitOfWork) -> tuple[Memory, ...]:
        done: list[Memory] = []
        for change in work.changes:
            done += await super().apply(UnitOfWork(work.caller, (change,)))
        return tuple(done)


class CreatesTwice(ModelMemoryStore):
    """Takes a repeated request for a new one."""

    async def apply(self, work: UnitOfWork) -> tuple[Memory, ...]:
        for change in work.changes:
            if isinstance(change, Create):
                self.records.pop(change.memory.memory_id, None)
        return await super().apply(work)


class IgnoresSnapshots(ModelMemoryStore):
    """Lets later creations into a page that belongs to an earlier moment."""

    def _all_visible(self, caller: Caller, now: datetime, snapshot: int | None) -> list[Record]:
        return super()._all_visible(caller, now, None)


class NeverExpires(ModelMemoryStore):
    """Forgets about expiry when it counts rows."""

    def _all_visible(self, caller: Caller, now: datetime, snapshot: int | None) -> list[Record]:
        return super()._all_visible(caller, datetime.min.replace(tzinfo=now.tzinfo), snapshot)


class BreaksTiesAtRandom(ModelMemoryStore):
    """Orders equal ranks by memory id alone."""

    async def search(self, caller: Caller, plan: SearchPlan) -> SearchPage:
        page = await super().search(caller, plan)
        return replace(page, hits=tuple(sorted(page.hits, key=lambda hit: (-hit.rank_score, hit.memory.memory_id))))


class SplitsNothing(ModelMemoryStore):
    """Ends pages by number of rows only."""

    async def list(self, caller: Caller, plan: ListPlan) -> ListPage:
        return await super().list(caller, replace(plan, max_bytes=1 << 60))


class ForgetsStates(ModelMemoryStore):
    """Keeps the first state only."""

    def _keep_state(self, memory: Memory) -> None:
        if len(self.former.get(memory.memory_id, ())) < 1:
            super()._keep_state(memory)


class ShowsAllStates(ModelMemoryStore):
    """Shows every former state to whoever may see the memory now."""

    async def list_revisions(self, caller: Caller, plan: RevisionPlan) -> RevisionPage:
        owner = Caller(self._visible(caller, plan.memory_id, plan.now).memory.owner_user)
        return await super().list_revisions(owner, plan)


class CountsHiddenStates(ModelMemoryStore):
    """Lets a page tell that there are states which it hides."""

    async def list_revisions(self, caller: Caller, plan: RevisionPlan) -> RevisionPage:
        page = await super().list_revisions(caller, plan)
        return replace(page, more=len(self.former.get(plan.memory_id, ())) + 1 > len(page.revisions))


class UndeletesForAnyone(ModelMemoryStore):
    """Brings a memory back for whoever asks."""

    async def apply(self, work: UnitOfWork) -> tuple[Memory, ...]:
        known = [self.records.get(change.memory_id) for change in work.changes if isinstance(change, Undelete)]
        owners = [Caller(record.memory.owner_user) for record in known if record]
        return await super().apply(UnitOfWork(owners[0], work.changes) if owners else work)


class KeepsTheClaimFree(ModelMemoryStore):
    """Forgets to take the external id back."""

    def _check_external_id(self, memory: Memory) -> None:
        if memory.memory_id not in self.records:
            super()._check_external_id(memory)


class NamesHiddenIds(ModelMemoryStore):
    """Names what a batch has no room for without asking who asks."""

    async def get_many(
        self, caller: Caller, memory_ids: Sequence[str], now: datetime, max_bytes: int = MAX_ANSWER_BYTES
    ) -> Batch:
        batch = await super().get_many(caller, memory_ids, now, max_bytes)
        found = {memory.memory_id for memory in batch.memories}
        return replace(batch, remaining_ids=tuple(memory_id for memory_id in memory_ids if memory_id not in found))


class SortsBatches(ModelMemoryStore):
    """Answers a batch in the order of ids."""

    async def get_many(
        self, caller: Caller, memory_ids: Sequence[str], now: datetime, max_bytes: int = MAX_ANSWER_BYTES
    ) -> Batch:
        return await super().get_many(caller, sorted(memory_ids), now, max_bytes)


class CountsTheWholeBucket(ModelMemoryStore):
    """Counts without looking at validity."""

    async def count(self, caller: Caller, now: datetime, selection: Selection = ALL) -> int:
        return await super().count(caller, now, replace(selection, valid_at=None))


class ForgetsParts(ModelMemoryStore):
    """Keeps the vector of the whole content alone."""

    def _create(self, caller: Caller, change: Create) -> Memory:
        return super()._create(caller, replace(change, embedding=replace(change.embedding, parts=())))


class LosesPartsOnChange(ModelMemoryStore):
    """Drops the parts when anything else of the memory changes."""

    def _replace(self, caller: Caller, change: Replace) -> Memory:
        record = self.records[change.memory.memory_id]
        self.records[change.memory.memory_id] = replace(record, embedding=replace(record.embedding, parts=()))
        return super()._replace(caller, change)


class KeepsFormerParts(ModelMemoryStore):
    """Finds a changed content by the parts that it had."""

    def _replace(self, caller: Caller, change: Replace) -> Memory:
        former = self.records[change.memory.memory_id].embedding.parts
        embedding = change.embedding and replace(change.embedding, parts=change.embedding.parts + former)
        return super()._replace(caller, replace(change, embedding=embedding))


class AnswersEachPart(ModelMemoryStore):
    """Makes a hit of every part."""

    async def search(self, caller: Caller, plan: SearchPlan) -> SearchPage:
        page = await super().search(caller, plan)
        hits = (hit for hit in page.hits for _ in self.records[hit.memory.memory_id].embedding.parts or (None,))
        return replace(page, hits=tuple(hits))


class NamesTheFirstPart(ModelMemoryStore):
    """Says that the first part matched, whichever did."""

    async def search(self, caller: Caller, plan: SearchPlan) -> SearchPage:
        page = await super().search(caller, plan)
        first = MatchedPart(0, 0, 6)
        return replace(page, hits=tuple(replace(hit, matched_part=hit.matched_part and first) for hit in page.hits))


class ForgetsValidity(ModelMemoryStore):
    """Lists and finds what does not hold at the moment."""

    async def list(self, caller: Caller, plan: ListPlan) -> ListPage:
        return await super().list(caller, replace(plan, valid_at=None))

    async def search(self, caller: Caller, plan: SearchPlan) -> SearchPage:
        return await super().search(caller, replace(plan, valid_at=None))


class HoldsTooLong(ModelMemoryStore):
    """Takes the end of a validity for a part of it."""

    async def list(self, caller: Caller, plan: ListPlan) -> ListPage:
        earlier = plan.valid_at and plan.valid_at - timedelta(microseconds=1)
        return await super().list(caller, replace(plan, valid_at=earlier))


class RepeatsUnits(ModelMemoryStore):
    """Does the rest of a repeated unit again."""

    def _repetition(self, work: UnitOfWork) -> Memory | None:
        return None


class FollowsHiddenLinks(ModelMemoryStore):
    """Follows links through what the caller may not see."""

    async def lineage(
        self, caller: Caller, memory_id: str, now: datetime, max_kin: int = MAX_KIN, max_bytes: int = MAX_KIN_BYTES
    ) -> Lineage:
        self._visible(caller, memory_id, now)
        owners = (Caller(record.memory.owner_user) for record in list(self.records.values()))
        found = [
            await super(FollowsHiddenLinks, self).lineage(owner, memory_id, now, max_kin, max_bytes)
            for owner in owners
            if may_see(owner, self.records[memory_id].memory, now)
        ]
        visible = {one.memory_id: one for each in found for one in each.descendants if may_see(caller, one, now)}
        return replace(found[0], descendants=tuple(visible.values()))


class ShowsThePresent(ModelMemoryStore):
    """Answers what was with what is."""

    async def list(self, caller: Caller, plan: ListPlan) -> ListPage:
        return await super().list(caller, replace(plan, as_of=None))


class FindsExternalIdsOfOthers(ModelMemoryStore):
    """Compares external ids across owners."""

    async def find_external(self, caller: Caller, external_id: str, now: datetime) -> Memory | None:
        for record in list(self.records.values()):
            found = await super().find_external(Caller(record.memory.owner_user), external_id, now)
            if found:
                return found
        return None


async def _search_by_validity(store: MemoryStore) -> None:
    await validity.test_search_finds_what_holds_at_the_moment(store, vector_search(EAST))


async def _bit_identity(store: MemoryStore) -> None:
    await isolation.test_other_owners_writes_leave_scores_bit_identical(store, hybrid_search("tea password", EAST))


async def _bit_identity_of_vectors(store: MemoryStore) -> None:
    await isolation.test_other_owners_writes_leave_scores_bit_identical(store, vector_search(EAST))


MUTANTS: list[tuple[type[ModelMemoryStore], Promise]] = [
    (ShowsEverything, isolation.test_private_memory_exists_for_its_owner_alone),
    (CountsEverything, isolation.test_other_owners_writes_change_no_list_or_count),
    (FiltersAfterPaging, isolation.test_other_owners_writes_change_no_list_or_count),
    (GlobalStatistics, _bit_identity),
    (GlobalStatistics, _bit_identity_of_vectors),
    (KeepsHalf, basics.test_unit_of_work_leaves_nothing_when_one_change_fails),
    (CreatesTwice, basics.test_create_answers_with_the_stored_memory_when_repeated),
    (IgnoresSnapshots, basics.test_list_leaves_out_what_was_created_after_its_snapshot),
    (IgnoresSnapshots, searching.test_later_creations_stay_out_of_a_snapshot),
    (NeverExpires, basics.test_expired_memory_is_gone_from_its_time_on),
    (BreaksTiesAtRandom, searching.test_equal_ranks_are_ordered_by_youth_then_id),
    (SplitsNothing, basics.test_list_page_ends_early_at_its_size),
    (ForgetsStates, history.test_every_state_is_kept_whole_newest_first),
    (ShowsAllStates, history.test_readers_see_only_states_that_they_could_read_then),
    (ShowsAllStates, history.test_readers_do_not_see_that_a_memory_was_deleted_for_a_while),
    (CountsHiddenStates, history.test_page_of_a_reader_tells_nothing_of_hidden_states),
    (UndeletesForAnyone, history.test_undelete_is_for_the_owner_and_shows_nothing_to_others),
    (KeepsTheClaimFree, history.test_undelete_takes_the_external_id_back_or_is_refused),
    (NamesHiddenIds, batches.test_batch_ends_early_and_names_the_visible_rest),
    (SortsBatches, batches.test_batch_keeps_the_order_asked_and_leaves_out_what_is_absent),
    (ForgetsValidity, validity.test_list_holds_what_holds_at_the_moment),
    (ForgetsValidity, _search_by_validity),
    (HoldsTooLong, validity.test_list_holds_what_holds_at_the_moment),
    (RepeatsUnits, validity.test_repeated_unit_does_nothing_and_returns_what_it_made),
    (FollowsHiddenLinks, lineages.test_lineage_leads_only_through_what_the_caller_may_see),
    (ShowsThePresent, history.test_reads_as_of_a_moment_show_the_state_of_then),
    (FindsExternalIdsOfOthers, batches.test_memory_is_found_by_its_owners_external_id_alone),
    (CountsTheWholeBucket, batches.test_count_is_of_the_selection),
    (ForgetsParts, parts.test_content_is_found_by_any_of_its_parts),
    (ForgetsParts, parts.test_threshold_and_min_score_weigh_the_best_part),
    (LosesPartsOnChange, parts.test_parts_stay_while_the_content_does),
    (KeepsFormerParts, parts.test_parts_of_the_former_content_find_nothing),
    (AnswersEachPart, parts.test_content_in_parts_is_among_the_hits_once),
    (NamesTheFirstPart, parts.test_content_is_found_by_any_of_its_parts),
]


@pytest.mark.parametrize(
    ("mutant", "promise"), [pytest.param(*case, id=f"{case[0].__name__}-{case[1].__name__}") for case in MUTANTS]
)
async def test_broken_store_is_caught(mutant: type[ModelMemoryStore], promise: Promise) -> None:
    await promise(ModelMemoryStore())

    with pytest.raises((AssertionError, MemoryBoxError, pytest.fail.Exception)):
        await promise(mutant())
