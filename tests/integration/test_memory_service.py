"""MemoryService over real gRPC, real tokens and each store: what is kept, found, changed and deleted."""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.timestamp_pb2 import Timestamp

from memorybox.memory.v1 import memory_pb2, search_pb2
from memorybox.memory.v1 import memory_service_pb2 as pb
from services.cli.grants import standard_keys
from services.memory.stores.embedded import EmbeddedMemoryStore
from tests.support.clients import Deployment, refusal
from tests.support.memory import DIMENSION, RETRY_S, SPACE, World, memory_world, vector_of
from tests.support.model_store import ModelMemoryStore

MIB = 1 << 20
PILE = "\N{PILE OF POO}"
Mode = search_pb2.SearchMode


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return Deployment(tmp_path_factory.mktemp("deployment"), standard_keys("ann"))


@pytest.fixture(params=["model", "embedded"])
async def world(request: pytest.FixtureRequest, deployment: Deployment, tmp_path: Path) -> AsyncIterator[World]:
    store: ModelMemoryStore | EmbeddedMemoryStore = (
        ModelMemoryStore() if request.param == "model" else await EmbeddedMemoryStore.open(tmp_path)
    )
    async with memory_world(deployment, store) as made:
        yield made
    await store.close()


def updating(memory: memory_pb2.Memory, *paths: str, etag: str = "", **fields: Any) -> pb.UpdateMemoryRequest:
    wanted = memory_pb2.Memory(memory_id=memory.memory_id, **fields)
    return pb.UpdateMemoryRequest(memory=wanted, update_mask=FieldMask(paths=paths), etag=etag)


async def test_created_memory_comes_back_as_it_was_sent_with_what_the_server_set(world: World) -> None:
    sent = memory_pb2.Memory(
        content="Green tea \N{HOT BEVERAGE} at four",
        external_id="notes/1",
        content_type="text/markdown",
        bucket="work",
        access_level=memory_pb2.Memory.ROLE,
        reader_roles=["NURSE"],
        event_time=Timestamp(seconds=1_000_000_000, nanos=123_456_000),
        valid_from=Timestamp(seconds=-5),
        tags=["tea", "four"],
        source=memory_pb2.Source(uri="file:///n.md", kind="file", parent_memory_ids=["p"]),
    )
    ParseDict({"a": [1, None, {"b": "c"}], "d": 0.5, "e": True}, sent.metadata)

    created = (await world.ann.CreateMemory(pb.CreateMemoryRequest(memory=sent))).memory

    got = await world.ann.get(created.memory_id)
    assert got == created
    server_set = {"memory_id", "owner_user", "created_at", "updated_at", "embedding_space", "revision", "etag"}
    assert {field.name for field, _ in got.ListFields()} - {field.name for field, _ in sent.ListFields()} == server_set
    for name in server_set:
        got.ClearField(name)  # type: ignore[arg-type]
    assert got == sent
    assert (created.owner_user, created.revision, created.embedding_space) == ("ann", 1, SPACE.name)
    assert UUID(created.memory_id).version == 7
    assert created.created_at.nanos % 1000 == 0


async def test_defaults_are_those_of_the_contract(world: World) -> None:
    created = await world.ann.create("x")

    assert (created.bucket, created.content_type) == ("default", "text/plain")
    assert created.access_level == memory_pb2.Memory.PRIVATE
    assert not created.HasField("source")
    assert not created.embedding


@pytest.mark.parametrize(
    "content", ["x" * MIB, PILE * (MIB // 4), "x\x00y", " \n\t", "\u202e\u0301\ufeff"], ids=["1-mib", "1-mib-wide", "nul", "blank", "odd-marks"]
)  # fmt: skip
async def test_any_content_up_to_1_mib_is_kept_as_it_is(world: World, content: str) -> None:
    created = await world.ann.create(content)

    assert (await world.ann.get(created.memory_id)).content == content


async def test_vector_is_returned_only_when_asked_for(world: World) -> None:
    created = await world.ann.create("green tea")

    got = await world.ann.GetMemory(pb.GetMemoryRequest(memory_id=created.memory_id, include_embedding=True))

    assert len(got.memory.embedding) == DIMENSION
    assert list(got.memory.embedding) == pytest.approx(list(vector_of("green tea")), abs=1e-6)
    assert math.isclose(sum(value**2 for value in got.memory.embedding), 1.0, abs_tol=1e-5)
    assert not (await world.ann.get(created.memory_id)).embedding


async def test_repeated_create_returns_the_first_memory(world: World) -> None:
    first = await world.ann.create("tea", "r1", tags=["t"])

    assert await world.ann.create("tea", "r1", tags=["t"]) == first
    assert await world.ann.listed() == ["tea"]


async def test_creates_with_one_request_id_at_once_make_one_memory(world: World) -> None:
    made = await asyncio.gather(*(world.ann.create("tea", "r1") for _ in range(20)))

    assert len({memory.SerializeToString(deterministic=True) for memory in made}) == 1
    assert await world.ann.listed() == ["tea"]


async def test_request_id_with_another_memory_is_refused_and_the_first_stays(world: World) -> None:
    first = await world.ann.create("tea", "r1")

    told = await refusal(world.ann.create("coffee", "r1"))

    assert (told.code, told.reason) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")
    assert await world.ann.get(first.memory_id) == first


async def test_repeated_create_after_an_update_answers_with_that_memory(world: World) -> None:
    first = await world.ann.create("tea", "r1")
    await world.ann.UpdateMemory(updating(first, "tags", tags=["t"]))

    again = await world.ann.create("tea", "r1")

    assert again.memory_id == first.memory_id
    assert len(await world.ann.listed()) == 1


async def test_external_id_is_unique_for_one_owner(world: World) -> None:
    await world.ann.create("tea", external_id="e")
    other = await world.ann.create("coffee")

    reject = pb.CreateMemoryRequest(
        memory=memory_pb2.Memory(content="cocoa", external_id="e"), on_duplicate=pb.CreateMemoryRequest.REJECT
    )
    assert (await refusal(world.ann.CreateMemory(reject))).reason == "EXTERNAL_ID_TAKEN"
    told = await refusal(world.ann.UpdateMemory(updating(other, "external_id", external_id="e")))
    assert (told.code, told.reason) == ("ALREADY_EXISTS", "EXTERNAL_ID_TAKEN")


async def test_batch_answers_for_each_item_in_order(world: World) -> None:
    def item(content: str, request_id: str = "", **fields: Any) -> pb.CreateMemoryRequest:
        return pb.CreateMemoryRequest(memory=memory_pb2.Memory(content=content, **fields), request_id=request_id)

    first = await world.ann.create("tea", "r1", external_id="e")
    items = [
        item("coffee"),
        item(""),
        item("tea", "r1", external_id="e"),
        item("other", "r1"),
        pb.CreateMemoryRequest(
            memory=memory_pb2.Memory(content="cocoa", external_id="e"), on_duplicate=pb.CreateMemoryRequest.REJECT
        ),
        item("x", access_level=99),
        item("x", owner_user="bob"),
        item("juice", "bad id"),
    ]
    answer = await world.ann.BatchCreateMemories(pb.BatchCreateMemoriesRequest(requests=items))

    said = [
        result.memory.content or json.loads(json.dumps(MessageToDict(result.error)))["details"][0]["reason"]
        for result in answer.results
    ]
    assert said == [
        "coffee",
        "INVALID_INPUT",
        "tea",
        "REQUEST_ID_REUSED",
        "EXTERNAL_ID_TAKEN",
        "INVALID_INPUT",
        "INVALID_INPUT",
        "INVALID_INPUT",
    ]
    assert answer.results[2].memory == first
    assert sorted(await world.ann.listed()) == ["coffee", "tea"]


async def test_batch_item_says_which_field_is_wrong_as_a_create_would(world: World) -> None:
    wrong = pb.CreateMemoryRequest(memory=memory_pb2.Memory(content="x", tags=["a", "a"]))

    answer = await world.ann.BatchCreateMemories(pb.BatchCreateMemoriesRequest(requests=[wrong]))
    alone = await refusal(world.ann.CreateMemory(wrong))

    error = MessageToDict(answer.results[0].error)
    assert (error["code"], error["message"]) == (3, alone.message)
    assert [item["field"] for item in error["details"][1]["fieldViolations"]] == list(alone.fields) == ["memory.tags"]


async def test_largest_batch_that_is_taken_is_also_answered(world: World) -> None:
    async def attempt(size: int) -> str:
        memory = memory_pb2.Memory(content="x" * size, tags=["t" * 128])
        items = [pb.CreateMemoryRequest(memory=memory, request_id=f"{size}-{number}") for number in range(100)]
        call = world.ann.BatchCreateMemories(pb.BatchCreateMemoriesRequest(requests=items))
        try:
            return "kept" if len((await call).results) == 100 else "short"
        except grpc.aio.AioRpcError as error:
            return error.code().name

    assert [await attempt(size) for size in (31_200, 31_600, 40_000)] == [
        "kept",
        "INVALID_ARGUMENT",
        "INVALID_ARGUMENT",
    ]


async def test_list_is_newest_first_in_pages_without_gap_or_double(world: World) -> None:
    for number in range(7):
        await world.ann.create(f"m{number}")
    got, token = [], ""

    for size in (3, 1, 100):
        page = await world.ann.ListMemories(pb.ListMemoriesRequest(page_size=size, page_token=token))
        got.append([memory.content for memory in page.memories])
        token = page.next_page_token

    assert got == [["m6", "m5", "m4"], ["m3"], ["m2", "m1", "m0"]]
    assert token == ""


async def test_pages_do_not_show_what_came_after_the_first(world: World) -> None:
    for number in range(3):
        await world.ann.create(f"m{number}")
    first = await world.ann.ListMemories(pb.ListMemoriesRequest(page_size=2))
    await world.ann.create("late")

    second = await world.ann.listed(page_size=2, page_token=first.next_page_token)

    assert second == ["m0"]


async def test_list_and_search_keep_to_a_bucket(world: World) -> None:
    await world.ann.create("tea", bucket="work")
    await world.ann.create("tea time", bucket="home")

    assert await world.ann.listed(bucket="work") == ["tea"]
    assert await world.ann.found("tea", bucket="home") == ["tea time"]
    assert await world.ann.listed(bucket="none") == []


async def test_long_lists_end_a_page_below_what_grpc_carries(world: World) -> None:
    content = "x" * (MIB - 1)
    for number in range(5):
        await world.ann.create(f"{content}{number}")
    got: list[str] = []
    token = ""

    while not got or token:
        page = await world.ann.ListMemories(pb.ListMemoriesRequest(page_size=1000, page_token=token))
        assert page.ByteSize() < 4 * MIB
        got += [memory.content[-1] for memory in page.memories]
        token = page.next_page_token

    assert got == ["4", "3", "2", "1", "0"]


async def test_heavy_tags_and_lineage_of_others_cannot_break_a_list_or_a_search(world: World) -> None:
    """All that is not content or metadata of one memory may be 100 KiB too; 1000 of them must still fit an answer."""
    heavy = memory_pb2.Memory(
        content="tea",
        access_level=memory_pb2.Memory.ROLE,
        reader_roles=[f"{PILE * 250}{number}" for number in range(63)] + ["NURSE"],
        tags=[f"{PILE * 125}{number:3}" for number in range(64)],
        source=memory_pb2.Source(uri=PILE * 2048, parent_memory_ids=[f"{PILE * 60}{number:3}" for number in range(64)]),
    )
    for _ in range(2):
        items = [pb.CreateMemoryRequest(memory=heavy)] * 20
        await world.bob.BatchCreateMemories(pb.BatchCreateMemoriesRequest(requests=items))

    page = await world.nina.ListMemories(pb.ListMemoriesRequest(page_size=1000))
    hits = await world.nina.search("tea", top_k=1000, page_size=100)

    assert 0 < len(page.memories) < 40
    assert 0 < len(hits.hits) < 40
    assert page.next_page_token
    assert hits.next_page_token


async def test_update_changes_the_masked_fields_alone(world: World) -> None:
    memory = await world.ann.create("green tea", tags=["a"], bucket="b")

    changed = (await world.ann.UpdateMemory(updating(memory, "content", content="black coffee", tags=["z"]))).memory

    assert (changed.content, changed.tags, changed.bucket, changed.revision) == ("black coffee", ["a"], "b", 2)
    assert changed.etag != memory.etag
    assert changed.updated_at.ToNanoseconds() >= memory.updated_at.ToNanoseconds()
    assert await world.ann.get(memory.memory_id) == changed
    assert await world.ann.found("coffee", mode=Mode.KEYWORD) == ["black coffee"]
    assert await world.ann.found("tea", mode=Mode.KEYWORD) == []
    assert await world.ann.found("green tea", mode=Mode.VECTOR) == []


async def test_memory_that_was_read_is_sent_back_changed(world: World) -> None:
    created = await world.ann.create("tea", tags=["a"])
    wanted = await world.ann.get(created.memory_id)
    wanted.content = "coffee"

    changed = (await world.ann.UpdateMemory(pb.UpdateMemoryRequest(memory=wanted))).memory

    assert (changed.content, changed.tags, changed.revision) == ("coffee", ["a"], 2)


@pytest.mark.parametrize("form", ["{}", '"{}"', 'W/"{}"'], ids=["bare", "quoted", "weak"])
async def test_etag_in_every_form_of_if_match_lets_a_change_pass_once(world: World, form: str) -> None:
    memory = await world.ann.create("tea")
    etag = form.format(memory.etag)

    changed = (await world.ann.UpdateMemory(updating(memory, "content", content="coffee", etag=etag))).memory
    told = await refusal(world.ann.UpdateMemory(updating(memory, "content", content="cocoa", etag=etag)))
    kept = await refusal(world.ann.DeleteMemory(pb.DeleteMemoryRequest(memory_id=memory.memory_id, etag=etag)))

    assert changed.content == "coffee"
    assert {(one.code, one.reason) for one in (told, kept)} == {("ABORTED", "ETAG_MISMATCH")}
    assert await world.ann.get(memory.memory_id) == changed


async def test_etag_in_the_memory_counts_as_one(world: World) -> None:
    memory = await world.ann.create("tea")
    changed = (await world.ann.UpdateMemory(updating(memory, "content", content="coffee"))).memory
    stale = memory_pb2.Memory(memory_id=memory.memory_id, content="cocoa", etag=memory.etag)

    told = await refusal(world.ann.UpdateMemory(pb.UpdateMemoryRequest(memory=stale)))

    assert told.reason == "ETAG_MISMATCH"
    stale.etag = f'"{changed.etag}"'
    assert (await world.ann.UpdateMemory(pb.UpdateMemoryRequest(memory=stale))).memory.content == "cocoa"


async def test_star_as_etag_means_whatever_is_there(world: World) -> None:
    memory = await world.ann.create("tea")

    assert (await world.ann.UpdateMemory(updating(memory, "tags", tags=["t"], etag="*"))).memory.tags == ["t"]


async def test_updates_at_once_without_etag_all_land(world: World) -> None:
    memory = await world.ann.create("tea")
    fields: dict[str, Any] = {"tags": ["t"], "bucket": "b", "external_id": "e"}

    await asyncio.gather(
        *(world.ann.UpdateMemory(updating(memory, name, **{name: value})) for name, value in fields.items())
    )

    got = await world.ann.get(memory.memory_id)
    assert (list(got.tags), got.bucket, got.external_id, got.revision) == (["t"], "b", "e", 4)


async def test_deleted_memory_leaves_every_read(world: World) -> None:
    memory = await world.ann.create("green tea")

    deleted = (await world.ann.DeleteMemory(pb.DeleteMemoryRequest(memory_id=memory.memory_id))).memory

    assert deleted.HasField("delete_time")
    assert deleted.content == "green tea"
    for call in (
        world.ann.get(memory.memory_id),
        world.ann.GetMemory(pb.GetMemoryRequest(memory_id=memory.memory_id, include_embedding=True)),
        world.ann.UpdateMemory(updating(memory, "content", content="x")),
        world.ann.DeleteMemory(pb.DeleteMemoryRequest(memory_id=memory.memory_id)),
    ):
        assert (await refusal(call)).reason == "MEMORY_NOT_FOUND"
    assert await world.ann.listed() == []
    for mode in (Mode.VECTOR, Mode.KEYWORD, Mode.HYBRID):
        assert await world.ann.found("green tea", mode=mode) == []


async def test_expired_memory_is_hidden(world: World) -> None:
    past = Timestamp(seconds=1_000_000_000)
    memory = await world.ann.create("tea", expires_at=past)

    assert (await refusal(world.ann.get(memory.memory_id))).reason == "MEMORY_NOT_FOUND"
    assert await world.ann.listed() == []
    assert await world.ann.found("tea") == []


async def test_write_is_found_as_soon_as_it_is_acknowledged(world: World) -> None:
    for number in range(10):
        await world.ann.create(f"unique{number} tea")
        assert f"unique{number} tea" in await world.ann.found(f"unique{number}", mode=Mode.KEYWORD)
        assert (await world.ann.found(f"unique{number} tea", mode=Mode.VECTOR))[0] == f"unique{number} tea"


async def test_each_mode_ranks_and_says_how(world: World) -> None:
    for content in ("green tea", "tea", "black coffee"):
        await world.ann.create(content)

    vector = await world.ann.search("green tea", mode=Mode.VECTOR)
    keyword = await world.ann.search("green tea", mode=Mode.KEYWORD, explain=True)
    hybrid = await world.ann.search("green tea", explain=True)

    assert (vector.mode, keyword.mode, hybrid.mode) == (Mode.VECTOR, Mode.KEYWORD, Mode.HYBRID)
    assert (vector.embedding_space, keyword.embedding_space) == (SPACE.name, "")
    assert vector.hits[0].score == pytest.approx(1.0, abs=1e-5)
    assert vector.hits[0].rank_score == pytest.approx(1.0, abs=1e-5)
    assert not any(hit.HasField("score") for hit in keyword.hits)
    assert [hit.memory.content for hit in keyword.hits] == ["green tea", "tea"]
    assert keyword.hits[0].explanation.keyword_rank == 1
    assert list(keyword.explanation.terms) == ["green", "tea"]
    assert hybrid.hits[0].rank_score > hybrid.hits[1].rank_score
    assert (hybrid.hits[0].explanation.vector_rank, hybrid.hits[0].explanation.keyword_rank) == (1, 1)
    assert hybrid.explanation.threshold == pytest.approx(SPACE.threshold)
    assert not vector.HasField("explanation")
    assert [(item.start, item.end) for item in keyword.hits[0].highlights] == [(0, 5), (6, 9)]


async def test_explicit_min_score_cuts_hits_and_explain_counts_them(world: World) -> None:
    for content in ("green tea", "tea and many other words beside"):
        await world.ann.create(content)

    found = await world.ann.search("green tea", min_score=0.9, explain=True)

    assert [hit.memory.content for hit in found.hits] == ["green tea"]
    assert found.explanation.cut_by_min_score == 1


async def test_search_pages_give_every_hit_once_in_one_ranking(world: World) -> None:
    for number in range(9):
        await world.ann.create("tea " * (number + 1))
    whole = await world.ann.found("tea", top_k=8)
    got: list[str] = []
    token = ""

    while not got or token:
        page = await world.ann.search("tea", top_k=8, page_size=3, page_token=token)
        got += [hit.memory.content for hit in page.hits]
        token = page.next_page_token

    assert got == whole
    assert len(set(got)) == 8


async def test_pages_of_a_keyword_search_with_min_score_are_not_empty(world: World) -> None:
    for number in range(4):
        await world.ann.create("tea " * (number + 1))
    first = await world.ann.search("tea", mode=Mode.KEYWORD, min_score=-1.0, page_size=2)

    second = await world.ann.search(
        "tea", mode=Mode.KEYWORD, min_score=-1.0, page_size=2, page_token=first.next_page_token
    )

    assert (len(first.hits), len(second.hits)) == (2, 2)


async def test_search_by_a_given_vector_finds_the_nearest(world: World) -> None:
    await world.ann.create("green tea")
    await world.ann.create("black coffee")

    found = await world.ann.search(mode=Mode.VECTOR, query_vector=[7.0 * float(v) for v in vector_of("black coffee")])

    assert [hit.memory.content for hit in found.hits] == ["black coffee"]
    assert found.hits[0].score == pytest.approx(1.0, abs=1e-5)


async def test_without_embeddings_creates_and_vector_searches_are_unavailable_with_advice(world: World) -> None:
    memory = await world.ann.create("green tea")
    world.embedder.down = True

    refused = [
        await refusal(world.ann.create("coffee")),
        await refusal(world.ann.search("tea", mode=Mode.VECTOR)),
        await refusal(world.ann.UpdateMemory(updating(memory, "content", content="coffee"))),
    ]

    assert {(told.code, told.reason, told.retry_s) for told in refused} == {
        ("UNAVAILABLE", "EMBEDDING_UNAVAILABLE", RETRY_S)
    }
    assert await world.ann.listed() == ["green tea"]


async def test_without_embeddings_search_answers_by_words_and_says_so(world: World) -> None:
    await world.ann.create("green tea")
    world.embedder.down = True

    hybrid = await world.ann.search("tea")
    keyword = await world.ann.search("tea", mode=Mode.KEYWORD)
    world.embedder.down = False
    again = await world.ann.search("tea")

    assert [hit.memory.content for hit in hybrid.hits] == ["green tea"]
    assert (hybrid.mode, len(hybrid.warnings)) == (Mode.KEYWORD, 1)
    assert (keyword.mode, list(keyword.warnings)) == (Mode.KEYWORD, [])
    assert (again.mode, list(again.warnings)) == (Mode.HYBRID, [])


async def test_roles_and_public_memories_are_shared_for_reading_only(world: World) -> None:
    role = await world.ann.create("role tea", access_level=memory_pb2.Memory.ROLE, reader_roles=["NURSE"])
    public = await world.ann.create("public tea", access_level=memory_pb2.Memory.PUBLIC)

    assert sorted(await world.nina.listed()) == ["public tea", "role tea"]
    assert sorted(await world.nina.found("tea", mode=Mode.KEYWORD)) == ["public tea", "role tea"]
    assert await world.bob.listed() == ["public tea"]
    assert (await refusal(world.bob.get(role.memory_id))).reason == "MEMORY_NOT_FOUND"
    for memory in (role, public):
        changes = (
            world.nina.UpdateMemory(updating(memory, "content", content="x")),
            world.nina.UpdateMemory(updating(memory, "tags", etag="stale")),
            world.nina.DeleteMemory(pb.DeleteMemoryRequest(memory_id=memory.memory_id)),
        )
        codes = [(await refusal(change)).reason for change in changes]
        assert codes == ["NOT_OWNER", "ETAG_MISMATCH", "NOT_OWNER"]


async def test_memory_that_stops_being_shared_is_gone_for_others_at_once(world: World) -> None:
    memory = await world.ann.create("tea", access_level=memory_pb2.Memory.PUBLIC)
    assert await world.bob.found("tea") == ["tea"]

    await world.ann.UpdateMemory(updating(memory, "access_level", access_level=memory_pb2.Memory.PRIVATE))

    assert await world.bob.found("tea") == []
    assert (await refusal(world.bob.get(memory.memory_id))).reason == "MEMORY_NOT_FOUND"
    assert await world.ann.found("tea") == ["tea"]
