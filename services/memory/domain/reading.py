"""Reading memories by the dozen: batches by id, lineage, and counts."""

from collections.abc import Callable, Sequence
from datetime import datetime

from services.memory.domain.lineage import Lineage
from services.memory.domain.memories import MAX_BATCH, required_id, utc_now
from services.memory.domain.ports import MemoryStore
from services.memory.domain.reads import Batch, Selection
from services.memory.filter import parse
from services.mesh.caller import Caller
from services.mesh.errors import InvalidInput, Violation


class Reading:
    """The use cases of reading many memories."""

    def __init__(self, store: MemoryStore, clock: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._clock = clock

    async def get_batch(self, caller: Caller, memory_ids: Sequence[str]) -> Batch:
        """Return what *caller* may see of *memory_ids*, in that order, each once. Raises ``InvalidInput``."""
        if not 1 <= len(memory_ids) <= MAX_BATCH:
            description = f"must be 1 to {MAX_BATCH} ids, got {len(memory_ids)}"
            raise InvalidInput(f"memory_ids {description}", violations=[Violation("memory_ids", description)])
        wanted = [required_id(memory_id, f"memory_ids[{place}]") for place, memory_id in enumerate(memory_ids)]
        return await self._store.get_many(caller, list(dict.fromkeys(wanted)), self._clock())

    async def lineage(self, caller: Caller, memory_id: str) -> Lineage:
        """Return what a memory was made from and what was made from it. Raises ``MemoryNotFound``."""
        return await self._store.lineage(caller, required_id(memory_id), self._clock())

    async def count(self, caller: Caller, *, bucket: str, filter_text: str, any_validity: bool = False) -> int:
        """Return how many memories *caller* may see that lie in the bucket, pass the filter and hold now. Raises ``InvalidFilter``."""
        now = self._clock()
        selection = Selection(bucket or None, parse(filter_text), None if any_validity else now)
        return await self._store.count(caller, now, selection)
