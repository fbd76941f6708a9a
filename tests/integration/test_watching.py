"""Watches over gRPC: every change once, in order, to whom it concerns, across restarts, and `done` at the end."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import grpc
import pytest

from memorybox.memory.v1 import memory_pb2
from memorybox.memory.v1 import memory_service_pb2 as pb
from services.cli.grants import standard_keys
from services.memory.app import service
from services.memory.stores.embedded import EmbeddedMemoryStore
from tests.support.clients import Deployment, plain_channel, refusal
from tests.support.memory import Client, FakeEmbedder, World, memory_world
from tests.support.model_store import ModelMemoryStore

WITHIN_S = 10.0


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


class Watch:
    """An open watch; ``next`` returns its next message."""

    def __init__(self, client: Client, **fields: Any) -> None:
        self.call = client.WatchMemories(pb.WatchMemoriesRequest(**fields))

    async def __aenter__(self) -> Self:
        await self.call.initial_metadata()  # from here on nothing is missed
        return self

    async def __aexit__(self, *_: object) -> None:
        self.call.cancel()

    async def next(self) -> pb.WatchMemoriesResponse:
        message: Any = await asyncio.wait_for(self.call.read(), WITHIN_S)
        assert isinstance(message, pb.WatchMemoriesResponse), "the watch has ended"
        return message

    async def told(self, count: int = 1) -> list[tuple[str, str]]:
        """Return event and content of the next messages."""
        messages = [await self.next() for _ in range(count)]
        return [(message.WhichOneof("event") or "", _memory(message).content) for message in messages]


def _memory(message: pb.WatchMemoriesResponse) -> memory_pb2.Memory:
    memory: memory_pb2.Memory = getattr(message, message.WhichOneof("event") or "created")
    return memory


async def edit(client: Client, memory: memory_pb2.Memory, **fields: Any) -> memory_pb2.Memory:
    wanted = memory_pb2.Memory(memory_id=memory.memory_id, **fields)
    request = pb.UpdateMemoryRequest(memory=wanted)
    request.update_mask.paths.extend(fields)
    changed: memory_pb2.Memory = (await client.UpdateMemory(request)).memory
    return changed


async def delete(client: Client, memory: memory_pb2.Memory) -> memory_pb2.Memory:
    gone: memory_pb2.Memory = (await client.DeleteMemory(pb.DeleteMemoryRequest(memory_id=memory.memory_id))).memory
    return gone


async def test_changes_are_told_in_order_with_the_whole_memory(world: World) -> None:
    await world.ann.create("before")
    async with Watch(world.ann) as watch:
        created = await world.ann.create("tea")
        updated = await edit(world.ann, created, content="coffee")
        deleted = await delete(world.ann, created)

        messages = [await watch.next() for _ in range(3)]

    assert [message.sequence for message in messages] == [1, 2, 3]
    assert [message.WhichOneof("event") for message in messages] == ["created", "updated", "deleted"]
    assert [_memory(message) for message in messages] == [created, updated, deleted]
    assert [message.event_time for message in messages] == [created.created_at, updated.updated_at, deleted.delete_time]
    assert all(message.resume_token for message in messages)


async def test_watch_resumes_after_any_message(world: World) -> None:
    async with Watch(world.ann) as watch:
        for n in range(4):
            await world.ann.create(f"tea {n}")
        tokens = [(await watch.next()).resume_token for _ in range(4)]

    async with Watch(world.ann, resume_token=tokens[1]) as again:
        assert await again.told(2) == [("created", "tea 2"), ("created", "tea 3")]
        await world.ann.create("later")
        assert await again.told() == [("created", "later")]


async def test_nothing_is_lost_or_told_twice_across_restarts(deployment: Deployment, tmp_path: Path) -> None:
    told: list[str] = []
    token = ""
    for wanted in (3, 8, 17, 35):  # how much is read before each end
        store = await EmbeddedMemoryStore.open(tmp_path)
        async with memory_world(deployment, store) as world:
            if token:
                await asyncio.gather(*(world.ann.create(f"unwatched {wanted} {n}") for n in range(5)))
            async with Watch(world.ann, resume_token=token) as watch:
                await asyncio.gather(*(world.ann.create(f"watched {wanted} {n}") for n in range(5)))
                while len(told) < wanted:
                    message = await watch.next()
                    told.append(message.created.content)
                    token = message.resume_token
        await store.close()

    assert len(told) == len(set(told)) == 35


async def test_stream_ends_with_done_before_the_deadline_and_goes_on_from_there(world: World) -> None:
    request, metadata = pb.WatchMemoriesRequest(), world.metadata("ann")
    stub: Any = world.ann._stub
    call = stub.WatchMemories(request, metadata=metadata, timeout=1.0)
    await call.initial_metadata()
    await world.ann.create("tea")

    messages = [message async for message in call]

    assert [message.WhichOneof("event") for message in messages] == ["created", "done"]
    assert [message.sequence for message in messages] == [1, 2]
    assert await call.code() is grpc.StatusCode.OK
    await world.ann.create("later")
    async with Watch(world.ann, resume_token=messages[-1].resume_token) as watch:
        assert await watch.told() == [("created", "later")]


async def test_service_that_leaves_ends_its_watches_with_done(deployment: Deployment, tmp_path: Path) -> None:
    store, leaving = await EmbeddedMemoryStore.open(tmp_path), asyncio.Event()
    build = service(store, FakeEmbedder(), leaving=leaving)
    async with deployment.serving("memory", lambda _: build) as running, plain_channel(running.target) as channel:
        ann = Client(channel, deployment.bearer("memory", "ann"))
        async with Watch(ann) as watch:
            leaving.set()

            assert (await watch.next()).WhichOneof("event") == "done"
            assert await watch.call.code() is grpc.StatusCode.OK
    await store.close()


async def test_others_are_told_what_they_may_see_and_nothing_else(world: World) -> None:
    async with Watch(world.bob) as bob, Watch(world.nina) as nina:
        await world.ann.create("private")
        public = await world.ann.create("public", access_level=memory_pb2.Memory.PUBLIC)
        shared = await world.ann.create("shared", access_level=memory_pb2.Memory.ROLE, reader_roles=["NURSE"])
        await edit(world.ann, shared, access_level=memory_pb2.Memory.PRIVATE, reader_roles=[], content="secret")
        await delete(world.ann, public)

        assert await bob.told(2) == [("created", "public"), ("deleted", "")]
        # What ann took back before it was read is not shown any more.
        heard = [await nina.next()]
        while _memory(heard[-1]).memory_id != public.memory_id or heard[-1].WhichOneof("event") != "deleted":
            heard.append(await nina.next())

    kinds = {(message.WhichOneof("event"), _memory(message).content) for message in heard}
    assert kinds <= {("created", "public"), ("created", "shared"), ("deleted", "")}
    gone = next(message.deleted for message in heard if message.deleted.memory_id == shared.memory_id)
    assert gone == memory_pb2.Memory(memory_id=shared.memory_id)


async def test_access_taken_away_reaches_open_watches_at_once(world: World) -> None:
    memory = await world.ann.create("public", access_level=memory_pb2.Memory.PUBLIC)
    async with Watch(world.bob) as watch:
        before = time.monotonic()
        await edit(world.ann, memory, access_level=memory_pb2.Memory.PRIVATE)

        message = await watch.next()

        assert message.deleted == memory_pb2.Memory(memory_id=memory.memory_id)
        assert time.monotonic() - before < WITHIN_S


async def test_watch_can_be_filtered(world: World) -> None:
    async with Watch(world.ann, filter='bucket = "work"') as watch:
        await world.ann.create("home")
        await world.ann.create("work", bucket="work")

        assert await watch.told() == [("created", "work")]


@pytest.mark.parametrize(
    "fields", [{"resume_token": "nonsense"}, {"filter": "no_such_field = 1"}], ids=["token", "filter"]
)
async def test_bad_request_is_refused_before_anything_is_told(world: World, fields: dict[str, str]) -> None:
    assert (await refusal(world.ann.WatchMemories(pb.WatchMemoriesRequest(**fields)).read())).code == "INVALID_ARGUMENT"


async def test_token_is_worth_nothing_to_another_caller_or_filter(world: World) -> None:
    async with Watch(world.ann) as watch:
        await world.ann.create("tea")
        token = (await watch.next()).resume_token

    for client, fields in ((world.bob, {}), (world.ann, {"filter": 'bucket = "work"'})):
        told = await refusal(client.WatchMemories(pb.WatchMemoriesRequest(resume_token=token, **fields)).read())
        assert told.reason == "INVALID_RESUME_TOKEN"


async def test_watcher_that_falls_behind_gets_everything_later(world: World) -> None:
    async with Watch(world.ann) as watch:
        for batch in range(3):
            requests = [
                pb.CreateMemoryRequest(memory=memory_pb2.Memory(content=f"{batch} {n} " + "x" * 2000))
                for n in range(100)
            ]
            await world.ann.BatchCreateMemories(pb.BatchCreateMemoriesRequest(requests=requests))

        told = {content[:6] for _, content in await watch.told(300)}

    assert len(told) == 300
