"""What the data folder keeps for governance, behind the ports of the domain."""

from collections.abc import Sequence

from services.memory.domain.audit import AuditPlan, Entry, ForeignEvent, KeptEvent, Verification
from services.memory.stores.embedded import audit
from services.memory.stores.embedded.store import EmbeddedMemoryStore
from services.memory.stores.embedded.writer import Ground


class EmbeddedAuditLog:
    """An ``AuditLog`` in the data folder of *store*."""

    def __init__(self, store: EmbeddedMemoryStore) -> None:
        self._store = store

    async def append(self, entries: Sequence[Entry]) -> None:
        """Keep *entries* durably."""

        def task(ground: Ground) -> int:
            ground.audit.append(entries)
            return len(entries)

        await self._store.run(task)

    async def take_in(self, writer_id: str, events: Sequence[ForeignEvent]) -> int:
        """Keep what is new; return the last seq."""
        return await self._store.run(lambda ground: ground.audit.take_in(writer_id, events))

    async def page(self, plan: AuditPlan) -> Sequence[KeptEvent]:
        """Return one page."""
        return await self._store.read(lambda connection: audit.read_page(connection, plan))

    async def verify(self) -> Verification:
        """Walk all chains."""
        return await self._store.read(audit.verify)
