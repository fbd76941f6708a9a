"""The audit log over real gRPC and the embedded store: who did what, who may see it, and that no change of it stays unseen."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import apsw
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from memorybox.governance.v1 import audit_service_pb2 as pb
from memorybox.governance.v1 import governance_pb2
from memorybox.memory.v1 import memory_pb2
from memorybox.memory.v1 import memory_service_pb2 as memory_service
from services.memory.stores.embedded import EmbeddedMemoryStore
from services.memory.stores.embedded.database import DATABASE_NAME
from services.memory.stores.embedded.governing import EmbeddedAuditLog
from services.mesh.keys import ANY, Grant
from tests.support.clients import Deployment, refusal
from tests.support.governed import GovernedWorld, governed_world

EVERYTHING = Grant((ANY,), (ANY,), ("memory",), (ANY,))
PUBLIC = memory_pb2.Memory.PUBLIC
SECRET = "marzipan"


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    keys = (("gateway", "gateway", EVERYTHING), ("chat", "service", EVERYTHING))
    return Deployment(tmp_path_factory.mktemp("deployment"), keys)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedMemoryStore]:
    opened = await EmbeddedMemoryStore.open(tmp_path)
    yield opened
    await opened.close()


@pytest.fixture
async def world(deployment: Deployment, store: EmbeddedMemoryStore) -> AsyncIterator[GovernedWorld]:
    async with governed_world(deployment, store) as made:
        yield made


def change(folder: Path, statement: str) -> None:
    """Change rows behind the service's back."""
    connection = apsw.Connection(str(folder / DATABASE_NAME))
    connection.set_busy_timeout(5000)
    connection.execute(statement)
    connection.close()


async def test_each_call_leaves_one_event_with_who_what_and_how_it_ended(world: GovernedWorld) -> None:
    created = await world.memories.ann.create(SECRET)
    await world.memories.ann.get(created.memory_id)
    await world.memories.ann.found(SECRET)
    await refusal(world.memories.bob.GetMemory(memory_service.GetMemoryRequest(memory_id=created.memory_id)))
    await refusal(world.memories.ann.create(""))

    events = await world.gwen.events()

    assert [(e.actor_user, e.method.rpartition("/")[2], e.outcome, list(e.resource_ids)) for e in events] == [
        ("ann", "CreateMemory", "OK", [created.memory_id]),
        ("ann", "GetMemory", "OK", [created.memory_id]),
        ("ann", "SearchMemories", "OK", [created.memory_id]),
        ("bob", "GetMemory", "NOT_FOUND", [created.memory_id]),
        ("ann", "CreateMemory", "INVALID_ARGUMENT", []),
    ]
    assert {event.method.partition("/")[0] for event in events} == {"memorybox.memory.v1.MemoryService"}
    assert all(len(event.trace_id) == 32 and event.event_time.seconds > 0 for event in events)


async def test_calls_that_the_access_table_refuses_are_recorded_too(world: GovernedWorld) -> None:
    await refusal(world.bob.VerifyAuditLog(pb.VerifyAuditLogRequest()))

    (event,) = await world.gwen.events("VerifyAuditLog")

    assert (event.actor_user, event.outcome) == ("bob", "PERMISSION_DENIED")


async def test_what_a_stream_shows_is_recorded_while_it_goes_on(world: GovernedWorld) -> None:
    stream = world.memories.ann.WatchMemories(memory_service.WatchMemoriesRequest())
    await stream.initial_metadata()
    created = await world.memories.ann.create("tea")
    shown: memory_service.WatchMemoriesResponse = await stream.read()

    seen: list[list[str]] = []
    for _ in range(300):
        seen = [list(event.resource_ids) for event in await world.gwen.events("WatchMemories")]
        if seen:
            break
        await asyncio.sleep(0.02)
    stream.cancel()

    assert shown.created.memory_id == created.memory_id
    assert seen == [[created.memory_id]]


async def test_nothing_that_was_said_or_asked_is_recorded(world: GovernedWorld, tmp_path: Path) -> None:
    await world.memories.ann.create(SECRET, external_id=SECRET, bucket=SECRET, tags=[SECRET])
    await world.memories.ann.found(SECRET)
    await refusal(world.memories.ann.GetMemory(memory_service.GetMemoryRequest(memory_id=SECRET)))

    assert SECRET not in str(await world.gwen.events())


async def test_event_of_a_write_is_durable_with_the_write(
    deployment: Deployment, store: EmbeddedMemoryStore, tmp_path: Path
) -> None:
    async with governed_world(deployment, store) as world:
        created = await world.memories.ann.create("tea")
        reader = apsw.Connection(str(tmp_path / DATABASE_NAME), flags=apsw.SQLITE_OPEN_READONLY)
        rows = list(reader.execute("SELECT method, outcome, resource_ids FROM audit_events"))
        reader.close()

    assert rows == [("memorybox.memory.v1.MemoryService/CreateMemory", "OK", f'["{created.memory_id}"]')]


async def test_reads_are_durable_before_the_answer_when_asked_for(
    deployment: Deployment, store: EmbeddedMemoryStore, tmp_path: Path
) -> None:
    async with governed_world(deployment, store, MEMORYBOX_AUDIT_READS="sync") as world:
        await world.memories.ann.listed()
        reader = apsw.Connection(str(tmp_path / DATABASE_NAME), flags=apsw.SQLITE_OPEN_READONLY)
        rows = list(reader.execute("SELECT method FROM audit_events"))
        reader.close()

    assert rows == [("memorybox.memory.v1.MemoryService/ListMemories",)]


async def test_reads_that_wait_are_written_when_the_service_ends(
    deployment: Deployment, store: EmbeddedMemoryStore
) -> None:
    async with governed_world(deployment, store) as world:
        await world.memories.ann.listed()

    async with governed_world(deployment, store) as world:
        assert len(await world.gwen.events("ListMemories")) == 1


async def test_anyone_sees_events_about_themselves_and_governors_see_all(world: GovernedWorld) -> None:
    own = await world.memories.ann.create("tea", access_level=PUBLIC)
    other = await world.memories.bob.create("tea too", access_level=PUBLIC)
    await world.memories.bob.listed()

    seen = [(e.actor_user, e.method.rpartition("/")[2], list(e.resource_ids)) for e in await world.ann.events()]

    assert seen == [("ann", "CreateMemory", [own.memory_id]), ("bob", "ListMemories", [own.memory_id])]
    assert {event.resource_ids[0] for event in await world.bob.events("CreateMemory")} == {other.memory_id}
    assert len(await world.gwen.events()) == 3


async def test_pages_hold_every_event_once_youngest_first(world: GovernedWorld) -> None:
    ids = [(await world.memories.ann.create(str(number))).memory_id for number in range(5)]
    pages, token = [], ""
    while True:
        page = await world.ann.ListAuditEvents(pb.ListAuditEventsRequest(page_size=2, page_token=token))
        pages.append([event.resource_ids[0] for event in page.audit_events if event.resource_ids])
        token = page.next_page_token
        if not token:
            break

    assert [item for page in pages for item in page] == ids[::-1]


async def test_page_token_is_worth_nothing_to_another_caller(world: GovernedWorld) -> None:
    for number in range(3):
        await world.memories.ann.create(str(number))
    page = await world.ann.ListAuditEvents(pb.ListAuditEventsRequest(page_size=1))

    request = pb.ListAuditEventsRequest(page_size=1, page_token=page.next_page_token)

    assert (await refusal(world.bob.ListAuditEvents(request))).reason == "INVALID_PAGE_TOKEN"
    assert (await refusal(world.office("ann", "MEMORYBOX_GOVERNOR").ListAuditEvents(request))).reason == "INVALID_PAGE_TOKEN"  # fmt: skip


async def test_chains_of_several_lives_and_concurrent_callers_verify(deployment: Deployment, tmp_path: Path) -> None:
    for life in range(3):
        store = await EmbeddedMemoryStore.open(tmp_path)
        async with governed_world(deployment, store) as world:
            await asyncio.gather(*(world.memories.ann.create(f"{life} {number}") for number in range(20)))
            found = await world.gwen.verified()
        await store.close()

    assert found.valid
    assert found.event_count == 60 + 2  # the verifications of the lives before
    assert found.HasField("verified_until")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_events SET outcome = 'NOT_FOUND' WHERE seq = 2",
        "UPDATE audit_events SET actor = 'x' WHERE seq = 2",
        "UPDATE audit_events SET resource_ids = '[]' WHERE seq = 2",
        "UPDATE audit_events SET hash = x'00' WHERE seq = 2",
        "DELETE FROM audit_events WHERE seq = 1",
        "DELETE FROM audit_events WHERE seq = 3",
    ],
    ids=["outcome", "actor", "resource", "hash", "first-gone", "last-gone"],
)
async def test_change_of_an_event_is_found_and_named(
    world: GovernedWorld, store: EmbeddedMemoryStore, tmp_path: Path, statement: str
) -> None:
    for number in range(3):
        await world.memories.ann.create(str(number))
    change(tmp_path, statement)

    found = await world.gwen.verified()

    assert not found.valid
    assert found.first_broken.seq == (3 if "seq = 3" in statement else 2)


async def test_anchors_tell_when_a_whole_chain_is_gone(
    world: GovernedWorld, store: EmbeddedMemoryStore, tmp_path: Path
) -> None:
    log = EmbeddedAuditLog(store)
    await append(world, foreign(1), foreign(2))
    anchored = await log.anchor(datetime.now(UTC))
    again = await log.anchor(datetime.now(UTC))
    whole = await world.gwen.verified()
    change(tmp_path, "DELETE FROM audit_events WHERE writer_id = 'chat/1'")
    change(tmp_path, "DELETE FROM audit_chains WHERE writer_id = 'chat/1'")

    found = await world.gwen.verified()

    assert anchored is not None
    assert again is None, "nothing has grown since"
    assert whole.valid
    assert not found.valid
    assert found.first_broken.method == "memorybox.governance.v1.AuditService/Anchor"


async def test_event_of_a_write_that_failed_is_not_in_the_chain_twice(world: GovernedWorld) -> None:
    first = await world.memories.ann.create("tea", "r1")
    refused = await refusal(world.memories.ann.create("more tea", "r1"))

    events = await world.gwen.events("CreateMemory")

    assert refused.reason == "REQUEST_ID_REUSED"
    assert [(event.outcome, list(event.resource_ids)) for event in events] == [("OK", [first.memory_id]), ("INVALID_ARGUMENT", [])]  # fmt: skip
    assert (await world.gwen.verified()).valid


def foreign(seq: int, writer: str = "chat/1", **fields: str) -> governance_pb2.AuditEvent:
    values = {"actor_user": "ann", "method": "memorybox.chat.v1.ChatService/Converse", "outcome": "OK"} | fields
    return governance_pb2.AuditEvent(writer_id=writer, seq=seq, event_time=Timestamp(seconds=seq), **values)  # type: ignore[arg-type]


async def append(world: GovernedWorld, *events: governance_pb2.AuditEvent) -> int:
    answer = await world.service("chat").AppendAuditEvents(pb.AppendAuditEventsRequest(audit_events=events))
    return int(answer.last_seq)


async def test_events_of_another_service_are_taken_in_once_and_chained(world: GovernedWorld) -> None:
    assert await append(world, foreign(1), foreign(2)) == 2
    assert await append(world, foreign(1), foreign(2), foreign(3)) == 3

    events = await world.ann.events("Converse")

    assert [(event.writer_id, event.seq, event.event_time.seconds) for event in events] == [("chat/1", seq, seq) for seq in (1, 2, 3)]  # fmt: skip
    assert (await world.gwen.verified()).valid


async def test_appended_events_must_follow_and_be_the_services_own(world: GovernedWorld) -> None:
    await append(world, foreign(1))

    gap = await refusal(append(world, foreign(3)))
    stolen = await refusal(append(world, foreign(1, "memory/1")))
    wrong = await refusal(append(world, foreign(2, outcome="FINE")))

    assert (gap.reason, gap.context["last_seq"]) == ("AUDIT_GAP", "1")
    assert stolen.code == "PERMISSION_DENIED"
    assert wrong.fields == ("audit_events[0].outcome",)
