"""AnalystService on the wire: wire -> domain -> wire; no rule, no query."""

from dataclasses import dataclass
from pathlib import Path

from memorybox.analyst.v1 import analyst_service_pb2_grpc as pb_grpc
from services.analyst.domain.asking import Asking
from services.analyst.domain.conversations import Conversations
from services.analyst.domain.drafting import Drafting
from services.analyst.domain.executing import Executing
from services.analyst.domain.listing import ModelPages
from services.analyst.domain.models import SemanticModels
from services.analyst.domain.rendering import Rendering
from services.analyst.domain.tables import Tables
from services.analyst.domain.verifying import Verifying
from services.analyst.rpc.asking import AskingRpcs
from services.analyst.rpc.models import ModelRpcs
from services.analyst.rpc.tables import TableRpcs


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalystUseCases:
    """All that AnalystService can do. Files wait in *staging* to be loaded; they have up to *load_mib*."""

    asking: Asking
    rendering: Rendering
    executing: Executing
    conversations: Conversations
    models: SemanticModels
    pages: ModelPages
    verifying: Verifying
    drafting: Drafting
    tables: Tables
    staging: Path
    load_mib: int


class AnalystServicer(AskingRpcs, ModelRpcs, TableRpcs, pb_grpc.AnalystServiceServicer):
    """What AnalystService does."""

    def __init__(self, use_cases: AnalystUseCases) -> None:
        self._asking = use_cases.asking
        self._rendering = use_cases.rendering
        self._executing = use_cases.executing
        self._conversations = use_cases.conversations
        self._models = use_cases.models
        self._pages = use_cases.pages
        self._verifying = use_cases.verifying
        self._drafting = use_cases.drafting
        self._tables = use_cases.tables
        self._staging = use_cases.staging
        self._load_mib = use_cases.load_mib
