"""Usage and quotas over the model store, by definition: counted anew whenever they are asked for."""

import orjson

from services.memory.domain.memory import Memory
from services.memory.domain.ports import Change, Create, Replace
from services.memory.domain.quotas import MAX_SAMPLES, Quota, StorageSample, StorageStats, Usage
from services.mesh.caller import Caller
from tests.support.model_store import ModelMemoryStore


class ModelQuotas:
    """The port of quotas over the records of *host*."""

    def __init__(self, host: "BoundedModelStore") -> None:
        self.host = host
        self.kept: dict[str, Quota] = {}
        self.days: dict[str, StorageSample] = {}
        host.quotas = self

    async def usage(self, owner: str) -> Usage:
        return self.counted(owner)

    def counted(self, owner: str) -> Usage:
        """Count what *owner* has."""
        records = {key: r for key, r in self.host.records.items() if r.memory.owner_user == owner}
        former = [state for key in records for state in self.host.former.get(key, ())]
        current = sum(bytes_of(record.memory) for record in records.values())
        return Usage(owner, len(records), current, sum(map(bytes_of, former)), self.kept.get(owner, Quota()))

    async def set_quota(self, owner: str, quota: Quota) -> None:
        self.kept[owner] = quota

    async def stats(self) -> StorageStats:
        deleted = sum(record.memory.delete_time is not None for record in self.host.records.values())
        samples = tuple(self.days[day] for day in sorted(self.days))
        return StorageStats(len(self.host.records) - deleted, deleted, 1, samples)

    async def sample(self, day: str) -> None:
        stats = await self.stats()
        self.days[day] = StorageSample(day, stats.memory_count, stats.deleted_count, stats.size_bytes)
        for oldest in sorted(self.days)[:-MAX_SAMPLES]:
            del self.days[oldest]


class BoundedModelStore(ModelMemoryStore):
    """The model store, held to quotas."""

    quotas: ModelQuotas

    def change(self, caller: Caller, change: Change) -> Memory:
        before = self.own(caller.user, change.memory.memory_id) if isinstance(change, Replace) else None
        count = len(self.records)
        memory = super().change(caller, change)
        if isinstance(change, Create) and len(self.records) > count:
            self.quotas.counted(caller.user).check(more_memories=True, more_bytes=True)
        elif before is not None:
            said = (memory.content, memory.metadata) != (before.memory.content, before.memory.metadata)
            more = said and bytes_of(memory) >= bytes_of(before.memory)
            self.quotas.counted(caller.user).check(more_memories=False, more_bytes=more)
        return memory


def bytes_of(memory: Memory) -> int:
    """Return what a state counts as."""
    return len(memory.content.encode()) + len(orjson.dumps(memory.metadata))
