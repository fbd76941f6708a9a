"""Measures the embedded store at its port: durable creates, searches, opening, memory, and hidden against absent ids.

Run: ``python -m bench.store [--memories 10000 100000] [--json FILE]``. Contents are real docstrings, beyond 10,000 two joined;
vectors are synthetic: 384 dimensions, clustered, cosine to the cluster's centre about 0.85. One caller may see all: 60% as owner,
20% by a role, 20% public.
"""

import argparse
import asyncio
import gc
import json
import random
import re
import resource
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from bench.corpus import paragraphs
from services.memory.domain.keyword import tokenize
from services.memory.domain.memory import AccessLevel, Embedding, Memory, MemoryNotFound
from services.memory.domain.ports import Create, SearchMode, SearchPlan, UnitOfWork
from services.memory.stores.embedded import EmbeddedMemoryStore
from services.mesh.caller import Caller

PARAGRAPHS = 10_000  # collecting more takes minutes
DIMENSIONS = 384
CLUSTERS = 2000
NOISE = 0.62  # length of the noise added to a centre of length 1: cosine 1 / sqrt(1 + 0.62 ** 2) = 0.85
NOW = datetime(2030, 1, 1, tzinfo=UTC)
ANN = Caller("ann", frozenset({"TEAM"}))
BOB = Caller("bob")
QUERIES = 200
CALLERS = 50

Figures = dict[str, Any]


def contents(count: int) -> list[str]:
    """Return distinct real texts."""
    single = paragraphs(min(count, PARAGRAPHS))
    rng = random.Random(1)  # noqa: S311  # repeatable, not secret
    found = dict.fromkeys(single)
    while len(found) < count:
        found[f"{rng.choice(single)} {rng.choice(single)}"] = None
    return list(found)


def questions(texts: Sequence[str], wanted: int) -> list[str]:
    """Return short queries: two to six words that stand together in one of *texts*."""
    rng = random.Random(2)  # noqa: S311  # repeatable, not secret
    found: list[str] = []
    while len(found) < wanted:
        words = re.findall(r"[A-Za-z]{2,}", rng.choice(texts))
        length = rng.randint(2, 6)
        if len(words) > length:
            start = rng.randrange(len(words) - length)
            found.append(" ".join(words[start : start + length]))
    return found


def vectors(count: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return unit vectors in clusters."""
    centres = np.random.default_rng(7).standard_normal((CLUSTERS, DIMENSIONS), np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    rng = np.random.default_rng(seed)
    made = rng.standard_normal((count, DIMENSIONS), np.float32) * np.float32(NOISE / DIMENSIONS**0.5)
    made += centres[rng.integers(0, CLUSTERS, count)]
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made


def creation(number: int, text: str, vector: np.ndarray[Any, np.dtype[np.float32]]) -> tuple[Caller, Create]:
    """Return the creation of memory *number* and who makes it."""
    access = (AccessLevel.PRIVATE,) * 3 + (AccessLevel.ROLE, AccessLevel.PUBLIC)
    level = access[number % 5]
    owner = ANN if level is AccessLevel.PRIVATE else BOB
    roles = ("TEAM",) if level is AccessLevel.ROLE else ()
    at = NOW + timedelta(seconds=number)
    memory = Memory(f"m{number:030}", owner.user, text, at, at, access_level=level, reader_roles=roles)
    return owner, Create(memory, Embedding("bench", vector))


async def fill(store: EmbeddedMemoryStore, texts: Sequence[str]) -> float:
    """Create all *texts* in units of 100; return how many a second."""
    made = vectors(len(texts))
    units: dict[str, list[Create]] = {}
    works = []
    for number, text in enumerate(texts):
        owner, change = creation(number, text, made[number])
        unit = units.setdefault(owner.user, [])
        unit.append(change)
        if len(unit) == 100:
            works.append(UnitOfWork(owner, tuple(units.pop(owner.user))))
    works += [UnitOfWork(Caller(user), tuple(unit)) for user, unit in units.items()]
    began = time.perf_counter()
    await at_once(works, store.apply, 8)
    return len(texts) / (time.perf_counter() - began)


async def at_once(items: Sequence[Any], call: Callable[[Any], Awaitable[Any]], callers: int) -> list[float]:
    """Call *call* with each of *items* from so many callers; return each call's time in ms, ascending."""
    waiting = iter(items)
    times = []

    async def work() -> None:
        for item in waiting:
            began = time.perf_counter()
            await call(item)
            times.append((time.perf_counter() - began) * 1e3)

    await asyncio.gather(*(work() for _ in range(callers)))
    return sorted(times)


def summary(times: Sequence[float], elapsed_s: float) -> Figures:
    """Return median, 99th percentile (ms) and calls a second."""
    return {
        "p50_ms": round(statistics.median(times), 3),
        "p99_ms": round(times[min(len(times) - 1, int(len(times) * 0.99))], 3),
        "per_s": round(len(times) / elapsed_s),
    }


async def timed(items: Sequence[Any], call: Callable[[Any], Awaitable[Any]], callers: int) -> Figures:
    """Return the summary of one run."""
    gc.collect()
    began = time.perf_counter()
    times = await at_once(items, call, callers)
    return summary(times, time.perf_counter() - began)


async def measure_creates(folder: Path, texts: Sequence[str]) -> Figures:
    """Return durable single creates, each its own unit of work."""
    store = await EmbeddedMemoryStore.open(folder)
    made = vectors(len(texts), seed=3)
    jobs = [creation(number, text, made[number]) for number, text in enumerate(texts)]
    works = [UnitOfWork(owner, (change,)) for owner, change in jobs]
    split = len(works) // 4
    figures = {
        "1 caller": await timed(works[:split], store.apply, 1),
        f"{CALLERS} callers": await timed(works[split:], store.apply, CALLERS),
    }
    await store.close()
    return figures


async def measure_searches(store: EmbeddedMemoryStore, texts: Sequence[str]) -> Figures:
    """Return searches by mode and number of callers."""
    words = [tuple(tokenize(question)) for question in questions(texts, QUERIES)]
    points = vectors(QUERIES, seed=5)
    figures: Figures = {}
    for mode in SearchMode:
        plans = []
        for terms, point in zip(words, points, strict=True):
            embedding = None if mode is SearchMode.KEYWORD else Embedding("bench", point)
            sparse = () if mode is SearchMode.VECTOR else terms
            now = NOW + timedelta(days=9)
            plans.append(SearchPlan(mode, now, 10, 10, -1.0, terms=sparse, embedding=embedding))

        async def search(plan: SearchPlan) -> None:
            await store.search(ANN, plan)

        await at_once(plans[:20], search, 1)
        figures[mode.value] = {
            "1 caller": await timed(plans, search, 1),
            f"{CALLERS} callers": await timed(plans * 3, search, CALLERS),
        }
    return figures


async def measure_hidden(store: EmbeddedMemoryStore, pairs: int = 1000) -> Figures:
    """Return medians of interleaved reads of hidden and of absent ids, and by how much they differ."""
    stranger = Caller("eve", frozenset({"OTHER"}))
    times: dict[str, list[float]] = {"hidden": [], "absent": []}
    for number in range(2 * pairs):
        kind = ("hidden", "absent")[number % 2]
        memory_id = f"m{number // 2 * 5:030}" if kind == "hidden" else f"x{number // 2 * 5:030}"
        began = time.perf_counter()
        try:
            await store.get(stranger, memory_id, NOW)
        except MemoryNotFound:
            times[kind].append((time.perf_counter() - began) * 1e6)
    hidden, absent = (statistics.median(times[kind]) for kind in ("hidden", "absent"))
    assert len(times["hidden"]) == len(times["absent"]) == pairs
    return {
        "hidden_us": round(hidden, 1),
        "absent_us": round(absent, 1),
        "difference_percent": round(abs(hidden - absent) / absent * 100, 2),
    }


def resident_mb() -> float:
    """Return how much memory the process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def disk_bytes(folder: Path) -> int:
    """Return the size of all files in *folder*."""
    return sum(path.stat().st_size for path in folder.iterdir())


async def measure(memories: int, folder: Path) -> Figures:
    """Return all figures for a store of so many memories."""
    texts = contents(memories)
    store = await EmbeddedMemoryStore.open(folder)
    batched = await fill(store, texts)
    await store.close()
    del store
    gc.collect()
    before = resident_mb()
    began = time.perf_counter()
    store = await EmbeddedMemoryStore.open(folder)
    opening = time.perf_counter() - began
    figures: Figures = {
        "text_characters_mean": round(statistics.mean(map(len, texts))),
        "creates_per_s_in_units_of_100": round(batched),
        "open_s": round(opening, 2),
        "resident_growth_bytes_a_memory": round((resident_mb() - before) * 1e6 / memories),
        "disk_bytes_a_memory": round(disk_bytes(folder) / memories),
        "search": await measure_searches(store, texts),
        "hidden_vs_absent": await measure_hidden(store),
    }
    await store.close()
    return figures


async def main(sizes: Sequence[int], creates: int) -> Figures:
    """Measure, printing as it goes."""
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as parent:
        figures["durable_creates"] = await measure_creates(Path(parent) / "creates", contents(creates))
        print(json.dumps(figures, indent=1))
        for memories in sizes:
            figures[f"{memories} memories"] = await measure(memories, Path(parent) / str(memories))
            print(json.dumps({memories: figures[f"{memories} memories"]}, indent=1))
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memories", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--creates", type=int, default=8_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    measured = asyncio.run(main(arguments.memories, arguments.creates))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(measured, indent=1) + "\n")
