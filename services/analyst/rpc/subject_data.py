"""SubjectDataService on the wire: the analyst's part in what is done with a person's data."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc

from memorybox.governance.v1 import subject_data_service_pb2 as pb
from memorybox.governance.v1 import subject_data_service_pb2_grpc as pb_grpc
from services.analyst.domain.subject_data import SubjectData
from services.analyst.wire import json_to_struct

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


class SubjectDataServicer(pb_grpc.SubjectDataServiceServicer):
    """Counts, hands out, erases and makes anonymous; each whole in one call, so that no operation needs to be continued."""

    def __init__(self, data: SubjectData) -> None:
        self._data = data

    async def CountSubjectData(
        self, request: pb.CountSubjectDataRequest, context: "Context"
    ) -> pb.CountSubjectDataResponse:
        return pb.CountSubjectDataResponse(counts=await self._data.count(request.owner_user))

    async def ExportSubjectData(
        self, request: pb.ExportSubjectDataRequest, context: "Context"
    ) -> AsyncIterator[pb.ExportSubjectDataResponse]:
        for item in await self._data.records(request.owner_user):
            yield pb.ExportSubjectDataResponse(kind=item.kind, record=json_to_struct(item.record))

    async def EraseSubjectData(
        self, request: pb.EraseSubjectDataRequest, context: "Context"
    ) -> pb.EraseSubjectDataResponse:
        return pb.EraseSubjectDataResponse(erased_counts=await self._data.erase(request.owner_user))

    async def AnonymizeSubjectData(
        self, request: pb.AnonymizeSubjectDataRequest, context: "Context"
    ) -> pb.AnonymizeSubjectDataResponse:
        return pb.AnonymizeSubjectDataResponse(anonymized_counts=await self._data.anonymize(request.owner_user))
