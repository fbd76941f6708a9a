"""What every memory store promises of contents in parts: found by any of them, answered whole, once."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from services.memory.domain.memory import Embedding, Part
from services.memory.domain.ports import Delete, MatchedPart, MemoryStore, SearchMode, Undelete
from services.mesh.errors import InvalidInput
from tests.support.memories import (
    ANN,
    EAST,
    NOW,
    PUBLIC,
    apply,
    creation,
    fill,
    found,
    hybrid_search,
    keyword_search,
    revised,
    vector,
    vector_search,
)

NORTH, UP, WEST = vector(0, 1, 0), vector(0, 0, 1), vector(-1, 0, 0)
BETWEEN = vector(1, 1, 1)
TEXT = "first second third"
NORTH_PART, UP_PART = MatchedPart(1, 6, 12), MatchedPart(2, 13, 18)


def in_parts(*parts: Embedding, whole: Embedding = BETWEEN) -> Embedding:
    """Return an embedding with *parts*, each of six code points and one between."""
    stretches = ((7 * n - min(n, 1), 7 * n + 6 - min(n, 1), part.vector) for n, part in enumerate(parts))
    return replace(whole, parts=tuple(Part(start, min(end, len(TEXT)), values) for start, end, values in stretches))


LONG = in_parts(WEST, NORTH, UP)


async def test_content_is_found_by_any_of_its_parts(store: MemoryStore) -> None:
    await fill(store, creation("long", TEXT, embedding=LONG), creation("short", embedding=vector(1, 3, 0)))

    for wanted, part in ((NORTH, NORTH_PART), (UP, UP_PART)):
        first = (await store.search(ANN, vector_search(wanted))).hits[0]

        assert (first.memory.memory_id, first.memory.content) == ("long", TEXT)
        assert first.score == first.rank_score == pytest.approx(1.0, abs=1e-6)
        assert first.matched_part == part


async def test_content_in_parts_is_among_the_hits_once(store: MemoryStore) -> None:
    crowd = [vector(0.001 * n, 1, 0) for n in range(30)]
    await fill(store, creation("long", TEXT, embedding=replace(BETWEEN, parts=in_parts(*crowd[:3]).parts * 10)))
    await fill(store, *(creation(f"short{n:02}", embedding=near) for n, near in enumerate(crowd)))

    page = await store.search(ANN, vector_search(NORTH, top_k=100, limit=100))

    assert sorted(hit.memory.memory_id for hit in page.hits) == ["long", *(f"short{n:02}" for n in range(30))]
    assert [hit.vector_rank for hit in page.hits] == list(range(1, 32))


async def test_whole_content_counts_as_well_as_its_parts(store: MemoryStore) -> None:
    await fill(store, creation("long", TEXT, embedding=in_parts(WEST, NORTH, UP, whole=EAST)))

    (hit,) = (await store.search(ANN, vector_search(EAST))).hits

    assert hit.score == pytest.approx(1.0)
    assert hit.matched_part == NORTH_PART  # the first of the two that are at right angles


async def test_contents_of_one_part_have_no_matched_part(store: MemoryStore) -> None:
    await fill(store, creation("short"), creation("long", TEXT, embedding=LONG))

    by_id = {hit.memory.memory_id: hit for hit in (await store.search(ANN, vector_search(UP))).hits}

    assert (by_id["short"].matched_part, by_id["long"].matched_part) == (None, UP_PART)


async def test_threshold_and_min_score_weigh_the_best_part(store: MemoryStore) -> None:
    await fill(store, creation("long", TEXT, embedding=LONG), creation("far", TEXT, embedding=WEST))

    for mode in (SearchMode.VECTOR, SearchMode.HYBRID, SearchMode.KEYWORD):
        plan = replace(hybrid_search("second", UP), mode=mode, threshold=0.9, min_score=0.9)
        assert await found(store, ANN, plan) == ["long"]


async def test_hit_by_words_names_the_part_nearest_to_the_query(store: MemoryStore) -> None:
    await fill(store, creation("long", TEXT, embedding=LONG))

    (by_both,) = (await store.search(ANN, hybrid_search("first", UP, threshold=2.0))).hits
    (by_words,) = (await store.search(ANN, keyword_search("first"))).hits

    assert by_both.score == pytest.approx(1.0)
    assert (by_both.vector_rank, by_both.matched_part) == (None, UP_PART)
    assert (by_words.score, by_words.matched_part) == (None, None)


async def test_parts_stay_while_the_content_does(store: MemoryStore) -> None:
    (memory,) = await apply(store, ANN, creation("long", TEXT, embedding=LONG))

    await apply(store, ANN, revised(memory, tags=("a",), access_level=PUBLIC))

    (hit,) = (await store.search(ANN, vector_search(UP))).hits
    assert (hit.memory.tags, hit.matched_part) == (("a",), UP_PART)


async def test_parts_of_the_former_content_find_nothing(store: MemoryStore) -> None:
    (memory,) = await apply(store, ANN, creation("long", TEXT, embedding=LONG))

    (memory,) = await apply(store, ANN, revised(memory, in_parts(NORTH, WEST), content=TEXT[:12]))
    (shorter,) = (await store.search(ANN, vector_search(UP))).hits
    await apply(store, ANN, revised(memory, EAST, content="tea"))
    (short,) = (await store.search(ANN, vector_search(UP))).hits

    assert shorter.score == pytest.approx(3**-0.5)
    assert short.score == pytest.approx(0.0)
    assert short.matched_part is None


async def test_deleted_content_is_found_by_no_part_and_comes_back_with_all(store: MemoryStore) -> None:
    await fill(store, creation("long", TEXT, embedding=LONG))
    later = NOW + timedelta(seconds=1)

    await apply(store, ANN, Delete("long", None, later))
    assert await found(store, ANN, vector_search(UP)) == []
    await apply(store, ANN, Undelete("long", later))

    (hit,) = (await store.search(ANN, vector_search(UP))).hits
    assert hit.matched_part == UP_PART


async def test_vector_of_a_content_in_parts_is_that_of_the_whole(store: MemoryStore) -> None:
    await fill(store, creation("long", TEXT, embedding=LONG))

    embedding = await store.get_embedding(ANN, "long", NOW)

    assert np.array_equal(embedding.vector, BETWEEN.vector)


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(Part(0, 5, np.ones(3, np.float32)), id="not of length 1"),
        pytest.param(Part(0, 5, np.full(3, np.nan, np.float32)), id="not a number"),
        pytest.param(Part(0, 5, np.array([1, 0], np.float32)), id="of another dimension"),
        pytest.param(Part(5, 5, EAST.vector), id="empty"),
        pytest.param(Part(-1, 5, EAST.vector), id="before the content"),
    ],
)
async def test_part_that_cannot_be_searched_is_refused(store: MemoryStore, part: Part) -> None:
    with pytest.raises(InvalidInput):
        await apply(store, ANN, creation("long", TEXT, embedding=replace(LONG, parts=(*LONG.parts, part))))

    assert await found(store, ANN, vector_search(UP)) == []
