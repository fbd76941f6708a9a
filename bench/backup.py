"""Measures a backup and a restore, what they do to whoever writes and searches meanwhile, and the rewrite that ends an erasure.

Usage: python -m bench.backup [--memories N]
"""

import argparse
import asyncio
import resource
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from services.memory.domain.jobs import REST, Meter
from services.memory.domain.memory import Embedding, Memory
from services.memory.domain.ports import Create, SearchMode, SearchPlan, UnitOfWork
from services.memory.stores.embedded import EmbeddedMemoryStore
from services.memory.stores.embedded.backup_folder import BackupFolder, folders_of
from services.memory.stores.embedded.keyring import Keyring
from services.mesh.caller import Caller

DIMENSION, BATCH, OWNERS, SPACE = 384, 200, 20, "bench@1/384/mean/none"
ALONE_S = 5.0
WORDS = [
    "boiler",
    "garden",
    "letter",
    "engine",
    "harbour",
    "winter",
    "meeting",
    "invoice",
    "doctor",
    "bridge",
    "paper",
    "window",
    "summer",
    "ticket",
]


def creation(number: int, rng: np.random.Generator) -> Create:
    """Return a memory of about 300 bytes with a vector as long as the model's."""
    content = f"{number} " + " ".join(rng.choice(WORDS, 45))
    vector = rng.standard_normal(DIMENSION).astype(np.float32)
    now = datetime.now(UTC)
    memory = Memory(f"m{number}", f"user{number // BATCH % OWNERS}", content, now, now)
    return Create(memory, Embedding(SPACE, vector / np.linalg.norm(vector)))


async def times(call: Callable[[], Awaitable[object]], until: asyncio.Event) -> list[float]:
    """Return how long each call took, one after the other, in ms."""
    taken = []
    while not until.is_set():
        begun = time.perf_counter()
        await call()
        taken.append((time.perf_counter() - begun) * 1000)
        await asyncio.sleep(0.005)
    return taken


async def beside(store: EmbeddedMemoryStore, first: int, rng: np.random.Generator, work: Awaitable[object]) -> float:
    """Print what a writer and a searcher wait while *work* is done; return how long that took, in s."""
    number = first

    async def write() -> None:
        nonlocal number
        number += 1
        change = creation(number, rng)
        await store.apply(UnitOfWork(Caller(change.memory.owner_user), (change,)))

    async def search() -> None:
        vector = rng.standard_normal(DIMENSION).astype(np.float32)
        embedding = Embedding(SPACE, vector / np.linalg.norm(vector))
        plan = SearchPlan(SearchMode.VECTOR, datetime.now(UTC), 10, 10, -1.0, embedding=embedding)
        await store.search(Caller("user1"), plan)

    over = asyncio.Event()
    waiting = [asyncio.create_task(times(call, over)) for call in (write, search)]
    begun = time.perf_counter()
    await work
    taken = time.perf_counter() - begun
    over.set()
    for name, task in zip(("create", "search"), waiting, strict=True):
        p50, p99 = np.percentile(await task, (50, 99))
        print(f"    {name}: p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    return taken


def rss_mb() -> float:
    """Return the highest memory use of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def main(count: int, data: Path) -> None:
    """Fill a store and measure."""
    rng = np.random.default_rng(7)
    store = await EmbeddedMemoryStore.open(data / "memory")
    for first in range(0, count, BATCH):
        changes = tuple(creation(number, rng) for number in range(first, first + BATCH))
        await store.apply(UnitOfWork(Caller(changes[0].memory.owner_user), changes))
    backups = BackupFolder(folders_of(data, None), Keyring(data / "keys"))
    print(f"{count} memories, database {(data / 'memory' / 'memories.sqlite').stat().st_size >> 20} MiB")
    print("  nothing beside")
    await beside(store, count, rng, asyncio.sleep(ALONE_S))
    before = rss_mb()
    print("  a backup beside")
    making = asyncio.to_thread(lambda: backups.create(store.snapshot(), "bench", datetime.now(UTC), Meter(REST)))
    taken = await beside(store, count + 100_000, rng, making)
    print(
        f"    took {taken:.1f} s, {backups.backups()[0].size_bytes >> 20} MiB, highest RSS +{rss_mb() - before:.0f} MB"
    )
    before = rss_mb()
    print("  a restore aside beside")
    restoring = asyncio.to_thread(backups.restore_to, "bench", data / "copy", Meter(REST))
    taken = await beside(store, count + 200_000, rng, restoring)
    print(f"    took {taken:.1f} s, highest RSS +{rss_mb() - before:.0f} MB")
    print("  the rewrite that ends an erasure beside")
    taken = await beside(store, count + 300_000, rng, store.scrub())
    print(f"    took {taken:.1f} s")
    await store.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--memories", type=int, default=100_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(arguments.memories, Path(folder)))
