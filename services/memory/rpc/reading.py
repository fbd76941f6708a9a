"""Batches of memories by id, lineage, and counts, on the wire."""

from typing import TYPE_CHECKING, Any

import grpc

from memorybox.memory.v1 import memory_service_pb2 as pb
from services.memory.domain.reading import Reading
from services.memory.wire import memory_to_proto
from services.mesh.interceptors import caller

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


class ReadingRpcs:
    """Read many."""

    _reading: Reading

    async def BatchGetMemories(
        self, request: pb.BatchGetMemoriesRequest, context: "Context"
    ) -> pb.BatchGetMemoriesResponse:
        batch = await self._reading.get_batch(caller(context), request.memory_ids)
        return pb.BatchGetMemoriesResponse(
            memories=[memory_to_proto(memory) for memory in batch.memories], remaining_memory_ids=batch.remaining_ids
        )

    async def GetLineage(self, request: pb.GetLineageRequest, context: "Context") -> pb.GetLineageResponse:
        lineage = await self._reading.lineage(caller(context), request.memory_id)
        return pb.GetLineageResponse(
            ancestors=[memory_to_proto(memory) for memory in lineage.ancestors],
            descendants=[memory_to_proto(memory) for memory in lineage.descendants],
            truncated=lineage.truncated,
        )

    async def CountMemories(self, request: pb.CountMemoriesRequest, context: "Context") -> pb.CountMemoriesResponse:
        count = await self._reading.count(
            caller(context),
            bucket=request.bucket,
            filter_text=request.filter,
            any_validity=request.any_validity,
        )
        return pb.CountMemoriesResponse(count=count)
