"""Operations over real gRPC and the embedded store: durable, resumed, cancelled, and seen by who started them."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from google.longrunning.operations_pb2 import Operation as OperationMessage
from google.protobuf.struct_pb2 import Struct

from memorybox.governance.v1 import governance_pb2
from memorybox.governance.v1 import operation_service_pb2 as pb
from services.memory.domain.audits import Roles
from services.memory.domain.memory import RequestIdReused
from services.memory.domain.operations import (
    Operation,
    OperationNotFound,
    OperationRunner,
    Operations,
    OperationState,
    Step,
)
from services.memory.stores.embedded import EmbeddedMemoryStore
from services.memory.stores.embedded.governing import EmbeddedOperations
from services.mesh.caller import Caller
from services.mesh.errors import BackendUnavailable, FailedPrecondition
from services.mesh.keys import ANY, Grant
from tests.support.clients import Deployment, eventually, refusal
from tests.support.governed import governed_world
from tests.support.memories import ANN, BOB

OPERATOR = Caller("otto", frozenset({"MEMORYBOX_OPERATOR"}))
ROLES = Roles("MEMORYBOX_GOVERNOR", "MEMORYBOX_OPERATOR")
WRITER = Path(__file__).parents[1] / "support" / "operation_writer.py"


@dataclass
class Counting:
    """Counts to ``request["to"]``, a step each, as long as the ``gate`` is open; ``faults`` are raised first."""

    name: str = "Count"
    faults: list[Exception] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def step(self, operation: Operation) -> Step:
        if self.faults:
            raise self.faults.pop(0)
        count = (operation.cursor or {}).get("count", 0)
        if count:
            await self.gate.wait()
        self.seen.append(count)
        total = operation.request["to"]
        result = {"counted": count + 1} if count + 1 == total else None
        return Step({"count": count + 1}, done_count=count + 1, total_count=total, result=result)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedMemoryStore]:
    opened = await EmbeddedMemoryStore.open(tmp_path)
    yield opened
    await opened.close()


class Bench:
    """Operations with a runner that the test starts and stops."""

    def __init__(self, store: EmbeddedMemoryStore, kind: Counting) -> None:
        self.kept = EmbeddedOperations(store)
        self.started = asyncio.Event()
        self.operations = Operations(self.kept, store.secrets, ROLES, self.started)
        self.kind = kind
        self.runner: OperationRunner | None = None

    def run(self, holder: str = "first") -> None:
        self.runner = OperationRunner(self.kept, (self.kind,), holder, self.started)

    async def stop(self) -> None:
        if self.runner is not None:
            await self.runner.close()

    async def state(self, operation: Operation) -> Operation:
        return await self.operations.get(OPERATOR, operation.operation_id)

    async def ended(self, operation: Operation) -> Operation:
        for _ in range(1000):
            found = await self.state(operation)
            if found.state.is_final:
                return found
            await asyncio.sleep(0.01)
        raise AssertionError(f"does not end: {found}")


@pytest.fixture
async def bench(store: EmbeddedMemoryStore) -> AsyncIterator[Bench]:
    made = Bench(store, Counting())
    made.kind.gate.set()
    yield made
    await made.stop()


async def test_operation_runs_to_its_result(bench: Bench) -> None:
    bench.run()
    started = await bench.operations.start(ANN, "Count", {"to": 3})

    ended = await bench.ended(started)

    assert (started.state, ended.state, ended.result) == (OperationState.PENDING, OperationState.SUCCEEDED, {"counted": 3})  # fmt: skip
    assert (ended.done_count, ended.total_count, bench.kind.seen) == (3, 3, [0, 1, 2])


async def test_operation_continues_at_its_cursor_in_the_next_process(bench: Bench) -> None:
    bench.kind.gate.clear()
    bench.run("first")
    started = await bench.operations.start(ANN, "Count", {"to": 3})
    await eventually(lambda: bench.kind.seen == [0], "the first step")
    await bench.stop()

    bench.kind.gate.set()
    bench.run("second")

    assert (await bench.ended(started)).result == {"counted": 3}
    assert bench.kind.seen == [0, 1, 2]


async def test_operation_waits_for_what_is_down_and_says_so(bench: Bench) -> None:
    bench.kind.faults = [BackendUnavailable("chat does not answer")]
    bench.run()
    started = await bench.operations.start(ANN, "Count", {"to": 1})
    await eventually(lambda: not bench.kind.faults, "the fault")

    notes = {(await bench.state(started)).note}
    ended = await bench.ended(started)

    assert notes <= {"", "BACKEND_UNAVAILABLE: chat does not answer"}
    assert (ended.state, ended.note) == (OperationState.SUCCEEDED, "")


@pytest.mark.parametrize(
    ("error", "code"),
    [(FailedPrecondition("no"), "FAILED_PRECONDITION"), (ZeroDivisionError("secret"), "INTERNAL")],
    ids=["refused", "bug"],
)
async def test_operation_ends_with_an_error_that_cannot_pass(bench: Bench, error: Exception, code: str) -> None:
    bench.kind.faults = [error]
    bench.run()

    ended = await bench.ended(await bench.operations.start(ANN, "Count", {"to": 1}))

    assert ended.state is OperationState.FAILED
    assert ended.fault is not None
    assert ended.fault.code == code
    assert "secret" not in ended.fault.message


async def test_cancelled_operation_stops_before_its_next_step(bench: Bench) -> None:
    bench.kind.gate.clear()
    bench.run()
    started = await bench.operations.start(ANN, "Count", {"to": 3})
    await eventually(lambda: bench.kind.seen == [0], "the first step")

    await bench.operations.cancel(ANN, started.operation_id)
    bench.kind.gate.set()

    assert (await bench.ended(started)).state is OperationState.CANCELLED
    assert len(bench.kind.seen) < 3


async def test_cancelling_what_is_over_changes_nothing(bench: Bench) -> None:
    bench.run()
    ended = await bench.ended(await bench.operations.start(ANN, "Count", {"to": 1}))

    assert await bench.operations.cancel(ANN, ended.operation_id) == ended


async def test_same_request_id_starts_one_operation_and_refuses_another_request(bench: Bench) -> None:
    first = await bench.operations.start(ANN, "Count", {"to": 1}, "r1")

    assert (await bench.operations.start(ANN, "Count", {"to": 1}, "r1")).operation_id == first.operation_id
    assert (await bench.operations.start(BOB, "Count", {"to": 1}, "r1")).operation_id != first.operation_id
    with pytest.raises(RequestIdReused):
        await bench.operations.start(ANN, "Count", {"to": 2}, "r1")


async def test_operations_are_seen_by_their_starter_and_by_operators(bench: Bench) -> None:
    own = await bench.operations.start(ANN, "Count", {"to": 1})
    other = await bench.operations.start(BOB, "Count", {"to": 1})

    with pytest.raises(OperationNotFound):
        await bench.operations.get(BOB, own.operation_id)
    with pytest.raises(OperationNotFound):
        await bench.operations.cancel(BOB, own.operation_id)
    assert await listed(bench, ANN) == [own.name]
    assert await listed(bench, OPERATOR) == [other.name, own.name]


async def listed(bench: Bench, caller: Caller) -> Sequence[str]:
    names, token = [], ""
    while True:
        page = await bench.operations.list_page(caller, page_size=1, page_token=token)
        names += [operation.name for operation in page.operations]
        token = page.next_page_token
        if not token:
            return names


async def test_lease_keeps_others_away_until_it_ends(store: EmbeddedMemoryStore, bench: Bench) -> None:
    started = await bench.operations.start(ANN, "Count", {"to": 1})
    now = started.due_at
    later = now + timedelta(seconds=10)

    first = await bench.kept.take(("Count",), "a", now, later)
    own_again = await bench.kept.take(("Count",), "a", now, later)
    after_restart = await bench.kept.take(("Count",), "b", now, later)

    assert first is not None
    assert own_again is None
    assert after_restart is not None
    assert await bench.kept.save(first, "a", None) is None, "who lost the lease writes nothing"


async def test_operation_of_an_unknown_kind_waits(bench: Bench) -> None:
    started = await bench.operations.start(ANN, "Other", {})

    assert await bench.kept.take(("Count",), "a", datetime.max.replace(tzinfo=started.due_at.tzinfo), started.due_at) is None  # fmt: skip


def killed_at_work(folder: Path) -> str:
    """Return the id of an operation whose process was killed after some steps."""
    writer = subprocess.Popen([sys.executable, WRITER, folder], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    with writer, writer.stdout as lines:
        operation_id = lines.readline().strip()
        for line in lines:
            if int(line) >= 5:
                break
        writer.send_signal(signal.SIGKILL)
    return operation_id


async def test_operation_outlives_kill_9(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    operation_id = await asyncio.to_thread(killed_at_work, folder)
    store = await EmbeddedMemoryStore.open(folder)
    bench = Bench(store, Counting())
    bench.kind.gate.set()
    bench.run("second")

    ended = await bench.ended(await bench.operations.get(OPERATOR, operation_id))

    await bench.stop()
    await store.close()
    assert ended.result == {"counted": 300}
    assert bench.kind.seen[0] >= 5


async def test_operations_on_the_wire(store: EmbeddedMemoryStore, tmp_path_factory: pytest.TempPathFactory) -> None:
    everything = Grant((ANY,), (ANY,), ("memory",), (ANY,))
    deployment = Deployment(tmp_path_factory.mktemp("deployment"), (("gateway", "gateway", everything),))
    kind = Counting()
    kind.gate.set()
    async with governed_world(deployment, store, (kind,)) as world:
        bench = Bench(store, kind)
        started = await bench.operations.start(ANN, "Count", {"to": 2})
        done = await world.ann.operation(started.operation_id)
        hidden = await refusal(world.bob.GetOperation(pb.GetOperationRequest(operation_id=started.operation_id)))
        page = await world.otto.ListOperations(pb.ListOperationsRequest())
        empty = await refusal(world.ann.CancelOperation(pb.CancelOperationRequest()))

    assert (done.name, result_of(done), metadata_of(done).kind) == (started.name, {"counted": 2}, "Count")
    assert metadata_of(done).state == governance_pb2.OperationMetadata.SUCCEEDED
    assert hidden.reason == "OPERATION_NOT_FOUND"
    assert [operation.name for operation in page.operations] == [started.name]
    assert empty.fields == ("operation_id",)


def metadata_of(operation: OperationMessage) -> governance_pb2.OperationMetadata:
    metadata = governance_pb2.OperationMetadata()
    assert operation.metadata.Unpack(metadata)
    return metadata


def result_of(operation: OperationMessage) -> dict[str, object]:
    result = Struct()
    assert operation.response.Unpack(result)
    return dict(result)
