"""Deletions by filter on the wire."""

from typing import TYPE_CHECKING, Any

import grpc
from google.longrunning import operations_pb2

from memorybox.memory.v1 import memory_service_pb2 as pb
from services.memory.domain.deleting import Deletions
from services.memory.rpc.operations import operation_to_proto
from services.mesh.errors import NotBuilt
from services.mesh.interceptors import caller

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


class DeletingRpcs:
    """Delete by filter; not without operations."""

    _deletions: Deletions | None

    async def DeleteMemories(self, request: pb.DeleteMemoriesRequest, context: "Context") -> operations_pb2.Operation:
        if self._deletions is None:
            raise NotBuilt("this process keeps no operations", method="DeleteMemories")
        operation = await self._deletions.start(
            caller(context), request.filter, request.request_id, everything=request.all, dry_run=request.dry_run
        )
        return operation_to_proto(operation)
