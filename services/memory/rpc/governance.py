"""GovernanceService on the wire."""

from typing import TYPE_CHECKING, Any

import grpc
from google.longrunning import operations_pb2

from memorybox.governance.v1 import governance_service_pb2 as pb
from memorybox.governance.v1 import governance_service_pb2_grpc as pb_grpc
from services.memory.domain.erasure import Erasures
from services.memory.rpc.operations import operation_to_proto
from services.mesh.interceptors import caller

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


class GovernanceServicer(pb_grpc.GovernanceServiceServicer):
    """What this version of GovernanceService does; the rest of the contract answers UNIMPLEMENTED."""

    def __init__(self, erasures: Erasures) -> None:
        self._erasures = erasures

    async def EraseOwner(self, request: pb.EraseOwnerRequest, context: "Context") -> operations_pb2.Operation:
        return operation_to_proto(await self._erasures.erase(caller(context), request.owner_user, request.request_id))

    async def AnonymizeOwner(self, request: pb.AnonymizeOwnerRequest, context: "Context") -> operations_pb2.Operation:
        return operation_to_proto(
            await self._erasures.anonymize(caller(context), request.owner_user, request.request_id)
        )
