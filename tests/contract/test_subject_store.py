"""What every store promises of a person's data, and that a store which breaks a promise is caught."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.memory.domain.memory import Memory, MemoryNotFound, Source
from services.memory.domain.ports import MemoryStore, Undelete
from services.memory.domain.revisions import RevisionPlan
from services.memory.domain.subject_data import BATCH, PAGE, Counts, Progress, SubjectRecord, SubjectStore
from services.memory.stores.embedded import EmbeddedMemoryStore
from services.memory.stores.embedded.governing import EmbeddedSubjectData
from services.mesh.errors import MemoryBoxError
from tests.support.memories import (
    ANN,
    BOB,
    NOW,
    NURSE,
    PUBLIC,
    ROLE,
    apply,
    creation,
    deletion,
    fill,
    found,
    keyword_search,
    listed,
    revised,
)
from tests.support.model_store import ModelMemoryStore, Record
from tests.support.model_subjects import ModelSubjects

Pair = tuple[MemoryStore, SubjectStore]


@pytest.fixture(params=["embedded", "model"])
async def pair(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pair]:
    if request.param == "model":
        model = ModelMemoryStore()
        yield model, ModelSubjects(model)
        return
    store = await EmbeddedMemoryStore.open(tmp_path / "data")
    yield store, EmbeddedSubjectData(store)
    await store.close()


async def kept(store: MemoryStore) -> None:
    """Keep four memories of ann's: private with a past, for nurses, public, deleted public; and a public one of bob's."""
    source = Source(uri="https://example.com/ann")
    await fill(
        store,
        creation("private", "first tea", external_id="a"),
        creation("role", "tea", access_level=ROLE, reader_roles=("NURSE",)),
        creation("public", "tea for all", access_level=PUBLIC, external_id="p", source=source),
        creation("gone", "old tea", access_level=PUBLIC),
        creation("bobs", "tea", owner="bob", access_level=PUBLIC),
    )
    await apply(store, ANN, revised(await store.get(ANN, "private", NOW), content="second tea"))
    await apply(store, ANN, revised(await store.get(ANN, "public", NOW), content="tea for everyone"))
    await apply(store, ANN, deletion(await store.get(ANN, "gone", NOW)))


async def many(store: MemoryStore, number: int) -> None:
    """Keep so many public memories of ann's."""
    await apply(store, ANN, *(creation(f"m{n:04}", access_level=PUBLIC) for n in range(number)))


async def to_end(step: Callable[[str, str], Awaitable[Progress]], operation_id: str = "op") -> list[Progress]:
    """Take a step of *operation_id* on ann's data until it is the last."""
    steps = [await step("ann", operation_id)]
    while not steps[-1].finished:
        steps.append(await step("ann", operation_id))
    return steps


def things(counts: Counts) -> tuple[int, int]:
    return counts.get("memories", 0), counts.get("revisions", 0)


async def test_everything_of_one_person_is_counted_and_handed_out(pair: Pair) -> None:
    store, subjects = pair
    await kept(store)

    records, after = await subjects.page("ann", 0)

    assert things(await subjects.count("ann")) == (4, 3)
    assert things(await subjects.count("nobody")) == (0, 0)
    assert [record.record["memory_id"] for record in records] == ["private", "role", "public", "gone"]
    assert records[0].record["content"] == "second tea"
    assert after is None


async def test_pages_hand_out_everything_once(pair: Pair) -> None:
    store, subjects = pair
    await many(store, PAGE + 2)

    first, after = await subjects.page("ann", 0)
    assert after is not None
    second, end = await subjects.page("ann", after)

    ids = [record.record["memory_id"] for record in [*first, *second]]
    assert ids == [f"m{n:04}" for n in range(PAGE + 2)]
    assert (len(first), end) == (PAGE, None)


async def test_erased_is_everything_of_one_person_and_nothing_else(pair: Pair) -> None:
    store, subjects = pair
    await kept(store)

    await to_end(subjects.erase_some)

    assert await listed(store, ANN) == await listed(store, NURSE) == await listed(store, BOB) == ["bobs"]
    assert await found(store, NURSE, keyword_search("tea")) == ["bobs"]
    assert things(await subjects.count("ann")) == (0, 0)
    with pytest.raises(MemoryNotFound):
        await apply(store, ANN, Undelete("gone", NOW))
    await fill(store, creation("new", external_id="a"))
    assert await listed(store, ANN) == ["new", "bobs"]


async def test_erasing_goes_by_the_batch_and_counts_all_of_it(pair: Pair) -> None:
    store, subjects = pair
    await many(store, BATCH + 1)

    steps = await to_end(subjects.erase_some)
    repeated = await subjects.erase_some("ann", "op")
    another = await subjects.erase_some("ann", "another")

    assert [things(step.counts)[0] for step in steps] == [BATCH, BATCH + 1, BATCH + 1]
    assert [step.finished for step in steps] == [False, False, True]
    assert (things(repeated.counts)[0], repeated.finished) == (BATCH + 1, True)
    assert (things(another.counts)[0], another.finished) == (0, True)


async def test_anonymous_is_what_others_may_read_and_the_rest_is_erased(pair: Pair) -> None:
    store, subjects = pair
    await kept(store)

    steps = await to_end(subjects.anonymize_some)

    assert await listed(store, ANN) == ["public", "bobs"]
    assert await listed(store, NURSE) == ["role", "public", "bobs"]
    assert things(steps[-1].counts) == (4, 3)
    assert things(await subjects.count("ann")) == (0, 0)
    with pytest.raises(MemoryNotFound):
        await apply(store, ANN, Undelete("gone", NOW))


async def test_what_is_anonymous_tells_nothing_of_its_owner(pair: Pair) -> None:
    store, subjects = pair
    await kept(store)
    await to_end(subjects.anonymize_some)

    public, role = await the(store, "public"), await the(store, "role")

    assert public.owner_user.startswith("anonymous:")
    assert public.owner_user == role.owner_user, "it is one owner still"
    assert (public.content, public.external_id, public.source) == ("tea for everyone", "", None)
    states = (await store.list_revisions(NURSE, RevisionPlan("public", 10, NOW))).revisions
    assert [state.content for state in states] == ["tea for everyone"]


async def test_two_operations_make_two_owners(pair: Pair) -> None:
    store, subjects = pair
    await fill(store, creation("one", access_level=PUBLIC))
    await to_end(subjects.anonymize_some, "first")
    await fill(store, creation("two", access_level=PUBLIC))
    await to_end(subjects.anonymize_some, "second")

    assert (await the(store, "one")).owner_user != (await the(store, "two")).owner_user


async def the(store: MemoryStore, memory_id: str) -> Memory:
    return await store.get(NURSE, memory_id, NOW)


class ForgetsThePast(ModelSubjects):
    """Does not count former states."""

    async def count(self, owner: str) -> Counts:
        return {**await super().count(owner), "revisions": 0}


class StopsAtAPage(ModelSubjects):
    """Hands out the first page."""

    async def page(self, owner: str, after: int) -> tuple[list[SubjectRecord], int | None]:
        records, _ = await super().page(owner, after)
        return records, None


class ErasesEveryone(ModelSubjects):
    """Minds no owner."""

    def of(self, owner: str) -> list[tuple[str, Record]]:
        return sorted(self.host.records.items(), key=lambda item: item[1].created_seq)


class KeepsTheDeleted(ModelSubjects):
    """Takes what was deleted for erased."""

    def of(self, owner: str) -> list[tuple[str, Record]]:
        return [(key, record) for key, record in super().of(owner) if record.memory.delete_time is None]


class CountsEachBatch(ModelSubjects):
    """Tells of the last batch alone."""

    async def erase_some(self, owner: str, operation_id: str) -> Progress:
        self.done.pop(operation_id, None)
        return await super().erase_some(owner, operation_id)


class ErasesWhatOthersRead(ModelSubjects):
    """Makes nothing anonymous."""

    def give_away(self, key: str, record: Record, operation_id: str) -> None:
        self.remove(key, operation_id)


class KeepsTheSource(ModelSubjects):
    """Leaves what tells whose it was."""

    def give_away(self, key: str, record: Record, operation_id: str) -> None:
        super().give_away(key, record, operation_id)
        memory = replace(self.host.records[key].memory, source=record.memory.source)
        self.host.records[key] = replace(record, memory=memory)


class KeepsThePast(ModelSubjects):
    """Leaves former states."""

    def give_away(self, key: str, record: Record, operation_id: str) -> None:
        former = self.host.former.get(key, ())
        super().give_away(key, record, operation_id)
        self.host.former[key] = former


class KnowsOneNobody(ModelSubjects):
    """Gives everything to the same owner."""

    def give_away(self, key: str, record: Record, operation_id: str) -> None:
        super().give_away(key, record, operation_id)
        memory = replace(self.host.records[key].memory, owner_user="anonymous:0")
        self.host.records[key] = replace(record, memory=memory)


CAUGHT: list[tuple[type[ModelSubjects], Callable[[Any], Awaitable[None]]]] = [
    (ForgetsThePast, test_everything_of_one_person_is_counted_and_handed_out),
    (KeepsTheDeleted, test_everything_of_one_person_is_counted_and_handed_out),
    (StopsAtAPage, test_pages_hand_out_everything_once),
    (ErasesEveryone, test_erased_is_everything_of_one_person_and_nothing_else),
    (KeepsTheDeleted, test_erased_is_everything_of_one_person_and_nothing_else),
    (CountsEachBatch, test_erasing_goes_by_the_batch_and_counts_all_of_it),
    (ErasesWhatOthersRead, test_anonymous_is_what_others_may_read_and_the_rest_is_erased),
    (KeepsTheSource, test_what_is_anonymous_tells_nothing_of_its_owner),
    (KeepsThePast, test_what_is_anonymous_tells_nothing_of_its_owner),
    (KnowsOneNobody, test_two_operations_make_two_owners),
]


@pytest.mark.parametrize(("mutant", "promise"), CAUGHT, ids=lambda item: item.__name__)
async def test_broken_store_is_caught(mutant: type[ModelSubjects], promise: Callable[[Any], Awaitable[None]]) -> None:
    store = ModelMemoryStore()

    with pytest.raises((AssertionError, MemoryBoxError, pytest.fail.Exception)):
        await promise((store, mutant(store)))


def test_every_mutant_is_tried() -> None:
    assert {mutant for mutant, _ in CAUGHT} == set(ModelSubjects.__subclasses__())
