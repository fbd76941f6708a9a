"""Counts by value over real gRPC and each store."""

import pytest

from memorybox.memory.v1 import memory_pb2
from memorybox.memory.v1 import memory_service_pb2 as pb
from tests.support.clients import refusal
from tests.support.memory import World


async def test_facets_count_what_the_caller_may_see(world: World) -> None:
    await world.ann.create("tea", bucket="work", tags=["t"], metadata={"cups": 2})
    await world.ann.create("cake", bucket="work", access_level=memory_pb2.Memory.PUBLIC)

    by_bucket = await world.ann.FacetMemories(pb.FacetMemoriesRequest(field="bucket"))
    of_bob = await world.bob.FacetMemories(pb.FacetMemoriesRequest(field="bucket"))
    by_cups = await world.ann.FacetMemories(pb.FacetMemoriesRequest(field="metadata.cups", bucket="work"))

    assert [(facet.value, facet.count) for facet in by_bucket.facets] == [("work", 2)]
    assert [(facet.value, facet.count) for facet in of_bob.facets] == [("work", 1)]
    assert not by_bucket.facets[0].HasField("json_value")
    assert [(facet.value, facet.json_value.number_value) for facet in by_cups.facets] == [("2", 2.0)]
    assert (by_cups.unset_count, by_cups.total_count) == (1, 2)


async def test_facets_of_times_are_days_unless_said(world: World) -> None:
    made = await world.ann.create("tea")
    day = made.created_at.ToDatetime().date()

    by_day = await world.ann.FacetMemories(pb.FacetMemoriesRequest(field="createdAt"))
    by_month = await world.ann.FacetMemories(
        pb.FacetMemoriesRequest(field="created_at", time_unit=pb.FacetMemoriesRequest.MONTH)
    )

    assert [facet.value for facet in by_day.facets] == [day.isoformat()]
    assert [facet.value for facet in by_month.facets] == [day.replace(day=1).isoformat()]


async def test_facets_end_at_the_size_of_an_answer(world: World) -> None:
    for letter in "abc":
        for number in range(10):
            await world.ann.create("x", metadata={"long": letter * 60_000 + str(number)})

    answer = await world.ann.FacetMemories(pb.FacetMemoriesRequest(field="metadata.long"))

    assert 20 <= len(answer.facets) < 30
    assert answer.other_count == 30 - len(answer.facets)


@pytest.mark.parametrize(
    ("request_fields", "field"),
    [
        ({}, "field"),
        ({"field": "content"}, "field"),
        ({"field": "metadata"}, "field"),
        ({"field": "buckets"}, "field"),
        ({"field": "tags:*"}, "field"),
        ({"field": "bucket", "time_unit": 1}, "time_unit"),
        ({"field": "created_at", "time_unit": 9}, "time_unit"),
        ({"field": "bucket", "limit": 1001}, "limit"),
        ({"field": "bucket", "filter": "nonsense = 1"}, "filter"),
    ],
    ids=str,
)
async def test_facets_name_what_is_wrong(world: World, request_fields: dict[str, object], field: str) -> None:
    told = await refusal(world.ann.FacetMemories(pb.FacetMemoriesRequest(**request_fields)))  # type: ignore[arg-type]

    assert (told.code, list(told.fields)) == ("INVALID_ARGUMENT", [field])
