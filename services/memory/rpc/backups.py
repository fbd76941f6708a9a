"""Backups on the wire: part of GovernanceService."""

from typing import TYPE_CHECKING, Any

import grpc
from google.longrunning import operations_pb2

from memorybox.governance.v1 import governance_pb2
from memorybox.governance.v1 import governance_service_pb2 as pb
from services.memory.domain.backups import Backup, Backups
from services.memory.rpc.operations import operation_to_proto
from services.mesh.interceptors import caller

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


class BackupRpcs:
    """Makes, lists and restores."""

    _backups: Backups

    async def CreateBackup(self, request: pb.CreateBackupRequest, context: "Context") -> operations_pb2.Operation:
        return operation_to_proto(await self._backups.create(caller(context), request.request_id))

    async def ListBackups(self, request: pb.ListBackupsRequest, context: "Context") -> pb.ListBackupsResponse:
        backups, token = await self._backups.list_page(
            caller(context), page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListBackupsResponse(backups=map(_backup_to_proto, backups), next_page_token=token)

    async def RestoreBackup(self, request: pb.RestoreBackupRequest, context: "Context") -> operations_pb2.Operation:
        started = await self._backups.restore(
            caller(context),
            request.backup_id,
            in_place=request.in_place,
            folder=request.folder,
            request_id=request.request_id,
        )
        return operation_to_proto(started)


def _backup_to_proto(backup: Backup) -> governance_pb2.Backup:
    message = governance_pb2.Backup(
        backup_id=backup.backup_id,
        size_bytes=backup.size_bytes,
        verified=backup.verified,
        memory_count=backup.memory_count,
        schema_version=backup.schema_version,
    )
    message.created_at.FromDatetime(backup.created_at)
    return message
