"""What memories were made from and what was made from them, as far as a caller may see."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.memory.domain.memory import Memory
from services.mesh.caller import Caller

MAX_KIN = 1000  # memories in one direction
MAX_KIN_BYTES = 3 << 19  # in one direction: both fit an answer of 3 MiB


@dataclass(frozen=True, slots=True)
class Lineage:
    """Kin of a memory, the nearest first, of equal distance the youngest first; *truncated* when there are more.

    Ancestors are its parents (``source.parent_memory_ids``) and the memories that it superseded, and theirs; descendants the reverse.
    """

    ancestors: tuple[Memory, ...]
    descendants: tuple[Memory, ...]
    truncated: bool = False


class LineageReader(Protocol):
    """Follows links between memories, only through those that exist for the caller."""

    async def lineage(
        self, caller: Caller, memory_id: str, now: datetime, max_kin: int = MAX_KIN, max_bytes: int = MAX_KIN_BYTES
    ) -> Lineage:
        """Return the kin of one memory, each direction within the bounds, or raise ``MemoryNotFound``."""
        ...
