"""Long contents over real gRPC, from the memory service through the embedding service to the model: found by what any stretch says."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from memorybox.embedding.v1 import embedding_service_pb2, embedding_service_pb2_grpc
from memorybox.memory.v1 import memory_pb2, search_pb2
from memorybox.memory.v1 import memory_service_pb2 as pb
from services.embedding.app import ACCESS
from services.embedding.backends.local import LocalEmbedder
from services.embedding.domain.cache import VectorCache
from services.embedding.domain.embeddings import Embeddings
from services.embedding.rpc import EmbeddingServicer
from services.memory.app import service
from services.memory.backends.embedding_service import RETRYABLE, EmbeddingServiceModels
from services.memory.stores.embedded import EmbeddedMemoryStore
from services.mesh.server import Registration, Service
from tests.support.clients import Deployment, plain_channel
from tests.support.memory import Client

FACT = "The spare key to the lighthouse hangs behind the blue barometer in the pantry."
QUESTION = "where do we keep the second key of the lighthouse"
SUBJECTS = (
    "The tide table",
    "Our ferry schedule",
    "The cook",
    "A visiting surveyor",
    "The harbour office",
    "Every log book",
)
VERBS = (
    "mentions",
    "was printed with",
    "has always left out",
    "was paid for with",
    "was late because of",
    "asked about",
)
OBJECTS = (
    "herring prices",
    "the winter storms",
    "new ropes",
    "a broken crane",
    "two barrels of tar",
    "the school holidays",
)
LIMIT_S = 60.0  # of one call that embeds a hundred windows while the machine does other things


def chronicle(size: int) -> str:
    """Return a text of *size* code points about a harbour, with FACT in its middle."""
    rng, sentences, length = random.Random(4), list[str](), 0
    while length < size - len(FACT):
        sentences.append(
            f"{rng.choice(SUBJECTS)} {rng.choice(VERBS)} {rng.choice(OBJECTS)} in {rng.randrange(1890, 1990)}."
        )
        length += len(sentences[-1]) + 1
    sentences.insert(len(sentences) // 2, FACT)
    return " ".join(sentences)


@pytest.fixture
async def ann(deployment: Deployment, tmp_path: Path) -> AsyncIterator[Client]:
    """Serve both services with the real model."""
    async with AsyncExitStack() as stack:
        local = await asyncio.to_thread(LocalEmbedder.load, 2)
        stack.push_async_callback(local.close)
        embeddings = Embeddings(local, VectorCache(1 << 24), queue_texts=1000, queue_bytes=1 << 24)
        registration = Registration.of(
            embedding_service_pb2, embedding_service_pb2_grpc, "EmbeddingService", EmbeddingServicer(embeddings)
        )
        await stack.enter_async_context(deployment.serving("embedding", lambda _: Service((registration,), ACCESS)))
        channel = await stack.enter_async_context(deployment.channel("embedding", "memory", retryable=RETRYABLE))
        store = await EmbeddedMemoryStore.open(tmp_path)
        stack.push_async_callback(store.close)
        embedder = EmbeddingServiceModels(channel)
        running = await stack.enter_async_context(deployment.serving("memory", lambda _: service(store, embedder)))
        to_memory = await stack.enter_async_context(plain_channel(running.target))
        yield Client(to_memory, deployment.bearer("memory", "ann"))


async def keep(client: Client, content: str) -> memory_pb2.Memory:
    """Create a memory, however long."""
    created: pb.CreateMemoryResponse = await client.CreateMemory(
        pb.CreateMemoryRequest(memory=memory_pb2.Memory(content=content)), timeout=LIMIT_S
    )
    return created.memory


async def test_fact_in_the_middle_of_a_long_text_is_found_with_its_place(ann: Client) -> None:
    text = chronicle(100_000)
    kept = await keep(ann, text)
    for note in ("The lighthouse was painted white.", "Keys are cut at the ironmonger's.", "Tea is in the pantry."):
        await keep(ann, note)

    for mode in (search_pb2.VECTOR, search_pb2.HYBRID):
        hits = {hit.memory.memory_id: hit for hit in (await ann.search(QUESTION, mode=mode)).hits}

        hit = hits.pop(kept.memory_id)
        assert hit.memory.content == text
        assert FACT in text[hit.matched_part.start : hit.matched_part.end]
        assert hit.matched_part.end - hit.matched_part.start < 2000
        assert hit.matched_part.part_number > 20
        assert not any(other.HasField("matched_part") for other in hits.values())


async def test_part_is_a_range_of_code_points(ann: Client) -> None:
    text = "Das Café in der Straße öffnet früh. 🙂 " * 60 + FACT + " 東京の塔は高い。" * 60
    await keep(ann, text)

    (hit,) = (await ann.search(QUESTION, mode=search_pb2.VECTOR)).hits

    assert FACT in text[hit.matched_part.start : hit.matched_part.end]
