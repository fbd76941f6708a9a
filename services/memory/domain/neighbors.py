"""Memories next to a found one: that part of the store's port."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.memory.domain.memory import Memory
from services.memory.domain.reads import MAX_ANSWER_BYTES
from services.mesh.caller import Caller

MAX_NEIGHBORS = 10  # on either side


@dataclass(frozen=True, slots=True)
class NeighborPlan:
    """Asks for up to *reach* memories before and after each of *hits*.

    Neighbours are of one owner and one ``place_of``, in the order of (``moment_of``, memory_id); they exist for the caller and
    hold at *valid_at*. The answer ends before the hit that would exceed *max_bytes* by the sum of ``Memory.size_bytes``, hits counted
    too; the first hit has those that fit, the nearest first, of equally near ones the one before.
    """

    hits: tuple[Memory, ...]
    reach: int
    now: datetime
    valid_at: datetime | None = None
    max_bytes: int = MAX_ANSWER_BYTES


class NeighborReader(Protocol):
    """Finds what stands beside memories that the caller was shown."""

    async def neighbors(self, caller: Caller, plan: NeighborPlan) -> Sequence[tuple[Memory, ...]]:
        """Return the neighbours of each hit in their order, for as many hits as fit, at least the first."""
        ...


def place_of(memory: Memory) -> tuple[str, str]:
    """Return what neighbours share: the source's URI or, without one, the bucket."""
    uri = memory.source.uri if memory.source else ""
    return ("uri", uri) if uri else ("bucket", memory.bucket)


def moment_of(memory: Memory) -> datetime:
    """Return when it happened, as far as is known."""
    return memory.event_time or memory.created_at


def fitting(before: Sequence[Memory], after: Sequence[Memory], room: int) -> tuple[Memory, ...]:
    """Return the nearest of both sides, each nearest first, that fit in *room* bytes, in order."""
    kept_before: list[Memory] = []
    kept_after: list[Memory] = []
    for distance in range(max(len(before), len(after))):
        for side, kept in ((before, kept_before), (after, kept_after)):
            if distance < len(side) and len(kept) == distance and side[distance].size_bytes <= room:
                room -= side[distance].size_bytes
                kept.append(side[distance])
    return (*reversed(kept_before), *kept_after)


def within(
    hits: Sequence[Memory], sides: Sequence[tuple[Sequence[Memory], Sequence[Memory]]], max_bytes: int
) -> list[tuple[Memory, ...]]:
    """Return the neighbours of as many of *hits* as an answer holds; *sides* are what stands before and after each, nearest first."""
    answer: list[tuple[Memory, ...]] = []
    room = max_bytes
    for hit, (before, after) in zip(hits, sides, strict=True):
        room -= hit.size_bytes
        size = sum(memory.size_bytes for memory in (*before, *after))
        if size > room:
            return answer or [fitting(before, after, room)]
        room -= size
        answer.append((*reversed(before), *after))
    return answer
