"""Single memories, batches and lists on the wire."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

import grpc

from memorybox.memory.v1 import memory_service_pb2 as pb
from services.memory.domain.memories import Memories, NewMemory, OnDuplicate
from services.memory.domain.memory import Memory
from services.memory.rpc.etags import one_etag
from services.memory.wire import memory_to_proto, merged, moment_from_proto, new_draft_from_proto
from services.mesh.errors import InvalidInput, MemoryBoxError, Violation
from services.mesh.interceptors import caller
from services.mesh.status import to_status

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


class RecordRpcs:
    """Create, read, list, update and delete."""

    _memories: Memories

    async def CreateMemory(self, request: pb.CreateMemoryRequest, context: "Context") -> pb.CreateMemoryResponse:
        memory = await self._memories.create(caller(context), _new_memory(request, caller(context).user))
        return pb.CreateMemoryResponse(memory=memory_to_proto(memory))

    async def BatchCreateMemories(
        self, request: pb.BatchCreateMemoriesRequest, context: "Context"
    ) -> pb.BatchCreateMemoriesResponse:
        items = [_new_from_proto(item, caller(context).user) for item in request.requests]
        results = await self._memories.create_batch(caller(context), items)
        return pb.BatchCreateMemoriesResponse(results=[_result_to_proto(result) for result in results])

    async def GetMemory(self, request: pb.GetMemoryRequest, context: "Context") -> pb.GetMemoryResponse:
        as_of = _as_of(request)
        if as_of and request.include_embedding:
            description = "must not be set with as_of: only current contents have vectors"
            raise InvalidInput(
                f"include_embedding {description}", violations=[Violation("include_embedding", description)]
            )
        memory = await self._memories.get(caller(context), request.memory_id, as_of)
        embedding = None
        if request.include_embedding:
            embedding = await self._memories.get_embedding(caller(context), request.memory_id)
        return pb.GetMemoryResponse(memory=memory_to_proto(memory, embedding))

    async def ListMemories(self, request: pb.ListMemoriesRequest, context: "Context") -> pb.ListMemoriesResponse:
        page = await self._memories.list_page(
            caller(context),
            page_size=request.page_size,
            page_token=request.page_token,
            bucket=request.bucket,
            filter_text=request.filter,
            as_of=_as_of(request),
            any_validity=request.any_validity,
        )
        return pb.ListMemoriesResponse(
            memories=[memory_to_proto(memory) for memory in page.memories], next_page_token=page.next_page_token
        )

    async def UpdateMemory(self, request: pb.UpdateMemoryRequest, context: "Context") -> pb.UpdateMemoryResponse:
        wanted, mask = request.memory, list(request.update_mask.paths)
        memory = await self._memories.update(
            caller(context),
            wanted.memory_id,
            change=lambda current: merged(current, wanted, mask),
            etag=one_etag(request.etag, wanted.etag),
        )
        return pb.UpdateMemoryResponse(memory=memory_to_proto(memory))

    async def DeleteMemory(self, request: pb.DeleteMemoryRequest, context: "Context") -> pb.DeleteMemoryResponse:
        memory = await self._memories.delete(caller(context), request.memory_id, one_etag(request.etag))
        return pb.DeleteMemoryResponse(memory=memory_to_proto(memory))


def _as_of(request: pb.GetMemoryRequest | pb.ListMemoriesRequest) -> datetime | None:
    return moment_from_proto(request.as_of, "as_of") if request.HasField("as_of") else None


def _new_memory(item: pb.CreateMemoryRequest, user: str) -> NewMemory:
    return NewMemory(new_draft_from_proto(item.memory, user), item.request_id, _on_duplicate(item.on_duplicate))


def _on_duplicate(value: pb.CreateMemoryRequest.OnDuplicate.ValueType) -> OnDuplicate:
    if value == pb.CreateMemoryRequest.ON_DUPLICATE_UNSPECIFIED:
        return OnDuplicate.UPDATE
    try:
        return OnDuplicate(pb.CreateMemoryRequest.OnDuplicate.Name(value))
    except ValueError:
        description = f"must be UPDATE, RETURN_EXISTING or REJECT, got {value}"
        raise InvalidInput(f"on_duplicate {description}", violations=[Violation("on_duplicate", description)]) from None


def _new_from_proto(item: pb.CreateMemoryRequest, user: str) -> NewMemory | MemoryBoxError:
    try:
        return _new_memory(item, user)
    except InvalidInput as fault:
        return fault


def _result_to_proto(result: Memory | MemoryBoxError) -> pb.BatchCreateResult:
    if isinstance(result, Memory):
        return pb.BatchCreateResult(memory=memory_to_proto(result))
    return pb.BatchCreateResult(error=to_status(result))
