"""Retention over the model store, by definition."""

from datetime import datetime

from services.memory.domain.ports import Delete
from services.memory.domain.retention import Cutoffs, Due, RetentionPolicy
from services.mesh.caller import Caller
from tests.support.model_store import ModelMemoryStore, Record


class ModelRetention:
    """The port of retention over the records of *host*."""

    def __init__(self, host: ModelMemoryStore) -> None:
        self.host = host
        self.kept = RetentionPolicy()

    async def policy(self) -> RetentionPolicy:
        return self.kept

    async def set_policy(self, policy: RetentionPolicy) -> None:
        self.kept = policy

    async def due(self, cutoffs: Cutoffs) -> Due:
        return Due(len(self.stale(cutoffs.archive)), len(self.hidden(cutoffs.purge)))

    def stale(self, cutoff: datetime | None) -> list[Record]:
        """Return what lives and was not changed since *cutoff*."""
        alive = [record for record in self.host.records.values() if record.memory.delete_time is None]
        return [record for record in alive if cutoff is not None and record.memory.updated_at < cutoff]

    def hidden(self, cutoff: datetime | None) -> list[Record]:
        """Return what was hidden before *cutoff*."""
        times = [(record, record.memory.delete_time) for record in self.host.records.values()]
        return [record for record, time in times if time is not None and cutoff is not None and time < cutoff]

    async def archive_some(self, cutoff: datetime, limit: int, now: datetime) -> int:
        due = self.stale(cutoff)[:limit]
        for record in due:
            memory = record.memory
            self.host.change(Caller(memory.owner_user), Delete(memory.memory_id, None, now))
        self.host.feed.settle()
        return len(due)

    async def purge_some(self, cutoff: datetime, limit: int) -> int:
        due = self.hidden(cutoff)[:limit]
        for record in due:
            key = self.host.key_of(record.memory)
            del self.host.records[key]
            self.host.former.pop(key, None)
        return len(due)

    async def scrub(self) -> None:
        """There are no bytes."""
