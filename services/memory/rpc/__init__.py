"""MemoryService on the wire: wire -> domain -> wire; no rule, no query."""

from dataclasses import dataclass

from memorybox.memory.v1 import memory_service_pb2_grpc as pb_grpc
from services.memory.domain.batch_searches import BatchSearches
from services.memory.domain.deduplicating import Duplicates
from services.memory.domain.deleting import Deletions
from services.memory.domain.faceting import Facets
from services.memory.domain.history import History
from services.memory.domain.importing import Imports
from services.memory.domain.memories import Memories
from services.memory.domain.moving import Exports
from services.memory.domain.reading import Reading
from services.memory.domain.reembedding import Reembedding
from services.memory.domain.related import Related
from services.memory.domain.sealing import Sealer
from services.memory.domain.searches import Searches
from services.memory.domain.superseding import Superseding
from services.memory.domain.watching import Watches
from services.memory.rpc.deleting import DeletingRpcs
from services.memory.rpc.duplicates import DuplicateRpcs
from services.memory.rpc.facets import FacetRpcs
from services.memory.rpc.finding import FindingRpcs
from services.memory.rpc.history import HistoryRpcs
from services.memory.rpc.moving import MovingRpcs
from services.memory.rpc.reading import ReadingRpcs
from services.memory.rpc.records import RecordRpcs
from services.memory.rpc.reembedding import ReembeddingRpcs
from services.memory.rpc.superseding import SupersedingRpcs
from services.memory.rpc.watching import WatchingRpcs


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUseCases:
    """All that MemoryService can do."""

    memories: Memories
    history: History
    superseding: Superseding
    reading: Reading
    facets: Facets
    duplicates: Duplicates
    searches: Searches
    related: Related
    exports: Exports
    imports: Imports
    sealer: Sealer
    watches: Watches
    reembedding: Reembedding | None = None  # where operations run
    deletions: Deletions | None = None


class MemoryServicer(
    RecordRpcs,
    HistoryRpcs,
    SupersedingRpcs,
    ReadingRpcs,
    FacetRpcs,
    DuplicateRpcs,
    FindingRpcs,
    DeletingRpcs,
    MovingRpcs,
    WatchingRpcs,
    ReembeddingRpcs,
    pb_grpc.MemoryServiceServicer,
):
    """What this version of MemoryService does; the rest of the contract answers UNIMPLEMENTED."""

    def __init__(self, use_cases: MemoryUseCases) -> None:
        self._memories = use_cases.memories
        self._history = use_cases.history
        self._superseding = use_cases.superseding
        self._reading = use_cases.reading
        self._duplicates = use_cases.duplicates
        self._facets = use_cases.facets
        self._searches = use_cases.searches
        self._batch_searches = BatchSearches(use_cases.searches)
        self._related = use_cases.related
        self._exports = use_cases.exports
        self._imports = use_cases.imports
        self._sealer = use_cases.sealer
        self._deletions = use_cases.deletions
        self._watches = use_cases.watches
        self._reembedding = use_cases.reembedding
