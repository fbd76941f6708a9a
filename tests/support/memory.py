"""What the memory service needs around it in tests: an embedder without a model, and clients of its RPCs."""

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import grpc
import numpy as np

from memorybox.memory.v1 import memory_pb2, search_pb2
from memorybox.memory.v1 import memory_service_pb2 as pb
from memorybox.memory.v1 import memory_service_pb2_grpc as pb_grpc
from services.memory.app import Governing, service
from services.memory.domain.active_space import find_space
from services.memory.domain.keyword import tokenize
from services.memory.domain.memory import Embedding
from services.memory.domain.ports import EmbeddingSpace, EmbeddingUnavailable, InputKind, MemoryStore
from services.memory.stores.traced import TracedMemoryStore
from services.mesh.server import Mesh, Service
from tests.support.clients import CALL_S, Deployment, Pairs, Running, plain_channel

DIMENSION = 32
SPACE = EmbeddingSpace("fake@1/32/words/none", DIMENSION, 0.5)
NEXT_SPACE = EmbeddingSpace("fake@2/48/words/none", 48, 0.4)
RETRY_S = 1.5


class FakeEmbedder:
    """Gives texts with the same words near vectors: each word has its own direction. ``down`` makes it unavailable.

    ``served`` are its spaces, the one for new vectors first.
    """

    def __init__(self) -> None:
        self.down = False
        self.served = [SPACE]
        self.asked: list[tuple[tuple[str, ...], InputKind]] = []

    async def active_space(self) -> EmbeddingSpace:
        """Return the first space."""
        self._check()
        return self.served[0]

    async def spaces(self, *, fresh: bool = False) -> Sequence[EmbeddingSpace]:
        """Return all spaces."""
        self._check()
        return tuple(self.served)

    async def embed(
        self, texts: Sequence[str], kind: InputKind, space: str = ""
    ) -> tuple[EmbeddingSpace, list[Embedding]]:
        """Return one vector per text."""
        self._check()
        self.asked.append((tuple(texts), kind))
        found = find_space(self.served, space)
        return found, [Embedding(found.name, vector_of(text, found)) for text in texts]

    def _check(self) -> None:
        if self.down:
            raise EmbeddingUnavailable("the embedding service does not answer; try again", retry_after_s=RETRY_S)


def vector_of(text: str, space: EmbeddingSpace = SPACE) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Return the sum of the directions that the words of *text* have in *space*, length 1."""
    total = np.zeros(space.dimension)
    key = "" if space == SPACE else space.name
    for word in tokenize(text[:1000]) or [text[:1000]]:
        seed = int.from_bytes(hashlib.sha256((key + word).encode()).digest()[:8], "big")
        total += np.random.default_rng(seed).standard_normal(space.dimension)
    return (total / np.linalg.norm(total)).astype(np.float32)


class Client:
    """Calls MemoryService as one user: ``client.GetMemory(request)``, each call with the user's own token and a deadline."""

    def __init__(self, channel: Any, metadata: Pairs) -> None:
        self._stub: Any = pb_grpc.MemoryServiceStub(channel)
        self._metadata = metadata

    def __getattr__(self, method: str) -> Callable[..., Any]:
        return partial(getattr(self._stub, method), metadata=self._metadata, timeout=CALL_S)

    async def create(self, content: str, request_id: str = "", **fields: Any) -> memory_pb2.Memory:
        """Create a memory and return it."""
        wanted = pb.CreateMemoryRequest(memory=memory_pb2.Memory(content=content, **fields), request_id=request_id)
        created: memory_pb2.Memory = (await self.CreateMemory(wanted)).memory
        return created

    async def get(self, memory_id: str) -> memory_pb2.Memory:
        """Return a memory."""
        found: memory_pb2.Memory = (await self.GetMemory(pb.GetMemoryRequest(memory_id=memory_id))).memory
        return found

    async def listed(self, **fields: Any) -> list[str]:
        """Return the contents of one page."""
        page = await self.ListMemories(pb.ListMemoriesRequest(**fields))
        return [memory.content for memory in page.memories]

    async def search(self, query: str = "", **fields: Any) -> search_pb2.SearchMemoriesResponse:
        """Search."""
        found: search_pb2.SearchMemoriesResponse
        found = await self.SearchMemories(search_pb2.SearchMemoriesRequest(query=query, **fields))
        return found

    async def found(self, query: str = "", **fields: Any) -> list[str]:
        """Return the contents of one page of hits."""
        return [hit.memory.content for hit in (await self.search(query, **fields)).hits]


class World:
    """A memory service that serves in this process, and its users: Ann, Bob, and Nina, who is a nurse."""

    def __init__(
        self, deployment: Deployment, running: Running, channel: grpc.aio.Channel, embedder: FakeEmbedder
    ) -> None:
        self.running = running
        self.channel = channel
        self.embedder = embedder
        self._deployment = deployment
        self.ann, self.bob, self.nina = self.user("ann"), self.user("bob"), self.user("nina", "NURSE")

    def user(self, name: str, *roles: str) -> Client:
        """Return the client of a user."""
        return Client(self.channel, self.metadata(name, *roles))

    def metadata(self, name: str, *roles: str) -> Pairs:
        """Return what proves who calls."""
        return self._deployment.bearer("memory", name, roles)

    def metrics_text(self) -> str:
        """Return the service's metrics."""
        return self.running.mesh.telemetry.metrics_text().decode()


@asynccontextmanager
async def memory_world(
    deployment: Deployment,
    store: MemoryStore,
    governed: Callable[[Mesh], Governing] | None = None,
    embedder: FakeEmbedder | None = None,
) -> AsyncIterator[World]:
    """Serve the memory service over *store* and a fake embedder; nothing of governance without *governed*."""
    embedder = embedder or FakeEmbedder()

    def build(mesh: Mesh) -> Service:
        return service(TracedMemoryStore(store, mesh.telemetry), embedder, governed(mesh) if governed else None)

    async with (
        deployment.serving("memory", build) as running,
        plain_channel(running.target) as channel,
    ):
        yield World(deployment, running, channel, embedder)
