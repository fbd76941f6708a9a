"""How much of everything: requests under way, and the pace at which a body must come in."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from services.gateway.edge.refusals import refuse

RETRY_AFTER_S = 1
_LOOKS_PER_PAUSE = 4  # how often the pace is looked at within the longest pause


class InFlight:
    """Counts requests under way and refuses those beyond *limit*."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._idle = asyncio.Event()
        self._idle.set()
        self.count = 0

    def one(self) -> "InFlight":
        """Hold a place in the block while a request is served, or raise 503 with Retry-After."""
        return self

    def __enter__(self) -> None:
        if self.count >= self._limit:
            raise refuse(503, "too many requests under way", reason="OVERLOADED", retry_after_s=RETRY_AFTER_S)
        self.count += 1
        self._idle.clear()

    def __exit__(self, *_: object) -> None:
        self.count -= 1
        if not self.count:
            self._idle.set()

    async def all_done(self) -> None:
        """Return when nothing is under way."""
        await self._idle.wait()


@dataclass(frozen=True, slots=True)
class BodyPace:
    """A body pauses for at most ``pause_s``, and after ``grace_s`` has come in at ``rate`` bytes a second on average."""

    pause_s: float
    grace_s: float
    rate: int


class Incoming(Protocol):
    """The body of a request as it arrives."""

    total_bytes: int

    def is_eof(self) -> bool:
        """Say whether all of it is there."""
        ...


class _Watch:
    """Looks at one body from time to time; time in which we do not read is not counted."""

    def __init__(self, request: web.BaseRequest, pace: BodyPace, scope: asyncio.Timeout, *, streamed: bool) -> None:
        self._request = request
        self._body: Incoming = request.content
        self._scope = scope
        self._pause_s = max(pace.pause_s, pace.grace_s) if streamed else pace.pause_s
        self._grace_s = pace.grace_s
        self._rate = 0 if streamed else pace.rate
        self._loop = asyncio.get_running_loop()
        self._seen = self._body.total_bytes
        self._active_s = 0.0
        self._paused_s = 0.0
        self._handle: asyncio.TimerHandle | None = None
        self._looked_at = self._loop.time()
        self._later()

    def _later(self) -> None:
        self._handle = self._loop.call_later(self._pause_s / _LOOKS_PER_PAUSE, self._look)

    def _look(self) -> None:
        if self._body.is_eof():
            return
        now = self._loop.time()
        elapsed, self._looked_at = now - self._looked_at, now
        if not self._is_held_back():
            self._active_s += elapsed
            came = self._body.total_bytes - self._seen
            self._seen += came
            self._paused_s = 0.0 if came else self._paused_s + elapsed
            starved = self._active_s > self._grace_s and self._seen < self._rate * self._active_s
            if self._paused_s >= self._pause_s or starved:
                self._scope.reschedule(now)
                return
        self._later()

    def _is_held_back(self) -> bool:
        transport = self._request.transport
        return transport is not None and not transport.is_reading()

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()


@asynccontextmanager
async def paced_body(request: web.BaseRequest, pace: BodyPace, *, streamed: bool = False) -> AsyncIterator[None]:
    """Raise 408 inside the block as soon as the body of *request* comes in too slowly.

    *streamed* uploads come as their makers get on, so only pauses count, and longer ones are allowed.
    """
    if not request.body_exists or request.content.is_eof():
        yield
        return
    try:
        async with asyncio.timeout(None) as scope:
            watch = _Watch(request, pace, scope, streamed=streamed)
            try:
                yield
            finally:
                watch.stop()
    except TimeoutError:
        if not scope.expired():
            raise
        raise refuse(
            408, "the request body came in too slowly", reason="SLOW_BODY", headers=[("Connection", "close")]
        ) from None
