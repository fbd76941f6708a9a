"""Re-embedding 20,000 memories through real processes while 20 callers search and write, with a kill -9 in the middle."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from memorybox.embedding.v1 import embedding_service_pb2 as embedding_pb
from memorybox.embedding.v1 import embedding_service_pb2_grpc as embedding_grpc
from memorybox.governance.v1 import governance_pb2, operation_service_pb2, operation_service_pb2_grpc
from memorybox.memory.v1 import memory_pb2, memory_service_pb2_grpc, search_pb2
from memorybox.memory.v1 import memory_service_pb2 as pb
from services.mesh.config import MeshSettings, load
from services.mesh.identity import HopSigner
from services.mesh.keys import KeyFolder
from services.models.sentence import FLOAT32, INT8
from tests.support.mesh import Mesh
from tests.support.parts import Part, make_keys

MEMORIES = 20_000
CALLERS = 20
CALL_S = 30.0
PAUSE_S = 0.5  # of a caller between two rounds; without it they have the two processors to themselves
DONE_WITHIN_S = 240.0
OPERATOR = "MEMORYBOX_OPERATOR"
WORDS = [
    f"{start}{end}" for start in ("kettl", "lamp", "tid", "wheat", "harbou", "clou") for end in ("e", "er", "ing", "s")
]
QUERIES = 60


def text_of(number: int) -> str:
    """Return a short text that no other number has."""
    rng = random.Random(number)
    return f"{' '.join(rng.choices(WORDS, k=5))} {number}"


class Service:
    """Calls a memory process as one user, again as long as it is not there."""

    def __init__(self, mesh: Mesh, channel: grpc.aio.Channel) -> None:
        self._signer = HopSigner(KeyFolder(load(MeshSettings, mesh.environ).keys_dir), "gateway")
        as_any: Any = channel
        self.memory: Any = memory_service_pb2_grpc.MemoryServiceStub(as_any)
        self.operations: Any = operation_service_pb2_grpc.OperationServiceStub(as_any)

    def proof(self, user: str = "ann", *roles: str) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self._signer.token('memory', user, roles)}"),)

    async def call(self, method: Callable[..., Awaitable[Any]], request: Any, *roles: str) -> Any:
        """Call until the process is there; any other refusal is an error of the test."""
        while True:
            try:
                return await method(request, metadata=self.proof("ann", *roles), timeout=CALL_S)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(0.05)

    async def create(self, texts: Sequence[str]) -> None:
        requests = [
            pb.CreateMemoryRequest(memory=memory_pb2.Memory(content=text), request_id=text.rpartition(" ")[2])
            for text in texts
        ]
        answer = await self.call(self.memory.BatchCreateMemories, pb.BatchCreateMemoriesRequest(requests=requests))
        retried = [text for text, result in zip(texts, answer.results, strict=True) if not result.HasField("memory")]
        if retried:  # the embedding service was on its way back
            await asyncio.sleep(0.1)
            await self.create(retried)

    async def search(self, query: str, mode: Any, top_k: int = 1) -> search_pb2.SearchMemoriesResponse:
        request = search_pb2.SearchMemoriesRequest(query=query, mode=mode, top_k=top_k)
        found: search_pb2.SearchMemoriesResponse = await self.call(self.memory.SearchMemories, request)
        return found

    async def progress(self, operation_id: str) -> tuple[bool, governance_pb2.OperationMetadata, Any]:
        request = operation_service_pb2.GetOperationRequest(operation_id=operation_id)
        operation = await self.call(self.operations.GetOperation, request, OPERATOR)
        told = governance_pb2.OperationMetadata()
        operation.metadata.Unpack(told)
        return operation.done, told, operation

    async def exported(self) -> list[memory_pb2.Memory]:
        request = pb.ExportMemoriesRequest(include_embeddings=True)
        stream = self.memory.ExportMemories(request, metadata=self.proof(), timeout=120.0)
        return [message.memory async for message in stream]

    async def take_in(self, memories: Sequence[memory_pb2.Memory]) -> pb.ImportMemoriesResponse:
        async def messages() -> AsyncIterator[pb.ImportMemoriesRequest]:
            yield pb.ImportMemoriesRequest(config=pb.ImportMemoriesRequest.Config(import_id="all"))
            for memory in memories:
                yield pb.ImportMemoriesRequest(memory=memory)

        answer = await self.memory.ImportMemories(messages(), metadata=self.proof(), timeout=120.0)
        assert isinstance(answer, pb.ImportMemoriesResponse)
        return answer


class Callers:
    """Twenty callers that write, and find each thing that was ever acknowledged by its own text."""

    def __init__(self, service: Service, written: list[str]) -> None:
        self._service = service
        self.written = written
        self.spaces: Counter[str] = Counter()
        self._numbers = itertools.count(len(written))
        self._over = asyncio.Event()
        self._tasks = [asyncio.create_task(self._call(random.Random(number))) for number in range(CALLERS)]

    async def _call(self, rng: random.Random) -> None:
        while not self._over.is_set():
            text = text_of(next(self._numbers))
            await self._service.create([text])
            self.written.append(text)
            for wanted in (text, rng.choice(self.written)):
                mode = rng.choice((search_pb2.VECTOR, search_pb2.HYBRID))
                found = await self._service.search(wanted, mode)
                if found.mode != mode:
                    continue  # the embedding service was on its way back; the answer says so
                (hit,) = found.hits
                assert hit.memory.content == wanted
                assert hit.score == pytest.approx(1.0, abs=1e-5)
                self.spaces[found.embedding_space] += 1
            await asyncio.sleep(PAUSE_S)

    def check(self) -> None:
        """Raise what any of them met."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def end(self) -> None:
        self._over.set()
        await asyncio.wait(self._tasks)


async def fill(service: Service, count: int) -> list[str]:
    """Keep *count* texts in batches of 100, some at once."""
    batches = iter([[text_of(number) for number in range(first, first + 100)] for first in range(0, count, 100)])

    async def work() -> None:
        for batch in batches:
            await service.create(batch)

    await asyncio.gather(*(work() for _ in range(6)))
    return [text_of(number) for number in range(count)]


async def embed(mesh: Mesh, texts: Sequence[str], space: str) -> list[list[float]]:
    """Return what the embedding service itself makes of *texts*."""
    signer = HopSigner(KeyFolder(load(MeshSettings, mesh.environ).keys_dir), "memory")
    async with grpc.aio.insecure_channel(mesh.target("embedding")) as channel:
        stub: Any = embedding_grpc.EmbeddingServiceStub(channel)
        request = embedding_pb.EmbedTextsRequest(texts=texts, space=space)
        proof = (("authorization", f"Bearer {signer.token('embedding')}"),)
        answer = await stub.EmbedTexts(request, metadata=proof, timeout=CALL_S)
    return [list(embedding.values) for embedding in answer.embeddings]


def shown(found: search_pb2.SearchMemoriesResponse) -> list[tuple[str, float, float]]:
    """Return what was found in its order, with scores to the bit."""
    return [(hit.memory.memory_id, hit.score, hit.rank_score) for hit in found.hits]


@pytest.mark.slow
@pytest.mark.timeout(420)
async def test_memories_move_under_load_and_through_a_kill(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path / "first", {"MEMORYBOX_REEMBEDDING_PERCENT": "100"})
    make_keys(mesh)
    with ExitStack() as stack:
        embedding = stack.enter_context(Part("embedding", mesh, {"MEMORYBOX_EMBEDDING_MODEL": "float32"}))
        memory = stack.enter_context(Part("memory", mesh))
        async with grpc.aio.insecure_channel(mesh.target("memory")) as channel, AsyncExitStack() as cleanup:
            service = Service(mesh, channel)
            callers = Callers(service, await fill(service, MEMORIES))
            cleanup.push_async_callback(callers.end)
            embedding.kill()
            stack.enter_context(Part("embedding", mesh, {"MEMORYBOX_EMBEDDING_MODEL": "int8"}))
            started = await service.call(service.memory.StartReembedding, pb.StartReembeddingRequest(), OPERATOR)
            operation_id = started.name.removeprefix("operations/")
            await _reach(service, callers, operation_id, 0.4)
            await asyncio.to_thread(memory.kill)
            await asyncio.to_thread(memory.start)
            done, operation = await _reach(service, callers, operation_id, 2.0)
            await asyncio.sleep(1.0)
            await callers.end()
            callers.check()
            result = pb.ReembeddingResult()
            assert done
            assert operation.response.Unpack(result)
            assert (result.space, result.former_space) == (INT8.space, FLOAT32.space)
            assert min(callers.spaces[space] for space in (INT8.space, FLOAT32.space)) > CALLERS
            await _assert_like_new(mesh, service, callers.written, tmp_path)


async def _reach(service: Service, callers: Callers, operation_id: str, share: float) -> tuple[bool, Any]:
    """Wait until so much is done, or all."""
    async with asyncio.timeout(DONE_WITHIN_S):
        while True:
            callers.check()
            done, told, operation = await service.progress(operation_id)
            if done or (told.total_count and told.done_count >= share * told.total_count):
                return done, operation
            await asyncio.sleep(0.2)


async def _assert_like_new(mesh: Mesh, service: Service, written: Sequence[str], folder: Path) -> None:
    """Check that all is there, in vectors of the new space alone, and found as in a store that never knew another."""
    kept = await service.exported()
    assert {memory.content for memory in kept} >= set(written)
    assert len({memory.content for memory in kept}) == len(kept)
    assert {memory.embedding_space for memory in kept} == {INT8.space}
    sample = random.Random(1).sample(kept, 200)
    made = await embed(mesh, [memory.content for memory in sample], INT8.space)
    assert all(
        np.array_equal(np.array(memory.embedding, np.float32), np.array(values, np.float32))
        for memory, values in zip(sample, made, strict=True)
    )
    fresh_mesh = Mesh(folder / "fresh", {"MEMORYBOX_EMBEDDING_TARGET": mesh.target("embedding")})
    fresh_mesh.environ["MEMORYBOX_KEYS_DIR"] = str(load(MeshSettings, mesh.environ).keys_dir)
    with Part("memory", fresh_mesh):
        async with grpc.aio.insecure_channel(fresh_mesh.target("memory")) as channel:
            fresh = Service(fresh_mesh, channel)
            assert (await fresh.take_in(kept)).failed_count == 0
            for query in random.Random(2).sample(list(written), QUERIES):
                for mode in (search_pb2.VECTOR, search_pb2.HYBRID, search_pb2.KEYWORD):
                    mine, theirs = [await one.search(query, mode, 20) for one in (service, fresh)]
                    assert shown(mine) == shown(theirs)
                    assert len(mine.hits) == 20
