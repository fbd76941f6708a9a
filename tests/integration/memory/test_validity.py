"""Newer facts and what holds when, over real gRPC and each store."""

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from memorybox.memory.v1 import memory_pb2
from memorybox.memory.v1 import memory_service_pb2 as pb
from tests.support.clients import refusal
from tests.support.memory import Client, World

LONG_AGO, LATER = Timestamp(seconds=1_000_000_000), Timestamp(seconds=1_100_000_000)


async def superseded(client: Client, old: memory_pb2.Memory, content: str, request_id: str = "") -> memory_pb2.Memory:
    request = pb.SupersedeMemoryRequest(
        memory_id=old.memory_id, memory=memory_pb2.Memory(content=content), request_id=request_id
    )
    new: memory_pb2.Memory = (await client.SupersedeMemory(request)).memory
    return new


async def count(client: Client, *, any_validity: bool) -> int:
    answer: pb.CountMemoriesResponse = await client.CountMemories(pb.CountMemoriesRequest(any_validity=any_validity))
    return answer.count


async def test_newer_fact_takes_the_place_of_the_old_one_in_lists_and_searches(world: World) -> None:
    old = await world.ann.create("Tim lives in Bern")
    new = await superseded(world.ann, old, "Tim lives in Rome", "r")

    assert await world.ann.listed() == ["Tim lives in Rome"]
    assert await world.ann.listed(any_validity=True) == ["Tim lives in Rome", "Tim lives in Bern"]
    assert await world.ann.found("Tim lives") == ["Tim lives in Rome"]
    assert set(await world.ann.found("Tim lives", any_validity=True)) == {"Tim lives in Rome", "Tim lives in Bern"}
    assert [await count(world.ann, any_validity=False), await count(world.ann, any_validity=True)] == [1, 2]
    closed = await world.ann.get(old.memory_id)
    assert (closed.superseded_by, closed.valid_until) == (new.memory_id, new.valid_from)
    assert await superseded(world.ann, old, "Tim lives in Rome", "r") == new


async def test_merged_memories_give_way_to_one(world: World) -> None:
    olds = [await world.ann.create(f"tea {number}") for number in range(2)]
    request = pb.MergeMemoriesRequest(
        memory_ids=[old.memory_id for old in olds], memory=memory_pb2.Memory(content="tea"), request_id="r"
    )

    merged = (await world.ann.MergeMemories(request)).memory

    assert await world.ann.listed() == ["tea"]
    assert (await world.ann.get(olds[0].memory_id)).superseded_by == merged.memory_id
    assert (await world.ann.MergeMemories(request)).memory == merged
    assert (await refusal(world.bob.MergeMemories(request))).reason == "MEMORY_NOT_FOUND"


async def test_refusals_of_newer_facts_have_their_reasons(world: World) -> None:
    old = await world.ann.create("Tim lives in Bern", access_level=memory_pb2.Memory.PUBLIC)
    await superseded(world.ann, old, "Tim lives in Rome")

    again = await refusal(superseded(world.ann, old, "Tim lives in Oslo"))
    assert (again.code, again.reason) == ("FAILED_PRECONDITION", "ALREADY_SUPERSEDED")
    assert (await refusal(superseded(world.bob, old, "x"))).reason == "NOT_OWNER"
    assert (await refusal(superseded(world.ann, memory_pb2.Memory(memory_id="absent"), "x"))).code == "NOT_FOUND"


async def test_search_as_of_a_time_finds_what_held_then(world: World) -> None:
    await world.ann.create("Tim lives in Bern", valid_from=LONG_AGO, valid_until=LATER)
    await world.ann.create("Tim lives in Rome", valid_from=LATER)

    assert await world.ann.found("Tim lives") == ["Tim lives in Rome"]
    assert await world.ann.found("Tim lives", as_of=LONG_AGO) == ["Tim lives in Bern"]
    assert await world.ann.found("Tim lives", as_of=LATER) == ["Tim lives in Rome"]
    assert await world.ann.found("Tim lives", as_of=Timestamp(seconds=1)) == []


async def test_reads_as_of_a_time_answer_with_what_was_known_then(world: World) -> None:
    first = await world.ann.create("green tea")
    second = (
        await world.ann.UpdateMemory(
            pb.UpdateMemoryRequest(memory=memory_pb2.Memory(memory_id=first.memory_id, content="black tea"))
        )
    ).memory
    page = await world.ann.ListMemories(pb.ListMemoriesRequest(as_of=first.updated_at))

    then = await world.ann.GetMemory(pb.GetMemoryRequest(memory_id=first.memory_id, as_of=first.updated_at))
    now = await world.ann.GetMemory(pb.GetMemoryRequest(memory_id=first.memory_id, as_of=second.updated_at))

    assert [then.memory, now.memory] == [first, second]
    assert list(page.memories) == [first]
    assert await world.ann.listed(as_of=LONG_AGO) == []
    for wrong in ({"as_of": LONG_AGO}, {"as_of": LONG_AGO, "include_embedding": True}):
        told = await refusal(world.ann.GetMemory(pb.GetMemoryRequest(memory_id=first.memory_id, **wrong)))
        assert told.code == ("INVALID_ARGUMENT" if "include_embedding" in wrong else "NOT_FOUND")


@pytest.mark.parametrize("fields", [{"as_of": LATER, "any_validity": True}, {"as_of": Timestamp(nanos=-1)}])
async def test_wrong_moments_are_refused(world: World, fields: dict[str, object]) -> None:
    told = await refusal(world.ann.search("tea", **fields))

    assert (told.code, told.reason) == ("INVALID_ARGUMENT", "INVALID_INPUT")


async def test_pages_of_a_list_and_a_search_show_one_moment(world: World) -> None:
    made = [await world.ann.create(f"tea {number}") for number in range(3)]
    page = await world.ann.ListMemories(pb.ListMemoriesRequest(page_size=1))
    hits = await world.ann.search("tea", page_size=1, mode=2)
    await superseded(world.ann, made[0], "coffee")

    rest = await world.ann.listed(page_token=page.next_page_token)
    more = await world.ann.search("tea", page_size=1, mode=2, page_token=hits.next_page_token)

    assert rest == ["tea 1", "tea 0"]
    assert [hit.memory.content for hit in more.hits] == ["tea 1"]
