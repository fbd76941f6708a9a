"""Rules of watches: what is read again before it is told, and how a stream ends."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from services.memory.domain.feed import EventKind, FeedEvent, FeedPage, FeedPlan
from services.memory.domain.watching import Told, Watches
from services.mesh.caller import Caller

ANN = Caller("ann")
KEY = b"k" * 32
LIFE = timedelta(hours=1)


class Clock:
    """Stands still until moved."""

    def __init__(self) -> None:
        self.now = datetime(2030, 1, 2, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class Rope:
    async def wait(self) -> None:
        await asyncio.Event().wait()


class ListFeed:
    """Has *events* and counts how often it is asked."""

    def __init__(self, events: list[FeedEvent]) -> None:
        self.events = events
        self.asked: list[int] = []
        self.open = 0

    @contextmanager
    def subscribe(self, _caller: Caller) -> Iterator[Rope]:
        self.open += 1
        yield Rope()
        self.open -= 1

    async def position(self) -> int:
        return 0

    async def changes(self, caller: Caller, plan: FeedPlan) -> FeedPage:
        self.asked.append(plan.after)
        events = tuple(event for event in self.events if event.number > plan.after)
        return FeedPage(events, self.events[-1].number if self.events else plan.after, more=False)

    async def tell_expired(self, now: datetime, limit: int) -> int:
        raise AssertionError("a watch tells of changes; who sweeps makes them")


def event(number: int) -> FeedEvent:
    return FeedEvent(number, EventKind.DELETED, f"m{number}", None, datetime(2030, 1, 2, tzinfo=UTC))


async def nothing() -> None:
    return None


def watch(feed: ListFeed, clock: Clock, leaving: asyncio.Event, life: timedelta = LIFE, token: str = "") -> "Stream":
    watches = Watches(feed, KEY, leaving, clock)
    return Stream(watches, life, token)


class Stream:
    def __init__(self, watches: Watches, life: timedelta, token: str) -> None:
        self.told = watches.watch(ANN, resume_token=token, filter_text="", life=life, begun=nothing)

    async def next(self) -> Told:
        return await asyncio.wait_for(anext(self.told), 5)


async def test_what_was_read_a_while_ago_is_read_again_before_it_is_told() -> None:
    feed, clock = ListFeed([event(1), event(2), event(3)]), Clock()
    stream = watch(feed, clock, asyncio.Event())
    first = await stream.next()
    clock.now += timedelta(seconds=1)  # a slow reader
    feed.events = [event(1), event(3)]  # what 2 told is no longer theirs to know

    second = await stream.next()

    assert first.event == event(1)
    assert second.event == event(3)
    assert feed.asked == [0, 1]


async def test_stream_ends_after_a_quarter_of_an_hour_whatever_was_asked_for() -> None:
    feed, clock = ListFeed([event(1)]), Clock()
    stream = watch(feed, clock, asyncio.Event(), life=timedelta(days=1))
    await stream.next()
    clock.now += timedelta(minutes=15)

    last = await stream.next()

    assert last.event is None
    assert [told async for told in stream.told] == []
    assert feed.open == 0
    feed.events.append(event(2))
    again = watch(feed, clock, asyncio.Event(), token=last.resume_token)
    assert (await again.next()).event == event(2)


async def test_resting_stream_ends_when_the_process_leaves() -> None:
    leaving = asyncio.Event()
    stream = watch(ListFeed([]), Clock(), leaving)
    waiting = asyncio.ensure_future(stream.next())
    await asyncio.sleep(0.01)
    leaving.set()

    assert (await waiting).event is None


async def test_stream_without_time_tells_only_that_it_ends() -> None:
    stream = watch(ListFeed([event(1)]), Clock(), asyncio.Event(), life=timedelta(0))

    assert (await stream.next()).event is None
