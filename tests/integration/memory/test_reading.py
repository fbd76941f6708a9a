"""Batches, counts, batch searches and related memories over real gRPC and each store."""

from typing import Any

from memorybox.memory.v1 import memory_pb2, search_pb2
from memorybox.memory.v1 import memory_service_pb2 as pb
from tests.support.clients import refusal
from tests.support.memory import Client, World


async def count(client: Client, **fields: Any) -> int:
    answer: pb.CountMemoriesResponse = await client.CountMemories(pb.CountMemoriesRequest(**fields))
    return answer.count


async def test_batch_get_answers_in_order_with_what_is_visible(world: World) -> None:
    mine, public = await world.ann.create("tea"), await world.ann.create("cake", access_level=memory_pb2.Memory.PUBLIC)
    wanted = pb.BatchGetMemoriesRequest(memory_ids=[public.memory_id, "absent", mine.memory_id, public.memory_id])

    assert list((await world.ann.BatchGetMemories(wanted)).memories) == [public, mine]
    assert list((await world.bob.BatchGetMemories(wanted)).memories) == [public]


async def test_batch_get_ends_early_and_continues_with_what_remains(world: World) -> None:
    made = [await world.ann.create(f"{number}" + "x" * 900_000) for number in range(5)]
    remaining, rounds = [memory.memory_id for memory in made], []
    while remaining:
        answer = await world.ann.BatchGetMemories(pb.BatchGetMemoriesRequest(memory_ids=remaining))
        rounds.append([memory.content[0] for memory in answer.memories])
        remaining = list(answer.remaining_memory_ids)

    assert rounds == [["0", "1", "2"], ["3", "4"]]


async def test_batch_get_names_what_is_wrong(world: World) -> None:
    for ids, field in (([], "memory_ids"), (["x"] * 101, "memory_ids"), (["x", ""], "memory_ids[1]")):
        told = await refusal(world.ann.BatchGetMemories(pb.BatchGetMemoriesRequest(memory_ids=ids)))
        assert (told.code, list(told.fields)) == ("INVALID_ARGUMENT", [field])


async def test_count_is_of_what_the_caller_may_see(world: World) -> None:
    await world.ann.create("tea", bucket="work", tags=["t"])
    await world.ann.create("cake", access_level=memory_pb2.Memory.PUBLIC)

    assert [await count(world.ann), await count(world.bob)] == [2, 1]
    assert [await count(world.ann, bucket="work"), await count(world.ann, filter='tags:"t"')] == [1, 1]
    told = await refusal(count(world.ann, filter="nonsense = 1"))
    assert told.code == "INVALID_ARGUMENT"


async def test_batch_search_answers_each_search(world: World) -> None:
    await world.ann.create("green tea")
    await world.ann.create("black coffee")
    asked = [
        search_pb2.SearchMemoriesRequest(query="tea", explain=True),
        search_pb2.SearchMemoriesRequest(query="coffee", top_k=-1),
        search_pb2.SearchMemoriesRequest(query="coffee", neighbors=11),
        search_pb2.SearchMemoriesRequest(query="coffee"),
    ]

    answer = await world.ann.BatchSearchMemories(search_pb2.BatchSearchMemoriesRequest(requests=asked))

    tea, wrong, wide, coffee = answer.results
    assert [hit.memory.content for hit in tea.response.hits] == ["green tea"]
    assert tea.response.HasField("explanation")
    assert [result.WhichOneof("result") for result in (wrong, wide, coffee)] == ["error", "error", "response"]
    assert tea.response == await world.ann.search("tea", explain=True)


async def test_related_memories_are_near_and_visible(world: World) -> None:
    tea = await world.ann.create("green tea cup")
    await world.ann.create("green tea")
    await world.bob.create("green tea")
    asked = search_pb2.FindRelatedMemoriesRequest(memory_id=tea.memory_id)

    answer = await world.ann.FindRelatedMemories(asked)

    assert [hit.memory.content for hit in answer.hits] == ["green tea"]
    assert 0.5 < answer.hits[0].score < 1.0
    assert (await refusal(world.bob.FindRelatedMemories(asked))).reason == "MEMORY_NOT_FOUND"
