"""Duplicates over real gRPC and each store."""

import pytest

from memorybox.memory.v1 import memory_pb2
from memorybox.memory.v1 import memory_service_pb2 as pb
from tests.support.clients import refusal
from tests.support.memory import Client, World


async def pages_of(client: Client, **fields: object) -> list[list[list[str]]]:
    """Return the contents of all groups, page by page."""
    pages, token = [], ""
    while True:
        request = pb.FindDuplicateMemoriesRequest(page_token=token, **fields)  # type: ignore[arg-type]
        answer = await client.FindDuplicateMemories(request)
        pages.append([[memory.content for memory in group.memories] for group in answer.groups])
        token = answer.next_page_token
        if not token:
            return pages


async def test_groups_come_in_pages_and_name_their_representative(world: World) -> None:
    made = [await world.ann.create(text) for text in ("Tea", "cake", "tea", "CAKE", "green tea cup", "tea  ")]

    pages = await pages_of(world.ann, page_size=1)
    answer = await world.ann.FindDuplicateMemories(pb.FindDuplicateMemoriesRequest(min_score=0.5))

    assert [page for page in pages if page] == [[["Tea", "tea", "tea  "]], [["cake", "CAKE"]]]
    assert answer.groups[0].representative_memory_id == made[0].memory_id
    assert answer.groups[0].memory_count == 4
    assert 0.5 <= answer.groups[0].similarity < 0.9


async def test_others_memories_are_grouped_only_when_visible_and_asked_for(world: World) -> None:
    await world.ann.create("tea")
    await world.bob.create("tea")
    assert await pages_of(world.ann, include_visible=True) == [[]]

    await world.bob.create("tea", access_level=memory_pb2.Memory.PUBLIC)

    assert await pages_of(world.ann) == [[]]
    assert await pages_of(world.ann, include_visible=True) == [[["tea", "tea"]]]


async def test_merging_a_group_leaves_none(world: World) -> None:
    await world.ann.create("tea")
    await world.ann.create("Tea")
    (group,) = (await world.ann.FindDuplicateMemories(pb.FindDuplicateMemoriesRequest())).groups

    merged = pb.MergeMemoriesRequest(
        memory_ids=[memory.memory_id for memory in group.memories], memory=memory_pb2.Memory(content="Tea.")
    )
    await world.ann.MergeMemories(merged)

    assert await pages_of(world.ann) == [[]]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"min_score": 1.5}, "min_score"),
        ({"min_score": float("nan")}, "min_score"),
        ({"page_size": 101}, "page_size"),
        ({"page_token": "x"}, "page_token"),
        ({"filter": "a = "}, "filter"),
    ],
    ids=str,
)
async def test_duplicates_name_what_is_wrong(world: World, fields: dict[str, object], field: str) -> None:
    request = pb.FindDuplicateMemoriesRequest(**fields)  # type: ignore[arg-type]

    told = await refusal(world.ann.FindDuplicateMemories(request))

    assert (told.code, list(told.fields)) == ("INVALID_ARGUMENT", [field])
