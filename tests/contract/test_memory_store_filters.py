"""What a filter promises of lists and searches, whichever store."""

from datetime import timedelta

import pytest

from services.memory.domain.ports import MemoryStore
from services.memory.filter import parse
from tests.support.memories import (
    ANN,
    BOB,
    EAST,
    NOW,
    PUBLIC,
    apply,
    creation,
    deletion,
    fill,
    found,
    hybrid_search,
    keyword_search,
    listed,
    listing,
    revised,
    vector,
    vector_search,
)


async def test_list_holds_what_passes_the_filter_over_all_pages(store: MemoryStore) -> None:
    for number in range(7):
        tags = ("even",) if number % 2 == 0 else ()
        await fill(store, creation(f"m{number}", at=NOW + timedelta(seconds=number), tags=tags))
    even = parse('tags:"even"')

    first = await store.list(ANN, listing(limit=3, filter=even))
    last = first.memories[-1]
    after = (last.created_at, last.memory_id)
    rest = await store.list(ANN, listing(limit=3, filter=even, after=after, snapshot=first.snapshot))

    assert [memory.memory_id for memory in first.memories] == ["m6", "m4", "m2"]
    assert first.more
    assert [memory.memory_id for memory in rest.memories] == ["m0"]
    assert not rest.more


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        pytest.param("metadata.size > 2", ["big"], id="metadata"),
        pytest.param('bucket = "work" OR tags:"x"', ["big", "small"], id="either"),
        pytest.param("NOT metadata.size:*", ["plain"], id="absent"),
        pytest.param(f'created_at > "{NOW.isoformat()}"', ["plain"], id="time"),
        pytest.param('content:"GREEN"', ["small"], id="content"),
    ],
)
async def test_every_kind_of_read_keeps_to_the_filter(store: MemoryStore, text: str, wanted: list[str]) -> None:
    await fill(
        store,
        creation("big", "tea black", bucket="work", metadata={"size": 3.0}),
        creation("small", "tea green", tags=("x",), metadata={"size": 1.0}),
        creation("plain", "tea white", at=NOW + timedelta(seconds=1)),
    )
    meaning = parse(text)

    reads = [
        await listed(store, ANN, filter=meaning),
        await found(store, ANN, keyword_search("tea", filter=meaning)),
        await found(store, ANN, vector_search(EAST, filter=meaning)),
        await found(store, ANN, hybrid_search("tea", EAST, filter=meaning)),
    ]

    assert [sorted(read) for read in reads] == [wanted] * 4


async def test_narrow_filter_still_fills_the_page_with_far_rows(store: MemoryStore) -> None:
    near = [creation(f"near{number:03}", "water", embedding=EAST) for number in range(150)]
    far = [creation(f"far{number}", "water", embedding=vector(-1, number, 1), tags=("x",)) for number in range(5)]
    await fill(store, *near, *far)

    ids = await found(store, ANN, vector_search(EAST, filter=parse("tags:x"), top_k=5, limit=5))

    assert sorted(ids) == [f"far{number}" for number in range(5)]


async def test_filter_leaves_scores_as_they_are(store: MemoryStore) -> None:
    await fill(store, creation("a", "tea cup", tags=("x",)), creation("b", "tea pot pot"), creation("c", "cup of milk"))

    whole = await store.search(ANN, keyword_search("tea cup"))
    narrow = await store.search(ANN, keyword_search("tea cup", filter=parse("tags:x")))

    scores = {hit.memory.memory_id: hit.rank_score for hit in whole.hits}
    assert [(hit.memory.memory_id, hit.rank_score) for hit in narrow.hits] == [("a", scores["a"])]


async def test_filter_follows_changes_at_once(store: MemoryStore) -> None:
    await fill(store, creation("a", tags=("x",)), creation("b", tags=("x",)))
    before = await store.get(ANN, "a", NOW)
    await apply(store, ANN, revised(before, tags=()))
    await apply(store, ANN, deletion(await store.get(ANN, "b", NOW)))

    tagged, untagged = parse("tags:x"), parse("NOT tags:x")

    assert await listed(store, ANN, filter=tagged) == []
    assert await found(store, ANN, vector_search(EAST, filter=tagged)) == []
    assert await found(store, ANN, vector_search(EAST, filter=untagged)) == ["a"]


async def test_filter_shows_nothing_of_other_owners(store: MemoryStore) -> None:
    await fill(store, creation("hers", "secret tea"), creation("shared", "tea", access_level=PUBLIC))
    everything = parse("NOT content:nothing_has_this")

    assert await listed(store, BOB, filter=everything) == ["shared"]
    assert await found(store, BOB, keyword_search("secret tea", filter=everything)) == ["shared"]
    assert await listed(store, BOB, filter=parse('content:"secret"')) == []
