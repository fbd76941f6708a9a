"""AuditService on the wire."""

from datetime import UTC
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2

from memorybox.governance.v1 import audit_service_pb2 as pb
from memorybox.governance.v1 import audit_service_pb2_grpc as pb_grpc
from memorybox.governance.v1 import governance_pb2
from services.memory.domain.audit import Act, AuditLog, Entry, ForeignEvent, KeptEvent, Touched
from services.memory.domain.audits import Audits
from services.memory.domain.erasure import Receipt, is_genuine
from services.mesh.errors import InvalidInput, Violation
from services.mesh.interceptors import caller

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


class AuditServicer(pb_grpc.AuditServiceServicer):
    """Lists, verifies and takes in events."""

    def __init__(self, audits: Audits, log: AuditLog) -> None:
        self._audits = audits
        self._log = log

    async def ListAuditEvents(
        self, request: pb.ListAuditEventsRequest, context: "Context"
    ) -> pb.ListAuditEventsResponse:
        page = await self._audits.list_page(
            caller(context), page_size=request.page_size, page_token=request.page_token, filter_text=request.filter
        )
        return pb.ListAuditEventsResponse(
            audit_events=[event_to_proto(kept) for kept in page.events], next_page_token=page.next_page_token
        )

    async def VerifyAuditLog(self, request: pb.VerifyAuditLogRequest, context: "Context") -> pb.VerifyAuditLogResponse:
        found = await self._audits.verify()
        response = pb.VerifyAuditLogResponse(valid=found.first_broken is None, event_count=found.event_count)
        if found.first_broken is not None:
            response.first_broken.CopyFrom(event_to_proto(found.first_broken))
        if found.verified_until_us is not None:
            response.verified_until.CopyFrom(_time_to_proto(found.verified_until_us))
        if request.HasField("receipt"):
            response.receipt_valid = await is_genuine(_receipt_from_proto(request.receipt), self._log)
        return response

    async def AppendAuditEvents(
        self, request: pb.AppendAuditEventsRequest, context: "Context"
    ) -> pb.AppendAuditEventsResponse:
        writers = {event.writer_id for event in request.audit_events}
        if len(writers) > 1:
            raise _wrong("audit_events", "must be of one writer")
        events = [_event_from_proto(event, place) for place, event in enumerate(request.audit_events)]
        last_seq = await self._audits.take_in(caller(context), "".join(writers), events)
        return pb.AppendAuditEventsResponse(last_seq=last_seq)


def event_to_proto(kept: KeptEvent) -> governance_pb2.AuditEvent:
    """Return an event as callers see it."""
    event = kept.event
    return governance_pb2.AuditEvent(
        audit_event_id=f"{event.writer_id}/{event.seq}",
        writer_id=event.writer_id,
        seq=event.seq,
        prev_hash=event.prev_hash,
        hash=kept.hash,
        event_time=_time_to_proto(event.event_time_us),
        actor_pseudonym=event.actor,
        actor_user=kept.actor_user,
        method=event.method,
        outcome=event.outcome,
        resource_ids=event.resource_ids,
        trace_id=event.trace_id,
    )


def _event_from_proto(event: governance_pb2.AuditEvent, place: int) -> ForeignEvent:
    given = {"actor_user": event.actor_user, "method": event.method, "event_time": event.HasField("event_time")}
    for field in (name for name, value in given.items() if not value):
        raise _wrong(f"audit_events[{place}].{field}", "must be given")
    if event.outcome not in code_pb2.Code.keys():  # noqa: SIM118  # an enum wrapper, no mapping
        raise _wrong(f"audit_events[{place}].outcome", "must be the name of a google.rpc.Code")
    try:
        at = event.event_time.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise _wrong(f"audit_events[{place}].event_time", "must lie in the years 1 to 9999") from None
    act = Act(event.actor_user, event.method, at, event.trace_id)
    return ForeignEvent(event.seq, Entry(act, event.outcome, tuple(Touched(item) for item in event.resource_ids)))


def _receipt_from_proto(receipt: governance_pb2.SubjectDataReceipt) -> Receipt:
    try:
        completed_at = receipt.completed_at.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise _wrong("receipt.completed_at", "must lie in the years 1 to 9999") from None
    counts = {item.service: dict(item.counts) for item in receipt.services}
    return Receipt(receipt.operation, receipt.action, receipt.subject, counts, completed_at, receipt.hash)


def _time_to_proto(time_us: int) -> Timestamp:
    time = Timestamp()
    time.FromMicroseconds(time_us)
    return time


def _wrong(field: str, description: str) -> InvalidInput:
    return InvalidInput(f"{field} {description}", violations=[Violation(field, description)])
