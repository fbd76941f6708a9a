"""Former states of memories on the wire."""

from typing import TYPE_CHECKING, Any

import grpc

from memorybox.memory.v1 import memory_service_pb2 as pb
from services.memory.domain.diff import RevisionDiff
from services.memory.domain.history import History
from services.memory.domain.memories import MemoryPage
from services.memory.rpc.etags import one_etag
from services.memory.wire import memory_to_proto
from services.mesh.caller import Caller
from services.mesh.interceptors import caller

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


class HistoryRpcs:
    """Revisions, restore and undelete."""

    _history: History

    async def ListMemoryRevisions(
        self, request: pb.ListMemoryRevisionsRequest, context: "Context"
    ) -> pb.ListMemoryRevisionsResponse:
        read = self._history.list_diffs if request.include_diffs else self._listed
        page, diffs = await read(
            caller(context), request.memory_id, page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListMemoryRevisionsResponse(
            revisions=[memory_to_proto(memory) for memory in page.memories],
            next_page_token=page.next_page_token,
            diffs=[_diff_to_proto(diff) for diff in diffs],
        )

    async def _listed(
        self, who: Caller, memory_id: str, *, page_size: int, page_token: str
    ) -> tuple[MemoryPage, tuple[RevisionDiff, ...]]:
        return await self._history.list_page(who, memory_id, page_size=page_size, page_token=page_token), ()

    async def RestoreMemory(self, request: pb.RestoreMemoryRequest, context: "Context") -> pb.RestoreMemoryResponse:
        memory = await self._history.restore(
            caller(context), request.memory_id, request.revision, one_etag(request.etag)
        )
        return pb.RestoreMemoryResponse(memory=memory_to_proto(memory))

    async def UndeleteMemory(self, request: pb.UndeleteMemoryRequest, context: "Context") -> pb.UndeleteMemoryResponse:
        memory = await self._history.undelete(caller(context), request.memory_id)
        return pb.UndeleteMemoryResponse(memory=memory_to_proto(memory))


def _diff_to_proto(diff: RevisionDiff) -> pb.RevisionDiff:
    message = pb.RevisionDiff(revision=diff.revision, previous_revision=diff.previous)
    message.changed_fields.paths.extend(diff.fields)
    for hunk in diff.hunks:
        message.content_hunks.add(
            old_start=hunk.old_start,
            old_end=hunk.old_end,
            new_start=hunk.new_start,
            new_end=hunk.new_end,
            old_text=hunk.old_text,
            new_text=hunk.new_text,
        )
    return message
