"""Exports and imports over gRPC: everything comes back as it was, streams go on where they ended, nothing is taken by halves."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.timestamp_pb2 import Timestamp

from memorybox.governance.v1.governance_pb2 import Quota
from memorybox.governance.v1.governance_service_pb2 import SetQuotaRequest
from memorybox.memory.v1 import memory_pb2
from memorybox.memory.v1 import memory_service_pb2 as pb
from services.cli.grants import standard_keys
from services.memory.stores.embedded import EmbeddedMemoryStore
from tests.support.clients import Deployment, refusal
from tests.support.governed import governed_world
from tests.support.memory import DIMENSION, SPACE, Client, World, memory_world, vector_of
from tests.support.model_store import ModelMemoryStore

CHUNK = 100  # items that become durable together


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


async def export(client: Client, **fields: Any) -> list[pb.ExportMemoriesResponse]:
    return [message async for message in client.ExportMemories(pb.ExportMemoriesRequest(**fields))]


async def contents(client: Client) -> list[str]:
    return [message.memory.content for message in await export(client)]


def item(content: str, **fields: Any) -> pb.ImportMemoriesRequest:
    return pb.ImportMemoriesRequest(memory=memory_pb2.Memory(content=content, **fields))


def config(import_id: str = "i", first_index: int = 0) -> pb.ImportMemoriesRequest:
    return pb.ImportMemoriesRequest(
        config=pb.ImportMemoriesRequest.Config(import_id=import_id, first_index=first_index)
    )


async def take_in(
    client: Client, items: Iterable[pb.ImportMemoriesRequest], import_id: str = "i", first_index: int = 0
) -> pb.ImportMemoriesResponse:
    answer: pb.ImportMemoriesResponse
    answer = await client.ImportMemories(iter([config(import_id, first_index), *items]))
    return answer


def sent_back(exported: Iterable[pb.ExportMemoriesResponse]) -> list[pb.ImportMemoriesRequest]:
    """Return what an export wrote as an import takes it: both messages have their fields under the same JSON names."""
    return [pb.ImportMemoriesRequest(memory=one.memory, resume_token=one.resume_token) for one in exported]


def whole(content: str) -> memory_pb2.Memory:
    """Return a memory that says everything a caller can say."""
    memory = memory_pb2.Memory(
        content=content,
        external_id=content,
        content_type="text/markdown",
        bucket="work",
        access_level=memory_pb2.Memory.ROLE,
        reader_roles=["NURSE", "A"],
        event_time=Timestamp(seconds=1_000_000_000, nanos=123_456_000),
        valid_from=Timestamp(seconds=-5),
        valid_until=Timestamp(seconds=4_000_000_000),
        expires_at=Timestamp(seconds=4_000_000_000, nanos=1000),
        tags=["tea", "four"],
        source=memory_pb2.Source(uri="file:///n.md", kind="file", parent_memory_ids=["p"]),
    )
    ParseDict({"a": [1, None, {"b": "c"}], "d": 0.1, "e": True, "f": {}}, memory.metadata)
    return memory


async def test_memories_are_equal_byte_for_byte_after_a_round_trip(world: World, tmp_path: Path) -> None:
    for n in range(3):
        created = await world.ann.CreateMemory(pb.CreateMemoryRequest(memory=whole(f"tea {n}")))
    await world.ann.UpdateMemory(
        pb.UpdateMemoryRequest(memory=memory_pb2.Memory(memory_id=created.memory.memory_id, content="coffee"))
    )
    exported = await export(world.ann, include_embeddings=True)

    elsewhere = await EmbeddedMemoryStore.open(tmp_path / "elsewhere")
    async with memory_world(Deployment(tmp_path / "deployment", standard_keys("ann")), elsewhere) as other:
        answer = await take_in(other.ann, sent_back(exported))
        again = await export(other.ann, include_embeddings=True)
        asked = other.embedder.asked
    await elsewhere.close()

    def bytes_of(messages: Iterable[pb.ExportMemoriesResponse]) -> list[bytes]:
        return [message.memory.SerializeToString(deterministic=True) for message in messages]

    assert len(exported) == 3
    assert bytes_of(again) == bytes_of(exported)
    assert (answer.imported_count, answer.failed_count, answer.last_committed_index) == (3, 0, 2)
    assert asked == []  # every vector was taken over


async def test_export_resumes_after_any_message_and_only_for_the_same_caller_and_request(world: World) -> None:
    for n in range(5):
        await world.ann.create(f"tea {n}")
    messages = await export(world.ann)

    rest = await export(world.ann, resume_token=messages[2].resume_token)

    assert [message.memory.content for message in rest] == ["tea 3", "tea 4"]
    assert await export(world.ann, resume_token=messages[4].resume_token) == []
    token = messages[2].resume_token
    for client, fields in (
        (world.bob, {"resume_token": token}),
        (world.ann, {"resume_token": token, "include_embeddings": True}),
        (world.ann, {"resume_token": token, "filter": 'bucket = "b"'}),
        (world.ann, {"resume_token": "nonsense"}),
    ):
        told = await refusal(export(client, **fields))
        assert (told.code, told.reason, told.fields) == ("INVALID_ARGUMENT", "INVALID_RESUME_TOKEN", ("resume_token",))


async def test_resumed_export_leaves_out_what_came_after_it_began(world: World) -> None:
    await world.ann.create("tea")
    (message,) = await export(world.ann)
    await world.ann.create("later")

    assert await export(world.ann, resume_token=message.resume_token) == []
    assert await contents(world.ann) == ["tea", "later"]


async def test_export_goes_on_over_many_chunks(world: World) -> None:
    await take_in(world.ann, [item(f"tea {n}") for n in range(450)])

    assert await contents(world.ann) == [f"tea {n}" for n in range(450)]


async def test_export_can_be_filtered_and_refuses_a_bad_filter(world: World) -> None:
    await world.ann.create("tea", bucket="work")
    await world.ann.create("coffee")

    assert [message.memory.content for message in await export(world.ann, filter='bucket = "work"')] == ["tea"]
    assert (await refusal(export(world.ann, filter="no_such_field = 1"))).code == "INVALID_ARGUMENT"


async def test_what_an_item_does_not_say_is_set_as_in_a_create(world: World) -> None:
    await take_in(world.ann, [item("tea")])

    (message,) = await export(world.ann, include_embeddings=True)

    memory = message.memory
    assert UUID(memory.memory_id).version == 8
    assert (memory.revision, memory.bucket, memory.owner_user) == (1, "default", "ann")
    assert memory.created_at == memory.updated_at
    assert list(memory.embedding) == vector_of("tea").tolist()


@pytest.mark.parametrize(
    ("space", "values"),
    [
        pytest.param("another@1/32/words/none", [1.0] + [0.0] * (DIMENSION - 1), id="another-space"),
        pytest.param(SPACE.name, [1.0] + [0.0] * DIMENSION, id="another-dimension"),
        pytest.param(SPACE.name, [0.5] + [0.0] * (DIMENSION - 1), id="another-length"),
        pytest.param(SPACE.name, [float("nan")] + [0.0] * (DIMENSION - 1), id="not-a-number"),
        pytest.param(SPACE.name, [float("inf")] + [0.0] * (DIMENSION - 1), id="infinite"),
    ],
)
async def test_vector_that_does_not_fit_is_made_anew(world: World, space: str, values: list[float]) -> None:
    answer = await take_in(world.ann, [item("tea", embedding=values, embedding_space=space)])

    (message,) = await export(world.ann, include_embeddings=True)
    assert answer.imported_count == 1
    assert list(message.memory.embedding) == vector_of("tea").tolist()
    assert message.memory.embedding_space == SPACE.name


async def test_items_fail_one_by_one_each_with_its_reason(world: World) -> None:
    mine = await world.ann.create("mine", external_id="e")
    late, early = Timestamp(seconds=2), Timestamp(seconds=1)
    answer = await take_in(
        world.ann,
        [
            item("good"),
            item(""),
            item("x", owner_user="bob"),
            item("x", external_id="e"),
            item("x", memory_id="not-an-id"),
            item("x", memory_id=mine.memory_id),
            item("x", created_at=late, updated_at=early),
            item("x", created_at=Timestamp(seconds=200_000_000_000)),
            item("x", delete_time=early),
            item("x", revision=-1),
            pb.ImportMemoriesRequest(),
            item("good too"),
        ],
    )

    details = [(error.index, error.error.message) for error in answer.errors]
    assert [index for index, _ in details] == list(range(1, 11))
    assert all(message for _, message in details)
    assert (answer.imported_count, answer.failed_count, answer.last_committed_index) == (2, 10, 11)
    assert await contents(world.ann) == ["mine", "good", "good too"]
    assert {error.error.code for error in answer.errors} == {3, 6}


async def test_same_stream_again_keeps_nothing_twice_and_gives_the_same_answer(world: World) -> None:
    items = [item(f"tea {n}") for n in range(CHUNK + 5)] + [item("")]
    first = await take_in(world.ann, items)

    again = await take_in(world.ann, items)

    assert again == first
    assert len(await export(world.ann)) == CHUNK + 5


async def test_longer_stream_goes_on_where_the_import_was(world: World) -> None:
    items = [item(f"tea {n}") for n in range(30)]
    await take_in(world.ann, items[:10])

    all_again = await take_in(world.ann, items[:20])
    the_rest = await take_in(world.ann, items[20:], first_index=20)

    assert (all_again.last_committed_index, the_rest.last_committed_index) == (19, 29)
    assert await contents(world.ann) == [f"tea {n}" for n in range(30)]


async def test_stream_of_a_config_alone_tells_how_far_the_import_is(world: World) -> None:
    assert (await take_in(world.ann, [])).last_committed_index == -1
    await take_in(world.ann, [item("tea")])

    assert (await take_in(world.ann, [])).last_committed_index == 0


async def test_stream_that_would_leave_a_gap_is_refused(world: World) -> None:
    told = await refusal(take_in(world.ann, [item("tea")], first_index=1))

    assert (told.code, told.fields) == ("INVALID_ARGUMENT", ("config.first_index",))


@pytest.mark.parametrize("import_id", ["", "a b", "x" * 129, "é"])
async def test_bad_import_id_is_refused(world: World, import_id: str) -> None:
    told = await refusal(take_in(world.ann, [item("tea")], import_id=import_id))

    assert (told.code, told.fields) == ("INVALID_ARGUMENT", ("config.import_id",))
    assert await contents(world.ann) == []


async def test_config_comes_first_and_once(world: World) -> None:
    assert (await refusal(world.ann.ImportMemories(iter([item("tea")])))).fields == ("config",)
    assert (await refusal(world.ann.ImportMemories(iter([])))).fields == ("config",)
    assert (await refusal(take_in(world.ann, [item("tea"), config()]))).fields == ("config",)
    assert await contents(world.ann) == []


async def test_import_without_an_embedder_keeps_its_whole_chunks_and_goes_on_later(world: World) -> None:
    items = [item(f"tea {n}") for n in range(CHUNK + 10)]

    async def failing() -> AsyncIterator[pb.ImportMemoriesRequest]:
        yield config()
        for one in items[:CHUNK]:
            yield one
        while not await contents(world.ann):
            await asyncio.sleep(0.01)
        world.embedder.down = True
        for one in items[CHUNK:]:
            yield one

    told = await refusal(world.ann.ImportMemories(failing()))
    world.embedder.down = False

    assert (told.code, told.reason) == ("UNAVAILABLE", "EMBEDDING_UNAVAILABLE")
    assert len(await export(world.ann)) == CHUNK
    assert (await take_in(world.ann, items)).imported_count == CHUNK + 10
    assert await contents(world.ann) == [one.memory.content for one in items]


async def test_cancelled_import_keeps_only_whole_chunks(world: World) -> None:
    """A cancelled stream ends like a finished one for whoever reads it."""
    for attempt in range(8):

        async def endless(attempt: int = attempt) -> AsyncIterator[pb.ImportMemoriesRequest]:
            yield config(f"i{attempt}")
            for n in range(CHUNK + 50):
                yield item(f"tea {attempt} {n}")
            await asyncio.Event().wait()

        call = world.ann.ImportMemories(endless())
        while len(await export(world.ann)) < CHUNK * (attempt + 1):
            await asyncio.sleep(0.005)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    await asyncio.sleep(0.2)
    assert len(await export(world.ann)) == CHUNK * 8
    assert (await take_in(world.ann, [], "i0")).last_committed_index == CHUNK - 1


async def test_import_tells_nothing_of_another_owners_memory(world: World) -> None:
    hers = await world.ann.create("hers", external_id="e")

    answer = await take_in(world.bob, [item("his", memory_id=hers.memory_id, external_id="e")])

    assert (answer.imported_count, answer.failed_count) == (1, 0)
    assert await world.ann.get(hers.memory_id) == hers
    assert (await world.bob.get(hers.memory_id)).content == "his"  # as with an id that nobody has
    assert await contents(world.bob) == ["his"]


async def test_export_needs_proof_of_who_calls(world: World) -> None:
    stub: Any = Client(world.channel, ())

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await export(stub)

    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_import_beyond_a_quota_ends_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    store = await EmbeddedMemoryStore.open(tmp_path / "data")
    async with governed_world(Deployment(tmp_path / "deployment", standard_keys("ann")), store) as world:
        await world.gwen.SetQuota(SetQuotaRequest(owner_user="ann", quota=Quota(max_memories=CHUNK)))
        items = [item(f"tea {n}") for n in range(CHUNK + 10)]

        told = await refusal(take_in(world.memories.ann, items))
        kept = len(await export(world.memories.ann))
        await world.gwen.SetQuota(SetQuotaRequest(owner_user="ann", quota=Quota(max_memories=10 * CHUNK)))
        answer = await take_in(world.memories.ann, items)
    await store.close()

    assert (told.code, told.reason) == ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")
    assert kept == CHUNK
    assert (answer.imported_count, answer.failed_count) == (CHUNK + 10, 0)
