"""What the analyst keeps of a person: counted, handed out, erased down to the bytes, made anonymous; and what it says to the audit log."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from memorybox.analyst.v1 import analyst_pb2
from memorybox.analyst.v1 import analyst_service_pb2 as analyst
from memorybox.governance.v1 import audit_service_pb2, audit_service_pb2_grpc, governance_pb2
from memorybox.governance.v1 import subject_data_service_pb2 as pb
from services.mesh.access import Who, allow
from services.mesh.server import Registration, Service
from tests.support.analyst import STAFF_CSV, STAFF_YAML, World, analyst_world
from tests.support.clients import Deployment, eventually, refusal

MARK, BART = "marzipan", "bartholomew"
APPEND = "/memorybox.governance.v1.AuditService/AppendAuditEvents"
MEMORY_MODEL = analyst_pb2.SemanticModel


class AuditLog(audit_service_pb2_grpc.AuditServiceServicer):
    """An audit log that remembers what it was sent, each event once."""

    def __init__(self) -> None:
        self.events: dict[tuple[str, int], governance_pb2.AuditEvent] = {}

    async def AppendAuditEvents(self, request: Any, context: Any) -> Any:  # noqa: N802
        for event in request.audit_events:
            self.events.setdefault((event.writer_id, event.seq), event)
        return audit_service_pb2.AppendAuditEventsResponse(last_seq=request.audit_events[-1].seq)

    def calls(self, user: str) -> list[tuple[str, str]]:
        return [
            (event.method.rpartition("/")[2], event.outcome)
            for event in self.events.values()
            if event.actor_user == user
        ]


@pytest.fixture
def log() -> AuditLog:
    made: Any = AuditLog
    return cast("AuditLog", made())


@pytest.fixture
async def audited(deployment: Deployment, log: AuditLog) -> AsyncIterator[World]:
    """Serve the analyst beside a memory service of which only the audit log is there."""
    served = Registration.of(audit_service_pb2, audit_service_pb2_grpc, "AuditService", log)
    async with (
        deployment.serving("memory", lambda _: Service((served,), {APPEND: allow(Who.SERVICE)})),
        analyst_world(deployment) as world,
    ):
        yield world


def places_of(folder: Path, word: str) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and word.encode() in path.read_bytes()]


async def fill(world: World, access: MEMORY_MODEL.AccessLevel.ValueType = MEMORY_MODEL.PRIVATE) -> None:
    """Have Bart leave something of every kind."""
    bart = world.user(BART)
    rows = "".join(f"{MARK}-{number}\n" for number in range(5000))
    await bart.load("sweets", f"kind\n{rows}".encode())
    await bart.put("sweets", STAFF_YAML.replace("who works where", f"{MARK} model"), access_level=access)
    answer_id = (await bart.ask(f"how many {MARK}", "sweets"))[-1].done.answer_id
    await bart.SubmitFeedback(analyst.SubmitFeedbackRequest(answer_id=answer_id, comment=f"{MARK}!"))


async def test_everything_is_counted_and_handed_out(audited: World) -> None:
    await fill(audited)
    call = audited.subject_data()

    counts = (await call("CountSubjectData")(pb.CountSubjectDataRequest(owner_user=BART))).counts
    records = [item async for item in call("ExportSubjectData")(pb.ExportSubjectDataRequest(owner_user=BART))]

    assert dict(counts) == {"semantic_models": 1, "answers": 1, "feedback": 1, "tables": 1}
    assert sorted(item.kind for item in records) == ["answer", "feedback", "semantic_model", "table"]
    assert all(MARK in str(item.record) for item in records if item.kind != "table")


async def test_erased_person_leaves_no_byte(audited: World) -> None:
    await fill(audited)
    await audited.ann.load("staff", STAFF_CSV)

    call = audited.subject_data()
    request = pb.EraseSubjectDataRequest(owner_user=BART, operation_id="o")
    erased = (await call("EraseSubjectData")(request)).erased_counts
    again = (await call("EraseSubjectData")(request)).erased_counts

    assert dict(erased) == {"semantic_models": 1, "answers": 1, "feedback": 1, "tables": 1}
    assert set(again.values()) == {0}
    assert places_of(audited.folder, MARK) == []
    assert places_of(audited.folder, BART) == []
    assert [table.name for table in (await audited.ann.ListTables(analyst.ListTablesRequest())).tables] == ["staff"]


async def test_anonymous_owner_keeps_what_others_see_and_nothing_else(audited: World) -> None:
    await fill(audited, MEMORY_MODEL.PUBLIC)
    await audited.user(BART).put("own")

    request = pb.AnonymizeSubjectDataRequest(owner_user=BART, operation_id="o")
    await audited.subject_data()("AnonymizeSubjectData")(request)

    model = await audited.ann.get("sweets")
    (table,) = (await audited.ann.ListTables(analyst.ListTablesRequest())).tables
    assert model.owner_user.startswith("anonymous:")
    assert table.owner_user.startswith("anonymous:")
    assert await audited.user(BART).names() == ["sweets"]
    assert places_of(audited.folder, BART) == []


async def test_every_call_is_in_the_audit_log_without_what_was_asked(audited: World, log: AuditLog) -> None:
    await fill(audited)
    await refusal(audited.user(BART).execute("DROP TABLE sweets", "sweets"))
    await refusal(audited.user(BART).ask("headcount", "nosuch"))

    await eventually(lambda: len(log.calls(BART)) >= 6, "all calls to be recorded")

    assert log.calls(BART) == [
        ("LoadTable", "OK"),
        ("PutSemanticModel", "OK"),
        ("Ask", "OK"),
        ("SubmitFeedback", "OK"),
        ("ExecuteQuery", "INVALID_ARGUMENT"),
        ("Ask", "NOT_FOUND"),
    ]
    assert MARK not in str(list(log.events.values()))
    assert [seq for _, seq in log.events] == list(range(1, len(log.events) + 1))


async def test_events_wait_while_the_audit_log_is_down(deployment: Deployment, log: AuditLog) -> None:
    async with analyst_world(deployment) as world:
        await world.user(BART).put("staff")
    served = Registration.of(audit_service_pb2, audit_service_pb2_grpc, "AuditService", log)
    async with (
        deployment.serving("memory", lambda _: Service((served,), {APPEND: allow(Who.SERVICE)})),
        analyst_world(deployment),
    ):
        await eventually(lambda: log.calls(BART), "the event to arrive")

    assert log.calls(BART) == [("PutSemanticModel", "OK")]


async def test_name_of_an_erased_person_does_not_go_to_the_audit_log_any_more(
    deployment: Deployment, log: AuditLog
) -> None:
    async with analyst_world(deployment) as world:
        await fill(world)
        await world.subject_data()("EraseSubjectData")(pb.EraseSubjectDataRequest(owner_user=BART, operation_id="o"))
    served = Registration.of(audit_service_pb2, audit_service_pb2_grpc, "AuditService", log)
    async with (
        deployment.serving("memory", lambda _: Service((served,), {APPEND: allow(Who.SERVICE)})),
        analyst_world(deployment),
    ):
        await eventually(lambda: len(log.events) >= 5, "the events to arrive")

    assert BART not in str(list(log.events.values()))
