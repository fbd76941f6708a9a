"""What every memory store promises of deletions by filter."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from services.memory.domain.audit import Act
from services.memory.domain.deletions import DeletionPlan
from services.memory.domain.feed import EventKind, FeedPlan
from services.memory.domain.history import History
from services.memory.domain.ports import MemoryStore
from services.memory.filter import parse
from tests.support.memories import ANN, BOB, NOW, NURSE, PUBLIC, ROLE, apply, creation, deletion, fill, listed, revised
from tests.support.memory import FakeEmbedder

LATER = NOW + timedelta(minutes=1)
ACT = Act("ann", "Delete", LATER)


def plan(text: str = "tags:old", *, after: int = 0, until: int | None = None) -> DeletionPlan:
    """Return a plan for Ann's memories."""
    return DeletionPlan("ann", parse(text), LATER, after, until)


async def delete_all(store: MemoryStore, wanted: DeletionPlan, limit: int = 2) -> Sequence[int]:
    """Delete batch by batch; return the count after each."""
    counts, after = [], wanted.after
    while True:
        deleted = await store.deleting.delete_some(
            DeletionPlan(wanted.owner, wanted.filter, wanted.now, after, wanted.until), "operation", limit, ACT
        )
        counts.append(deleted.count)
        if deleted.after is None:
            return counts
        after = deleted.after


async def five(store: MemoryStore) -> None:
    """Keep five old memories of Ann, and others that are not meant."""
    await fill(store, *(creation(f"m{number}", tags=("old",)) for number in range(5)))
    await fill(store, creation("young"), creation("bobs", owner="bob", tags=("old",), access_level=PUBLIC))


async def test_survey_counts_what_is_meant_and_names_the_first(store: MemoryStore) -> None:
    await five(store)

    survey = await store.deleting.survey(plan(), 2)

    assert (survey.count, survey.first_ids) == (5, ("m0", "m1"))
    assert survey.until == await store.feed.position()


async def test_deletion_goes_batch_by_batch_and_counts_all_of_them(store: MemoryStore) -> None:
    await five(store)

    assert await delete_all(store, plan()) == [2, 4, 5]
    assert await listed(store, ANN) == ["young", "bobs"]


async def test_deletion_spares_what_others_own_however_visible(store: MemoryStore) -> None:
    nurses: dict[str, Any] = {"access_level": ROLE, "reader_roles": ("NURSE",)}
    await fill(store, creation("public", owner="bob", access_level=PUBLIC), creation("shared", owner="bob", **nurses))
    wanted = DeletionPlan("nina", parse("revision > 0"), LATER)

    assert (await store.deleting.survey(wanted, 10)).count == 0
    assert (await store.deleting.delete_some(wanted, "operation", 10, ACT)).count == 0
    assert sorted(await listed(store, NURSE)) == ["public", "shared"]


async def test_deletion_spares_what_was_created_after_it_began(store: MemoryStore) -> None:
    await five(store)
    began = await store.deleting.survey(plan(), 0)
    await fill(store, creation("new", tags=("old",)))

    await delete_all(store, plan(until=began.until))

    assert sorted(await listed(store, ANN)) == ["bobs", "new", "young"]


async def test_deletion_spares_what_no_longer_passes_the_filter_or_is_gone(store: MemoryStore) -> None:
    await five(store)
    began = await store.deleting.survey(plan(), 0)
    await apply(store, ANN, revised(await store.get(ANN, "m1", NOW), tags=()))
    await apply(store, ANN, deletion(await store.get(ANN, "m2", NOW)))
    await fill(store, creation("expired", at=NOW, tags=("old",), expires_at=LATER))

    assert (await delete_all(store, plan(until=began.until)))[-1] == 3
    assert "m1" in await listed(store, ANN)


async def test_repeated_batch_deletes_and_counts_nothing_twice(store: MemoryStore) -> None:
    await five(store)
    once = await store.deleting.delete_some(plan("bucket = default"), "operation", 3, ACT)

    again = await store.deleting.delete_some(plan("bucket = default"), "operation", 3, ACT)

    assert (once.count, again.count) == (3, 6)
    assert (await store.deleting.delete_some(plan("bucket = default"), "another", 3, ACT)).count == 0


async def test_deleted_by_filter_is_a_change_each_and_can_be_undeleted(store: MemoryStore) -> None:
    await fill(store, creation("a", tags=("old",)), creation("b", tags=("old",), access_level=PUBLIC))
    before = await store.feed.position()

    await delete_all(store, plan())

    events = (await store.feed.changes(ANN, FeedPlan(before, LATER, 10))).events
    of_bob = (await store.feed.changes(BOB, FeedPlan(before, LATER, 10))).events
    assert [(event.kind, event.memory_id) for event in events] == [(EventKind.DELETED, "a"), (EventKind.DELETED, "b")]
    assert [(event.memory_id, event.memory) for event in of_bob] == [("b", None)]
    back = await History(store, FakeEmbedder(), lambda: LATER).undelete(ANN, "a")
    assert (back.revision, back.delete_time) == (3, None)
