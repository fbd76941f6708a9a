"""What a store must tell of changes, and to whom."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from services.memory.domain.feed import EventKind, FeedPage, FeedPlan
from services.memory.domain.memory import AccessLevel, ExternalIdTaken, Memory
from services.memory.domain.ports import MemoryStore
from services.memory.filter import parse
from services.mesh.caller import Caller
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
    revised,
)

LATER = NOW + timedelta(hours=1)
SECOND = timedelta(seconds=1)
Event = tuple[str, str, int | None]  # kind, id, revision shown


async def read(store: MemoryStore, caller: Caller = ANN, after: int = 0, **fields: Any) -> FeedPage:
    defaults: dict[str, Any] = {"now": LATER, "limit": 100}
    return await store.feed.changes(caller, FeedPlan(after, **(defaults | fields)))


async def told(store: MemoryStore, caller: Caller = ANN, after: int = 0, **fields: Any) -> list[Event]:
    page = await read(store, caller, after, **fields)
    return [(e.kind.value, e.memory_id, e.memory.revision if e.memory else None) for e in page.events]


async def made(store: MemoryStore, memory_id: str = "m", **fields: Any) -> Memory:
    (memory,) = await apply(store, Caller(fields.get("owner", "ann")), creation(memory_id, **fields))
    return memory


async def changed(store: MemoryStore, memory: Memory, **fields: Any) -> Memory:
    (memory,) = await apply(store, ANN, revised(memory, **fields))
    return memory


async def test_owner_is_told_every_change_with_the_state_after_it(store: MemoryStore) -> None:
    memory = await made(store, content="one")
    memory = await changed(store, memory, content="two")
    memory = await changed(store, memory, content="three")

    page = await read(store)

    assert [(e.kind.value, e.memory and e.memory.content) for e in page.events] == [
        ("CREATED", "one"),
        ("UPDATED", "two"),
        ("UPDATED", "three"),
    ]
    assert page.events[-1].memory == memory
    assert [e.at for e in page.events] == [NOW + timedelta(seconds=n) for n in range(3)]


async def test_deletion_shows_the_owner_what_was_deleted_and_others_the_id_alone(store: MemoryStore) -> None:
    memory = await made(store, access_level=PUBLIC)
    start = await store.feed.position()
    (gone,) = await apply(store, ANN, deletion(memory))

    (event,) = (await read(store, after=start)).events

    assert event.memory == gone
    assert await told(store, BOB, start) == [("DELETED", "m", None)]


async def test_what_was_deleted_since_is_not_shown_any_more(store: MemoryStore) -> None:
    memory = await made(store, access_level=PUBLIC)
    await apply(store, ANN, deletion(await changed(store, memory, content="coffee")))

    assert await told(store, BOB) == [("DELETED", "m", None)]
    assert await told(store, ANN) == [("DELETED", "m", 3)]


async def test_other_owners_private_memories_are_no_event(store: MemoryStore) -> None:
    memory = await changed(store, await made(store), content="coffee")
    await apply(store, ANN, deletion(memory))

    page = await read(store, BOB)

    assert page.events == ()
    assert page.position == await store.feed.position()
    assert not page.more


@pytest.mark.parametrize(
    ("shared", "reader"),
    [
        pytest.param({"access_level": PUBLIC}, BOB, id="public"),
        pytest.param({"access_level": ROLE, "reader_roles": ("NURSE",)}, NURSE, id="role"),
    ],
)
async def test_memory_that_comes_into_sight_is_created_and_one_that_leaves_it_deleted(
    store: MemoryStore, shared: dict[str, Any], reader: Caller
) -> None:
    memory = await made(store, content="secret draft")
    memory = await changed(store, memory, content="shared", **shared)
    memory = await changed(store, memory, content="shared again")
    assert await told(store, reader) == [("CREATED", "m", 2), ("UPDATED", "m", 3)]

    memory = await changed(store, memory, access_level=AccessLevel.PRIVATE, reader_roles=(), content="secret")

    assert await told(store, reader) == [("DELETED", "m", None)]
    assert [event[2] for event in await told(store, ANN)] == [1, 2, 3, 4]
    await changed(store, memory, **shared)
    assert await told(store, reader) == [("CREATED", "m", 2), ("UPDATED", "m", 3), ("DELETED", "m", None), ("CREATED", "m", 5)]  # fmt: skip


async def test_role_that_the_caller_no_longer_holds_shows_nothing(store: MemoryStore) -> None:
    memory = await made(store, access_level=ROLE, reader_roles=("NURSE",))
    await apply(store, ANN, deletion(memory))

    assert await told(store, Caller("nina")) == []


async def test_expired_memory_is_not_shown(store: MemoryStore) -> None:
    await made(store, expires_at=NOW + timedelta(minutes=1))

    assert await told(store, now=NOW) == [("CREATED", "m", 1)]
    assert await told(store, now=LATER) == []


async def test_pages_follow_each_other_without_loss_or_repetition(store: MemoryStore) -> None:
    await fill(store, *(creation(f"m{n}", owner="ann" if n % 2 else "bob") for n in range(10)))
    seen, after, more = [], 0, True

    while more:
        page = await read(store, after=after, limit=2)
        seen += [event.memory_id for event in page.events]
        after, more = page.position, page.more

    assert seen == ["m1", "m3", "m5", "m7", "m9"]
    assert after == await store.feed.position()


async def test_page_ends_early_by_size_but_holds_one_event(store: MemoryStore) -> None:
    await fill(store, *(creation(f"m{n}", "x" * 1000) for n in range(3)))

    first = await read(store, max_bytes=1)

    assert [event.memory_id for event in first.events] == ["m0"]
    assert first.more
    assert [event[1] for event in await told(store, after=first.position)] == ["m1", "m2"]


async def test_filter_narrows_what_is_in_sight(store: MemoryStore) -> None:
    wanted = parse('bucket = "work"')
    memory = await made(store)
    memory = await changed(store, memory, bucket="work")
    memory = await changed(store, memory, content="coffee")
    await changed(store, memory, bucket="home")

    assert await told(store, filter=wanted) == [("CREATED", "m", 2), ("UPDATED", "m", 3), ("DELETED", "m", None)]


async def test_change_that_failed_is_no_event(store: MemoryStore) -> None:
    await made(store, external_id="e")
    with pytest.raises(ExternalIdTaken):
        await apply(store, ANN, creation("a"), creation("b", external_id="e"))
    await made(store, "c")

    assert [event[1] for event in await told(store)] == ["m", "c"]


async def test_subscription_wakes_at_a_commit_also_at_one_before_the_wait(store: MemoryStore) -> None:
    with store.feed.subscribe(ANN) as subscription:
        await made(store, "a")
        await asyncio.wait_for(subscription.wait(), 5)
        waiting = asyncio.ensure_future(subscription.wait())
        await asyncio.sleep(0)
        await made(store, "b")
        await asyncio.wait_for(waiting, 5)


async def test_subscription_wakes_for_what_leaves_the_callers_sight(store: MemoryStore) -> None:
    memory = await made(store, access_level=PUBLIC)
    with store.feed.subscribe(BOB) as subscription:
        await changed(store, memory, access_level=AccessLevel.PRIVATE)

        await asyncio.wait_for(subscription.wait(), 5)


async def test_expiry_is_a_deletion_to_whoever_saw_the_memory(store: MemoryStore) -> None:
    before = await store.feed.position()
    await fill(
        store,
        creation("private", expires_at=NOW + SECOND),
        creation("public", access_level=PUBLIC, expires_at=NOW + 2 * SECOND),
        creation("later", expires_at=NOW + 9 * SECOND),
        creation("never"),
    )
    created = await store.feed.position()

    early = await store.feed.tell_expired(NOW, 10)
    told = await store.feed.tell_expired(NOW + 2 * SECOND, 10)
    again = await store.feed.tell_expired(NOW + 2 * SECOND, 10)

    of_ann = (await store.feed.changes(ANN, FeedPlan(created, NOW + 2 * SECOND, 10))).events
    of_bob = (await store.feed.changes(BOB, FeedPlan(before, NOW + 2 * SECOND, 10))).events
    assert (early, told, again) == (0, 2, 0)
    assert [(event.kind, event.memory_id, event.at) for event in of_ann] == [
        (EventKind.DELETED, "private", NOW + SECOND),
        (EventKind.DELETED, "public", NOW + 2 * SECOND),
    ]
    assert [event.memory and event.memory.content for event in of_ann] == ["tea", "tea"]
    assert [(event.kind, event.memory_id, event.memory) for event in of_bob] == [(EventKind.DELETED, "public", None)]


async def test_expiries_are_told_some_at_a_time_and_wake_watchers(store: MemoryStore) -> None:
    await fill(store, *(creation(f"m{number}", expires_at=NOW + SECOND) for number in range(5)))

    with store.feed.subscribe(ANN) as subscription:
        counts = [await store.feed.tell_expired(NOW + SECOND, 2) for _ in range(4)]
        async with asyncio.timeout(5):
            await subscription.wait()

    assert counts == [2, 2, 1, 0]


async def test_expiry_follows_changes_of_its_time_and_ends_with_the_memory(store: MemoryStore) -> None:
    made = [creation(name, expires_at=NOW + 9 * SECOND) for name in ("sooner", "kept", "deleted")]
    await fill(store, *made)
    await apply(store, ANN, revised(made[0].memory, expires_at=NOW + SECOND))
    await apply(store, ANN, revised(made[1].memory, expires_at=None))
    await apply(store, ANN, deletion(made[2].memory))
    position = await store.feed.position()

    await store.feed.tell_expired(NOW + 60 * SECOND, 10)

    events = (await store.feed.changes(ANN, FeedPlan(position, NOW + 60 * SECOND, 10))).events
    assert [event.memory_id for event in events] == ["sooner"]


async def test_what_had_expired_before_it_was_created_is_no_event(store: MemoryStore) -> None:
    await fill(store, creation("stillborn", expires_at=NOW - SECOND))
    position = await store.feed.position()

    await store.feed.tell_expired(NOW, 10)

    assert (await store.feed.changes(ANN, FeedPlan(position, NOW, 10))).events == ()


async def test_filter_narrows_expiries_too(store: MemoryStore) -> None:
    await fill(store, *(creation(tag, tags=(tag,), expires_at=NOW + SECOND) for tag in "ab"))
    position = await store.feed.position()

    await store.feed.tell_expired(NOW + SECOND, 10)

    plan = FeedPlan(position, NOW + SECOND, 10, parse("tags:b"))
    assert [event.memory_id for event in (await store.feed.changes(ANN, plan)).events] == ["b"]
