"""The change feed of the model store, by definition."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from services.memory.domain.feed import EventKind, FeedEvent, FeedPage, FeedPlan
from services.memory.domain.memory import Memory
from services.memory.filter import Filter
from services.mesh.caller import Caller
from tests.support.filters import interpret
from tests.support.model_history import may_read

if TYPE_CHECKING:
    from tests.support.model_store import ModelMemoryStore


class Waker:
    """Wakes one watcher, of any change."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()

    async def wait(self) -> None:
        await self.changed.wait()
        self.changed.clear()


class ModelFeed:
    """The port of watching over a list of all changes: number, state before if there was one, state after."""

    def __init__(self, host: "ModelMemoryStore") -> None:
        self._host = host
        self._log: list[tuple[int, Memory | None, Memory]] = []
        self._expired: dict[int, str] = {}  # number and key of the changes that are expiries
        self._wakers: set[Waker] = set()

    def note(self, number: int, before: Memory | None, after: Memory) -> None:
        """Remember a change."""
        self._log.append((number, before, after))

    def settle(self) -> None:
        """Forget what was rolled back and wake everyone."""
        self._log = [change for change in self._log if change[0] <= self._host.seq]
        for waker in self._wakers:
            waker.changed.set()

    @contextmanager
    def subscribe(self, _caller: Caller) -> Iterator[Waker]:
        waker = Waker()
        self._wakers.add(waker)
        yield waker
        self._wakers.discard(waker)

    async def tell_expired(self, now: datetime, limit: int) -> int:
        """Make changes of expiries."""
        told = set(self._expired.values())
        alive = [record.memory for key, record in self._host.records.items() if key not in told]
        alive = [memory for memory in alive if memory.delete_time is None]
        due = [memory for memory in alive if memory.expires_at is not None and memory.expires_at <= now]
        for memory in sorted(due, key=lambda memory: (memory.expires_at, memory.memory_id))[:limit]:
            assert memory.expires_at is not None
            self._expired[self._host.seq + 1] = self._host.key_of(memory)
            if memory.created_at < memory.expires_at:
                self._host.seq += 1
                self.note(self._host.seq, memory, memory)
        self.settle()
        return min(len(due), limit)

    async def position(self) -> int:
        return self._host.seq

    async def changes(self, caller: Caller, plan: FeedPlan) -> FeedPage:
        events: list[FeedEvent] = []
        size = 0
        for number, before, after in self._log:
            event = self._event(caller, plan, number, before, after) if number > plan.after else None
            if event is None:
                continue
            events.append(event)
            size += event.memory.size_bytes if event.memory else 0
            if len(events) == plan.limit or size >= plan.max_bytes:
                return FeedPage(tuple(events), number, number < self._host.seq)
        return FeedPage(tuple(events), self._host.seq, more=False)

    def _event(
        self, caller: Caller, plan: FeedPlan, number: int, before: Memory | None, after: Memory
    ) -> FeedEvent | None:
        known = before is not None and _was_seen(caller, before, plan.filter)
        at, memory_id = after.updated_at, after.memory_id
        expired = number in self._expired
        if expired:
            at = after.expires_at or at
        if _was_seen(caller, after, plan.filter) and not expired:
            if not _is_readable(caller, self._host.records[self._host.key_of(after)].memory, plan.now):
                return None
            return FeedEvent(number, EventKind.UPDATED if known else EventKind.CREATED, memory_id, after, at)
        if not known:
            return None
        own = after.owner_user == caller.user and interpret(plan.filter, after)
        return FeedEvent(number, EventKind.DELETED, memory_id, after if own else None, at)


def _was_seen(caller: Caller, state: Memory, condition: Filter) -> bool:
    return state.delete_time is None and may_read(caller, state) and interpret(condition, state)


def _is_readable(caller: Caller, current: Memory, now: datetime) -> bool:
    expired = current.expires_at is not None and current.expires_at <= now
    return current.delete_time is None and not expired and may_read(caller, current)
