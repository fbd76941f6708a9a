"""Reading memories at once, by external id, and counting them: that part of the store's port."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.memory.domain.memory import Memory
from services.memory.filter import EVERYTHING, Filter
from services.mesh.caller import Caller

MAX_ANSWER_BYTES = 3 << 20  # of the memories in one answer; gRPC receives at most 4 MiB by default


@dataclass(frozen=True, slots=True)
class Selection:
    """Which of the memories that a caller may see are meant: those in *bucket*, that pass *filter*, that hold at *valid_at*."""

    bucket: str | None = None
    filter: Filter = EVERYTHING
    valid_at: datetime | None = None


ALL = Selection()


@dataclass(frozen=True, slots=True)
class Batch:
    """Memories that were asked for by id, and the ids of others that the answer has no room for."""

    memories: tuple[Memory, ...]
    remaining_ids: tuple[str, ...]


class BatchReader(Protocol):
    """Reads memories that exist for the caller otherwise than one by its id."""

    async def find_external(self, caller: Caller, external_id: str, now: datetime) -> Memory | None:
        """Return the caller's own memory of that external id, or None."""
        ...

    async def get_many(
        self, caller: Caller, memory_ids: Sequence[str], now: datetime, max_bytes: int = MAX_ANSWER_BYTES
    ) -> Batch:
        """Return those of *memory_ids*, all different, that *caller* may see, in that order.

        Ends before *max_bytes* are exceeded by the sum of ``Memory.size_bytes``, but holds at least one memory if any is visible.
        """
        ...

    async def count(self, caller: Caller, now: datetime, selection: Selection = ALL) -> int:
        """Return how many memories of *selection* the caller may see."""
        ...
