"""A hit's neighbours over real gRPC and each store."""

from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from memorybox.memory.v1 import memory_pb2, search_pb2
from tests.support.clients import refusal
from tests.support.memory import Client, World

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
PUBLIC = memory_pb2.Memory.PUBLIC


async def tell(client: Client, *contents: str, uri: str = "chat:1", **fields: Any) -> None:
    """Create memories of one source, a minute apart."""
    for number, content in enumerate(contents):
        time = Timestamp()
        time.FromDatetime(NOON + timedelta(minutes=number))
        await client.create(content, event_time=time, source=memory_pb2.Source(uri=uri), **fields)


def beside(answer: search_pb2.SearchMemoriesResponse) -> list[tuple[str, list[str]]]:
    """Return each hit's content with those of its neighbours."""
    return [(hit.memory.content, [memory.content for memory in hit.neighbors]) for hit in answer.hits]


async def test_hit_comes_with_what_stands_beside_it(world: World) -> None:
    await tell(world.ann, "one", "two", "tea", "four", "five")
    await tell(world.ann, "elsewhere", uri="chat:2")

    with_two = await world.ann.search("tea", neighbors=2)
    without = await world.ann.search("tea")

    assert beside(with_two) == [("tea", ["one", "two", "four", "five"])]
    assert beside(without) == [("tea", [])]


async def test_others_see_only_neighbours_that_they_may_read(world: World) -> None:
    await tell(world.ann, "one", "two")
    await tell(world.ann, "zero", "also one", "tea", access_level=PUBLIC)

    answer = await world.bob.search("tea", neighbors=3)

    assert beside(answer) == [("tea", ["zero", "also one"])]


async def test_page_ends_before_the_hit_whose_neighbours_do_not_fit(world: World) -> None:
    for number in range(3):
        await tell(world.ann, "before" + "x" * 700_000, f"tea {number}", "after" + "x" * 700_000, uri=f"chat:{number}")

    pages, token = [], ""
    while True:
        answer = await world.ann.search("tea", mode=search_pb2.KEYWORD, neighbors=1, page_token=token)
        pages.append([(hit.memory.content, len(hit.neighbors)) for hit in answer.hits])
        token = answer.next_page_token
        if not token:
            break

    assert [[count for _, count in page] for page in pages] == [[2, 2], [2]]
    assert sorted(content for page in pages for content, _ in page) == ["tea 0", "tea 1", "tea 2"]


async def test_batch_counts_neighbours_into_its_size(world: World) -> None:
    await tell(world.ann, "before" + "x" * 1_000_000, "tea", "after" + "x" * 1_000_000)
    asked = [search_pb2.SearchMemoriesRequest(query="tea", mode=search_pb2.KEYWORD, neighbors=1) for _ in range(3)]

    answer = await world.ann.BatchSearchMemories(search_pb2.BatchSearchMemoriesRequest(requests=asked))

    assert [len(result.response.hits) for result in answer.results] == [1, 0, 0]
    assert all(result.response.next_page_token for result in answer.results[1:])


async def test_number_of_neighbours_is_bounded(world: World) -> None:
    for number in (-1, 11):
        told = await refusal(world.ann.search("tea", neighbors=number))
        assert (told.code, list(told.fields)) == ("INVALID_ARGUMENT", ["neighbors"])
