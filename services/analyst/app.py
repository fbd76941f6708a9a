"""The wiring of the analyst service; the only file that names its adapters."""

import asyncio
import logging
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING

from memorybox.analyst.v1 import analyst_service_pb2, analyst_service_pb2_grpc
from memorybox.governance.v1 import subject_data_service_pb2, subject_data_service_pb2_grpc
from services.analyst.access import ACCESS
from services.analyst.backends.audit_service import AuditServiceLog
from services.analyst.backends.chart_renderer import VegaRenderer
from services.analyst.backends.embedding import RETRYABLE, EmbeddingServiceSimilar
from services.analyst.backends.local_analyst import LocalAnalyst
from services.analyst.backends.observations import Observations
from services.analyst.domain.asking import Asking
from services.analyst.domain.audit import Recorder
from services.analyst.domain.conversations import Conversations
from services.analyst.domain.describing import RowsDescriber
from services.analyst.domain.drafting import Drafting
from services.analyst.domain.executing import Executing
from services.analyst.domain.listing import ModelPages
from services.analyst.domain.models import SemanticModels
from services.analyst.domain.rendering import Rendering
from services.analyst.domain.statements import Statements
from services.analyst.domain.subject_data import SubjectData
from services.analyst.domain.tables import Tables
from services.analyst.domain.validating import against_data
from services.analyst.domain.verifying import Verifying
from services.analyst.rpc import AnalystServicer, AnalystUseCases
from services.analyst.rpc.recording import RecordedCalls
from services.analyst.rpc.subject_data import SubjectDataServicer
from services.analyst.settings import Settings
from services.analyst.stores.answers import EmbeddedAnswerStore
from services.analyst.stores.audit import EmbeddedOutbox
from services.analyst.stores.database import Database
from services.analyst.stores.models import EmbeddedModelStore
from services.analyst.stores.subject_data import EmbeddedSubjectData
from services.mesh import server
from services.mesh.config import BadSettings, MeshSettings, load
from services.mesh.server import Mesh, Registration, Service

if TYPE_CHECKING:
    from services.analyst.backends.warehouse import DuckDbWarehouse


async def build(mesh: Mesh, settings: Settings) -> Service:
    """Wire the analyst service."""
    logging.getLogger("sqlglot").setLevel(logging.CRITICAL)  # it quotes statements
    warehouse = await open_warehouse(mesh, settings)
    database = await asyncio.to_thread(Database.open, mesh.settings.data_dir / "analyst")
    mesh.stack.push_async_callback(database.close)
    statements = Statements(warehouse, settings.statement_timeout_s)
    similar = EmbeddingServiceSimilar(mesh.channel("embedding", retryable=RETRYABLE))
    analyst = LocalAnalyst(lambda model: Observations(model, statements), lambda: statements.generation, similar)
    mesh.stack.push_async_callback(analyst.close)
    recorder = Recorder(EmbeddedOutbox(database), AuditServiceLog(mesh.channel("memory")))
    mesh.stack.push_async_callback(recorder.flush)
    mesh.stack.push_async_callback(_stop, asyncio.create_task(recorder.run()))

    models = SemanticModels(
        EmbeddedModelStore(database), lambda model: against_data(model, Observations(model, statements), statements)
    )
    conversations = Conversations(EmbeddedAnswerStore(database))
    tables = Tables(warehouse, mesh.settings.operator_role)
    use_cases = AnalystUseCases(
        asking=Asking(models, analyst, statements, conversations, RowsDescriber()),
        rendering=Rendering(VegaRenderer()),
        executing=Executing(models, statements),
        conversations=conversations,
        models=models,
        pages=ModelPages(models, await database.secret("token_key", secrets.token_bytes(32))),
        verifying=Verifying(models, conversations, statements, mesh.settings.governor_role),
        drafting=Drafting(tables, statements),
        tables=tables,
        staging=warehouse.staging,
        load_mib=settings.load_mib,
    )
    return service(use_cases, SubjectData(EmbeddedSubjectData(database), warehouse, recorder), RecordedCalls(recorder))


async def open_warehouse(mesh: Mesh, settings: Settings) -> "DuckDbWarehouse":
    """Open the warehouse that the profile selects; closed with the process."""
    if mesh.settings.profile != "local":
        raise BadSettings(
            "MEMORYBOX_PROFILE=snowflake: the analyst on Snowflake is not built in this version; use local"
        )
    from services.analyst.backends.warehouse import DuckDbWarehouse  # loads DuckDB

    warehouse = await asyncio.to_thread(
        DuckDbWarehouse.open,
        mesh.settings.data_dir / "analyst",
        memory_mib=settings.warehouse_mib,
        threads=settings.warehouse_threads,
        load_mib=settings.load_mib,
    )
    mesh.stack.push_async_callback(warehouse.close)
    return warehouse


def service(use_cases: AnalystUseCases, subject_data: SubjectData, calls: RecordedCalls) -> Service:
    """Return everything that the analyst process serves."""
    registrations = (
        Registration.of(analyst_service_pb2, analyst_service_pb2_grpc, "AnalystService", AnalystServicer(use_cases)),
        Registration.of(
            subject_data_service_pb2,
            subject_data_service_pb2_grpc,
            "SubjectDataService",
            SubjectDataServicer(subject_data),
        ),
    )
    for registration in registrations:
        calls.wrap(registration.servicer, registration.descriptor)
    return Service(registrations, ACCESS, calls.refused)


async def serve(environ: Mapping[str, str] | None = None) -> None:
    """Run the analyst service until told to stop."""
    settings = load(Settings, environ)
    await server.run("analyst", load(MeshSettings, environ), lambda mesh: build(mesh, settings))


async def _stop(task: asyncio.Task[None]) -> None:
    """End a task that never ends by itself."""
    task.cancel()
    await asyncio.wait({task})
