"""Newer facts on the wire."""

from typing import TYPE_CHECKING, Any

import grpc

from memorybox.memory.v1 import memory_service_pb2 as pb
from services.memory.domain.memories import NewMemory
from services.memory.domain.superseding import Superseding
from services.memory.wire import memory_to_proto, new_draft_from_proto
from services.mesh.interceptors import caller

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


class SupersedingRpcs:
    """Supersede and merge."""

    _superseding: Superseding

    async def SupersedeMemory(
        self, request: pb.SupersedeMemoryRequest, context: "Context"
    ) -> pb.SupersedeMemoryResponse:
        new = NewMemory(new_draft_from_proto(request.memory, caller(context).user), request.request_id)
        memory = await self._superseding.supersede(caller(context), request.memory_id, new)
        return pb.SupersedeMemoryResponse(memory=memory_to_proto(memory))

    async def MergeMemories(self, request: pb.MergeMemoriesRequest, context: "Context") -> pb.MergeMemoriesResponse:
        new = NewMemory(new_draft_from_proto(request.memory, caller(context).user), request.request_id)
        memory = await self._superseding.merge(caller(context), request.memory_ids, new)
        return pb.MergeMemoriesResponse(memory=memory_to_proto(memory))
