"""Erasing an owner and making one anonymous: over real gRPC, in every service, down to the bytes on the disk."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from google.longrunning.operations_pb2 import Operation
from google.protobuf.field_mask_pb2 import FieldMask

from memorybox.governance.v1 import audit_service_pb2 as audit_pb
from memorybox.governance.v1 import governance_pb2, subject_data_service_pb2_grpc
from memorybox.governance.v1 import governance_service_pb2 as pb
from memorybox.governance.v1 import operation_service_pb2 as operation_pb
from memorybox.governance.v1 import subject_data_service_pb2 as subject_pb
from memorybox.memory.v1 import memory_pb2, search_pb2
from memorybox.memory.v1 import memory_service_pb2 as memory_service
from services.memory.domain.subject_data import BATCH
from services.memory.stores.embedded import EmbeddedMemoryStore
from services.mesh.access import Who, allow
from services.mesh.keys import Grant
from services.mesh.server import Registration, Service
from tests.support.backups import CALLS_ON, EVERYTHING, backed_up, brought_back, deployment_in, restored, taken_out
from tests.support.backups import places_of as readable
from tests.support.clients import Deployment, refusal
from tests.support.governed import GovernedWorld, Office, governed_world

Memory = memory_pb2.Memory
SECRET = "marzipan-Königsberg"
WORDS = [word.encode() for word in ("marzipan", "Königsberg", "königsberg")]
SUBJECT_DATA = "/memorybox.governance.v1.SubjectDataService/"


@pytest.fixture
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    keys = (("gateway", "gateway", EVERYTHING), ("memory", "service", CALLS_ON), ("chat", "service", Grant()))
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


def places_of(folder: Path, *words: bytes) -> list[str]:
    """Return the files below *folder* that hold one of *words*."""
    found = [path for path in folder.rglob("*") if path.is_file() and any(word in path.read_bytes() for word in words)]
    return [path.name for path in found]


async def erased(office: Office, owner: str, **fields: str) -> Operation:
    """Return the operation that erased *owner*, once it is done."""
    started = await office.EraseOwner(pb.EraseOwnerRequest(owner_user=owner, **fields))
    return await office.operation(started.name)


def receipt_of(operation: Operation) -> governance_pb2.SubjectDataReceipt:
    receipt = governance_pb2.SubjectDataReceipt()
    assert operation.response.Unpack(receipt), operation
    return receipt


async def fill(world: GovernedWorld, count: int) -> list[str]:
    """Let Ann keep memories of all kinds: changed ones, deleted ones, ones that others read."""
    ann = world.memories.ann
    levels = (Memory.PRIVATE, Memory.PUBLIC, Memory.ROLE)

    async def keep(number: int) -> str:
        level = levels[number % 3]
        roles = ["NURSE"] if level == Memory.ROLE else []
        made = await ann.create(
            f"{SECRET} {number} " + SECRET * (number % 50), f"r{number}", external_id=f"{SECRET}/{number}", bucket=SECRET,
            tags=[SECRET], access_level=level, reader_roles=roles, source=memory_pb2.Source(uri=f"file:///{SECRET}"),
        )  # fmt: skip
        if number % 4 == 0:
            wanted = Memory(memory_id=made.memory_id, content=f"{SECRET} changed {number}")
            await ann.UpdateMemory(
                memory_service.UpdateMemoryRequest(memory=wanted, update_mask=FieldMask(paths=["content"]))
            )
        if number % 5 == 0:
            await ann.DeleteMemory(memory_service.DeleteMemoryRequest(memory_id=made.memory_id))
        return str(made.memory_id)

    return list(await asyncio.gather(*(keep(number) for number in range(count))))


async def test_nothing_of_an_erased_owner_is_left_on_the_disk(world: GovernedWorld, tmp_path: Path) -> None:
    ids = await fill(world, BATCH + 50)
    other = await world.memories.bob.create("tea", access_level=Memory.PUBLIC)
    assert places_of(tmp_path, *WORDS)

    receipt = receipt_of(await erased(world.ann, "ann"))

    assert places_of(tmp_path, *WORDS) == []
    assert {item.service: item.counts["memories"] for item in receipt.services} == {"memory": BATCH + 50, "backups": 0}
    gone = await refusal(world.memories.ann.get(ids[1]))
    assert gone.code == "NOT_FOUND"
    assert await world.memories.user("nina", "NURSE").found(SECRET, mode=search_pb2.KEYWORD) == []
    assert await world.memories.ann.listed() == ["tea"]
    assert (await world.memories.bob.get(other.memory_id)).content == "tea"


async def test_store_opens_after_an_erasure_and_goes_on(deployment: Deployment, tmp_path: Path) -> None:
    store = await EmbeddedMemoryStore.open(tmp_path)
    async with governed_world(deployment, store) as world:
        kept = await world.memories.bob.create("tea", access_level=Memory.PUBLIC)
        await fill(world, 20)
        await erased(world.ann, "ann")
    await store.close()

    store = await EmbeddedMemoryStore.open(tmp_path)
    async with governed_world(deployment, store) as world:
        again = await world.memories.ann.create("new", "r1")
        found = await world.memories.bob.found("tea")
        listed = await world.memories.ann.listed()
    await store.close()

    assert (found, listed, again.revision) == (["tea"], ["new", "tea"], 1)
    assert kept.memory_id != again.memory_id


async def test_chains_verify_after_an_erasure_and_name_nobody(world: GovernedWorld) -> None:
    created = await world.memories.ann.create("tea", access_level=Memory.PUBLIC)
    await world.memories.bob.get(created.memory_id)
    await world.ann.EraseOwner(pb.EraseOwnerRequest(owner_user="ann"))
    for _ in range(500):
        page = await world.otto.ListOperations(operation_pb.ListOperationsRequest())
        if page.operations[0].done:
            break
        await asyncio.sleep(0.02)

    events = await world.gwen.events()
    found = await world.gwen.verified()

    assert found.valid
    assert {event.actor_user for event in events if event.method.endswith("/CreateMemory")} == {""}
    assert {event.actor_user for event in events if event.method.endswith("/GetMemory")} == {"bob"}
    assert "ann" not in {event.actor_user for event in events}


async def test_receipt_can_be_checked_and_not_be_forged(world: GovernedWorld) -> None:
    await fill(world, 3)
    receipt = receipt_of(await erased(world.gwen, "ann"))

    async def valid(**changes: Any) -> bool:
        changed = governance_pb2.SubjectDataReceipt()
        changed.CopyFrom(receipt)
        for name, value in changes.items():
            setattr(changed, name, value)
        answer = await world.gwen.VerifyAuditLog(audit_pb.VerifyAuditLogRequest(receipt=changed))
        return bool(answer.receipt_valid)

    assert await valid()
    assert not await valid(action="AnonymizeOwner")
    assert not await valid(hash=b"x" * 32)
    assert not await valid(operation="operations/other")
    assert "ann" not in str(receipt)
    del next(item for item in receipt.services if item.service == "memory").counts["memories"]
    assert not await valid()


async def test_one_may_erase_oneself_and_only_governors_others(world: GovernedWorld) -> None:
    await fill(world, 1)

    refused = await refusal(world.bob.EraseOwner(pb.EraseOwnerRequest(owner_user="ann")))
    empty = await refusal(world.ann.EraseOwner(pb.EraseOwnerRequest()))
    receipt = receipt_of(await erased(world.gwen, "ann"))

    assert refused.reason == "NOT_YOURSELF"
    assert empty.fields == ("owner_user",)
    assert receipt.action == "EraseOwner"


async def test_repeated_request_id_gives_the_same_operation(world: GovernedWorld) -> None:
    first = await world.ann.EraseOwner(pb.EraseOwnerRequest(owner_user="ann", request_id="r"))
    again = await world.ann.EraseOwner(pb.EraseOwnerRequest(owner_user="ann", request_id="r"))

    assert again.name == first.name


class FakeChat(subject_data_service_pb2_grpc.SubjectDataServiceServicer):
    """Keeps some things of people, and counts as a service of the mesh."""

    def __init__(self) -> None:
        self.erased: list[tuple[str, str]] = []

    async def EraseSubjectData(  # noqa: N802  # gRPC's name
        self, request: subject_pb.EraseSubjectDataRequest, context: Any
    ) -> subject_pb.EraseSubjectDataResponse:
        self.erased.append((request.owner_user, request.operation_id))
        return subject_pb.EraseSubjectDataResponse(erased_counts={"conversations": 7})


@asynccontextmanager
async def chat(deployment: Deployment, servicer: FakeChat) -> AsyncIterator[None]:
    names = subject_pb.DESCRIPTOR.services_by_name["SubjectDataService"].methods
    access = {SUBJECT_DATA + method.name: allow(Who.SERVICE) for method in names}
    served = Registration.of(subject_pb, subject_data_service_pb2_grpc, "SubjectDataService", servicer)
    async with deployment.serving("chat", lambda _: Service((served,), access)):
        yield


async def test_erasure_waits_for_a_service_that_is_down_and_ends_when_it_is_back(tmp_path: Path) -> None:
    deployment, data, exported = deployment_in(tmp_path / "data"), tmp_path / "data", tmp_path / "out" / "sealed"
    exported.parent.mkdir()
    deployment.keys.issue("chat", "service", Grant())
    servicer, store = FakeChat(), await EmbeddedMemoryStore.open(data / "memory")  # type: ignore[abstract]
    async with governed_world(deployment, store, MEMORYBOX_SUBJECT_SERVICES="chat") as world:
        await fill(world, 3)
        sealed = await taken_out(world.memories.ann)
        exported.write_bytes(b"\n".join(sealed))
        backup = await backed_up(world.gwen)
        await restored(world.gwen, backup.backup_id, folder="copy")
        started = await world.ann.EraseOwner(pb.EraseOwnerRequest(owner_user="ann"))
        metadata = governance_pb2.OperationMetadata()
        async with asyncio.timeout(20):
            while not metadata.note:
                found = await world.ann.GetOperation(operation_pb.GetOperationRequest(operation_id=started.name))
                assert not found.done
                found.metadata.Unpack(metadata)
                await asyncio.sleep(0.05)

        assert readable(SECRET, tmp_path) == [], "nobody's part waits for that of another"
        during = await restored(world.gwen, backup.backup_id, folder="during")
        async with chat(deployment, servicer):
            receipt = receipt_of(await world.ann.operation(started.name, within_s=30))
        verified = await world.gwen.VerifyAuditLog(audit_pb.VerifyAuditLogRequest(receipt=receipt))
        after = await restored(world.gwen, backup.backup_id, folder="after")
        opened = await brought_back(world.memories.ann, sealed, "late")
    await store.close()

    assert metadata.state == governance_pb2.OperationMetadata.PENDING
    assert {item.service: dict(item.counts) for item in receipt.services} == {
        "memory": {"memories": 3, "revisions": 2, "imports": 0, "audit_people": 1},
        "chat": {"conversations": 7},
        "backups": {"keys": 1},
    }
    assert servicer.erased == [("ann", started.name.removeprefix("operations/"))]
    assert (during.shredded_owner_count, after.shredded_owner_count) == (1, 1)
    assert (verified.valid, verified.receipt_valid) == (True, True)
    assert (opened.imported_count, opened.failed_count) == (0, len(sealed))
    for word in ("marzipan", "Königsberg"):
        assert readable(word, tmp_path) == [], word


async def test_anonymous_memories_stay_for_others_and_lose_their_owner(
    world: GovernedWorld, store: EmbeddedMemoryStore
) -> None:
    await fill(world, 60)
    nina = world.memories.user("nina", "NURSE")
    before = await nina.ListMemories(memory_service.ListMemoriesRequest())
    started = await world.gwen.AnonymizeOwner(pb.AnonymizeOwnerRequest(owner_user="ann"))

    receipt = receipt_of(await world.gwen.operation(started.name))

    after = await nina.ListMemories(memory_service.ListMemoriesRequest())
    assert {memory.content for memory in after.memories} == {memory.content for memory in before.memories}
    assert len({memory.owner_user for memory in after.memories}) == 1
    assert after.memories[0].owner_user.startswith("anonymous:")
    assert not any(memory.external_id or memory.HasField("source") for memory in after.memories)
    assert len(await nina.found(SECRET, mode=search_pb2.KEYWORD, top_k=100)) == len(before.memories)
    assert len(await world.memories.ann.listed()) < len(before.memories), "what only the role reads is no more hers"
    assert receipt.action == "AnonymizeOwner"
    assert after.memories[0].owner_user.removeprefix("anonymous:") not in str(receipt)
    rows = await store.read(lambda connection: str(list(connection.execute("SELECT value FROM settings"))))
    assert "anonymous:" not in rows, "nothing leads from the operation to the new owner"
    assert (await refusal(world.ann.AnonymizeOwner(pb.AnonymizeOwnerRequest(owner_user="ann")))).code == "PERMISSION_DENIED"  # fmt: skip


async def test_subject_data_are_counted_and_handed_out_whole(
    deployment: Deployment, store: EmbeddedMemoryStore
) -> None:
    deployment.keys.issue("auditor", "service", EVERYTHING)
    async with governed_world(deployment, store) as world:
        await fill(world, 12)
        office = world.service("auditor")
        counted = await office.CountSubjectData(subject_pb.CountSubjectDataRequest(owner_user="ann"))
        records = [
            item async for item in office.ExportSubjectData(subject_pb.ExportSubjectDataRequest(owner_user="ann"))
        ]
        refused = await refusal(world.gwen.CountSubjectData(subject_pb.CountSubjectDataRequest(owner_user="ann")))

    assert counted.counts["memories"] == 12
    assert len(records) == 12
    assert all(SECRET in item.record["content"] for item in records)
    assert refused.code == "PERMISSION_DENIED"
