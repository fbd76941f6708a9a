"""Deleting many memories of one owner: that part of the store's port."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.memory.domain.audit import Act
from services.memory.filter import Filter


@dataclass(frozen=True, slots=True)
class DeletionPlan:
    """Means the memories of *owner* that exist at *now* and pass *filter*, oldest first: by the number of the change that created each.

    *after* is the number of the last one looked at; those created after number *until* stay, None: there are none yet.
    """

    owner: str
    filter: Filter
    now: datetime
    after: int = 0
    until: int | None = None


@dataclass(frozen=True, slots=True)
class Survey:
    """What a plan means at this moment: how many, the ids of the first ones, and the number of the last change there is."""

    count: int
    first_ids: tuple[str, ...]
    until: int


@dataclass(frozen=True, slots=True)
class Deleted:
    """How many memories an operation has deleted so far, and where it goes on; *after* None: there is nothing left."""

    count: int
    after: int | None


class DeletingStore(Protocol):
    """Deletes the caller's own by the batch."""

    async def survey(self, plan: DeletionPlan, samples: int) -> Survey:
        """Return what *plan* means, with up to *samples* ids."""
        ...

    async def delete_some(self, plan: DeletionPlan, operation_id: str, limit: int, act: Act) -> Deleted:
        """Delete the next *limit* memories as ``Delete`` does, each a change of its own, and record *act* with them in one commit.

        What no longer passes the filter, was deleted or expired by then stays as it is. The count is of all calls with
        *operation_id*, those of processes that were killed included.
        """
        ...
