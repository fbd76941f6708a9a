"""GovernanceService on the wire."""

from typing import TYPE_CHECKING, Any

import grpc
from google.longrunning import operations_pb2

from memorybox.governance.v1 import governance_pb2
from memorybox.governance.v1 import governance_service_pb2 as pb
from memorybox.governance.v1 import governance_service_pb2_grpc as pb_grpc
from services.memory.domain.erasure import Erasures
from services.memory.domain.quotas import Quota, Quotas
from services.memory.rpc.operations import operation_to_proto
from services.mesh.interceptors import caller

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


class GovernanceServicer(pb_grpc.GovernanceServiceServicer):
    """What this version of GovernanceService does; the rest of the contract answers UNIMPLEMENTED."""

    def __init__(self, erasures: Erasures, quotas: Quotas) -> None:
        self._erasures = erasures
        self._quotas = quotas

    async def EraseOwner(self, request: pb.EraseOwnerRequest, context: "Context") -> operations_pb2.Operation:
        return operation_to_proto(await self._erasures.erase(caller(context), request.owner_user, request.request_id))

    async def AnonymizeOwner(self, request: pb.AnonymizeOwnerRequest, context: "Context") -> operations_pb2.Operation:
        return operation_to_proto(
            await self._erasures.anonymize(caller(context), request.owner_user, request.request_id)
        )

    async def GetUsage(self, request: pb.GetUsageRequest, context: "Context") -> pb.GetUsageResponse:
        usage = await self._quotas.usage(caller(context), request.owner_user)
        message = governance_pb2.Usage(
            owner_user=usage.owner_user,
            memory_count=usage.memory_count,
            content_bytes=usage.content_bytes,
            quota=_quota_to_proto(usage.quota),
        )
        return pb.GetUsageResponse(usage=message)

    async def SetQuota(self, request: pb.SetQuotaRequest, context: "Context") -> pb.SetQuotaResponse:
        wanted = Quota(request.quota.max_memories, request.quota.max_content_bytes)
        return pb.SetQuotaResponse(quota=_quota_to_proto(await self._quotas.set_quota(request.owner_user, wanted)))

    async def GetStorageStats(
        self, request: pb.GetStorageStatsRequest, context: "Context"
    ) -> pb.GetStorageStatsResponse:
        stats = await self._quotas.stats()
        return pb.GetStorageStatsResponse(
            memory_count=stats.memory_count, deleted_count=stats.deleted_count, size_bytes=stats.size_bytes
        )


def _quota_to_proto(quota: Quota) -> governance_pb2.Quota:
    return governance_pb2.Quota(max_memories=quota.max_memories, max_content_bytes=quota.max_content_bytes)
