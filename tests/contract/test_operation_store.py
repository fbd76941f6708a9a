"""What every store of operations promises, and that a store which breaks a promise is caught."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from services.memory.domain.operations import (
    Fault,
    Operation,
    OperationNotFound,
    OperationPlan,
    OperationRunning,
    OperationState,
    OperationStore,
)
from services.memory.stores.embedded import EmbeddedMemoryStore
from services.memory.stores.embedded.governing import EmbeddedOperations
from services.mesh.errors import MemoryBoxError
from tests.support.memories import NOW
from tests.support.model_operations import ModelOperations

MINUTE = timedelta(minutes=1)
KINDS = ("Count",)


@pytest.fixture(params=["embedded", "model"])
async def operations(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OperationStore]:
    if request.param == "model":
        yield ModelOperations()
        return
    store = await EmbeddedMemoryStore.open(tmp_path / "data")
    yield EmbeddedOperations(store)
    await store.close()


def operation(name: str, starter: str = "ann", **fields: Any) -> Operation:
    """Return a new operation."""
    return Operation(name, **({"kind": "Count", "starter": starter, "request": {"to": 3}} | TIMES | fields))


TIMES: dict[str, Any] = {"created_at": NOW, "updated_at": NOW, "due_at": NOW}


async def test_operation_is_kept_as_it_is_and_shown_to_its_starter(operations: OperationStore) -> None:
    added = await operations.add(operation("a"), None)

    assert added == replace(operation("a"), number=added.number)
    assert await operations.get("a", "ann") == added
    assert await operations.get("a", None) == added
    for starter, name in (("bob", "a"), ("ann", "b"), (None, "b")):
        with pytest.raises(OperationNotFound):
            await operations.get(name, starter)


async def test_same_request_key_leads_to_the_first_operation(operations: OperationStore) -> None:
    first = await operations.add(operation("a"), "key")

    assert await operations.add(operation("b"), "key") == first
    assert [one.operation_id for one in await operations.page(OperationPlan(10, None))] == ["a"]


async def test_only_one_of_a_kind_runs_where_that_is_asked(operations: OperationStore) -> None:
    await operations.add(operation("a"), None)

    with pytest.raises(OperationRunning):
        await operations.add(operation("b"), None, alone=True)
    await operations.add(operation("c", kind="Other"), None, alone=True)


async def test_pages_are_youngest_first_and_of_the_starter(operations: OperationStore) -> None:
    for name, starter in (("a", "ann"), ("b", "bob"), ("c", "ann"), ("d", "ann")):
        await operations.add(operation(name, starter), None)

    first = await operations.page(OperationPlan(2, "ann"))
    rest = await operations.page(OperationPlan(2, "ann", before=first[-1].number))
    every = await operations.page(OperationPlan(10, None))

    assert [one.operation_id for page in (first, rest, every) for one in page] == [*"dc", *"a", *"dcba"]


async def test_what_is_due_longest_is_taken_first_and_by_one_holder(operations: OperationStore) -> None:
    await operations.add(operation("later", due_at=NOW + MINUTE), None)
    await operations.add(operation("second", due_at=NOW - MINUTE), None)
    await operations.add(operation("first", due_at=NOW - 2 * MINUTE), None)
    await operations.add(operation("foreign", kind="Other"), None)

    taken = [await operations.take(KINDS, "h", NOW, NOW + MINUTE) for _ in range(3)]

    assert [one and one.operation_id for one in taken] == ["first", "second", None]
    assert taken[0] is not None
    assert taken[0].state is OperationState.RUNNING


async def test_lease_ends_by_itself_or_with_its_holder(operations: OperationStore) -> None:
    await operations.add(operation("a"), None)
    await operations.take(KINDS, "h", NOW, NOW + MINUTE)

    early = await operations.take(KINDS, "h", NOW + MINUTE / 2, NOW + 2 * MINUTE)
    late = await operations.take(KINDS, "h", NOW + MINUTE, NOW + 2 * MINUTE)
    successor = await operations.take(KINDS, "next", NOW + MINUTE, NOW + 3 * MINUTE)

    assert (early, late and late.operation_id, successor and successor.operation_id) == (None, "a", "a")


async def test_step_is_saved_by_its_holder_alone(operations: OperationStore) -> None:
    await operations.add(operation("a"), None)
    taken = await operations.take(KINDS, "h", NOW, NOW + MINUTE)
    assert taken is not None
    moved = replace(taken, cursor={"at": 1}, done_count=1, total_count=3, note="waits", attempts=2)

    lost = await operations.save(moved, "other", NOW + MINUTE)
    kept = await operations.save(moved, "h", NOW + MINUTE)

    assert lost is None
    assert kept == moved == await operations.get("a", "ann")


async def test_over_is_over(operations: OperationStore) -> None:
    await operations.add(operation("a"), None)
    taken = await operations.take(KINDS, "h", NOW, NOW + MINUTE)
    assert taken is not None
    fault = Fault("INTERNAL", "REASON", "why")
    ended = replace(taken, state=OperationState.FAILED, fault=fault, result={"n": 1}, request={})

    await operations.save(ended, "h", None)
    again = await operations.take(KINDS, "h", NOW + 9 * MINUTE, NOW + 10 * MINUTE)
    cancelled = await operations.ask_to_cancel("a", "ann", NOW + MINUTE)

    assert again is None
    assert cancelled == ended == await operations.get("a", None)


async def test_wish_to_cancel_is_its_starters_and_survives_a_step(operations: OperationStore) -> None:
    await operations.add(operation("a", due_at=NOW + 9 * MINUTE), None)
    with pytest.raises(OperationNotFound):
        await operations.ask_to_cancel("a", "bob", NOW)

    asked = await operations.ask_to_cancel("a", "ann", NOW + MINUTE)
    taken = await operations.take(KINDS, "h", NOW + MINUTE, NOW + 2 * MINUTE)
    assert taken is not None
    saved = await operations.save(replace(taken, cancelling=False), "h", NOW + 2 * MINUTE)

    assert (asked.cancelling, asked.updated_at) == (True, NOW + MINUTE)
    assert saved is not None
    assert saved.cancelling


class ShowsOthers(ModelOperations):
    """Shows an operation to whoever knows its id."""

    async def get(self, operation_id: str, starter: str | None) -> Operation:
        return await super().get(operation_id, None)


class StartsTwice(ModelOperations):
    """Forgets request keys."""

    async def add(self, operation: Operation, request_key: str | None, *, alone: bool = False) -> Operation:
        return await super().add(operation, None, alone=alone)


class RunsSideBySide(ModelOperations):
    """Lets any number of a kind run."""

    async def add(self, operation: Operation, request_key: str | None, *, alone: bool = False) -> Operation:
        return await super().add(operation, request_key)


class ListsEveryone(ModelOperations):
    """Lists what others started."""

    async def page(self, plan: OperationPlan) -> Sequence[Operation]:
        return await super().page(replace(plan, starter=None))


class TakesTheYoungest(ModelOperations):
    """Takes the last that came."""

    async def take(self, kinds: Sequence[str], holder: str, now: datetime, until: datetime) -> Operation | None:
        self.kept = dict(reversed(self.kept.items()))
        self.kept = {name: replace(one, due_at=min(one.due_at, NOW)) for name, one in self.kept.items()}
        return await super().take(kinds, holder, now, until)


class LeasesForEver(ModelOperations):
    """Never takes a lease back."""

    async def take(self, kinds: Sequence[str], holder: str, now: datetime, until: datetime) -> Operation | None:
        return await super().take(kinds, holder, now, until + timedelta(days=1))


class SavesForAnyone(ModelOperations):
    """Keeps steps of whoever lost the lease."""

    async def save(self, operation: Operation, holder: str, until: datetime | None) -> Operation | None:
        return await super().save(operation, self.leases[operation.operation_id][0], until)


class ForgetsTheWish(ModelOperations):
    """Overwrites the wish to cancel with a step."""

    async def save(self, operation: Operation, holder: str, until: datetime | None) -> Operation | None:
        self.kept[operation.operation_id] = replace(self.kept[operation.operation_id], cancelling=operation.cancelling)
        return await super().save(operation, holder, until)


class GoesOn(ModelOperations):
    """Takes up what is over."""

    def is_due(self, one: Operation, kinds: Sequence[str], holder: str, now: datetime) -> bool:
        return super().is_due(replace(one, state=OperationState.PENDING), kinds, holder, now)


CAUGHT: list[tuple[type[ModelOperations], Callable[[Any], Awaitable[None]]]] = [
    (ShowsOthers, test_operation_is_kept_as_it_is_and_shown_to_its_starter),
    (StartsTwice, test_same_request_key_leads_to_the_first_operation),
    (RunsSideBySide, test_only_one_of_a_kind_runs_where_that_is_asked),
    (ListsEveryone, test_pages_are_youngest_first_and_of_the_starter),
    (TakesTheYoungest, test_what_is_due_longest_is_taken_first_and_by_one_holder),
    (LeasesForEver, test_lease_ends_by_itself_or_with_its_holder),
    (SavesForAnyone, test_step_is_saved_by_its_holder_alone),
    (ForgetsTheWish, test_wish_to_cancel_is_its_starters_and_survives_a_step),
    (GoesOn, test_over_is_over),
]


@pytest.mark.parametrize(("mutant", "promise"), CAUGHT, ids=lambda item: item.__name__)
async def test_broken_store_is_caught(mutant: type[ModelOperations], promise: Callable[[Any], Awaitable[None]]) -> None:
    with pytest.raises((AssertionError, MemoryBoxError, pytest.fail.Exception)):
        await promise(mutant())


def test_every_mutant_is_tried() -> None:
    assert {mutant for mutant, _ in CAUGHT} == set(ModelOperations.__subclasses__())
