"""The wiring of the memory service; the only file that names its adapters."""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
from services.memory.backends.embedding_service import RETRYABLE, EmbeddingServiceModels
from services.memory.backends.subject_data import RemoteSubjectData
from services.memory.backup_metrics import BackupMetrics
from services.memory.domain.active_space import ActiveSpaceEmbedder
from services.memory.domain.audit import AuditLog
from services.memory.domain.audits import Audits, Recorder, Roles, anchor_hourly
from services.memory.domain.backups import (
    Backups,
    BackupSchedule,
    BackupVault,
    CreateBackupKind,
    OwnerKeysTarget,
    RestoreBackupKind,
)
from services.memory.domain.deduplicating import Duplicates
from services.memory.domain.deleting import DeletionKind, Deletions
from services.memory.domain.erasure import ANONYMIZE, ERASE, Erasures, SubjectDataKind
from services.memory.domain.expiring import Expiries
from services.memory.domain.faceting import Facets
from services.memory.domain.history import History
from services.memory.domain.importing import Imports
from services.memory.domain.memories import Memories
from services.memory.domain.moving import Exports
from services.memory.domain.operations import OperationKind, OperationRunner, Operations
from services.memory.domain.ports import EmbeddingModels, MemoryStore
from services.memory.domain.quotas import Quotas
from services.memory.domain.reading import Reading
from services.memory.domain.reembedding import Reembedding, ReembeddingKind
from services.memory.domain.related import Related
from services.memory.domain.retention import Retention, RetentionKind
from services.memory.domain.sealing import OwnerKeys, Sealer
from services.memory.domain.searches import Searches
from services.memory.domain.subject_data import SubjectData, SubjectDataTarget
from services.memory.domain.superseding import Superseding
from services.memory.domain.watching import Watches
from services.memory.rpc import MemoryServicer, MemoryUseCases
from services.memory.rpc.audit import AuditServicer
from services.memory.rpc.governance import GovernanceServicer
from services.memory.rpc.operations import OperationServicer
from services.memory.rpc.recording import RecordedCalls
from services.memory.rpc.subject_data import SubjectDataServicer
from services.memory.settings import Settings
from services.memory.stores.traced import TracedMemoryStore
from services.mesh import server
from services.mesh.config import BadSettings, MeshSettings, load
from services.mesh.server import Mesh, Registration, Service

if TYPE_CHECKING:
    from services.memory.stores.embedded import EmbeddedMemoryStore


async def build(mesh: Mesh, settings: Settings) -> Service:
    """Wire the memory service."""
    kept = await open_store(mesh, settings)
    store = TracedMemoryStore(kept, mesh.telemetry)
    models: EmbeddingModels = EmbeddingServiceModels(mesh.channel("embedding", retryable=RETRYABLE))
    reembedding = ReembeddingKind(kept.spaces, models, settings.reembedding_percent / 100)
    return service(store, models, govern(mesh, kept, settings, (reembedding,)), mesh.leaving)


async def open_store(mesh: Mesh, settings: Settings) -> "EmbeddedMemoryStore":
    """Open the store that the profile selects; closed with the process."""
    if mesh.settings.profile != "local":
        raise BadSettings("MEMORYBOX_PROFILE=snowflake: the Snowflake store is not built in this version; use local")
    from services.memory.stores.embedded import EmbeddedMemoryStore, IntegrityCheck

    folder = mesh.settings.data_dir / "memory"
    store = await EmbeddedMemoryStore.open(folder, integrity=IntegrityCheck(settings.integrity_check))
    mesh.stack.push_async_callback(store.close)
    return store


@dataclass(frozen=True, slots=True)
class Governing:
    """What is there beside the memories, for governance."""

    calls: RecordedCalls
    audits: Audits
    audit_log: AuditLog
    operations: Operations
    erasures: Erasures
    deletions: Deletions
    quotas: Quotas
    retention: Retention
    subject_data: SubjectData
    backups: Backups
    owner_keys: OwnerKeys


def govern(
    mesh: Mesh, store: "EmbeddedMemoryStore", settings: Settings, kinds: Sequence[OperationKind] = ()
) -> Governing:
    """Wire governance over what *store* keeps for it, with *kinds* of operations beside its own; ends with the process."""
    from services.memory.stores.embedded.governing import (
        EmbeddedAuditLog,
        EmbeddedOperations,
        EmbeddedQuotas,
        EmbeddedRetention,
        EmbeddedSubjectData,
    )

    roles = Roles(governor=mesh.settings.governor_role, operator=mesh.settings.operator_role)
    log = EmbeddedAuditLog(store)
    recorder = Recorder(log, synchronous=settings.audit_reads == "sync")
    mesh.stack.push_async_callback(recorder.close)
    mesh.stack.push_async_callback(stop, asyncio.create_task(anchor_hourly(log)))
    mesh.stack.push_async_callback(stop, asyncio.create_task(Expiries(store.feed).run()))
    measured = Quotas(EmbeddedQuotas(store), roles)
    mesh.stack.push_async_callback(stop, asyncio.create_task(measured.run()))
    started, kept = asyncio.Event(), EmbeddedOperations(store)
    operations = Operations(kept, store.secrets, roles, started)
    subject_data = SubjectData(EmbeddedSubjectData(store), recorder)
    others = [RemoteSubjectData(name, mesh.channel(name)) for name in settings.subject_services]
    vault, owner_keys = open_vault(mesh, store, settings)
    # The key goes last: until the rows are gone, a backup may still seal some with it.
    targets: tuple[SubjectDataTarget, ...] = (subject_data, *others, OwnerKeysTarget(vault))
    own_kinds = [
        SubjectDataKind(name, targets, log, store.secrets.id_key, scrub=store.scrub) for name in (ERASE, ANONYMIZE)
    ]
    ruled = EmbeddedRetention(store)
    retention = Retention(ruled, operations)
    mesh.stack.push_async_callback(stop, asyncio.create_task(retention.run()))
    backup_kinds = back_up(mesh, vault, operations, settings)
    all_kinds: tuple[OperationKind, ...] = (
        *own_kinds,
        RetentionKind(ruled),
        DeletionKind(store.deleting),
        *backup_kinds,
        *kinds,
    )
    runner = OperationRunner(kept, all_kinds, secrets.token_hex(16), started)
    mesh.stack.push_async_callback(runner.close)
    return Governing(
        calls=RecordedCalls(recorder),
        audits=Audits(log, recorder, store.secrets.token_key, roles),
        audit_log=log,
        operations=operations,
        erasures=Erasures(operations, roles),
        deletions=Deletions(store.deleting, operations),
        quotas=measured,
        retention=retention,
        subject_data=subject_data,
        backups=Backups(vault, operations, store.secrets.token_key),
        owner_keys=owner_keys,
    )


def open_vault(mesh: Mesh, store: "EmbeddedMemoryStore", settings: Settings) -> tuple[BackupVault, OwnerKeys]:
    """Open the place of *store*'s backups and the keys that seal them; closed with the process."""
    from services.memory.stores.embedded.backup_folder import BackupFolder, folders_of
    from services.memory.stores.embedded.keyring import KEYS, Keyring
    from services.memory.stores.embedded.vault import EmbeddedBackupVault

    keyring = Keyring(mesh.settings.keys_dir / KEYS)
    folders = folders_of(mesh.settings.data_dir, settings.backup_dir, store.folder)
    vault = EmbeddedBackupVault(BackupFolder(folders, keyring), store, mesh.again.set)
    mesh.stack.callback(vault.close)
    return vault, keyring


def back_up(
    mesh: Mesh, vault: BackupVault, operations: Operations, settings: Settings
) -> tuple[CreateBackupKind, RestoreBackupKind]:
    """Have backups made by schedule, and return how they are made and restored."""
    metrics = BackupMetrics(mesh.telemetry.meter)
    schedule = BackupSchedule(vault, operations, settings.backup_every)
    making = CreateBackupKind(vault, settings.backup_keep, metrics.ended)
    restoring = RestoreBackupKind(vault)
    for kind in (making, restoring):
        mesh.stack.push_async_callback(kind.close)
    for task in (metrics.begin(vault), schedule.run()):
        mesh.stack.push_async_callback(stop, asyncio.create_task(task))
    return making, restoring


async def stop(task: asyncio.Task[None]) -> None:
    """End a task that never ends by itself."""
    task.cancel()
    await asyncio.wait({task})


def service(
    store: MemoryStore,
    models: EmbeddingModels,
    governing: Governing | None = None,
    leaving: asyncio.Event | None = None,
) -> Service:
    """Return everything that the memory process serves, over *store* and *models*; nothing that governs without *governing*.

    *leaving* is set when the process is about to end.
    """
    servicer: Callable[..., Any] = MemoryServicer
    embedder = ActiveSpaceEmbedder(models, store.spaces)
    use_cases = MemoryUseCases(
        memories=Memories(store, embedder),
        history=History(store, embedder),
        superseding=Superseding(store, embedder),
        reading=Reading(store),
        facets=Facets(store),
        duplicates=Duplicates(store),
        searches=Searches(store, embedder),
        related=Related(store, embedder),
        exports=Exports(store.moving, store.secrets.token_key),
        imports=Imports(store.moving, store.secrets.id_key, embedder),
        deletions=governing.deletions if governing else None,
        sealer=Sealer(governing.owner_keys if governing else None),
        watches=Watches(store.feed, store.secrets.token_key, leaving or asyncio.Event()),
        reembedding=Reembedding(models, governing.operations) if governing else None,
    )
    memory = servicer(use_cases)
    office: Callable[..., Any] = GovernanceServicer
    governance = (
        office(governing.erasures, governing.quotas, governing.retention, governing.backups) if governing else None
    )
    audit = AuditServicer(governing.audits, governing.audit_log) if governing else None
    operation = OperationServicer(governing.operations) if governing else None
    subject_data = SubjectDataServicer(governing.subject_data) if governing else None
    registrations = (
        Registration.of(memory_service_pb2, memory_service_pb2_grpc, "MemoryService", memory),
        Registration.of(governance_service_pb2, governance_service_pb2_grpc, "GovernanceService", governance),
        Registration.of(audit_service_pb2, audit_service_pb2_grpc, "AuditService", audit),
        Registration.of(operation_service_pb2, operation_service_pb2_grpc, "OperationService", operation),
        Registration.of(subject_data_service_pb2, subject_data_service_pb2_grpc, "SubjectDataService", subject_data),
    )
    if governing is None:
        return Service(registrations, ACCESS)
    for registration in registrations:
        governing.calls.wrap(registration.servicer, registration.descriptor)
    return Service(registrations, ACCESS, governing.calls.refused)


async def serve(environ: Mapping[str, str] | None = None) -> None:
    """Run the memory service until told to stop."""
    settings = load(Settings, environ)
    await server.run("memory", load(MeshSettings, environ), lambda mesh: build(mesh, settings))
