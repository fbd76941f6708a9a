"""What the data folder keeps for governance, behind the ports of the domain."""

from collections.abc import Sequence
from datetime import datetime

from services.memory.domain.audit import AuditPlan, Entry, ForeignEvent, KeptEvent, Verification
from services.memory.domain.operations import Operation, OperationPlan
from services.memory.stores.embedded import audit, operations
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


class EmbeddedOperations:
    """An ``OperationStore`` in the data folder of *store*."""

    def __init__(self, store: EmbeddedMemoryStore) -> None:
        self._store = store

    async def add(self, operation: Operation, request_key: str | None) -> Operation:
        """Keep a new operation, or return the one of *request_key*."""
        return await self._store.run(lambda ground: operations.add(ground.connection, operation, request_key))

    async def get(self, operation_id: str, starter: str | None) -> Operation:
        """Return an operation."""
        return await self._store.read(lambda connection: operations.get(connection, operation_id, starter))

    async def page(self, plan: OperationPlan) -> Sequence[Operation]:
        """Return one page."""
        return await self._store.read(lambda connection: operations.page(connection, plan))

    async def ask_to_cancel(self, operation_id: str, starter: str | None, now: datetime) -> Operation:
        """Mark an operation that is not over."""
        return await self._store.run(
            lambda ground: operations.ask_to_cancel(ground.connection, operation_id, starter, now)
        )

    async def take(self, kinds: Sequence[str], holder: str, now: datetime, until: datetime) -> Operation | None:
        """Lease what is due; looks before it writes, as most of the time there is nothing."""
        due = await self._store.read(lambda connection: operations.find_due(connection, kinds, holder, now))
        if due is None:
            return None
        (taken,) = await self._store.run(
            lambda ground: (operations.take(ground.connection, kinds, holder, now, until),)
        )
        return taken

    async def save(self, operation: Operation, holder: str, until: datetime | None) -> Operation | None:
        """Keep what a step changed."""
        (saved,) = await self._store.run(lambda ground: (operations.save(ground.connection, operation, holder, until),))
        return saved
