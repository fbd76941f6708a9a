"""Deletions by filter in the model store, by definition."""

from collections import Counter
from typing import TYPE_CHECKING

from services.memory.domain.audit import Act
from services.memory.domain.deletions import Deleted, DeletionPlan, Survey
from services.memory.domain.ports import Delete
from services.mesh.caller import Caller
from tests.support.filters import interpret

if TYPE_CHECKING:
    from tests.support.model_store import ModelMemoryStore, Record


class ModelDeleter:
    """The port of deleting over the records of *host*."""

    def __init__(self, host: "ModelMemoryStore") -> None:
        self._host = host
        self._counts: Counter[str] = Counter()

    def meant(self, plan: DeletionPlan) -> list["Record"]:
        """Return what *plan* means, oldest first."""
        records = self._host._all_visible(Caller(plan.owner), plan.now, plan.until)
        own = [r for r in records if r.memory.owner_user == plan.owner and interpret(plan.filter, r.memory)]
        return sorted((r for r in own if r.created_seq > plan.after), key=lambda record: record.created_seq)

    async def survey(self, plan: DeletionPlan, samples: int) -> Survey:
        meant = self.meant(plan)
        return Survey(len(meant), tuple(r.memory.memory_id for r in meant[:samples]), self._host.seq)

    async def delete_some(self, plan: DeletionPlan, operation_id: str, limit: int, act: Act) -> Deleted:
        batch = self.meant(plan)[:limit]
        for record in batch:
            at = max(plan.now, record.memory.updated_at)
            self._host.change(Caller(plan.owner), Delete(record.memory.memory_id, None, at))
        self._host.feed.settle()
        self._counts[operation_id] += len(batch)
        return Deleted(self._counts[operation_id], batch[-1].created_seq if len(batch) == limit else None)
