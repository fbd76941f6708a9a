"""SubjectDataService on the wire: this service's part in what is done with a person's data."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc

from memorybox.governance.v1 import subject_data_service_pb2 as pb
from memorybox.governance.v1 import subject_data_service_pb2_grpc as pb_grpc
from services.memory.domain.subject_data import SubjectData
from services.mesh.errors import InvalidInput, Violation

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


class SubjectDataServicer(pb_grpc.SubjectDataServiceServicer):
    """Counts, hands out, erases and makes anonymous."""

    def __init__(self, data: SubjectData) -> None:
        self._data = data

    async def CountSubjectData(
        self, request: pb.CountSubjectDataRequest, context: "Context"
    ) -> pb.CountSubjectDataResponse:
        return pb.CountSubjectDataResponse(counts=await self._data.count(request.owner_user))

    async def ExportSubjectData(
        self, request: pb.ExportSubjectDataRequest, context: "Context"
    ) -> AsyncIterator[pb.ExportSubjectDataResponse]:
        async for item in self._data.export(request.owner_user):
            response = pb.ExportSubjectDataResponse(kind=item.kind)
            response.record.update(item.record)
            yield response

    async def EraseSubjectData(
        self, request: pb.EraseSubjectDataRequest, context: "Context"
    ) -> pb.EraseSubjectDataResponse:
        operation_id = _operation_id(request.operation_id)
        progress = await self._data.erase(request.owner_user, operation_id)
        while not progress.finished:
            progress = await self._data.erase(request.owner_user, operation_id)
        return pb.EraseSubjectDataResponse(erased_counts=progress.counts)

    async def AnonymizeSubjectData(
        self, request: pb.AnonymizeSubjectDataRequest, context: "Context"
    ) -> pb.AnonymizeSubjectDataResponse:
        operation_id = _operation_id(request.operation_id)
        progress = await self._data.anonymize(request.owner_user, operation_id)
        while not progress.finished:
            progress = await self._data.anonymize(request.owner_user, operation_id)
        return pb.AnonymizeSubjectDataResponse(anonymized_counts=progress.counts)


def _operation_id(operation_id: str) -> str:
    if not operation_id:
        raise InvalidInput("operation_id must be given", violations=[Violation("operation_id", "must be given")])
    return operation_id
