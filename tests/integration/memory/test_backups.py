"""Backups over real gRPC: made beside writers, listed, pruned, restored aside, and read by nobody without the keys."""

import asyncio
import re
import stat
import threading
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from memorybox.governance.v1 import governance_pb2
from memorybox.governance.v1 import governance_service_pb2 as pb
from memorybox.governance.v1 import operation_service_pb2 as operation_pb
from memorybox.memory.v1 import memory_pb2
from memorybox.memory.v1 import memory_service_pb2 as memory_service
from services.memory.domain.jobs import Meter
from services.memory.stores.embedded import EmbeddedMemoryStore
from services.memory.stores.embedded.backup_file import BackupWriter, Row
from tests.support.backups import backed_up, deployment_in, places_of, restored, rows_of
from tests.support.clients import Deployment, refusal
from tests.support.governed import GovernedWorld, governed_world

SECRET = "marzipan-Königsberg"
# What a restored state does not share with the one that was backed up: keys of tokens, the number of the last change, and running work.
RENEWED = ("settings", "changes", "operations")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the data folder."""
    return tmp_path / "data"


@pytest.fixture
def deployment(folder: Path) -> Deployment:
    return deployment_in(folder)


@pytest.fixture
async def store(folder: Path) -> AsyncIterator[EmbeddedMemoryStore]:
    opened = await EmbeddedMemoryStore.open(folder / "memory")
    yield opened
    await opened.close()


@pytest.fixture
async def world(deployment: Deployment, store: EmbeddedMemoryStore) -> AsyncIterator[GovernedWorld]:
    async with governed_world(deployment, store) as made:
        yield made


async def fill(world: GovernedWorld, count: int = 12) -> list[str]:
    """Let Ann and Bob keep memories of all kinds; return Ann's ids."""
    levels = (memory_pb2.Memory.PRIVATE, memory_pb2.Memory.PUBLIC, memory_pb2.Memory.ROLE)
    ids = []
    for number in range(count):
        level = levels[number % 3]
        roles = ["NURSE"] if level == memory_pb2.Memory.ROLE else []
        made = await world.memories.ann.create(
            f"{SECRET} {number}", external_id=f"{SECRET}/{number}", tags=[SECRET], access_level=level, reader_roles=roles
        )  # fmt: skip
        ids.append(made.memory_id)
        await world.memories.bob.create(f"tea {number}", access_level=level, reader_roles=roles)
    change = memory_pb2.Memory(memory_id=ids[0], content=f"{SECRET} changed")
    await world.memories.ann.UpdateMemory(memory_service.UpdateMemoryRequest(memory=change))
    await world.memories.ann.DeleteMemory(memory_service.DeleteMemoryRequest(memory_id=ids[1]))
    return ids


async def test_backup_holds_every_row_and_restores_them_equal(world: GovernedWorld, folder: Path) -> None:
    await fill(world)

    made = await backed_up(world.gwen)
    report = await restored(world.gwen, made.backup_id, folder="copy")

    before = rows_of(folder / "memory" / "memories.sqlite", *RENEWED)
    after = rows_of(folder / "restored" / "copy" / "memory" / "memories.sqlite", *RENEWED)
    audited = {"audit_events", "audit_subjects", "audit_chains", "audit_people", "sqlite_sequence"}
    assert {name: rows for name, rows in after.items() if name not in audited} == {
        name: rows for name, rows in before.items() if name not in audited
    }
    assert set(after["audit_events"]) < set(before["audit_events"]), "what came after the backup is not in it"
    assert (made.verified, made.memory_count, made.size_bytes > 0) == (True, 24, True)
    assert (report.folder, report.in_place, report.memory_count, report.shredded_row_count) == ("copy", False, 24, 0)


async def test_restored_folder_is_a_data_folder_that_serves(world: GovernedWorld, folder: Path) -> None:
    ids = await fill(world)
    made = await backed_up(world.gwen)
    await restored(world.gwen, made.backup_id, folder="copy")

    store = await EmbeddedMemoryStore.open(folder / "restored" / "copy" / "memory")
    other = deployment_in(folder / "restored" / "copy")
    async with governed_world(other, store) as copy:
        found = await copy.memories.ann.found(SECRET)
        again = await copy.memories.ann.create("new")
        verified = await copy.gwen.verified()
        read = await copy.memories.ann.get(ids[0])
    await store.close()

    assert len(found) == 10
    assert again.revision == 1
    assert verified.valid
    assert read.content == f"{SECRET} changed"


async def test_nothing_that_anybody_said_can_be_read_in_a_backup(world: GovernedWorld, folder: Path) -> None:
    await fill(world)

    made = await backed_up(world.gwen)

    lies_in = folder / "backups" / made.backup_id
    assert places_of(SECRET, folder / "memory"), "the search finds what is there to be read"
    for word in (SECRET, "marzipan", "tea 1", "otto", "CreateMemory", "NURSE"):
        assert places_of(word, lies_in) == [], word
    modes = {stat.S_IMODE(path.stat().st_mode) for path in lies_in.iterdir()}
    assert (modes, stat.S_IMODE(lies_in.stat().st_mode)) == ({0o600}, 0o700)
    keys = [path.read_bytes() for path in (folder / "keys" / "backup").iterdir()]
    rows = (lies_in / "rows").read_bytes()
    assert all(key[:32] not in rows for key in keys)


async def test_backup_is_of_one_moment_while_writers_go_on(world: GovernedWorld, folder: Path) -> None:
    async def write(user: str) -> None:
        client = world.memories.user(user)
        for number in range(40):  # each pair in one unit of work
            batch = [memory_service.CreateMemoryRequest(memory=memory_pb2.Memory(content=f"{user} {number} {half}")) for half in "ab"]  # fmt: skip
            await client.BatchCreateMemories(memory_service.BatchCreateMemoriesRequest(requests=batch))

    writers = [asyncio.create_task(write(f"user{number}")) for number in range(4)]
    made = [await backed_up(world.gwen) for _ in range(3)]
    await asyncio.gather(*writers)

    for number, backup in enumerate(made):
        report = await restored(world.gwen, backup.backup_id, folder=f"copy{number}")
        rows = rows_of(folder / "restored" / f"copy{number}" / "memory" / "memories.sqlite")
        assert report.memory_count == len(rows["memories"]) == len(rows["terms"]) == len(rows["vectors"])
        counted = sum(row[1] for row in rows["owner_usage"])
        assert counted == len(rows["memories"]), "what triggers count is of the same moment"


async def test_only_governors_make_list_and_restore_backups(world: GovernedWorld) -> None:
    made = await backed_up(world.gwen)

    for office in (world.ann, world.otto):
        for call in (
            office.CreateBackup(pb.CreateBackupRequest()),
            office.ListBackups(pb.ListBackupsRequest()),
            office.RestoreBackup(pb.RestoreBackupRequest(backup_id=made.backup_id)),
        ):
            assert (await refusal(call)).code == "PERMISSION_DENIED"


async def test_backups_are_listed_in_pages_newest_first(world: GovernedWorld) -> None:
    made = [(await backed_up(world.gwen)).backup_id for _ in range(3)]

    first = await world.gwen.ListBackups(pb.ListBackupsRequest(page_size=2))
    second = await world.gwen.ListBackups(pb.ListBackupsRequest(page_size=2, page_token=first.next_page_token))

    assert [backup.backup_id for backup in (*first.backups, *second.backups)] == made[::-1]
    assert all(backup.verified for backup in first.backups)
    assert (len(first.backups), second.next_page_token) == (2, "")


async def test_repeated_request_makes_one_backup(world: GovernedWorld) -> None:
    made = [await backed_up(world.gwen, request_id="nightly") for _ in range(2)]

    listed = await world.gwen.ListBackups(pb.ListBackupsRequest())

    assert made[0] == made[1]
    assert len(listed.backups) == 1


async def test_what_cannot_be_restored_is_refused_at_once(world: GovernedWorld) -> None:
    made = await backed_up(world.gwen)
    await restored(world.gwen, made.backup_id, folder="taken")

    async def refused(**fields: object) -> tuple[str, str]:
        found = await refusal(world.gwen.RestoreBackup(pb.RestoreBackupRequest(**fields)))  # type: ignore[arg-type]
        return found.reason, ",".join(found.fields)

    assert await refused(backup_id="") == ("INVALID_INPUT", "backup_id")
    assert await refused(backup_id="nothing") == ("BACKUP_NOT_FOUND", "")
    assert await refused(backup_id="../../memory") == ("BACKUP_NOT_FOUND", "")
    assert await refused(backup_id=made.backup_id, folder="../x") == ("INVALID_INPUT", "folder")
    assert await refused(backup_id=made.backup_id, folder="x", in_place=True) == ("INVALID_INPUT", "folder")
    assert await refused(backup_id=made.backup_id, folder="taken") == ("RESTORE_FOLDER_EXISTS", "")


async def test_oldest_backups_go_when_there_are_more_than_are_kept(
    deployment: Deployment, store: EmbeddedMemoryStore, folder: Path
) -> None:
    async with governed_world(deployment, store, MEMORYBOX_BACKUP_KEEP="2") as world:
        made = [(await backed_up(world.gwen)).backup_id for _ in range(3)]
        (folder / "backups" / made[2] / "rows").write_bytes(b"")
        broken = await world.gwen.ListBackups(pb.ListBackupsRequest())
        made.append((await backed_up(world.gwen)).backup_id)
        listed = await world.gwen.ListBackups(pb.ListBackupsRequest())

    assert [(backup.backup_id, backup.verified) for backup in broken.backups] == [(made[2], False), (made[1], True)]
    assert [backup.backup_id for backup in listed.backups] == [made[3], made[2], made[1]], (
        "what is damaged does not count"
    )


async def test_schedule_makes_a_backup_when_the_newest_is_too_old(
    deployment: Deployment, store: EmbeddedMemoryStore
) -> None:
    newest = re.compile(r"^memorybox_backup_newest_time_seconds (\S+)", re.MULTILINE)
    async with governed_world(deployment, store, MEMORYBOX_BACKUP_EVERY="1h") as world, asyncio.timeout(20):
        while not (told := newest.search(world.memories.metrics_text())):
            await asyncio.sleep(0.02)
        listed = await world.gwen.ListBackups(pb.ListBackupsRequest())

    assert [backup.verified for backup in listed.backups] == [True]
    assert float(told[1]) == pytest.approx(listed.backups[0].created_at.ToMicroseconds() / 1e6)


async def test_failed_backup_is_told_by_its_operation_and_the_metrics(
    deployment: Deployment, store: EmbeddedMemoryStore, folder: Path
) -> None:
    (folder / "backups").write_text("not a folder")
    async with governed_world(deployment, store) as world:
        started = await world.gwen.CreateBackup(pb.CreateBackupRequest())
        operation = await world.gwen.operation(started.name)
        metrics = world.memories.metrics_text()

    assert "cannot be used" in operation.error.message
    assert "memorybox_backup_failures_total 1" in metrics


async def test_cancelled_backup_leaves_nothing(
    world: GovernedWorld, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, told = threading.Event(), threading.Event()
    write, stop = BackupWriter.write, Meter.stop

    def write_slowly(writer: BackupWriter, table: int, first: int, owner: str, rows: Sequence[Row]) -> None:
        begun.set()
        assert told.wait(20), "whoever makes a backup is told to stop"
        write(writer, table, first, owner, rows)

    def tell(meter: Meter) -> None:
        stop(meter)
        told.set()

    monkeypatch.setattr(BackupWriter, "write", write_slowly)
    monkeypatch.setattr(Meter, "stop", tell)
    await fill(world)
    started = await world.gwen.CreateBackup(pb.CreateBackupRequest())
    assert await asyncio.to_thread(begun.wait, 20)
    assert [path.name for path in (folder / "backups").iterdir()] != [], "it is under way"

    await world.gwen.CancelOperation(operation_pb.CancelOperationRequest(operation_id=started.name))
    operation = await world.gwen.operation(started.name)
    monkeypatch.undo()
    again = await backed_up(world.gwen)

    metadata = governance_pb2.OperationMetadata()
    operation.metadata.Unpack(metadata)
    assert metadata.state == governance_pb2.OperationMetadata.CANCELLED
    assert [path.name for path in (folder / "backups").iterdir()] == [again.backup_id]
    assert again.verified


def test_pause_between_backups_is_off_unless_said() -> None:
    from services.memory.settings import Settings, pause  # noqa: PLC0415
    from services.mesh.config import load  # noqa: PLC0415

    assert load(Settings, {}).backup_every is None
    assert [pause(text) for text in ("off", "30m", "24h", "7d")] == [None, timedelta(minutes=30), timedelta(days=1), timedelta(days=7)]  # fmt: skip
    for text in ("0h", "24", "1s", "367d", "h"):
        with pytest.raises(ValueError, match="must be off"):
            pause(text)
