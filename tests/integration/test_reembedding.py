"""Re-embedding over real gRPC and the embedded store: online, whole, cancellable, and gone on with after a crash."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.longrunning.operations_pb2 import Operation

from memorybox.governance.v1 import governance_pb2
from memorybox.governance.v1 import operation_service_pb2 as operation_pb
from memorybox.memory.v1 import memory_pb2, search_pb2
from memorybox.memory.v1 import memory_service_pb2 as pb
from services.memory.domain.ports import EmbeddingSpace, InputKind
from services.memory.domain.reembedding import BATCH_TEXTS, REQUESTS, ReembeddingKind
from services.memory.domain.spaces import Spaces
from services.memory.stores.embedded import EmbeddedMemoryStore
from services.mesh.keys import ANY, Grant
from tests.support.clients import Deployment, eventually, refusal
from tests.support.governed import OPERATOR, GovernedWorld, governed_world
from tests.support.memory import NEXT_SPACE, SPACE, Client, FakeEmbedder

MEMORIES = 800
CALLERS = 8
KEYS = [("gateway", "gateway", Grant((ANY,), (ANY,), ("memory",), (ANY,)))]
VECTOR, HYBRID = search_pb2.VECTOR, search_pb2.HYBRID


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path, KEYS)


class SlowEmbedder(FakeEmbedder):
    """Holds documents of the new space back while ``gate`` is closed, which is after ``most`` of them; says what it embedded there."""

    def __init__(self, most: int = 1 << 30) -> None:
        super().__init__()
        self.most = most
        self.gate = asyncio.Event()
        self.gate.set()
        self.filled: list[str] = []

    async def embed(self, texts: Any, kind: InputKind, space: str = "") -> tuple[EmbeddingSpace, list[Any]]:
        if space == NEXT_SPACE.name and kind is InputKind.DOCUMENT:
            await self.gate.wait()
            answer = await super().embed(texts, kind, space)
            self.filled += texts
            if len(self.filled) >= self.most:
                self.gate.clear()
                self.most = 1 << 30
            return answer
        return await super().embed(texts, kind, space)


class Bench:
    """A governed memory service; Otto operates it."""

    def __init__(self, world: GovernedWorld, store: EmbeddedMemoryStore, embedder: SlowEmbedder) -> None:
        self.world, self.store, self.embedder = world, store, embedder
        self.ann = world.memories.ann
        self.otto = world.memories.user("otto", OPERATOR)

    async def start(self, **fields: Any) -> str:
        operation: Operation = await self.otto.StartReembedding(pb.StartReembeddingRequest(**fields))
        return str(operation.name).removeprefix("operations/")

    async def ended(self, operation_id: str) -> Operation:
        return await self.world.otto.operation(operation_id)

    async def done(self, operation_id: str) -> pb.ReembeddingResult:
        result = pb.ReembeddingResult()
        operation = await self.ended(operation_id)
        assert operation.response.Unpack(result), operation
        return result

    async def metadata(self, operation_id: str) -> governance_pb2.OperationMetadata:
        found = governance_pb2.OperationMetadata()
        request = operation_pb.GetOperationRequest(operation_id=operation_id)
        (await self.world.otto.GetOperation(request)).metadata.Unpack(found)
        return found

    async def spaces(self) -> Spaces:
        return await self.store.spaces.current()


@asynccontextmanager
async def opened(deployment: Deployment, folder: Path, embedder: SlowEmbedder) -> AsyncIterator[Bench]:
    store = await EmbeddedMemoryStore.open(folder / "memory")
    kind = ReembeddingKind(store.spaces, embedder, 1.0)
    try:
        async with governed_world(deployment, store, (kind,), embedder) as world:
            yield Bench(world, store, embedder)
    finally:
        await store.close()


@pytest.fixture
async def bench(deployment: Deployment, tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(deployment, tmp_path, SlowEmbedder()) as made:
        yield made


def text_of(number: int) -> str:
    return f"note {number} of kettle{number % 7} and lamp{number % 11} word{number}"


async def fill(client: Client, count: int, first: int = 0) -> None:
    for start in range(first, first + count, 100):
        numbers = range(start, min(start + 100, first + count))
        requests = [pb.CreateMemoryRequest(memory=memory_pb2.Memory(content=text_of(number))) for number in numbers]
        await client.BatchCreateMemories(pb.BatchCreateMemoriesRequest(requests=requests))


async def test_all_memories_move_to_the_space_that_the_embedding_service_means(bench: Bench) -> None:
    await fill(bench.ann, 40)
    gone = await bench.ann.create("gone for a while")
    await bench.ann.DeleteMemory(pb.DeleteMemoryRequest(memory_id=gone.memory_id))
    bench.embedder.served.insert(0, NEXT_SPACE)
    assert (await bench.ann.search("note 3", mode=VECTOR)).embedding_space == SPACE.name

    result = await bench.done(await bench.start())

    assert (result.space, result.former_space, result.memory_count) == (NEXT_SPACE.name, SPACE.name, 41)
    assert not result.already_active
    found = await bench.ann.search(text_of(3), mode=VECTOR, explain=True)
    assert (found.embedding_space, found.hits[0].memory.content) == (NEXT_SPACE.name, text_of(3))
    assert found.explanation.threshold == pytest.approx(NEXT_SPACE.threshold)
    assert found.hits[0].memory.embedding_space == NEXT_SPACE.name
    await bench.ann.UndeleteMemory(pb.UndeleteMemoryRequest(memory_id=gone.memory_id))
    assert "gone for a while" in await bench.ann.found("gone for a while", mode=VECTOR)


async def test_operation_tells_its_progress_and_rate(bench: Bench) -> None:
    await fill(bench.ann, 20)
    bench.embedder.served.append(NEXT_SPACE)

    operation_id = await bench.start(space=NEXT_SPACE.name)
    await bench.ended(operation_id)

    told = await bench.metadata(operation_id)
    assert (told.kind, told.done_count, told.total_count) == ("Reembed", 20, 20)
    assert told.done_per_s > 0


async def test_nothing_is_done_where_nothing_is_to_be_done(bench: Bench) -> None:
    await fill(bench.ann, 3)
    bench.embedder.asked.clear()

    result = await bench.done(await bench.start())

    assert (result.space, result.memory_count, result.already_active) == (SPACE.name, 3, True)
    assert bench.embedder.asked == []


async def test_only_operators_start_it_and_one_at_a_time(bench: Bench) -> None:
    await fill(bench.ann, 3)
    bench.embedder.served.append(NEXT_SPACE)
    bench.embedder.gate.clear()
    assert (await refusal(bench.ann.StartReembedding(pb.StartReembeddingRequest()))).code == "PERMISSION_DENIED"
    running = await bench.start(space=NEXT_SPACE.name, request_id="once")

    assert await bench.start(space=NEXT_SPACE.name, request_id="once") == running
    second = await refusal(bench.start(space=NEXT_SPACE.name))

    assert (second.code, second.reason) == ("FAILED_PRECONDITION", "OPERATION_RUNNING")
    assert second.context["operation"] == f"operations/{running}"
    bench.embedder.gate.set()
    await bench.done(running)
    assert (await bench.done(await bench.start(space=SPACE.name))).former_space == NEXT_SPACE.name


async def test_unknown_space_is_refused_with_those_that_are_served(bench: Bench) -> None:
    refused = await refusal(bench.start(space="nowhere@1/2/3/4"))

    assert (refused.code, refused.fields) == ("INVALID_ARGUMENT", ("space",))
    assert SPACE.name in refused.message


async def test_cancelling_leaves_the_old_space_and_nothing_else(bench: Bench) -> None:
    await fill(bench.ann, 400)
    before = await bench.ann.search(text_of(5), mode=HYBRID)
    bench.embedder.served.append(NEXT_SPACE)
    bench.embedder.most = 50
    operation_id = await bench.start(space=NEXT_SPACE.name)
    await eventually(lambda: len(bench.embedder.filled) >= 50, "a half is filled")
    await bench.world.otto.CancelOperation(operation_pb.CancelOperationRequest(operation_id=operation_id))
    bench.embedder.gate.set()

    ended = await bench.ended(operation_id)

    assert ended.error.code == grpc.StatusCode.CANCELLED.value[0]
    assert await bench.spaces() == Spaces(SPACE.name)
    assert (await bench.store.spaces.count_unfilled(NEXT_SPACE.name))[0] == 400
    assert await bench.ann.search(text_of(5), mode=HYBRID) == before


async def test_operation_waits_for_the_embedding_service_and_says_so(bench: Bench) -> None:
    await fill(bench.ann, 20)
    bench.embedder.served.append(NEXT_SPACE)
    bench.embedder.down = True

    operation_id = await bench.start(space=NEXT_SPACE.name)
    while not (told := await bench.metadata(operation_id)).note:
        await asyncio.sleep(0.02)
    bench.embedder.down = False

    assert (told.state, told.note[:21]) == (governance_pb2.OperationMetadata.PENDING, "EMBEDDING_UNAVAILABLE")
    assert (await bench.done(operation_id)).space == NEXT_SPACE.name


async def test_operation_fails_when_its_space_is_served_no_more(bench: Bench) -> None:
    await fill(bench.ann, 100)
    bench.embedder.served.append(NEXT_SPACE)
    bench.embedder.gate.clear()
    operation_id = await bench.start(space=NEXT_SPACE.name)
    await asyncio.sleep(0.05)

    bench.embedder.served.remove(NEXT_SPACE)
    bench.embedder.gate.set()

    assert "does not serve" in (await bench.ended(operation_id)).error.message
    assert await bench.spaces() == Spaces(SPACE.name)
    await bench.ann.create("written as ever")


async def test_page_token_of_before_the_switch_is_refused(bench: Bench) -> None:
    await fill(bench.ann, 20)
    bench.embedder.served.append(NEXT_SPACE)
    fields = {"mode": VECTOR, "top_k": 10, "page_size": 5, "min_score": -1.0}
    token = (await bench.ann.search("note", **fields)).next_page_token

    await bench.done(await bench.start(space=NEXT_SPACE.name))

    refused = await refusal(bench.ann.search("note", page_token=token, **fields))
    assert (refused.reason, "embedded anew" in refused.message) == ("INVALID_PAGE_TOKEN", True)


async def test_space_that_is_not_served_degrades_searches_and_stops_writes(bench: Bench) -> None:
    await fill(bench.ann, 5)
    bench.embedder.served[:] = [NEXT_SPACE]

    found = await bench.ann.search("kettle1")
    by_vector = await refusal(bench.ann.search("kettle1", mode=VECTOR))
    write = await refusal(bench.ann.create("tea"))

    assert (found.mode, [hit.memory.content for hit in found.hits]) == (search_pb2.KEYWORD, [text_of(1)])
    assert "not in the space of the memories" in found.warnings[0]
    assert by_vector.reason == write.reason == "EMBEDDING_SPACE_NOT_SERVED"
    assert write.code == "FAILED_PRECONDITION"
    assert NEXT_SPACE.name in write.message
    await bench.done(await bench.start())
    assert await bench.ann.found(text_of(1), mode=VECTOR, top_k=1) == [text_of(1)]
    await bench.ann.create("tea")


async def test_interrupted_operation_goes_on_and_embeds_nothing_twice(deployment: Deployment, tmp_path: Path) -> None:
    first, second = SlowEmbedder(MEMORIES // 4), SlowEmbedder()
    for embedder in (first, second):
        embedder.served.append(NEXT_SPACE)
    async with opened(deployment, tmp_path, first) as bench:
        await fill(bench.ann, MEMORIES)
        operation_id = await bench.start(space=NEXT_SPACE.name)
        await eventually(lambda: len(first.filled) >= MEMORIES // 4, "a quarter is filled")

    async with opened(deployment, tmp_path, second) as bench:
        lacking, _ = await bench.store.spaces.count_unfilled(NEXT_SPACE.name)
        result = await bench.done(operation_id)

    assert result.space == NEXT_SPACE.name
    assert 0 < lacking <= MEMORIES - MEMORIES // 4 + REQUESTS * BATCH_TEXTS  # the last round may not have been kept
    assert len(second.filled) <= lacking
    assert len(set(second.filled)) == len(second.filled)


async def test_callers_search_and_write_on_and_nothing_is_wrong_or_missing(bench: Bench, tmp_path: Path) -> None:
    await fill(bench.ann, MEMORIES)
    bench.embedder.served.append(NEXT_SPACE)
    written: list[str] = [text_of(number) for number in range(MEMORIES)]
    seen: set[str] = set()
    over = asyncio.Event()

    async def call(caller: int) -> None:
        number = MEMORIES + caller * 1000
        while not over.is_set():
            number += 1
            await bench.ann.create(text_of(number))
            written.append(text_of(number))
            wanted = written[(number * 7919) % len(written)]
            for mode in (VECTOR, HYBRID):
                found = await bench.ann.search(wanted, mode=mode, top_k=1)
                assert [hit.memory.content for hit in found.hits] == [wanted]
                assert found.hits[0].score == pytest.approx(1.0, abs=1e-6)
                seen.add(found.embedding_space)

    callers = [asyncio.create_task(call(caller)) for caller in range(CALLERS)]
    await bench.done(await bench.start(space=NEXT_SPACE.name))
    await asyncio.sleep(0.2)
    over.set()
    await asyncio.gather(*callers)

    assert seen == {SPACE.name, NEXT_SPACE.name}
    await assert_like_new(bench, written, tmp_path / "fresh")


async def assert_like_new(bench: Bench, written: list[str], folder: Path) -> None:
    """Check that searches find what they find in a store that never knew another space, scores to the bit."""
    embedder = SlowEmbedder()
    embedder.served = [NEXT_SPACE]
    fresh_deployment = Deployment(folder, KEYS)
    async with opened(fresh_deployment, folder, embedder) as fresh:
        for start in range(0, len(written), 100):
            requests = [
                pb.CreateMemoryRequest(memory=memory_pb2.Memory(content=text)) for text in written[start : start + 100]
            ]
            await fresh.ann.BatchCreateMemories(pb.BatchCreateMemoriesRequest(requests=requests))
        for query in written[:: len(written) // 20]:
            answers = [await client.search(query, mode=HYBRID, top_k=20) for client in (bench.ann, fresh.ann)]
            mine, theirs = (
                {hit.memory.content: (hit.score, hit.rank_score) for hit in answer.hits} for answer in answers
            )
            shared = mine.keys() & theirs.keys()
            assert len(shared) >= 18  # equal ranks may be cut in another order, as the memories were made in another
            assert {text: mine[text] for text in shared} == {text: theirs[text] for text in shared}
