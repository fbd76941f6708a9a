"""Moving in and out of the model store, by definition."""

from dataclasses import replace
from typing import TYPE_CHECKING

from services.memory.domain.ports import Create
from services.memory.domain.spaces import SpaceMoved
from services.memory.domain.transfer import (
    MAX_REFUSALS,
    ExportChunk,
    Exported,
    ExportPlan,
    ImportChunk,
    ImportConflict,
    ImportItem,
    ImportProgress,
    MemoryIdTaken,
    Refusal,
    refusal_of,
)
from services.mesh.caller import Caller
from services.mesh.errors import MemoryBoxError
from tests.support.filters import interpret

if TYPE_CHECKING:
    from tests.support.model_store import ModelMemoryStore


class ModelMover:
    """The port of moving over the records of *host*."""

    def __init__(self, host: "ModelMemoryStore") -> None:
        self._host = host
        self._progress: dict[tuple[str, str], ImportProgress] = {}

    async def export(self, caller: Caller, plan: ExportPlan) -> ExportChunk:
        visible = self._host._all_visible(caller, plan.now, plan.snapshot)
        own = [r for r in visible if r.memory.owner_user == caller.user and interpret(plan.filter, r.memory)]
        rows = sorted((r for r in own if r.created_seq > plan.after), key=lambda r: r.created_seq)
        taken, size = 0, 0
        for record in rows[: plan.limit]:
            size += record.memory.size_bytes
            if taken and size > plan.max_bytes:
                break
            taken += 1
        exported = tuple(
            Exported(r.created_seq, r.memory, r.embedding if plan.with_embeddings else None) for r in rows[:taken]
        )
        return ExportChunk(exported, taken < len(rows), self._host.seq if plan.snapshot is None else plan.snapshot)

    async def import_progress(self, caller: Caller, import_id: str) -> ImportProgress:
        return self._progress.get((caller.user, import_id), ImportProgress())

    async def import_chunk(self, caller: Caller, chunk: ImportChunk) -> ImportProgress:
        progress = await self.import_progress(caller, chunk.import_id)
        if progress.next_index != chunk.first_index:
            raise ImportConflict("moved on")
        refusals: list[Refusal] = []
        for index, item in enumerate(chunk.items, chunk.first_index):
            try:
                if isinstance(item, Refusal):
                    refusals.append(item)
                else:
                    self._keep(caller, item)
            except SpaceMoved:
                raise
            except MemoryBoxError as error:
                refusals.append(refusal_of(index, error))
        done = ImportProgress(
            chunk.first_index + len(chunk.items),
            progress.imported_count + len(chunk.items) - len(refusals),
            (*progress.refusals, *refusals)[:MAX_REFUSALS],
        )
        self._progress[caller.user, chunk.import_id] = done
        self._host.feed.settle()
        return done

    def _keep(self, caller: Caller, item: ImportItem) -> None:
        for memory_id in (item.memory.memory_id, item.spare_id):
            memory = replace(item.memory, memory_id=memory_id, embedding_space=item.embedding.space)
            known = self._host.own(caller.user, memory_id)
            if known is None:
                self._host.change(caller, Create(memory, item.embedding))
                return
            if known.memory.delete_time is None:
                if replace(known.memory, embedding_space=memory.embedding_space) != memory:
                    raise MemoryIdTaken("another one")
                return
        raise MemoryIdTaken("another one")
