"""Searches on the wire."""

from typing import TYPE_CHECKING, Any

import grpc

from memorybox.memory.v1 import search_pb2
from services.memory.domain.batch_searches import BatchSearches
from services.memory.domain.ports import SearchMode
from services.memory.domain.related import Likeness, Related
from services.memory.domain.searches import Found, Highlighted, Search, Searches
from services.memory.wire import memory_to_proto, moment_from_proto
from services.mesh.errors import InvalidInput, MemoryBoxError, Violation
from services.mesh.interceptors import caller
from services.mesh.status import to_status

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


class FindingRpcs:
    """Search, several searches at once, and what is near to a memory."""

    _searches: Searches
    _batch_searches: BatchSearches
    _related: Related

    async def SearchMemories(
        self, request: search_pb2.SearchMemoriesRequest, context: "Context"
    ) -> search_pb2.SearchMemoriesResponse:
        found = await self._searches.search(caller(context), _search_from_proto(request))
        return _found_to_proto(found, explain=request.explain)

    async def BatchSearchMemories(
        self, request: search_pb2.BatchSearchMemoriesRequest, context: "Context"
    ) -> search_pb2.BatchSearchMemoriesResponse:
        asked = [_read_search(search) for search in request.requests]
        outcomes = await self._batch_searches.search(caller(context), asked)
        pairs = zip(outcomes, request.requests, strict=True)
        results = [_outcome_to_proto(outcome, explain=search.explain) for outcome, search in pairs]
        return search_pb2.BatchSearchMemoriesResponse(results=results)

    async def FindRelatedMemories(
        self, request: search_pb2.FindRelatedMemoriesRequest, context: "Context"
    ) -> search_pb2.FindRelatedMemoriesResponse:
        min_score = request.min_score if request.HasField("min_score") else None
        hits = await self._related.find(caller(context), Likeness(request.memory_id, request.top_k, min_score))
        return search_pb2.FindRelatedMemoriesResponse(
            hits=[_hit_to_proto(Highlighted(hit, ()), explain=False) for hit in hits]
        )


def _read_search(request: search_pb2.SearchMemoriesRequest) -> Search | MemoryBoxError:
    try:
        return _search_from_proto(request)
    except InvalidInput as fault:
        return fault


def _outcome_to_proto(outcome: Found | MemoryBoxError, *, explain: bool) -> search_pb2.BatchSearchResult:
    if isinstance(outcome, Found):
        return search_pb2.BatchSearchResult(response=_found_to_proto(outcome, explain=explain))
    return search_pb2.BatchSearchResult(error=to_status(outcome))


def _search_from_proto(request: search_pb2.SearchMemoriesRequest) -> Search:
    return Search(
        query=request.query,
        top_k=request.top_k,
        page_size=request.page_size,
        page_token=request.page_token,
        min_score=request.min_score if request.HasField("min_score") else None,
        mode=_mode_from_proto(request.mode),
        bucket=request.bucket,
        filter_text=request.filter,
        as_of=moment_from_proto(request.as_of, "as_of") if request.HasField("as_of") else None,
        any_validity=request.any_validity,
        query_vector=tuple(request.query_vector),
        neighbors=request.neighbors,
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
        neighbors=[memory_to_proto(memory) for memory in highlighted.neighbors],
    )
    if hit.matched_part is not None:
        part = hit.matched_part
        message.matched_part.CopyFrom(search_pb2.MatchedPart(part_number=part.number, start=part.start, end=part.end))
    if explain:
        message.explanation.CopyFrom(
            search_pb2.HitExplanation(
                vector_rank=hit.vector_rank, keyword_rank=hit.keyword_rank, keyword_score=hit.keyword_score
            )
        )
    return message
