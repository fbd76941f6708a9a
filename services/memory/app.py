"""The wiring of the memory service; the only file that names its adapters."""

from collections.abc import Callable, Mapping
from typing import Any

from memorybox.governance.v1 import (
    audit_service_pb2,
    audit_service_pb2_grpc,
    governance_service_pb2,
    governance_service_pb2_grpc,
    operation_service_pb2,
    operation_service_pb2_grpc,
    subject_data_service_pb2,
    subject_data_service_pb2_grpc,
)
from memorybox.memory.v1 import memory_service_pb2, memory_service_pb2_grpc
from services.memory.access import ACCESS
from services.memory.backends.embedding_service import RETRYABLE, EmbeddingServiceEmbedder
from services.memory.domain.memories import Memories
from services.memory.domain.ports import Embedder, MemoryStore
from services.memory.domain.searches import Searches
from services.memory.rpc import MemoryServicer
from services.memory.settings import Settings
from services.memory.stores.traced import TracedMemoryStore
from services.mesh import server
from services.mesh.config import BadSettings, MeshSettings, load
from services.mesh.server import Mesh, Registration, Service


async def build(mesh: Mesh, settings: Settings) -> Service:
    """Wire the memory service."""
    store = TracedMemoryStore(await open_store(mesh, settings), mesh.telemetry)
    embedder: Embedder = EmbeddingServiceEmbedder(mesh.channel("embedding", retryable=RETRYABLE))
    return service(store, embedder)


async def open_store(mesh: Mesh, settings: Settings) -> MemoryStore:
    """Open the store that the profile selects; closed with the process."""
    if mesh.settings.profile != "local":
        raise BadSettings("MEMORYBOX_PROFILE=snowflake: the Snowflake store is not built in this version; use local")
    from services.memory.stores.embedded import EmbeddedMemoryStore, IntegrityCheck

    folder = mesh.settings.data_dir / "memory"
    store = await EmbeddedMemoryStore.open(folder, integrity=IntegrityCheck(settings.integrity_check))
    mesh.stack.push_async_callback(store.close)
    return store


def service(store: MemoryStore, embedder: Embedder) -> Service:
    """Return everything that the memory process serves, over *store* and *embedder*."""
    servicer: Callable[..., Any] = MemoryServicer
    memory = servicer(Memories(store, embedder), Searches(store, embedder))
    return Service(
        (
            Registration.of(memory_service_pb2, memory_service_pb2_grpc, "MemoryService", memory),
            Registration.of(governance_service_pb2, governance_service_pb2_grpc, "GovernanceService"),
            Registration.of(audit_service_pb2, audit_service_pb2_grpc, "AuditService"),
            Registration.of(operation_service_pb2, operation_service_pb2_grpc, "OperationService"),
            Registration.of(subject_data_service_pb2, subject_data_service_pb2_grpc, "SubjectDataService"),
        ),
        ACCESS,
    )


async def serve(environ: Mapping[str, str] | None = None) -> None:
    """Run the memory service until told to stop."""
    settings = load(Settings, environ)
    await server.run("memory", load(MeshSettings, environ), lambda mesh: build(mesh, settings))
