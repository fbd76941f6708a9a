"""kill -9 of a memory service in the middle of an erasure, with a backup, a copy and a sealed export lying there."""

import asyncio
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from memorybox.governance.v1 import audit_service_pb2 as audit_pb
from memorybox.governance.v1 import governance_pb2
from memorybox.governance.v1 import governance_service_pb2 as pb
from memorybox.governance.v1 import operation_service_pb2 as operation_pb
from services.memory.domain.subject_data import BATCH
from services.memory.stores.embedded import EmbeddedMemoryStore, IntegrityCheck
from services.memory.stores.embedded.lock import FolderLock
from tests.support.backups import backed_up, brought_back, deployment_in, places_of, restored, result_of, taken_out
from tests.support.clients import Deployment, eventually, plain_channel
from tests.support.governed import GOVERNOR, Office
from tests.support.memories import creation, fill
from tests.support.memory import Client
from tests.support.mesh import Mesh
from tests.support.parts import Part

SECRET = "marzipan-Königsberg"
COUNT = 3 * BATCH  # three commits, and the empty one that ends them


@pytest.fixture
async def deployment(tmp_path: Path) -> Deployment:
    """Return a deployment where Ann has kept much and Bob one memory."""
    made = deployment_in(tmp_path / "data")
    store = await EmbeddedMemoryStore.open(tmp_path / "data" / "memory")
    await fill(store, *(creation(f"m{number}", f"{SECRET} {number}") for number in range(COUNT)))
    await fill(store, creation("other", "tea", owner="bob"))
    await store.close()
    return made


class Served:
    """Calls a memory service that runs as a process."""

    def __init__(self, deployment: Deployment, channel: object) -> None:
        self.gwen = Office(channel, deployment.bearer("memory", "gwen", (GOVERNOR,)))
        self.ann = Client(channel, deployment.bearer("memory", "ann"))
        self.bob = Client(channel, deployment.bearer("memory", "bob"))

    async def metadata(self, name: str) -> governance_pb2.OperationMetadata:
        """Return how an operation stands, which must not be over."""
        found = await self.gwen.GetOperation(operation_pb.GetOperationRequest(operation_id=name))
        assert not found.done, found
        metadata = governance_pb2.OperationMetadata()
        found.metadata.Unpack(metadata)
        return metadata


def kept_by_ann(database: Path) -> int:
    """Return how many memories are there of Ann's."""
    with closing(apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
        return int(connection.execute("SELECT count(*) FROM memories WHERE owner_user = 'ann'").get)


async def test_erasure_that_is_killed_goes_on_and_leaves_nothing_to_be_read(
    deployment: Deployment, tmp_path: Path
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    target, database = f"127.0.0.1:{deployment.settings().port('memory')}", data / "memory" / "memories.sqlite"
    out.mkdir()
    with Part("memory", Mesh(data), deployment.environ) as memory:
        async with plain_channel(target) as channel:
            served = Served(deployment, channel)
            sealed = await taken_out(served.ann)
            (out / "sealed").write_bytes(b"\n".join(sealed))
            backup = await backed_up(served.gwen)
            await restored(served.gwen, backup.backup_id, folder="copy")
            readable = places_of(SECRET, tmp_path)
            held = FolderLock(data / "restored" / "copy" / "memory")  # so that it cannot come to its end
            started = await served.gwen.EraseOwner(pb.EraseOwnerRequest(owner_user="ann"))
            await eventually(lambda: kept_by_ann(database) < COUNT, "some are erased", 30)
            memory.kill()
        left = kept_by_ann(database)

        await asyncio.to_thread(memory.start)
        async with plain_channel(target) as channel:
            served = Served(deployment, channel)
            async with asyncio.timeout(30):
                while "restored copy is in use" not in (await served.metadata(started.name)).note:
                    await asyncio.sleep(0.02)
            memory.kill()  # when all is done but the copies and the key

        held.release()
        await asyncio.to_thread(memory.start)
        async with plain_channel(target) as channel:
            served = Served(deployment, channel)
            operation = await served.gwen.operation(started.name, within_s=30)
            receipt = result_of(operation, governance_pb2.SubjectDataReceipt)
            checked = await served.gwen.VerifyAuditLog(audit_pb.VerifyAuditLogRequest(receipt=receipt))
            late = await brought_back(served.ann, sealed, "late")
            again = await restored(served.gwen, backup.backup_id, folder="again")
            listed = await served.bob.listed()

    assert len(readable) >= 2, "live and copied, and found there"
    assert left < COUNT
    assert {item.service: (item.counts["memories"], item.counts["keys"]) for item in receipt.services} == {
        "memory": (COUNT, 0),
        "backups": (0, 1),
    }, "what was done before the kills counts, once"
    assert (checked.valid, checked.receipt_valid) == (True, True)
    assert (late.imported_count, late.failed_count) == (0, COUNT)
    assert (again.memory_count, again.shredded_owner_count) == (1, 1)
    assert listed == ["tea"]
    for word in (SECRET, "marzipan", "Königsberg"):
        assert places_of(word, tmp_path) == [], word
    store = await EmbeddedMemoryStore.open(data / "memory", integrity=IntegrityCheck.FULL)
    await store.close()
