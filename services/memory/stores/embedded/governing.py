"""What the data folder keeps for governance, behind the ports of the domain."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from services.memory.domain.audit import AuditPage, AuditPlan, Entry, ForeignEvent, Touched, Verification, current_act
from services.memory.domain.operations import Operation, OperationPlan
from services.memory.domain.quotas import Quota, StorageStats, Usage
from services.memory.domain.retention import Cutoffs, Due, RetentionPolicy
from services.memory.domain.subject_data import Counts, Progress, SubjectRecord
from services.memory.stores.embedded import audit, erasure, operations, quotas, retention
from services.memory.stores.embedded.store import EmbeddedMemoryStore
from services.memory.stores.embedded.writer import Ground

Result = TypeVar("Result")


async def _write(store: EmbeddedMemoryStore, task: Callable[[Ground], Result], touched: Sequence[Touched]) -> Result:
    """Run *task*, and record the call that it is part of, in one commit."""
    act = current_act()

    def recorded(ground: Ground) -> Result:
        result = task(ground)
        if act is not None:
            ground.audit.append([Entry(act, "OK", tuple(touched))])
        return result

    result = await store.run(recorded)
    if act is not None:
        act.written = True
    return result


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

    async def page(self, plan: AuditPlan) -> AuditPage:
        """Return one page."""
        return await self._store.read(lambda connection: audit.read_page(connection, plan))

    async def verify(self) -> Verification:
        """Walk all chains."""
        return await self._store.read(audit.verify)

    async def anchor(self, at: datetime) -> str | None:
        """Anchor all chains."""
        (root,) = await self._store.run(lambda ground: (ground.audit.anchor(at),))
        return root

    async def knows(self, method: str, resource_ids: Sequence[str]) -> bool:
        """Say whether there is an event of *method* with exactly these ids."""
        return await self._store.read(lambda connection: audit.knows(connection, method, resource_ids))


class EmbeddedOperations:
    """An ``OperationStore`` in the data folder of *store*."""

    def __init__(self, store: EmbeddedMemoryStore) -> None:
        self._store = store

    async def add(self, operation: Operation, request_key: str | None, *, alone: bool = False) -> Operation:
        """Keep a new operation, or return the one of *request_key*."""
        owner = operation.request.get("owner_user", "")
        touched = (Touched(operation.name), *([Touched("", owner)] if owner else []))
        return await _write(
            self._store, lambda ground: operations.add(ground.connection, operation, request_key, alone=alone), touched
        )

    async def get(self, operation_id: str, starter: str | None) -> Operation:
        """Return an operation."""
        return await self._store.read(lambda connection: operations.get(connection, operation_id, starter))

    async def page(self, plan: OperationPlan) -> Sequence[Operation]:
        """Return one page."""
        return await self._store.read(lambda connection: operations.page(connection, plan))

    async def ask_to_cancel(self, operation_id: str, starter: str | None, now: datetime) -> Operation:
        """Mark an operation that is not over."""
        return await _write(
            self._store,
            lambda ground: operations.ask_to_cancel(ground.connection, operation_id, starter, now),
            (Touched(f"operations/{operation_id}"),),
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


class EmbeddedSubjectData:
    """A ``SubjectStore`` in the data folder of *store*."""

    def __init__(self, store: EmbeddedMemoryStore) -> None:
        self._store = store

    async def count(self, owner: str) -> Counts:
        """Return how many things of each kind are kept."""
        return await self._store.read(lambda connection: erasure.count(connection, owner))

    async def page(self, owner: str, after: int) -> tuple[list[SubjectRecord], int | None]:
        """Return the next things."""
        return await self._store.read(lambda connection: erasure.export_page(connection, owner, after))

    async def erase_some(self, owner: str, operation_id: str) -> Progress:
        """Erase a batch."""
        return await self._store.run(lambda ground: erasure.erase_some(ground, owner, operation_id))

    async def anonymize_some(self, owner: str, operation_id: str) -> Progress:
        """Make a batch anonymous."""
        return await self._store.run(lambda ground: erasure.anonymize_some(ground, owner, operation_id))

    async def scrub(self) -> None:
        """Rewrite the file without the bytes of what was erased; writes wait meanwhile."""
        await self._store.scrub()


class EmbeddedQuotas:
    """A ``QuotaStore`` in the data folder of *store*."""

    def __init__(self, store: EmbeddedMemoryStore) -> None:
        self._store = store

    async def usage(self, owner: str) -> Usage:
        """Return what *owner* has stored and may store."""
        return await self._store.read(lambda connection: quotas.read_usage(connection, owner))

    async def set_quota(self, owner: str, quota: Quota) -> None:
        """Keep a quota."""
        await _write(
            self._store, lambda ground: quotas.set_quota(ground.connection, owner, quota), (Touched("", owner),)
        )

    async def stats(self) -> StorageStats:
        """Return what the store holds and held."""
        return await self._store.read(quotas.read_stats)

    async def sample(self, day: str) -> None:
        """Keep what the store holds as that day's."""
        stats = await self.stats()
        await self._store.run(lambda ground: quotas.keep_sample(ground.connection, day, stats))


class EmbeddedRetention:
    """A ``RetentionStore`` in the data folder of *store*."""

    def __init__(self, store: EmbeddedMemoryStore) -> None:
        self._store = store

    async def policy(self) -> RetentionPolicy:
        """Return the policy."""
        return await self._store.read(retention.read_policy)

    async def set_policy(self, policy: RetentionPolicy) -> None:
        """Keep a policy."""
        await _write(self._store, lambda ground: retention.set_policy(ground.connection, policy), ())

    async def due(self, cutoffs: Cutoffs) -> Due:
        """Count what is due."""
        return await self._store.read(lambda connection: retention.count_due(connection, cutoffs))

    async def archive_some(self, cutoff: datetime, limit: int, now: datetime) -> int:
        """Hide some memories."""
        docs = await self._store.read(lambda connection: retention.find_stale(connection, cutoff, limit))
        return await self._store.run(lambda ground: retention.archive(ground, docs, cutoff, now)) if docs else 0

    async def purge_some(self, cutoff: datetime, limit: int) -> int:
        """Remove some hidden memories."""
        docs = await self._store.read(lambda connection: retention.find_hidden(connection, cutoff, limit))
        return await self._store.run(lambda ground: retention.purge(ground, docs, cutoff)) if docs else 0

    async def scrub(self) -> None:
        """Rewrite the file without the bytes of what was purged; writes wait meanwhile."""
        await self._store.scrub()
