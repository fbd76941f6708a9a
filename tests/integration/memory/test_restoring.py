"""Restoring in place, and what an erasure means for backups: what is gone stays gone, and nobody is told anything untrue afterwards."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from google.longrunning.operations_pb2 import Operation

from memorybox.governance.v1 import audit_service_pb2 as audit_pb
from memorybox.governance.v1 import governance_pb2
from memorybox.governance.v1 import governance_service_pb2 as pb
from memorybox.governance.v1 import operation_service_pb2 as operation_pb
from memorybox.memory.v1 import memory_pb2
from memorybox.memory.v1 import memory_service_pb2 as memory_service
from services.memory.stores.embedded import EmbeddedMemoryStore, swap
from tests.support.backups import (
    backed_up,
    brought_back,
    deployment_in,
    places_of,
    restored,
    result_of,
    rows_of,
    taken_out,
)
from tests.support.clients import Deployment, refusal
from tests.support.governed import GovernedWorld, Office, governed_world

SECRET = "marzipan-Königsberg"
WORDS = (SECRET, "marzipan", "Königsberg")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the data folder."""
    return tmp_path / "data"


@pytest.fixture
def deployment(folder: Path) -> Deployment:
    return deployment_in(folder)


@asynccontextmanager
async def serving(deployment: Deployment, folder: Path, **environ: Any) -> AsyncIterator[GovernedWorld]:
    """Serve from *folder* as a process of its own life."""
    store = await EmbeddedMemoryStore.open(folder / "memory")
    try:
        async with governed_world(deployment, store, **environ) as world:
            yield world
    finally:
        await store.close()


async def replaced(world: GovernedWorld, backup_id: str) -> str:
    """Have the live data replaced; return the operation once the service is to start again."""
    started = await world.gwen.RestoreBackup(pb.RestoreBackupRequest(backup_id=backup_id, in_place=True))
    async with asyncio.timeout(30):
        await world.memories.running.mesh.again.wait()
    return str(started.name)


async def erased(office: Office, owner: str) -> Operation:
    started = await office.EraseOwner(pb.EraseOwnerRequest(owner_user=owner))
    return await office.operation(started.name, within_s=30)


def receipt_of(operation: Operation) -> governance_pb2.SubjectDataReceipt:
    receipt: governance_pb2.SubjectDataReceipt = result_of(operation, governance_pb2.SubjectDataReceipt)
    return receipt


def counts_of(receipt: governance_pb2.SubjectDataReceipt) -> dict[str, dict[str, int]]:
    return {item.service: dict(item.counts) for item in receipt.services}


async def fill(world: GovernedWorld) -> dict[str, memory_pb2.Memory]:
    """Let Ann and Bob keep memories that everybody reads, and some of their own."""
    public = memory_pb2.Memory.PUBLIC
    made = {}
    for user, client in (("ann", world.memories.ann), ("bob", world.memories.bob)):
        word = SECRET if user == "ann" else "tea"
        made[user] = await client.create(f"{word} one", access_level=public)
        made[f"{user} private"] = await client.create(f"{word} two", tags=[word], external_id=word)
    return made


async def test_live_data_are_replaced_in_one_step_and_the_operation_says_so(
    deployment: Deployment, folder: Path
) -> None:
    async with serving(deployment, folder) as world:
        made = await fill(world)
        backup = await backed_up(world.gwen)
        late = await world.memories.bob.create("coffee")
        await world.memories.bob.DeleteMemory(memory_service.DeleteMemoryRequest(memory_id=made["bob"].memory_id))
        name = await replaced(world, backup.backup_id)
        refused = await refusal(world.memories.bob.get(late.memory_id))
        written = await refusal(world.memories.bob.create("too late"))

    async with serving(deployment, folder) as world:
        operation = await world.gwen.operation(name)
        report = result_of(operation, governance_pb2.RestoredBackup)
        gone = await refusal(world.memories.bob.get(late.memory_id))
        back = await world.memories.bob.get(made["bob"].memory_id)
        found = await world.memories.bob.found("tea")
        verified = await world.gwen.verified()
        events = await world.gwen.events("RestoreBackup")

    assert (refused.code, refused.retry_s) == ("UNAVAILABLE", 2.0)
    assert written.code == "UNAVAILABLE"
    assert (report.in_place, report.memory_count, report.shredded_owner_count) == (True, 4, 0)
    assert gone.code == "NOT_FOUND"
    assert back.content == "tea one"
    assert sorted(found) == ["tea one", "tea two"]
    assert verified.valid
    assert len(events) == 2, "who asked, and that it was done"


async def test_audit_log_and_receipts_do_not_go_back_with_the_rows(deployment: Deployment, folder: Path) -> None:
    async with serving(deployment, folder) as world:
        await fill(world)
        backup = await backed_up(world.gwen)
        receipt = receipt_of(await erased(world.ann, "ann"))
        await world.memories.bob.create("coffee")
        before = await world.gwen.events()
        await replaced(world, backup.backup_id)

    async with serving(deployment, folder) as world:
        after = await world.gwen.events()
        checked = await world.gwen.VerifyAuditLog(audit_pb.VerifyAuditLogRequest(receipt=receipt))

    assert {event.audit_event_id for event in before} <= {event.audit_event_id for event in after}
    assert checked.valid
    assert checked.receipt_valid


async def test_who_was_erased_after_the_backup_does_not_come_back(deployment: Deployment, folder: Path) -> None:
    async with serving(deployment, folder) as world:
        made = await fill(world)
        backup = await backed_up(world.gwen)
        receipt = receipt_of(await erased(world.ann, "ann"))
        again = await world.memories.ann.create("a new beginning", access_level=memory_pb2.Memory.PUBLIC)
        aside = await restored(world.gwen, backup.backup_id, folder="copy")
        name = await replaced(world, backup.backup_id)

    async with serving(deployment, folder) as world:
        report = result_of(await world.gwen.operation(name), governance_pb2.RestoredBackup)
        gone = await refusal(world.memories.ann.get(made["ann"].memory_id))
        listed = await world.memories.bob.listed()
        newer = await refusal(world.memories.ann.get(again.memory_id))
        backup_after = await backed_up(world.gwen)

    assert counts_of(receipt)["backups"] == {"keys": 1}
    assert (aside.shredded_owner_count, report.shredded_owner_count) == (1, 1)
    assert aside.shredded_row_count == report.shredded_row_count > 0
    assert (aside.memory_count, report.memory_count, backup_after.memory_count) == (2, 2, 2)
    assert gone.code == newer.code == "NOT_FOUND"
    assert sorted(listed) == ["tea one", "tea two"]
    assert places_of("marzipan", folder) == [], "in no database, log, copy or backup"


async def test_nothing_of_an_erased_owner_can_be_read_anywhere_that_we_wrote(
    deployment: Deployment, folder: Path, tmp_path: Path
) -> None:
    exported = tmp_path / "exported"
    exported.mkdir()
    async with serving(deployment, folder) as world:
        await fill(world)
        (exported / "sealed").write_bytes(b"\n".join(await taken_out(world.memories.ann)))
        first = await backed_up(world.gwen)
        await restored(world.gwen, first.backup_id, folder="copy")
        await replaced(world, first.backup_id)  # sets a state aside
    assert {path.name for path in (folder / "memory").iterdir()} > {"memories.sqlite", "lock"}
    async with serving(deployment, folder) as world:
        readable = {word: places_of(word, folder, exported) for word in WORDS}
        copies = swap.set_aside(folder / "memory")
        receipt = receipt_of(await erased(world.gwen, "ann"))
        left = {word: places_of(word, folder, exported) for word in WORDS}
        verified = await world.gwen.VerifyAuditLog(audit_pb.VerifyAuditLogRequest(receipt=receipt))
        listed = await world.memories.bob.listed()

    assert len(copies) == 1
    assert all(len(places) >= 3 for places in readable.values()), "live, aside and copied, and found there"
    assert "rows" not in {place for places in readable.values() for place in places}
    assert left == {word: [] for word in WORDS}
    assert (verified.valid, verified.receipt_valid) == (True, True)
    assert counts_of(receipt)["memory"]["memories"] == 2
    assert counts_of(receipt)["backups"]["keys"] == 1
    assert sorted(listed) == ["tea one", "tea two"]
    for copy in (folder / "restored" / "copy" / "memory" / "memories.sqlite", *copies):
        assert len(rows_of(copy)["memories"]) == 2, "what is others' stays in copies"


async def test_erasing_waits_while_a_restored_copy_is_in_use(deployment: Deployment, folder: Path) -> None:
    async with serving(deployment, folder) as world:
        await fill(world)
        backup = await backed_up(world.gwen)
        await restored(world.gwen, backup.backup_id, folder="copy")
        used = await EmbeddedMemoryStore.open(folder / "restored" / "copy" / "memory")
        started = await world.gwen.EraseOwner(pb.EraseOwnerRequest(owner_user="ann"))
        metadata = governance_pb2.OperationMetadata()
        async with asyncio.timeout(20):
            while not metadata.note:
                found = await world.gwen.GetOperation(operation_pb.GetOperationRequest(operation_id=started.name))
                assert not found.done
                found.metadata.Unpack(metadata)
                await asyncio.sleep(0.02)
        await used.close()
        receipt = receipt_of(await world.gwen.operation(started.name, within_s=30))

    assert "a restored copy is in use" in metadata.note
    assert counts_of(receipt)["backups"] == {"keys": 1}
    assert places_of("marzipan", folder) == []


async def test_who_is_being_erased_is_left_out_of_what_is_restored_in_place(
    deployment: Deployment, folder: Path
) -> None:
    async with serving(deployment, folder, MEMORYBOX_SUBJECT_SERVICES="chat") as world:  # which is down
        await fill(world)
        backup = await backed_up(world.gwen)
        started = await world.gwen.EraseOwner(pb.EraseOwnerRequest(owner_user="ann"))
        async with asyncio.timeout(20):
            while places_of("marzipan", folder / "memory"):
                await asyncio.sleep(0.05)
        name = await replaced(world, backup.backup_id)

    async with serving(deployment, folder) as world:  # chat is not asked any more
        report = result_of(await world.gwen.operation(name), governance_pb2.RestoredBackup)
        found = places_of("marzipan", folder / "memory")
        receipt = receipt_of(await world.gwen.operation(started.name, within_s=30))

    assert found == [], "not even for a moment"
    assert (report.memory_count, report.shredded_owner_count) == (2, 1)
    assert counts_of(receipt)["backups"] == {"keys": 1}


async def test_backup_from_before_an_anonymization_has_nothing_of_that_owner(
    deployment: Deployment, folder: Path
) -> None:
    async with serving(deployment, folder) as world:
        await fill(world)
        before = await backed_up(world.gwen)
        started = await world.gwen.AnonymizeOwner(pb.AnonymizeOwnerRequest(owner_user="ann"))
        receipt = receipt_of(await world.gwen.operation(started.name))
        after = await backed_up(world.gwen)
        old = await restored(world.gwen, before.backup_id, folder="old")
        new = await restored(world.gwen, after.backup_id, folder="new")

    rows = rows_of(folder / "restored" / "new" / "memory" / "memories.sqlite")
    assert counts_of(receipt)["backups"] == {"keys": 1}
    assert (old.memory_count, old.shredded_owner_count) == (2, 1)
    assert (new.memory_count, new.shredded_owner_count) == (3, 0)
    assert places_of(SECRET, folder / "restored" / "old") == []
    assert not any("ann" in map(str, row) for row in rows["memories"])


async def test_tokens_from_before_a_restore_lead_nowhere(deployment: Deployment, folder: Path) -> None:
    async with serving(deployment, folder) as world:
        await fill(world)
        backup = await backed_up(world.gwen)
        page = await world.memories.bob.ListMemories(memory_service.ListMemoriesRequest(page_size=1))
        watch = world.memories.bob.WatchMemories(memory_service.WatchMemoriesRequest())
        await watch.wait_for_connection()
        await world.memories.bob.create("coffee")
        event = await anext(aiter(watch))
        watch.cancel()
        await replaced(world, backup.backup_id)

    async with serving(deployment, folder) as world:
        wanted = memory_service.ListMemoriesRequest(page_size=1, page_token=page.next_page_token)
        listing = await refusal(world.memories.bob.ListMemories(wanted))
        resumed = world.memories.bob.WatchMemories(memory_service.WatchMemoriesRequest(resume_token=event.resume_token))
        watching = await refusal(anext(aiter(resumed)))

    assert page.next_page_token
    assert event.resume_token
    assert listing.reason == "INVALID_PAGE_TOKEN"
    assert watching.reason == "INVALID_RESUME_TOKEN"


async def test_etag_from_before_a_restore_never_fits_another_state(deployment: Deployment, folder: Path) -> None:
    def change(memory_id: str, content: str, etag: str = "") -> memory_service.UpdateMemoryRequest:
        return memory_service.UpdateMemoryRequest(
            memory=memory_pb2.Memory(memory_id=memory_id, content=content), etag=etag
        )

    async with serving(deployment, folder) as world:
        bob = world.memories.bob
        changed, same = [await bob.create(text) for text in ("first", "same")]
        backup = await backed_up(world.gwen)
        seen = [(await bob.UpdateMemory(change(changed.memory_id, f"then {number}"))).memory for number in range(3)]
        await replaced(world, backup.backup_id)

    async with serving(deployment, folder) as world:
        bob = world.memories.bob
        back = await bob.get(changed.memory_id)
        untouched = await bob.get(same.memory_id)
        reasons: list[str] = []
        for number in range(4):  # as many changes as it had, so that plain numbers would come again
            stale = [change(changed.memory_id, "x", memory.etag) for memory in (changed, *seen)]
            reasons += [(await refusal(bob.UpdateMemory(request))).reason for request in stale]
            back = (await bob.UpdateMemory(change(changed.memory_id, f"again {number}", back.etag))).memory
        kept = await bob.UpdateMemory(change(same.memory_id, "changed", same.etag))

    assert reasons == ["ETAG_MISMATCH"] * 16
    assert untouched.etag == same.etag
    assert kept.memory.revision == 2


async def test_changes_after_a_restore_are_told_to_who_watches(deployment: Deployment, folder: Path) -> None:
    async with serving(deployment, folder) as world:
        made = await fill(world)
        backup = await backed_up(world.gwen)
        for number in range(5):
            await world.memories.bob.create(f"later {number}")
        await replaced(world, backup.backup_id)

    async with serving(deployment, folder) as world:
        watch = world.memories.bob.WatchMemories(memory_service.WatchMemoriesRequest())
        await watch.wait_for_connection()
        wanted = memory_pb2.Memory(memory_id=made["bob"].memory_id, content="tea, changed")
        await world.memories.bob.UpdateMemory(memory_service.UpdateMemoryRequest(memory=wanted))
        event = await anext(aiter(watch))
        watch.cancel()

    assert event.updated.content == "tea, changed"


async def test_state_that_was_replaced_stays_until_the_next_backup(deployment: Deployment, folder: Path) -> None:
    async with serving(deployment, folder) as world:
        await fill(world)
        backup = await backed_up(world.gwen)
        await world.memories.bob.create("coffee")
        await replaced(world, backup.backup_id)

    async with serving(deployment, folder) as world:
        aside = swap.set_aside(folder / "memory")
        contents = {row[-1] for row in rows_of(aside[0])["memories"]}
        await backed_up(world.gwen)
        left = swap.set_aside(folder / "memory")

    assert "coffee" in contents
    assert (len(aside), left) == (1, [])


async def test_sealed_export_comes_back_for_its_owner_only_and_never_after_an_erasure(
    deployment: Deployment, folder: Path
) -> None:
    async with serving(deployment, folder) as world:
        made = await fill(world)
        request = memory_service.ExportMemoriesRequest(sealed=True, include_embeddings=True)
        stream = [message async for message in world.memories.ann.ExportMemories(request)]
        sealed = [message.sealed for message in stream]
        for key in ("ann", "ann private"):
            await world.memories.ann.DeleteMemory(memory_service.DeleteMemoryRequest(memory_id=made[key].memory_id))
        others = await brought_back(world.memories.bob, sealed, "stolen")
        own = await brought_back(world.memories.ann, sealed, "back")
        listed = await world.memories.ann.listed()
        await erased(world.ann, "ann")
        late = await brought_back(world.memories.ann, sealed, "late")

    assert not any(message.HasField("memory") for message in stream)
    assert not any(word.encode() in item for item in sealed for word in WORDS)
    assert (own.imported_count, own.failed_count) == (2, 0)
    assert f"{SECRET} two" in listed
    for answer in (others, late):
        assert (answer.imported_count, answer.failed_count) == (0, 2)
        assert "key of the caller" in answer.errors[0].error.message
