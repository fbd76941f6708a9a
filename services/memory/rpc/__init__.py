"""MemoryService on the wire: wire -> domain -> wire; no rule, no query."""

from memorybox.memory.v1 import memory_service_pb2_grpc as pb_grpc
from services.memory.domain.history import History
from services.memory.domain.importing import Imports
from services.memory.domain.memories import Memories
from services.memory.domain.moving import Exports
from services.memory.domain.searches import Searches
from services.memory.rpc.finding import FindingRpcs
from services.memory.rpc.history import HistoryRpcs
from services.memory.rpc.moving import MovingRpcs
from services.memory.rpc.records import RecordRpcs


class MemoryServicer(RecordRpcs, HistoryRpcs, FindingRpcs, MovingRpcs, pb_grpc.MemoryServiceServicer):
    """What this version of MemoryService does; the rest of the contract answers UNIMPLEMENTED."""

    def __init__(
        self, memories: Memories, history: History, searches: Searches, exports: Exports, imports: Imports
    ) -> None:
        self._memories = memories
        self._history = history
        self._searches = searches
        self._exports = exports
        self._imports = imports
