"""The promises of embedding spaces are tested too: a store that breaks one of them fails."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from services.memory.domain.memory import Embedding, Memory
from services.memory.domain.ports import Create, Replace, SearchPage, SearchPlan
from services.memory.domain.spaces import Filling, Spaces, Unfilled
from services.mesh.caller import Caller
from services.mesh.errors import MemoryBoxError
from tests.contract import test_memory_store_spaces as promises
from tests.contract.test_memory_store_mutants import Promise
from tests.support.model_spaces import ModelSpaces
from tests.support.model_store import ModelMemoryStore


class MixesSpaces(ModelMemoryStore):
    """Compares vectors of different spaces."""

    async def search(self, caller: Caller, plan: SearchPlan) -> SearchPage:
        if plan.embedding is not None:
            plan = replace(plan, embedding=replace(plan.embedding, space=self.spaces.shown.active))
        return await super().search(caller, plan)


class TakesAnySpace(ModelMemoryStore):
    """Keeps a vector of another space, by which nothing is ever found."""

    def _create(self, caller: Caller, change: Create) -> Memory:
        return super()._create(caller, replace(change, embedding=self._renamed(change.embedding)))

    def _replace(self, caller: Caller, change: Replace) -> Memory:
        embedding = change.embedding and self._renamed(change.embedding)
        return super()._replace(caller, replace(change, embedding=embedding))

    def _renamed(self, embedding: Embedding) -> Embedding:
        return replace(embedding, space=self.spaces.shown.active or embedding.space)


class _Spaced(ModelMemoryStore):
    spaces_of: type[ModelSpaces]

    def __init__(self) -> None:
        super().__init__()
        self.spaces = self.spaces_of(self)


class _Early(ModelSpaces):
    async def switch(self) -> bool:
        for record in self._host.records.values():
            if record.embedding.twin is None:
                twin = Embedding(self.shown.target, promises.in_new("").vector)
                self._host.records[record.memory.memory_id] = replace(
                    record, embedding=replace(record.embedding, twin=twin)
                )
        return await super().switch()


class SwitchesEarly(_Spaced):
    """Switches although memories lack a vector in the new space."""

    spaces_of = _Early


class _Living(ModelSpaces):
    async def unfilled(self, space: str, after: int, limit: int, max_bytes: int) -> Sequence[Unfilled]:
        gone = {r.created_seq for r in self._host.records.values() if r.memory.delete_time is not None}
        return [row for row in await super().unfilled(space, after, limit, max_bytes) if row.number not in gone]

    async def count_unfilled(self, space: str) -> tuple[int, int]:
        living = list(await self.unfilled(space, 0, 1 << 30, 1 << 60))
        return len(living), len(self._host.records)


class ForgetsTheDeleted(_Spaced):
    """Leaves those out that are deleted and may be undeleted."""

    spaces_of = _Living


class _Stale(ModelSpaces):
    async def fill(self, fillings: Sequence[Filling]) -> int:
        numbers = {r.created_seq: self._content_revision(r) for r in self._host.records.values()}
        return await super().fill([replace(one, revision=numbers[one.number]) for one in fillings])


class FillsWithTheFormerContent(_Spaced):
    """Keeps a vector of a content that has changed since."""

    spaces_of = _Stale


class _Twinless(ModelSpaces):
    def placed(self, embedding: Embedding) -> Embedding:
        return replace(super().placed(embedding), twin=None)


class LosesTwins(_Spaced):
    """Forgets what a write brings for the new space."""

    spaces_of = _Twinless


class _Hasty(ModelSpaces):
    async def fill(self, fillings: Sequence[Filling]) -> int:
        filled = await super().fill(fillings)
        if filled:
            self.shown = Spaces(self.shown.target, self.shown.active)
        return filled


class ShowsTheHalf(_Spaced):
    """Compares in the new space before all of it is there."""

    spaces_of = _Hasty


class _Messy(ModelSpaces):
    async def sweep(self, limit: int) -> int:
        return 0


class NeverSweeps(_Spaced):
    """Keeps vectors that nothing is compared with."""

    spaces_of = _Messy


class _Greedy(ModelSpaces):
    async def sweep(self, limit: int) -> int:
        return await super().sweep(1 << 30)


class SweepsAllAtOnce(_Spaced):
    """Drops more than it was told to."""

    spaces_of = _Greedy


class _Endless(ModelSpaces):
    async def set_target(self, space: str) -> None:
        if space:
            await super().set_target(space)


class NeverAbandons(_Spaced):
    """Goes on with what was given up."""

    spaces_of = _Endless


MUTANTS: list[tuple[type[ModelMemoryStore], Promise]] = [
    (MixesSpaces, promises.test_vectors_of_two_spaces_are_never_compared),
    (TakesAnySpace, promises.test_vector_of_another_space_is_refused_and_leaves_nothing),
    (TakesAnySpace, promises.test_write_of_the_space_before_the_switch_is_refused),
    (SwitchesEarly, promises.test_switch_waits_for_every_memory_also_deleted_ones),
    (SwitchesEarly, promises.test_write_without_a_twin_is_filled_before_the_switch),
    (ForgetsTheDeleted, promises.test_switch_waits_for_every_memory_also_deleted_ones),
    (FillsWithTheFormerContent, promises.test_filling_of_a_content_that_has_changed_is_left_out),
    (LosesTwins, promises.test_write_with_a_twin_needs_no_filling),
    (ShowsTheHalf, promises.test_filling_shows_nothing_before_the_switch),
    (NeverSweeps, promises.test_sweep_drops_what_the_switch_left_and_memories_say_where_they_lie),
    (SweepsAllAtOnce, promises.test_sweep_drops_what_the_switch_left_and_memories_say_where_they_lie),
    (NeverAbandons, promises.test_abandoned_filling_leaves_everything_as_it_was),
    (NeverAbandons, promises.test_filling_of_an_abandoned_space_is_left_out),
]


@pytest.mark.parametrize(
    ("mutant", "promise"), [pytest.param(*case, id=f"{case[0].__name__}-{case[1].__name__}") for case in MUTANTS]
)
async def test_broken_store_is_caught(mutant: type[ModelMemoryStore], promise: Promise) -> None:
    await promise(ModelMemoryStore())

    with pytest.raises((AssertionError, MemoryBoxError, pytest.fail.Exception)):
        await promise(mutant())
