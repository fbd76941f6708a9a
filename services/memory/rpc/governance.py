"""GovernanceService on the wire."""

from typing import TYPE_CHECKING, Any

import grpc
from google.longrunning import operations_pb2

from memorybox.governance.v1 import governance_pb2
from memorybox.governance.v1 import governance_service_pb2 as pb
from memorybox.governance.v1 import governance_service_pb2_grpc as pb_grpc
from services.memory.domain.backups import Backups
from services.memory.domain.erasure import Erasures
from services.memory.domain.quotas import Quota, Quotas
from services.memory.domain.retention import Due, Retention, RetentionPolicy
from services.memory.rpc.backups import BackupRpcs
from services.memory.rpc.operations import operation_to_proto
from services.mesh.interceptors import caller

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]

_DAY_S = 86_400


class GovernanceServicer(BackupRpcs, pb_grpc.GovernanceServiceServicer):
    """What this version of GovernanceService does; the rest of the contract answers UNIMPLEMENTED."""

    def __init__(self, erasures: Erasures, quotas: Quotas, retention: Retention, backups: Backups) -> None:
        self._erasures = erasures
        self._quotas = quotas
        self._retention = retention
        self._backups = backups

    async def EraseOwner(self, request: pb.EraseOwnerRequest, context: "Context") -> operations_pb2.Operation:
        return operation_to_proto(await self._erasures.erase(caller(context), request.owner_user, request.request_id))

    async def AnonymizeOwner(self, request: pb.AnonymizeOwnerRequest, context: "Context") -> operations_pb2.Operation:
        return operation_to_proto(
            await self._erasures.anonymize(caller(context), request.owner_user, request.request_id)
        )

    async def GetRetentionPolicy(
        self, request: pb.GetRetentionPolicyRequest, context: "Context"
    ) -> pb.GetRetentionPolicyResponse:
        return pb.GetRetentionPolicyResponse(policy=_policy_to_proto(*await self._retention.policy()))

    async def SetRetentionPolicy(
        self, request: pb.SetRetentionPolicyRequest, context: "Context"
    ) -> pb.SetRetentionPolicyResponse:
        policy = RetentionPolicy(_days(request.policy, "archive_after"), _days(request.policy, "purge_after"))
        answer = await self._retention.set_policy(caller(context), policy, request.policy.etag, dry_run=request.dry_run)
        return pb.SetRetentionPolicyResponse(policy=_policy_to_proto(*answer))

    async def GetUsage(self, request: pb.GetUsageRequest, context: "Context") -> pb.GetUsageResponse:
        usage = await self._quotas.usage(caller(context), request.owner_user)
        message = governance_pb2.Usage(
            owner_user=usage.owner_user,
            memory_count=usage.memory_count,
            content_bytes=usage.content_bytes,
            revision_bytes=usage.revision_bytes,
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
        samples = [
            pb.GetStorageStatsResponse.Sample(
                day=sample.day,
                memory_count=sample.memory_count,
                deleted_count=sample.deleted_count,
                size_bytes=sample.size_bytes,
            )
            for sample in stats.samples
        ]
        return pb.GetStorageStatsResponse(
            memory_count=stats.memory_count,
            deleted_count=stats.deleted_count,
            size_bytes=stats.size_bytes,
            samples=samples,
        )


def _quota_to_proto(quota: Quota) -> governance_pb2.Quota:
    return governance_pb2.Quota(max_memories=quota.max_memories, max_content_bytes=quota.max_content_bytes)


def _days(policy: governance_pb2.RetentionPolicy, name: str) -> int | None:
    """Return a span in days, None when unset, 0, which no policy may have, for one that is not whole."""
    if not policy.HasField(name):  # type: ignore[arg-type]
        return None
    span = getattr(policy, name)
    return 0 if span.nanos or span.seconds % _DAY_S else int(span.seconds // _DAY_S)


def _policy_to_proto(policy: RetentionPolicy, due: Due) -> governance_pb2.RetentionPolicy:
    message = governance_pb2.RetentionPolicy(
        etag=policy.etag, due_archive_count=due.archive_count, due_purge_count=due.purge_count
    )
    if policy.archive_after_days is not None:
        message.archive_after.FromSeconds(policy.archive_after_days * _DAY_S)
    if policy.purge_after_days is not None:
        message.purge_after.FromSeconds(policy.purge_after_days * _DAY_S)
    return message
