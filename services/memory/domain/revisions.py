"""The states a memory has had, as a store gives them: that part of the store's port."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.memory.domain.memory import Memory
from services.mesh.caller import Caller
from services.mesh.errors import NotFound


class RevisionNotFound(NotFound):
    """The caller may see the memory, but it has no such revision, or not for this caller."""

    reason = "REVISION_NOT_FOUND"


@dataclass(frozen=True, slots=True)
class RevisionPlan:
    """One page of the states of a memory, newest first, the current one included: those below *before*, or all.

    *max_bytes* ends a page early by the sum of ``Memory.size_bytes``; at least one state is returned if there is any.
    """

    memory_id: str
    limit: int
    now: datetime
    before: int | None = None
    max_bytes: int = 3 << 20


@dataclass(frozen=True, slots=True)
class RevisionPage:
    """States of one page; *more* says whether another follows."""

    revisions: tuple[Memory, ...]
    more: bool


class RevisionReader(Protocol):
    """Reads former states of memories that exist for the caller now.

    The owner sees all of them. Anyone else sees those states that they could read, by today's roles, while these were current:
    no deleted one, and none that the owner kept to fewer people then.
    """

    async def list_revisions(self, caller: Caller, plan: RevisionPlan) -> RevisionPage:
        """Return one page, or raise ``MemoryNotFound``."""
        ...

    async def get_as_of(self, caller: Caller, memory_id: str, as_of: datetime, now: datetime) -> Memory:
        """Return the state that was current at *as_of*, or raise ``MemoryNotFound``, also if it was deleted or expired then."""
        ...

    async def get_revision(self, caller: Caller, memory_id: str, revision: int, now: datetime) -> Memory:
        """Return one state, or raise ``MemoryNotFound`` or ``RevisionNotFound``."""
        ...
