"""The deployment's audit log, kept by the memory service."""

from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from memorybox.governance.v1 import audit_service_pb2 as pb
from memorybox.governance.v1 import audit_service_pb2_grpc as pb_grpc
from memorybox.governance.v1 import governance_pb2
from services.analyst.domain.audit import AuditGap, Entry
from services.mesh.status import from_rpc_error

TIMEOUT_S = 10.0
_GAP = "AUDIT_GAP"  # the log's own reason


class AuditServiceLog:
    """Appends as the analyst itself."""

    def __init__(self, channel: Any) -> None:
        self._stub: Any = pb_grpc.AuditServiceStub(channel)

    async def append(self, writer_id: str, entries: Sequence[tuple[int, Entry]]) -> int:
        """Append; return the number of the last one that is durable."""
        events = [_event(writer_id, seq, entry) for seq, entry in entries]
        try:
            answer = await self._stub.AppendAuditEvents(
                pb.AppendAuditEventsRequest(audit_events=events), timeout=TIMEOUT_S
            )
        except grpc.aio.AioRpcError as error:
            known = from_rpc_error(error)
            if known.reason == _GAP:
                raise AuditGap(known.message) from error
            raise known from error
        return int(answer.last_seq)


def _event(writer_id: str, seq: int, entry: Entry) -> governance_pb2.AuditEvent:
    at = Timestamp()
    at.FromDatetime(entry.at)
    return governance_pb2.AuditEvent(
        writer_id=writer_id,
        seq=seq,
        event_time=at,
        actor_user=entry.actor,
        method=entry.method,
        outcome=entry.outcome,
        resource_ids=entry.resource_ids,
        trace_id=entry.trace_id,
    )
