"""Contents in parts in the embedded store: exact, kept over reopenings, checked, and gone with their content."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import apsw
import numpy as np
import numpy.typing as npt
import pytest

from services.memory.domain.memory import Embedding, Part
from services.memory.domain.ports import MatchedPart, SearchMode
from services.memory.stores.embedded import EmbeddedMemoryStore
from services.memory.stores.embedded.database import DATABASE_NAME
from services.mesh.errors import DataLoss
from tests.support.memories import ANN, apply, creation, hybrid_search, revised, vector_search
from tests.support.model_store import ModelMemoryStore

Matrix = npt.NDArray[np.float32]
NOISE = 2e-3  # a hundredth of what the codes can tell, and enough that cosines differ as float32


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedMemoryStore]:
    opened = await EmbeddedMemoryStore.open(tmp_path)
    yield opened
    await opened.close()


def unit(rows: npt.NDArray[np.floating]) -> Matrix:
    """Return *rows* at length 1."""
    scaled: npt.NDArray[np.float64] = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    return scaled.astype(np.float32)


def embedding(vectors: Matrix) -> Embedding:
    """Return the first of *vectors* as the whole and the others as parts of ten code points."""
    return Embedding("space", vectors[0], tuple(Part(8 * n, 8 * n + 10, row) for n, row in enumerate(vectors[1:])))


def rows_of_parts(folder: Path) -> int:
    connection = apsw.Connection(str(folder / DATABASE_NAME))
    counted = int(connection.execute("SELECT count(*) FROM parts").get)
    connection.close()
    return counted


async def test_parts_closer_than_the_codes_can_tell_are_ranked_exactly(store: EmbeddedMemoryStore) -> None:
    rng, model = np.random.default_rng(3), ModelMemoryStore()
    centre = rng.standard_normal(64)
    for number in range(150):
        crowd = unit(centre + rng.standard_normal((int(rng.integers(1, 20)), 64)) * NOISE)
        change = creation(f"m{number:03}", "tea" if number % 3 else "milk", embedding=embedding(crowd))
        await apply(store, ANN, change)
        await apply(model, ANN, change)
    query = Embedding("space", unit(centre + rng.standard_normal(64) * NOISE))

    for top_k in (1, 100, 1000):
        by_vector = vector_search(query, top_k=top_k, limit=100)
        by_both = hybrid_search("milk", query, top_k=top_k, limit=100, min_score=0.5)
        for plan in (by_vector, by_both, replace(by_both, mode=SearchMode.KEYWORD)):
            assert await store.search(ANN, plan) == await model.search(ANN, plan)


async def test_book_is_found_by_each_of_its_parts_before_and_after_reopening(tmp_path: Path) -> None:
    directions = unit(np.random.default_rng(5).standard_normal((1500, 48)))
    store = await EmbeddedMemoryStore.open(tmp_path)
    for number in range(4):
        await apply(store, ANN, creation(f"m{number}", embedding=embedding(directions[number::4])))
    chosen = [4, 5, 6, 7, 402, 1111, 1499]

    async def matches() -> list[tuple[str, MatchedPart | None]]:
        pages = [await store.search(ANN, vector_search(Embedding("space", directions[n]), top_k=1)) for n in chosen]
        return [(page.hits[0].memory.memory_id, page.hits[0].matched_part) for page in pages]

    expected = [(f"m{n % 4}", MatchedPart(n // 4 - 1, 8 * (n // 4 - 1), 8 * (n // 4 - 1) + 10)) for n in chosen]
    assert await matches() == expected
    await store.close()
    store = await EmbeddedMemoryStore.open(tmp_path)
    assert await matches() == expected
    await store.close()


async def test_parts_go_with_their_content(store: EmbeddedMemoryStore, tmp_path: Path) -> None:
    directions = unit(np.random.default_rng(6).standard_normal((9, 8)))
    (memory,) = await apply(store, ANN, creation("m", embedding=embedding(directions)))
    (memory,) = await apply(store, ANN, revised(memory, tags=("kept",)))
    assert rows_of_parts(tmp_path) == 8

    (memory,) = await apply(store, ANN, revised(memory, embedding(directions[:4]), content="shorter"))
    assert rows_of_parts(tmp_path) == 3
    await apply(store, ANN, revised(memory, embedding(directions[:1]), content="short"))
    assert rows_of_parts(tmp_path) == 0


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("DELETE FROM parts WHERE part_no = 1", id="lacks a part"),
        pytest.param("UPDATE parts SET vector = zeroblob(32) WHERE part_no = 1", id="part not of length 1"),
        pytest.param("UPDATE parts SET vector = zeroblob(16) WHERE part_no = 1", id="part of another dimension"),
    ],
)
async def test_broken_part_is_named(tmp_path: Path, fault: str) -> None:
    store = await EmbeddedMemoryStore.open(tmp_path)
    directions = unit(np.random.default_rng(6).standard_normal((5, 8)))
    await apply(
        store,
        ANN,
        creation("whole", embedding=embedding(directions[:1])),
        creation("m", embedding=embedding(directions)),
    )
    await store.close()
    connection = apsw.Connection(str(tmp_path / DATABASE_NAME))
    connection.execute(fault)
    connection.close()

    with pytest.raises(DataLoss, match="memory 'm'"):
        await EmbeddedMemoryStore.open(tmp_path)


async def test_many_parts_are_sealed_and_merged_without_loss(store: EmbeddedMemoryStore) -> None:
    rng = np.random.default_rng(8)
    kept: dict[str, Matrix] = {}
    for number in range(60):
        vectors = unit(rng.standard_normal((400, 16)))
        kept[f"m{number:02}"] = vectors
        (memory,) = await apply(store, ANN, creation(f"m{number:02}", embedding=embedding(vectors)))
        if number % 10 == 9:
            await apply(store, ANN, revised(memory, embedding(vectors[:1]), content="short"))
            kept[memory.memory_id] = vectors[:1]

    for _ in range(20):
        point = unit(rng.standard_normal(16))
        cosines = {name: vectors.astype(np.float64) @ point.astype(np.float64) for name, vectors in kept.items()}
        hits = (await store.search(ANN, vector_search(Embedding("space", point)))).hits
        assert [hit.memory.memory_id for hit in hits] == sorted(kept, key=lambda name: -cosines[name].max())[:10]
        for hit in (hit for hit in hits if hit.memory.content != "short"):
            number = int(cosines[hit.memory.memory_id][1:].argmax())
            assert hit.matched_part == MatchedPart(number, 8 * number, 8 * number + 10)
