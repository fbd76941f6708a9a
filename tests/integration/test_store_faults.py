"""A disk that is full or fails: no write is acknowledged that is not kept, and the indexes stay equal to the rows."""

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.memory.stores.embedded import EmbeddedMemoryStore, IntegrityCheck
from services.mesh.errors import BackendUnavailable
from tests.support.faulty_disk import Fault, FaultyDisk
from tests.support.memories import ANN, EAST, apply, creation, deletion, fill, found, hybrid_search, listed, revised

LONG = "tea " * 5000


@pytest.fixture
def disk() -> Iterator[tuple[str, Fault]]:
    fault, name = Fault(), f"faulty-{uuid.uuid4()}"
    vfs = FaultyDisk(name, fault)
    yield name, fault
    vfs.unregister()


async def both(store: EmbeddedMemoryStore) -> list[str]:
    """Return what the rows hold, after making sure that the indexes hold the same."""
    rows = sorted(await listed(store, ANN, limit=1000))
    assert sorted(await found(store, ANN, hybrid_search("tea", EAST, top_k=1000, limit=1000))) == rows
    return rows


@pytest.mark.parametrize("kind", ["full", "write", "sync"])
async def test_failed_commit_is_not_acknowledged_and_leaves_no_trace(
    tmp_path: Path, disk: tuple[str, Fault], kind: str
) -> None:
    vfs, fault = disk
    store = await EmbeddedMemoryStore.open(tmp_path, vfs=vfs)
    (kept,) = await apply(store, ANN, creation("kept"))

    fault.kind = kind
    for changes in ([creation("lost", LONG)], [revised(kept, content="other")], [deletion(kept)]):
        with pytest.raises(BackendUnavailable):
            await apply(store, ANN, *changes)

    assert await both(store) == ["kept"]
    fault.kind = ""
    await store.close()
    store = await EmbeddedMemoryStore.open(tmp_path, integrity=IntegrityCheck.FULL)
    rows = await both(store)
    await store.close()
    assert "kept" in rows


async def test_full_disk_takes_writes_again_once_it_has_space(tmp_path: Path, disk: tuple[str, Fault]) -> None:
    vfs, fault = disk
    store = await EmbeddedMemoryStore.open(tmp_path, vfs=vfs)
    fault.kind = "full"
    attempts = [apply(store, ANN, creation(f"lost{number}")) for number in range(10)]

    answers = await asyncio.gather(*attempts, return_exceptions=True)
    fault.kind = ""
    await fill(store, creation("after"))

    assert all(isinstance(answer, BackendUnavailable) for answer in answers)
    assert all(answer.retry_after_s for answer in answers if isinstance(answer, BackendUnavailable))
    assert store.failure is None
    assert await both(store) == ["after"]
    await store.close()


async def test_failed_sync_ends_writing_until_the_store_is_opened_again(
    tmp_path: Path, disk: tuple[str, Fault]
) -> None:
    vfs, fault = disk
    store = await EmbeddedMemoryStore.open(tmp_path, vfs=vfs)
    await fill(store, creation("kept"))
    fault.kind = "sync"
    with pytest.raises(BackendUnavailable):
        await fill(store, creation("lost"))

    fault.kind = ""
    with pytest.raises(BackendUnavailable, match="opened again"):
        await fill(store, creation("refused"))

    assert store.failure is not None
    assert await both(store) == ["kept"]
    await store.close()
    store = await EmbeddedMemoryStore.open(tmp_path)
    await fill(store, creation("after"))
    assert {"kept", "after"} <= set(await both(store))
    assert "refused" not in await both(store)
    await store.close()
