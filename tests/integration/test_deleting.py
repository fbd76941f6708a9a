"""Deleting by filter: over real gRPC, audited, cancelled, resumed after a kill, and forgotten with its owner."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from google.longrunning.operations_pb2 import Operation

from memorybox.governance.v1 import governance_pb2
from memorybox.governance.v1 import governance_service_pb2 as governance
from memorybox.memory.v1 import memory_pb2
from memorybox.memory.v1 import memory_service_pb2 as pb
from services.memory.domain.audits import Roles
from services.memory.domain.deleting import DeletionKind
from services.memory.domain.operations import Operation as Work
from services.memory.domain.operations import OperationRunner, Operations
from services.memory.stores.embedded import EmbeddedMemoryStore
from services.memory.stores.embedded.governing import EmbeddedOperations, EmbeddedSubjectData
from services.mesh.keys import ANY, Grant
from tests.support.clients import Deployment, refusal
from tests.support.governed import GovernedWorld, governed_world
from tests.support.memories import ANN, NOW, listed

WRITER = Path(__file__).parents[1] / "support" / "deletion_writer.py"
EVERYTHING = Grant((ANY,), (ANY,), ("memory",), (ANY,))


@pytest.fixture
async def world(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GovernedWorld]:
    deployment = Deployment(tmp_path_factory.mktemp("deployment"), (("gateway", "gateway", EVERYTHING),))
    store = await EmbeddedMemoryStore.open(tmp_path / "data")
    async with governed_world(deployment, store) as made:
        yield made
    await store.close()


def places_of(folder: Path, word: bytes) -> list[str]:
    """Return the files below *folder* that hold *word*."""
    return [path.name for path in folder.rglob("*") if path.is_file() and word in path.read_bytes()]


def result_of(operation: Operation) -> pb.DeleteMemoriesResult:
    """Return what an operation answered."""
    result = pb.DeleteMemoriesResult()
    assert operation.response.Unpack(result), operation
    return result


async def test_dry_run_says_what_is_meant_and_changes_nothing(world: GovernedWorld) -> None:
    made = [await world.memories.ann.create(f"tea {number}", tags=["old"]) for number in range(12)]
    await world.memories.bob.create("tea", tags=["old"], access_level=memory_pb2.Memory.PUBLIC)

    told = await world.memories.ann.DeleteMemories(pb.DeleteMemoriesRequest(filter="tags:old", dry_run=True))

    assert told.done
    assert result_of(told).matched_count == 12
    assert list(result_of(told).sample_memory_ids) == [memory.memory_id for memory in made[:10]]
    assert len(await world.memories.ann.listed()) == 13


async def test_deletion_runs_to_its_end_and_every_memory_is_audited(world: GovernedWorld) -> None:
    made = [await world.memories.ann.create(f"tea {number}", tags=["old"]) for number in range(205)]
    kept = await world.memories.ann.create("cake")

    started = await world.memories.ann.DeleteMemories(pb.DeleteMemoriesRequest(filter="tags:old"))
    ended = await world.ann.operation(started.name)

    metadata = governance_pb2.OperationMetadata()
    ended.metadata.Unpack(metadata)
    events = await world.ann.events("DeleteMemories")
    assert (result_of(ended).matched_count, result_of(ended).deleted_count) == (205, 205)
    assert (metadata.kind, metadata.done_count, metadata.total_count) == ("DeleteMemories", 205, 205)
    assert await world.memories.ann.listed() == [kept.content]
    named = {name for event in events for name in event.resource_ids} - {started.name}
    assert named == {memory.memory_id for memory in made}
    assert {event.actor_user for event in events} == {"ann"}
    assert len({event.trace_id for event in events}) == 1
    assert (await world.gwen.verified()).valid


async def test_deletion_is_begun_once_for_a_request_id(world: GovernedWorld) -> None:
    wanted = pb.DeleteMemoriesRequest(filter="tags:old", request_id="r1")

    first = await world.memories.ann.DeleteMemories(wanted)
    again = await world.memories.ann.DeleteMemories(wanted)
    other = await refusal(
        world.memories.ann.DeleteMemories(pb.DeleteMemoriesRequest(filter="tags:new", request_id="r1"))
    )

    assert first.name == again.name
    assert other.reason == "REQUEST_ID_REUSED"


async def test_governor_deletes_nothing_of_others(world: GovernedWorld) -> None:
    await world.memories.ann.create("tea", access_level=memory_pb2.Memory.PUBLIC)
    gwen = world.memories.user("gwen", "MEMORYBOX_GOVERNOR")

    started = await gwen.DeleteMemories(pb.DeleteMemoriesRequest(all=True))

    assert result_of(await world.gwen.operation(started.name)).deleted_count == 0
    assert await world.memories.ann.listed() == ["tea"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "filter"),
        ({"filter": "  "}, "filter"),
        ({"filter": "x", "all": True}, "all"),
        ({"filter": "a ="}, "filter"),
    ],
    ids=str,
)
async def test_deletion_names_what_is_wrong(world: GovernedWorld, fields: dict[str, object], field: str) -> None:
    told = await refusal(world.memories.ann.DeleteMemories(pb.DeleteMemoriesRequest(**fields)))  # type: ignore[arg-type]

    assert (told.code, list(told.fields)) == ("INVALID_ARGUMENT", [field])


async def test_what_was_asked_is_forgotten_when_the_deletion_is_over(world: GovernedWorld, tmp_path: Path) -> None:
    started = await world.memories.ann.DeleteMemories(pb.DeleteMemoriesRequest(filter='content:"marzipan"'))
    await world.ann.operation(started.name)
    erased = await world.ann.EraseOwner(governance.EraseOwnerRequest(owner_user="ann"))
    await world.ann.operation(erased.name)

    assert places_of(tmp_path, b"marzipan") == []


def killed_at_work(folder: Path) -> str:
    """Return the id of a deletion whose process was killed after some batches, each told before its progress was kept."""
    writer = subprocess.Popen([sys.executable, WRITER, folder], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    with writer, writer.stdout as lines:
        operation_id = lines.readline().strip()
        for line in lines:
            if int(line) >= 400:
                break
        writer.send_signal(signal.SIGKILL)
    return operation_id


async def over(operations: Operations, operation_id: str, within_s: float = 10.0) -> Work:
    """Return an operation of Ann's once nothing more will happen."""
    async with asyncio.timeout(within_s):
        while not (found := await operations.get(ANN, operation_id)).state.is_final:
            await asyncio.sleep(0.02)
    return found


async def test_deletion_goes_on_after_kill_9_and_counts_each_memory_once(tmp_path: Path) -> None:
    operation_id = await asyncio.to_thread(killed_at_work, tmp_path / "data")
    store = await EmbeddedMemoryStore.open(tmp_path / "data")
    left = len(await listed(store, ANN, limit=5000))
    started, kept = asyncio.Event(), EmbeddedOperations(store)
    operations = Operations(kept, store.secrets, Roles("GOVERNOR", "OPERATOR"), started)
    runner = OperationRunner(kept, (DeletionKind(store.deleting),), "second", started)
    ended = await over(operations, operation_id)
    changes = await store.feed.position()
    await runner.close()
    await store.close()

    assert 0 < left <= 1600
    assert ended.result is not None
    assert (ended.result["matched_count"], ended.result["deleted_count"]) == (2000, 2000)
    assert changes == 4000


async def test_cancelled_deletion_stops_and_leaves_the_rest(tmp_path: Path) -> None:
    operation_id = await asyncio.to_thread(killed_at_work, tmp_path / "data")
    store = await EmbeddedMemoryStore.open(tmp_path / "data")
    started, kept = asyncio.Event(), EmbeddedOperations(store)
    operations = Operations(kept, store.secrets, Roles("GOVERNOR", "OPERATOR"), started)
    left = await store.count(ANN, NOW)
    await operations.cancel(ANN, operation_id)
    runner = OperationRunner(kept, (DeletionKind(store.deleting),), "second", started)
    ended = await over(operations, operation_id)
    after = await store.count(ANN, NOW)
    await runner.close()
    await store.close()

    assert ended.state == "CANCELLED"
    assert "filter" not in ended.request
    assert left == after > 0


async def test_erasing_the_owner_ends_their_deletion(tmp_path: Path) -> None:
    operation_id = await asyncio.to_thread(killed_at_work, tmp_path / "data")
    store = await EmbeddedMemoryStore.open(tmp_path / "data")

    data = EmbeddedSubjectData(store)
    while not (await data.erase_some("ann", "erasure")).finished:
        pass
    ended = await EmbeddedOperations(store).get(operation_id, None)
    await store.close()

    assert ended.state == "CANCELLED"
    assert set(ended.request) == {"digest"}
