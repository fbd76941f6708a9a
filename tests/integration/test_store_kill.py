"""kill -9 during a stream of creations loses nothing that was acknowledged."""

import asyncio
import random
import sys
from pathlib import Path

import pytest

from services.memory.stores.embedded import EmbeddedMemoryStore, IntegrityCheck, StoreLocked
from tests.support.memories import ANN, NOW, keyword_search, listed, vector, vector_search

ROOT = Path(__file__).parents[2]


async def start_writer(folder: Path, prefix: str, callers: int) -> asyncio.subprocess.Process:
    """Start a process that creates memories and prints each acknowledged id."""
    arguments = ("-m", "tests.support.store_writer", str(folder), prefix, str(callers))
    return await asyncio.create_subprocess_exec(
        sys.executable, *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )


async def kill_after(process: asyncio.subprocess.Process, lines: int) -> list[str]:
    """Read so many ids, kill, and return all ids that were printed before the end."""
    assert process.stdout is not None
    ids = [(await process.stdout.readline()).decode().strip() for _ in range(lines)]
    process.kill()
    rest = (await process.stdout.read()).decode()
    await process.wait()
    complete = rest[: rest.rfind("\n") + 1]
    return [*ids, *complete.split()]


@pytest.mark.parametrize("callers", [1, 20])
async def test_acknowledged_creations_survive_kill(tmp_path: Path, callers: int) -> None:
    rng, acknowledged = random.Random(callers), []
    for kill in range(3):
        process = await start_writer(tmp_path, f"k{kill}c", callers)
        acknowledged += await kill_after(process, rng.randrange(20, 400))

    store = await EmbeddedMemoryStore.open(tmp_path, integrity=IntegrityCheck.FULL)
    ids = await listed(store, ANN, limit=10_000)
    everything = {"top_k": 10_000, "limit": 10_000}
    by_words = await store.search(ANN, keyword_search("tea", **everything))
    by_vector = await store.search(ANN, vector_search(vector(1, 1, 2), **everything))
    await store.close()

    assert all(acknowledged)
    assert set(acknowledged) <= set(ids)
    assert len(ids) == len(set(ids))
    assert sorted(hit.memory.memory_id for hit in by_words.hits) == sorted(ids)
    assert sorted(hit.memory.memory_id for hit in by_vector.hits) == sorted(ids)


async def test_second_process_is_refused_and_told_who_holds_the_folder(tmp_path: Path) -> None:
    process = await start_writer(tmp_path, "m", 1)
    assert process.stdout is not None
    await process.stdout.readline()

    with pytest.raises(StoreLocked, match=rf"{tmp_path} .*process {process.pid}") as refused:
        await EmbeddedMemoryStore.open(tmp_path)
    await kill_after(process, 0)
    store = await EmbeddedMemoryStore.open(tmp_path)

    assert refused.value.code == "FAILED_PRECONDITION"
    assert await store.count(ANN, NOW) >= 1
    await store.close()
