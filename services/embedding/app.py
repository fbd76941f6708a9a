"""The wiring of the embedding service."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import aiohttp
from opentelemetry.metrics import Meter, Observation

from memorybox.embedding.v1 import embedding_service_pb2 as rpc_pb
from memorybox.embedding.v1 import embedding_service_pb2_grpc as rpc_grpc
from services.embedding.domain.cache import VectorCache
from services.embedding.domain.embedder import Embedder
from services.embedding.domain.embeddings import Embeddings
from services.embedding.rpc import EmbeddingServicer
from services.embedding.settings import EmbeddingSettings
from services.mesh import server
from services.mesh.access import AccessTable, Who, allow
from services.mesh.config import MeshSettings, load
from services.mesh.server import Mesh, Registration, Service
from services.snowflake.settings import SnowflakeSettings

if TYPE_CHECKING:
    from services.embedding.backends.cortex import CortexEmbedder

ACCESS: AccessTable = {
    "/memorybox.embedding.v1.EmbeddingService/EmbedTexts": allow(Who.USER, Who.SERVICE),
    "/memorybox.embedding.v1.EmbeddingService/ListEmbeddingModels": allow(Who.USER, Who.SERVICE),
}
_MIB = 1 << 20


async def build(mesh: Mesh, settings: EmbeddingSettings, environ: Mapping[str, str] | None = None) -> Service:
    """Wire the embedding service; *environ* is where settings of Snowflake are read from, the process's own when None."""
    if mesh.settings.profile == "snowflake":
        embedder = await _cortex(mesh, settings, load(SnowflakeSettings, environ))
    else:
        embedder = await _local(mesh, settings)
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
    await server.run("embedding", load(MeshSettings, environ), lambda mesh: build(mesh, settings, environ))


async def _local(mesh: Mesh, settings: EmbeddingSettings) -> Embedder:
    from services.embedding.backends.local import LocalEmbedder  # loads ONNX Runtime

    embedder = await asyncio.to_thread(LocalEmbedder.load, settings.workers, settings.model)
    mesh.stack.push_async_callback(embedder.close)
    return embedder


async def _cortex(mesh: Mesh, settings: EmbeddingSettings, snowflake: SnowflakeSettings) -> Embedder:
    """Open what talks to Cortex. Raises ``BadSettings`` where there is nothing to log in with."""
    from services.embedding.backends.cortex import CortexEmbedder, RestCalls, SqlCalls
    from services.snowflake.login import Login  # loads the connector
    from services.snowflake.rest import RestClient
    from services.snowflake.sessions import Sessions

    login = Login(snowflake)
    calls: RestCalls | SqlCalls
    if settings.cortex_embed == "rest":
        await asyncio.to_thread(login.rest)
        http = await mesh.stack.enter_async_context(aiohttp.ClientSession())
        calls = RestCalls(RestClient(http, snowflake.base_url, login.rest), snowflake.statement_timeout_s)
    else:
        await asyncio.to_thread(login.service)
        sessions = Sessions(
            login.service,
            size=snowflake.sessions,
            login_timeout_s=snowflake.login_timeout_s,
            statement_timeout_s=snowflake.statement_timeout_s,
        )
        mesh.stack.push_async_callback(sessions.close)
        calls = SqlCalls(sessions, settings.cortex_embed)
    embedder = CortexEmbedder(calls, settings.cortex_model, prefixed=settings.cortex_prefixes)
    mesh.stack.push_async_callback(embedder.close)
    _measure_costs(mesh.telemetry.meter, embedder)
    return embedder


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


def _measure_costs(meter: Meter, embedder: "CortexEmbedder") -> None:
    def tokens(_: object) -> Iterable[Observation]:
        for model, cost in embedder.costs.items():
            yield Observation(cost.tokens_reported, {"model": model, "counted_by": "cortex"})
            yield Observation(cost.tokens_estimated, {"model": model, "counted_by": "us"})

    def calls(_: object) -> Iterable[Observation]:
        for model, cost in embedder.costs.items():
            yield Observation(cost.calls - cost.failed_calls, {"model": model, "outcome": "ok"})
            yield Observation(cost.failed_calls, {"model": model, "outcome": "failed"})

    meter.create_observable_counter(
        "memorybox.embedding.cortex.tokens",
        [tokens],
        "{token}",
        "Tokens that Cortex was paid for; estimated by us where it does not say.",
    )
    meter.create_observable_counter("memorybox.embedding.cortex.calls", [calls], "{call}", "Batches sent to Cortex.")
