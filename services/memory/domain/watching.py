"""Watching what changes: one stream of events, which another goes on with where it ended."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.memory.domain.feed import FeedEvent, FeedPlan, FeedStore, Subscription
from services.memory.domain.memories import utc_now
from services.memory.domain.memory import Json
from services.memory.domain.moving import STREAM_LIFE
from services.memory.domain.paging import InvalidResumeToken, Pager
from services.memory.filter import parse
from services.mesh.caller import Caller

PAGE_EVENTS = 100
# What was read longer ago than this is read again before it is sent: a slow reader must not be told what is no longer theirs to know.
FRESH = timedelta(seconds=0.5)


@dataclass(frozen=True, slots=True)
class Told:
    """One message of a watch; *event* None: the stream ends. *resume_token* goes on after it."""

    event: FeedEvent | None
    resume_token: str


class Watches:
    """The use case of watching. *leaving* is set when the process is about to end."""

    def __init__(
        self,
        feed: FeedStore,
        token_key: bytes,
        leaving: asyncio.Event,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._feed = feed
        self._pager = Pager(token_key, InvalidResumeToken)
        self._leaving = leaving
        self._clock = clock

    async def watch(
        self,
        caller: Caller,
        *,
        resume_token: str,
        filter_text: str,
        life: timedelta,
        begun: Callable[[], Awaitable[object]],
    ) -> AsyncGenerator[Told, None]:
        """Yield what changes for *caller* after *resume_token*, or from now on, then that the stream ends: after *life* at the latest.

        Awaits *begun* once nothing can be missed any more. Raises ``InvalidResumeToken``, ``InvalidFilter``.
        """
        until = self._clock() + min(life, STREAM_LIFE)
        request: Json = {"rpc": "WatchMemories", "filter": filter_text}
        wanted = parse(filter_text)
        state = self._pager.open(resume_token, caller, request, self._clock()) if resume_token else None

        def token(after: int) -> str:
            return self._pager.seal(caller, request, {"after": after}, self._clock())

        with self._feed.subscribe(caller) as subscription:
            after = await self._feed.position() if state is None else int(state["after"])
            await begun()
            while (now := self._clock()) < until and not self._leaving.is_set():
                page = await self._feed.changes(caller, FeedPlan(after, now, PAGE_EVENTS, wanted))
                stale = False
                for event in page.events:
                    stale = self._clock() - now > FRESH
                    if stale:
                        break
                    after = event.number
                    yield Told(event, token(after))
                if stale:
                    continue
                after = page.position
                if not page.more:
                    await self._rest(subscription, until - self._clock())
        yield Told(None, token(after))

    async def _rest(self, subscription: Subscription, left: timedelta) -> None:
        """Sleep until something may have changed, the process is leaving, or no time is *left*."""
        tasks = [asyncio.ensure_future(subscription.wait()), asyncio.ensure_future(self._leaving.wait())]
        try:
            await asyncio.wait(tasks, timeout=max(0.0, left.total_seconds()), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
