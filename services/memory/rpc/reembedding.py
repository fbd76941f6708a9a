"""Re-embedding on the wire."""

from typing import TYPE_CHECKING, Any

import grpc
from google.longrunning import operations_pb2

from memorybox.memory.v1 import memory_service_pb2 as pb
from services.memory.domain.reembedding import Reembedding
from services.memory.rpc.operations import operation_to_proto
from services.mesh.errors import NotBuilt
from services.mesh.interceptors import caller

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


class ReembeddingRpcs:
    """Move all memories to another embedding space."""

    _reembedding: Reembedding | None

    async def StartReembedding(
        self, request: pb.StartReembeddingRequest, context: "Context"
    ) -> operations_pb2.Operation:
        if self._reembedding is None:
            raise NotBuilt("this process runs no operations")
        return operation_to_proto(await self._reembedding.start(caller(context), request.space, request.request_id))
