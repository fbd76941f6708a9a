"""Former states of memories on the wire."""

from typing import TYPE_CHECKING, Any

import grpc

from memorybox.memory.v1 import memory_service_pb2 as pb
from services.memory.domain.history import History
from services.memory.rpc.etags import one_etag
from services.memory.wire import memory_to_proto
from services.mesh.interceptors import caller

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


class HistoryRpcs:
    """Revisions, restore and undelete."""

    _history: History

    async def ListMemoryRevisions(
        self, request: pb.ListMemoryRevisionsRequest, context: "Context"
    ) -> pb.ListMemoryRevisionsResponse:
        page = await self._history.list_page(
            caller(context), request.memory_id, page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListMemoryRevisionsResponse(
            revisions=[memory_to_proto(memory) for memory in page.memories], next_page_token=page.next_page_token
        )

    async def RestoreMemory(self, request: pb.RestoreMemoryRequest, context: "Context") -> pb.RestoreMemoryResponse:
        memory = await self._history.restore(
            caller(context), request.memory_id, request.revision, one_etag(request.etag)
        )
        return pb.RestoreMemoryResponse(memory=memory_to_proto(memory))

    async def UndeleteMemory(self, request: pb.UndeleteMemoryRequest, context: "Context") -> pb.UndeleteMemoryResponse:
        memory = await self._history.undelete(caller(context), request.memory_id)
        return pb.UndeleteMemoryResponse(memory=memory_to_proto(memory))
