"""MemoryService on the wire: wire -> domain -> wire; no rule, no query."""

from typing import TYPE_CHECKING, Any

import grpc

from memorybox.memory.v1 import memory_service_pb2 as pb
from memorybox.memory.v1 import memory_service_pb2_grpc as pb_grpc
from memorybox.memory.v1 import search_pb2
from services.memory.domain.memories import Memories, NewMemory
from services.memory.domain.memory import Memory
from services.memory.domain.ports import SearchMode
from services.memory.domain.searches import Found, Highlighted, Search, Searches
from services.memory.wire import memory_to_proto, merged, new_draft_from_proto
from services.mesh.errors import InvalidInput, MemoryBoxError, Violation
from services.mesh.interceptors import caller
from services.mesh.status import to_status

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


class MemoryServicer(pb_grpc.MemoryServiceServicer):
    """What this version of MemoryService does; the rest of the contract answers UNIMPLEMENTED."""

    def __init__(self, memories: Memories, searches: Searches) -> None:
        self._memories = memories
        self._searches = searches

    async def CreateMemory(self, request: pb.CreateMemoryRequest, context: "Context") -> pb.CreateMemoryResponse:
        new = NewMemory(new_draft_from_proto(request.memory, caller(context).user), request.request_id)
        memory = await self._memories.create(caller(context), new)
        return pb.CreateMemoryResponse(memory=memory_to_proto(memory))

    async def BatchCreateMemories(
        self, request: pb.BatchCreateMemoriesRequest, context: "Context"
    ) -> pb.BatchCreateMemoriesResponse:
        items = [_new_from_proto(item, caller(context).user) for item in request.requests]
        results = await self._memories.create_batch(caller(context), items)
        return pb.BatchCreateMemoriesResponse(results=[_result_to_proto(result) for result in results])

    async def GetMemory(self, request: pb.GetMemoryRequest, context: "Context") -> pb.GetMemoryResponse:
        memory = await self._memories.get(caller(context), request.memory_id)
        embedding = None
        if request.include_embedding:
            embedding = await self._memories.get_embedding(caller(context), request.memory_id)
        return pb.GetMemoryResponse(memory=memory_to_proto(memory, embedding))

    async def ListMemories(self, request: pb.ListMemoriesRequest, context: "Context") -> pb.ListMemoriesResponse:
        _refuse_filter(request.filter)
        page = await self._memories.list_page(
            caller(context), page_size=request.page_size, page_token=request.page_token, bucket=request.bucket
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
            etag=_one_etag(request.etag, wanted.etag),
        )
        return pb.UpdateMemoryResponse(memory=memory_to_proto(memory))

    async def DeleteMemory(self, request: pb.DeleteMemoryRequest, context: "Context") -> pb.DeleteMemoryResponse:
        memory = await self._memories.delete(caller(context), request.memory_id, _one_etag(request.etag))
        return pb.DeleteMemoryResponse(memory=memory_to_proto(memory))

    async def SearchMemories(
        self, request: search_pb2.SearchMemoriesRequest, context: "Context"
    ) -> search_pb2.SearchMemoriesResponse:
        found = await self._searches.search(caller(context), _search_from_proto(request))
        return _found_to_proto(found, explain=request.explain)


def _new_from_proto(item: pb.CreateMemoryRequest, user: str) -> NewMemory | MemoryBoxError:
    try:
        return NewMemory(new_draft_from_proto(item.memory, user), item.request_id)
    except InvalidInput as fault:
        return fault


def _result_to_proto(result: Memory | MemoryBoxError) -> pb.BatchCreateResult:
    if isinstance(result, Memory):
        return pb.BatchCreateResult(memory=memory_to_proto(result))
    return pb.BatchCreateResult(error=to_status(result))


def _one_etag(*etags: str) -> str:
    """Return the one etag that was sent, quotes taken off, '' for none or ``*``; two that differ are ``InvalidInput``."""
    given = {etag.removeprefix("W/").strip('"') for etag in etags if etag and etag != "*"}
    if len(given) > 1:
        raise InvalidInput(
            "etag and memory.etag differ", violations=[Violation("etag", "must equal memory.etag when both are sent")]
        )
    return given.pop() if given else ""


def _refuse_filter(text: str) -> None:
    if text:
        description = "must be empty: the filter language is not built in this version"
        raise InvalidInput(f"filter {description}", violations=[Violation("filter", description)])


def _search_from_proto(request: search_pb2.SearchMemoriesRequest) -> Search:
    _refuse_filter(request.filter)
    if request.neighbors:
        description = "must be 0: neighbours are not built in this version"
        raise InvalidInput(f"neighbors {description}", violations=[Violation("neighbors", description)])
    return Search(
        query=request.query,
        top_k=request.top_k,
        page_size=request.page_size,
        page_token=request.page_token,
        min_score=request.min_score if request.HasField("min_score") else None,
        mode=_mode_from_proto(request.mode),
        bucket=request.bucket,
        query_vector=tuple(request.query_vector),
    )


def _mode_from_proto(mode: search_pb2.SearchMode.ValueType) -> SearchMode:
    if mode == search_pb2.SEARCH_MODE_UNSPECIFIED:
        return SearchMode.HYBRID
    try:
        return SearchMode(search_pb2.SearchMode.Name(mode))
    except ValueError:
        description = f"must be VECTOR, KEYWORD or HYBRID, got {mode}"
        raise InvalidInput(f"mode {description}", violations=[Violation("mode", description)]) from None


def _found_to_proto(found: Found, *, explain: bool) -> search_pb2.SearchMemoriesResponse:
    response = search_pb2.SearchMemoriesResponse(
        hits=[_hit_to_proto(hit, explain=explain) for hit in found.hits],
        next_page_token=found.next_page_token,
        mode=search_pb2.SearchMode.Value(found.mode),
        embedding_space=found.space.name if found.space else "",
        warnings=found.warnings,
    )
    if explain:
        response.explanation.threshold = found.threshold
        response.explanation.cut_by_threshold = found.page.cut_by_threshold
        response.explanation.cut_by_min_score = found.page.cut_by_min_score
        response.explanation.terms.extend(found.terms)
    return response


def _hit_to_proto(highlighted: Highlighted, *, explain: bool) -> search_pb2.SearchHit:
    hit = highlighted.hit
    message = search_pb2.SearchHit(
        memory=memory_to_proto(hit.memory),
        score=hit.score,
        rank_score=hit.rank_score,
        highlights=[search_pb2.Highlight(start=start, end=end) for start, end in highlighted.highlights],
    )
    if explain:
        message.explanation.CopyFrom(
            search_pb2.HitExplanation(
                vector_rank=hit.vector_rank, keyword_rank=hit.keyword_rank, keyword_score=hit.keyword_score
            )
        )
    return message
