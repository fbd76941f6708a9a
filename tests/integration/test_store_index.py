"""The indexes in memory: exact while rows are sealed, merged, moved and removed, and never seen half-changed."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.memory.domain.memory import AccessLevel, Embedding, Memory, Part
from services.memory.domain.ports import Change, SearchPlan, UnitOfWork
from services.memory.stores.embedded import EmbeddedMemoryStore
from services.mesh.caller import Caller
from tests.support.memories import (
    ANN,
    EAST,
    NOW,
    NURSE,
    PUBLIC,
    ROLE,
    apply,
    creation,
    deletion,
    found,
    hybrid_search,
    keyword_search,
    listed,
    revised,
    vector_search,
)
from tests.support.model_store import ModelMemoryStore

WORDS = [f"word{number}" for number in range(300)]
ACCESS = (
    {"access_level": AccessLevel.PRIVATE},
    {"access_level": PUBLIC},
    {"access_level": ROLE, "reader_roles": ("NURSE",)},
)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedMemoryStore]:
    opened = await EmbeddedMemoryStore.open(tmp_path)
    yield opened
    await opened.close()


def direction(rng: random.Random, dimensions: int = 24) -> Embedding:
    """Return a random unit vector."""
    components = np.array([rng.gauss(0, 1) for _ in range(dimensions)])
    return Embedding("random", (components / np.linalg.norm(components)).astype(np.float32))


def in_parts(rng: random.Random) -> Embedding:
    """Return a random vector, now and then with up to 30 parts."""
    parts = rng.randrange(1, 30) if rng.random() < 0.1 else 0
    stretches = tuple(Part(9 * n, 9 * n + 10, direction(rng).vector) for n in range(parts))
    return replace(direction(rng), parts=stretches)


def text(rng: random.Random) -> str:
    """Return words of which some are common and most are rare."""
    return " ".join(WORDS[min(int(rng.expovariate(0.02)), len(WORDS) - 1)] for _ in range(rng.randrange(1, 12)))


def next_change(rng: random.Random, living: dict[str, Memory], number: int) -> Change:
    """Return a creation, or the replacement or deletion of a living memory."""
    kind = rng.choice(("create", "create", "create", "replace", "delete")) if living else "create"
    if kind == "create":
        embedding, access = in_parts(rng), rng.choice(ACCESS)
        return creation(f"m{number:05}", text(rng), embedding=embedding, **access)
    memory = living[rng.choice(list(living))]
    if kind == "delete":
        return deletion(memory)
    return revised(memory, in_parts(rng), content=text(rng), **rng.choice(ACCESS))


def plans(rng: random.Random) -> list[SearchPlan]:
    """Return one plan of each mode."""
    words, point, fields = text(rng), direction(rng), {"top_k": 30, "limit": 30}
    return [
        vector_search(point, **fields),
        keyword_search(words, **fields),
        hybrid_search(words, point, **fields),
    ]


async def test_searches_equal_the_model_while_segments_are_sealed_and_merged(
    store: EmbeddedMemoryStore, tmp_path: Path
) -> None:
    rng, model, living, number = random.Random(5), ModelMemoryStore(), dict[str, Memory](), 0
    for unit in range(120):
        for _ in range(60):
            number += 1
            work = UnitOfWork(ANN, (next_change(rng, living, number),))
            (memory,) = await model.apply(work)
            assert (await store.apply(work))[0] == memory
            living[memory.memory_id] = memory
            if memory.delete_time is not None:
                del living[memory.memory_id]
        if unit % 20 == 19:
            for caller in (ANN, NURSE, Caller("eve")):
                for plan in plans(rng):
                    assert await store.search(caller, plan) == await model.search(caller, plan)

    assert len(living) > 2500


async def test_nearest_are_exact_among_vectors_closer_than_the_codes_can_tell(store: EmbeddedMemoryStore) -> None:
    rng = np.random.default_rng(3)
    centre = rng.standard_normal(64)
    crowd = centre + rng.standard_normal((3000, 64)) * 1e-4
    crowd = (crowd / np.linalg.norm(crowd, axis=1, keepdims=True)).astype(np.float32)
    query = Embedding("random", crowd[0])
    await apply(store, ANN, *(creation(f"m{n:04}", embedding=Embedding("random", row)) for n, row in enumerate(crowd)))

    hits = (await store.search(ANN, vector_search(query, top_k=50, limit=50))).hits

    exact = (crowd.astype(np.float64) * crowd[0].astype(np.float64)).sum(axis=1).clip(-1, 1)
    order = sorted(range(len(crowd)), key=lambda n: (-exact[n], n))[:50]
    assert [hit.memory.memory_id for hit in hits] == [f"m{n:04}" for n in order]
    assert [hit.score for hit in hits] == [exact[n] for n in order]


async def test_scores_are_the_same_alone_and_in_a_crowd(store: EmbeddedMemoryStore) -> None:
    rng = random.Random(9)
    point, lone = direction(rng, 384), creation("lone", "tea", embedding=direction(rng, 384))
    await apply(store, ANN, lone)
    (alone,) = (await store.search(ANN, vector_search(point))).hits

    crowd = [creation(f"m{n}", embedding=direction(rng, 384)) for n in range(1500)]
    await apply(store, ANN, *crowd)
    page = await store.search(ANN, vector_search(point, top_k=1000, limit=1000))
    scores = {hit.memory.memory_id: hit.score for hit in page.hits}

    assert scores.get("lone", alone.score) == alone.score
    for n in range(0, 1500, 100):
        exact = crowd[n].embedding.vector.astype(np.float64) * point.vector.astype(np.float64)
        assert scores.get(f"m{n}", exact.sum()) == exact.sum()


async def test_readers_see_a_memory_once_while_it_moves_between_readers(store: EmbeddedMemoryStore) -> None:
    (memory,) = await apply(store, ANN, creation("m", "tea 0"))
    caller, seen, ended = Caller("ann", frozenset({"NURSE"})), 0, False

    async def move(memory: Memory) -> None:
        for turn in range(1, 200):
            (memory,) = await apply(store, ANN, revised(memory, content=f"tea {turn}", **ACCESS[turn % 3]))

    async def read() -> None:
        nonlocal seen
        while not ended:
            for plan in (vector_search(EAST), keyword_search("tea"), hybrid_search("tea", EAST)):
                assert await found(store, caller, plan) == ["m"]
            assert await listed(store, caller) == ["m"]
            assert await store.count(caller, NOW) == 1
            seen += 1

    readers = [asyncio.create_task(read()) for _ in range(3)]
    await move(memory)
    ended = True
    await asyncio.gather(*readers)

    assert seen > 3


async def test_units_of_work_are_seen_whole(store: EmbeddedMemoryStore) -> None:
    plan, ended = keyword_search("tea", top_k=1000, limit=1000), False

    async def write() -> None:
        for turn in range(60):
            pair = [creation(f"{side}{turn}", "tea", access_level=PUBLIC) for side in "ab"]
            made = await apply(store, ANN, pair[0], replace(pair[1], memory=replace(pair[1].memory, bucket="b")))
            if turn % 2:
                await apply(store, ANN, *(deletion(memory) for memory in made))

    async def read() -> int:
        reads = 0
        while not ended:
            ids = await found(store, Caller("eve"), plan)
            assert sorted(i[1:] for i in ids if i[0] == "a") == sorted(i[1:] for i in ids if i[0] == "b")
            reads += 1
        return reads

    reader = asyncio.create_task(read())
    await write()
    ended = True

    assert await reader > 1
