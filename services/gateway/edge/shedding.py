"""How many calls run at once, and who waits: a queue that never stands, so that overload costs answers and not time.

The number is fixed, as what a call costs differs a thousandfold between methods, and a limit that learns from latency would
take a slow method for overload. The queue tells instead, whatever the calls cost: while it was empty lately, a call may wait
`INTERVAL_S` in it; when it has not been for that long, only `TARGET_S`, and the newest goes first, whose caller is still
there (CoDel and adaptive LIFO, as in "Fail at Scale", ACM Queue 13 (8), 2015).
"""

import asyncio
from collections import deque

from services.gateway.edge.refusals import refuse

INTERVAL_S = 0.1
TARGET_S = 0.005
RETRY_AFTER_S = 1


class Slots:
    """Lets *most* calls run at once."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._empty_at = -INTERVAL_S

    def one(self, left_s: float) -> "_Slot":
        """Hold a slot in the block, or raise 503 when none gets free in time; a call has *left_s* until its deadline."""
        return _Slot(self, left_s)

    async def take(self, left_s: float) -> None:
        """Take a slot, at once where one is free."""
        if self._free and not self._waiting:
            self._free -= 1
            self._empty_at = asyncio.get_running_loop().time()
        else:
            await self._wait(left_s)

    async def _wait(self, left_s: float) -> None:
        loop = asyncio.get_running_loop()
        if not self._waiting:
            self._empty_at = max(self._empty_at, loop.time())
        patience_s = TARGET_S if self._stands(loop.time()) else INTERVAL_S
        slot: asyncio.Future[None] = loop.create_future()
        self._waiting.append(slot)
        try:
            async with asyncio.timeout(min(patience_s, left_s)):
                await slot
        except BaseException as error:
            if slot.done() and not slot.cancelled():
                self.release()  # it came in the moment that we gave up
            elif slot in self._waiting:
                self._waiting.remove(slot)
            if isinstance(error, TimeoutError):
                raise refuse(503, "too many calls at once", reason="OVERLOADED", retry_after_s=RETRY_AFTER_S) from None
            raise

    def _stands(self, now: float) -> bool:
        return now - self._empty_at > INTERVAL_S

    def release(self) -> None:
        """Give a slot back, to whoever waits for one."""
        now = asyncio.get_running_loop().time()
        while self._waiting:
            slot = self._waiting.pop() if self._stands(now) else self._waiting.popleft()
            if not slot.done():
                slot.set_result(None)
                break
        else:
            self._free += 1
        if not self._waiting:
            self._empty_at = now


class _Slot:
    """A context manager of its own: every call goes through it, and a generator costs three times as much."""

    __slots__ = ("_left_s", "_slots")

    def __init__(self, slots: Slots, left_s: float) -> None:
        self._slots = slots
        self._left_s = left_s

    async def __aenter__(self) -> None:
        await self._slots.take(self._left_s)

    async def __aexit__(self, *_: object) -> None:
        self._slots.release()
