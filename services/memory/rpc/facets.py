"""Counts by value on the wire."""

from typing import TYPE_CHECKING, Any

import grpc

from memorybox.memory.v1 import memory_service_pb2 as pb
from services.memory.domain.faceting import Facets
from services.memory.domain.facets import Facet, TimeUnit
from services.memory.wire import json_to_value
from services.mesh.errors import InvalidInput, Violation
from services.mesh.interceptors import caller

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


class FacetRpcs:
    """Facets."""

    _facets: Facets

    async def FacetMemories(self, request: pb.FacetMemoriesRequest, context: "Context") -> pb.FacetMemoriesResponse:
        counts = await self._facets.count(
            caller(context),
            request.field,
            unit=_unit_from_proto(request.time_unit),
            limit=request.limit,
            bucket=request.bucket,
            filter_text=request.filter,
            any_validity=request.any_validity,
        )
        of_metadata = request.field.startswith("metadata")
        return pb.FacetMemoriesResponse(
            facets=[_facet_to_proto(facet, of_metadata=of_metadata) for facet in counts.facets],
            other_count=counts.other_count,
            unset_count=counts.unset_count,
            total_count=counts.total_count,
        )


def _unit_from_proto(unit: pb.FacetMemoriesRequest.TimeUnit.ValueType) -> TimeUnit | None:
    if unit == pb.FacetMemoriesRequest.TIME_UNIT_UNSPECIFIED:
        return None
    try:
        return TimeUnit(pb.FacetMemoriesRequest.TimeUnit.Name(unit))
    except ValueError:
        description = f"must be DAY, WEEK or MONTH, got {unit}"
        raise InvalidInput(f"time_unit {description}", violations=[Violation("time_unit", description)]) from None


def _facet_to_proto(facet: Facet, *, of_metadata: bool) -> pb.FacetMemoriesResponse.Facet:
    message = pb.FacetMemoriesResponse.Facet(value=facet.text, count=facet.count)
    if of_metadata:
        message.json_value.CopyFrom(json_to_value(facet.value))
    return message
