"""What other services keep of a person, reached through their SubjectDataService."""

from typing import Any

import grpc

from memorybox.governance.v1 import subject_data_service_pb2 as pb
from memorybox.governance.v1 import subject_data_service_pb2_grpc as pb_grpc
from services.memory.domain.subject_data import Progress
from services.mesh.status import from_rpc_error

TIMEOUT_S = 60.0  # of one call; what takes longer is continued by the next


class RemoteSubjectData:
    """A ``SubjectDataTarget`` over a channel to *service*; its errors are those that the service raised."""

    def __init__(self, service: str, channel: Any) -> None:
        self._service = service
        self._stub: Any = pb_grpc.SubjectDataServiceStub(channel)

    @property
    def service(self) -> str:
        """Its name."""
        return self._service

    async def erase(self, owner: str, operation_id: str) -> Progress:
        """Have everything erased."""
        request = pb.EraseSubjectDataRequest(owner_user=owner, operation_id=operation_id)
        answer = await self._call(self._stub.EraseSubjectData, request)
        return Progress(dict(answer.erased_counts), finished=True)

    async def anonymize(self, owner: str, operation_id: str) -> Progress:
        """Have everything made anonymous."""
        request = pb.AnonymizeSubjectDataRequest(owner_user=owner, operation_id=operation_id)
        answer = await self._call(self._stub.AnonymizeSubjectData, request)
        return Progress(dict(answer.anonymized_counts), finished=True)

    async def _call(self, method: Any, request: Any) -> Any:
        try:
            return await method(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
