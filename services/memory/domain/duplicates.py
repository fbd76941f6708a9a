"""Groups of memories that say the same: that part of the store's port."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.memory.domain.memory import Memory
from services.memory.domain.reads import MAX_ANSWER_BYTES
from services.memory.filter import EVERYTHING, Filter
from services.memory.filter.folding import fold
from services.mesh.caller import Caller

MAX_MEMBERS = 100  # of one group that are shown
MAX_COMPARED = 300_000_000  # pairs of vectors for one page: some two seconds


def content_key(content: str) -> str:
    """Return what contents that say the same to a reader share: compatibility-normalised, case-folded, blanks as one space."""
    return " ".join(fold(content).split())


@dataclass(frozen=True, slots=True)
class DuplicatePlan:
    """One page of groups among the caller's own memories or, with *visible*, among all that they may see.

    Two memories are duplicates when their contents have one ``content_key`` or, with *min_score*, when the cosine of their contents'
    vectors in the active space reaches it. Older is what was created by an earlier change. A memory without an older duplicate
    represents its younger ones; with *min_score* one may have several representatives, and stands in the group of each.

    Groups follow each other by the age of their representatives, the oldest first. *after* is where the page before ended; what was
    created after commit *snapshot* stays out. *max_compared* ends a page early by the work it takes, perhaps without any group.
    """

    limit: int
    now: datetime
    min_score: float | None = None
    visible: bool = False
    bucket: str | None = None
    filter: Filter = EVERYTHING
    valid_at: datetime | None = None
    after: int = 0
    snapshot: int | None = None
    max_compared: int = MAX_COMPARED
    max_bytes: int = MAX_ANSWER_BYTES


@dataclass(frozen=True, slots=True)
class DuplicateGroup:
    """Memories that say the same, the representative first, the others oldest first, at most ``MAX_MEMBERS``; *count* is of all.

    *similarity* is the lowest cosine between the representative and another one shown, None unless cosines were compared;
    where a vector of the active space is missing it counts as 1.
    """

    memories: tuple[Memory, ...]
    count: int
    similarity: float | None = None


@dataclass(frozen=True, slots=True)
class DuplicatePage:
    """Groups of one page, and what the next plan must carry; *after* None: this was the last."""

    groups: tuple[DuplicateGroup, ...]
    after: int | None
    snapshot: int


class DuplicateReader(Protocol):
    """Finds duplicates among memories that exist for the caller."""

    async def duplicates(self, caller: Caller, plan: DuplicatePlan) -> DuplicatePage:
        """Return one page. It ends early by the sum of ``Memory.size_bytes``, but the first group has at least two memories."""
        ...


@dataclass(slots=True)
class Room:
    """What a page may still hold, by the sum of ``Memory.size_bytes``."""

    left: int
    groups: int = 0

    def take(self, memories: list[Memory]) -> tuple[Memory, ...]:
        """Return those of a group's *memories* that fit, at least two of the first group; none when the page must end before it."""
        sizes = [memory.size_bytes for memory in memories]
        if self.groups and sizes[0] + sizes[1] > self.left:
            return ()
        self.groups += 1
        taken = 0
        for size in sizes:
            if taken > 1 and size > self.left:
                break
            self.left -= size
            taken += 1
        return tuple(memories[:taken])
