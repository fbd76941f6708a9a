"""The port of watching: what a change feed needs from a store."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from services.memory.domain.memory import Memory
from services.memory.filter import EVERYTHING, Filter
from services.mesh.caller import Caller


class EventKind(StrEnum):
    """What a change is to one caller: what they may not see does not exist for them."""

    CREATED = "CREATED"  # it came into being, or into sight
    UPDATED = "UPDATED"
    DELETED = "DELETED"  # it is gone, or out of sight


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """A change as one caller may know it; *number* is that of the change.

    *memory* is the state after the change. A DELETED has it only for the owner; for anyone else it is None.
    """

    number: int
    kind: EventKind
    memory_id: str
    memory: Memory | None
    at: datetime


@dataclass(frozen=True, slots=True)
class FeedPlan:
    """The next changes after number *after*, in commit order; *max_bytes* ends a page early by the sum of ``Memory.size_bytes``."""

    after: int
    now: datetime
    limit: int
    filter: Filter = EVERYTHING
    max_bytes: int = 1 << 20


@dataclass(frozen=True, slots=True)
class FeedPage:
    """Events, and the number up to which every change is told or none of the caller's business; *more* may follow at once."""

    events: tuple[FeedEvent, ...]
    position: int
    more: bool


class Subscription(Protocol):
    """Wakes one watcher."""

    async def wait(self) -> None:
        """Return when something that the caller may see, or could, may have changed since this returned last."""
        ...


class FeedStore(Protocol):
    """Tells what changed; who may know is decided inside the query, by what holds when it runs."""

    def subscribe(self, caller: Caller) -> AbstractContextManager[Subscription]:
        """Return what wakes *caller*'s watcher, from now until it is left."""
        ...

    async def position(self) -> int:
        """Return the number of the last change."""
        ...

    async def tell_expired(self, now: datetime, limit: int) -> int:
        """Make a change of each of the next *limit* memories that have expired by *now*, as of then; return how many were due.

        To whoever saw one it is DELETED. One that had expired before it was created is none.
        """
        ...

    async def changes(self, caller: Caller, plan: FeedPlan) -> FeedPage:
        """Return the next events for *caller*.

        A state is shown only if *caller* could read it and can read the memory now; an event that would need more is left out,
        as the change that took the memory away follows it.
        """
        ...
