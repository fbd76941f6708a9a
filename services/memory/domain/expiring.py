"""Telling watchers that memories have expired: reads look at the clock by themselves, an open stream has to be woken."""

import asyncio
import logging

from services.memory.domain.feed import FeedStore
from services.memory.domain.memories import Clock, utc_now
from services.mesh.errors import MemoryBoxError

PERIOD_S = 0.25  # a quarter of what is promised
BATCH = 200

_log = logging.getLogger(__name__)


class Expiries:
    """Makes a change of every expiry, soon after it."""

    def __init__(self, feed: FeedStore, clock: Clock = utc_now, period_s: float = PERIOD_S) -> None:
        self._feed = feed
        self._clock = clock
        self._period_s = period_s

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            try:
                told = await self._feed.tell_expired(self._clock(), BATCH)
            except MemoryBoxError as error:
                _log.warning("expiries wait for their next turn", extra={"reason": error.reason})
                told = 0
            if told < BATCH:
                await asyncio.sleep(self._period_s)
