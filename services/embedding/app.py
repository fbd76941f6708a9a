"""The wiring of the embedding service."""

import asyncio
from collections.abc import Mapping

from opentelemetry.metrics import Meter, Observation

from memorybox.embedding.v1 import embedding_service_pb2 as rpc_pb
from memorybox.embedding.v1 import embedding_service_pb2_grpc as rpc_grpc
from services.embedding.domain.cache import VectorCache
from services.embedding.domain.embeddings import Embeddings
from services.embedding.rpc import EmbeddingServicer
from services.embedding.settings import EmbeddingSettings
from services.mesh import server
from services.mesh.access import AccessTable, Who, allow
from services.mesh.config import MeshSettings, load
from services.mesh.errors import NotBuilt
from services.mesh.server import Mesh, Registration, Service

ACCESS: AccessTable = {
    "/memorybox.embedding.v1.EmbeddingService/EmbedTexts": allow(Who.USER, Who.SERVICE),
    "/memorybox.embedding.v1.EmbeddingService/ListEmbeddingModels": allow(Who.USER, Who.SERVICE),
}
_MIB = 1 << 20


async def build(mesh: Mesh, settings: EmbeddingSettings | None = None) -> Service:
    """Wire the embedding service; *settings* None reads them from the environment."""
    settings = settings or load(EmbeddingSettings)
    if mesh.settings.profile != "local":
        raise NotBuilt(f"profile {mesh.settings.profile!r} has no embedder in this version; use `local`")
    from services.embedding.backends.local import LocalEmbedder  # loads ONNX Runtime

    embedder = await asyncio.to_thread(LocalEmbedder.load, settings.workers, settings.model)
    mesh.stack.push_async_callback(embedder.close)
    embeddings = Embeddings(
        embedder,
        VectorCache(settings.cache_mib * _MIB),
        queue_texts=settings.queue_texts,
        queue_bytes=settings.queue_mib * _MIB,
    )
    _measure(mesh.telemetry.meter, embeddings)
    descriptor = rpc_pb.DESCRIPTOR.services_by_name["EmbeddingService"]
    registration = Registration(
        rpc_grpc.add_EmbeddingServiceServicer_to_server, EmbeddingServicer(embeddings), descriptor
    )
    return Service([registration], ACCESS)


async def serve(environ: Mapping[str, str] | None = None) -> None:
    """Run the embedding service until told to stop."""
    settings = load(EmbeddingSettings, environ)
    await server.run("embedding", load(MeshSettings, environ), lambda mesh: build(mesh, settings))


def _measure(meter: Meter, embeddings: Embeddings) -> None:
    meter.create_observable_gauge(
        "memorybox.embedding.waiting", [lambda _: [Observation(embeddings.waiting)]], "{text}", "Texts under way."
    )
    meter.create_observable_counter(
        "memorybox.embedding.texts",
        [
            lambda _: [
                Observation(embeddings.cached_texts, {"from": "cache"}),
                Observation(embeddings.computed_texts, {"from": "model"}),
            ]
        ],
        "{text}",
        "Texts answered, by where the vector came from.",
    )
