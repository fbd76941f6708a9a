"""Duplicates on the wire."""

from typing import TYPE_CHECKING, Any

import grpc

from memorybox.memory.v1 import memory_service_pb2 as pb
from services.memory.domain.deduplicating import Duplicates, Likenesses
from services.memory.domain.duplicates import DuplicateGroup
from services.memory.wire import memory_to_proto
from services.mesh.interceptors import caller

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


class DuplicateRpcs:
    """Find duplicates."""

    _duplicates: Duplicates

    async def FindDuplicateMemories(
        self, request: pb.FindDuplicateMemoriesRequest, context: "Context"
    ) -> pb.FindDuplicateMemoriesResponse:
        asked = Likenesses(
            min_score=request.min_score if request.HasField("min_score") else None,
            visible=request.include_visible,
            bucket=request.bucket,
            filter_text=request.filter,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        page = await self._duplicates.find(caller(context), asked)
        return pb.FindDuplicateMemoriesResponse(
            groups=[_group_to_proto(group) for group in page.groups], next_page_token=page.next_page_token
        )


def _group_to_proto(group: DuplicateGroup) -> pb.FindDuplicateMemoriesResponse.Group:
    return pb.FindDuplicateMemoriesResponse.Group(
        memories=[memory_to_proto(memory) for memory in group.memories],
        representative_memory_id=group.memories[0].memory_id,
        similarity=group.similarity,
        memory_count=group.count,
    )
