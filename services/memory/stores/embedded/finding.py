"""The embedded store's reads that look at much to find memories otherwise than by a search."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

import apsw

from services.memory.domain.duplicates import DuplicatePage, DuplicatePlan
from services.memory.domain.facets import FacetCounts, FacetPlan
from services.memory.domain.memory import Memory
from services.memory.domain.neighbors import NeighborPlan
from services.memory.stores.embedded.duplicates import find_duplicates
from services.memory.stores.embedded.facets import count_values
from services.memory.stores.embedded.history import HistoryReads
from services.memory.stores.embedded.index import IndexView, MemoryIndex
from services.memory.stores.embedded.neighbors import read_neighbors
from services.mesh.caller import Caller

Found = TypeVar("Found")
Scan = Callable[[apsw.Connection, MemoryIndex, IndexView], Found]


class FindingReads(HistoryReads):
    """Counts by value, duplicates and neighbours."""

    @abstractmethod
    async def _scan(self, caller: Caller, scan: Scan[Found]) -> Found: ...

    async def facet(self, caller: Caller, plan: FacetPlan) -> FacetCounts:
        """Return the most frequent values, and how much is besides."""
        return await self._scan(caller, lambda connection, _index, _view: count_values(connection, caller, plan))

    async def duplicates(self, caller: Caller, plan: DuplicatePlan) -> DuplicatePage:
        """Return one page of groups."""
        return await self._scan(
            caller, lambda connection, index, view: find_duplicates(connection, index, view, caller, plan)
        )

    async def neighbors(self, caller: Caller, plan: NeighborPlan) -> Sequence[tuple[Memory, ...]]:
        """Return the neighbours of each hit."""
        return await self._read(lambda connection: read_neighbors(connection, caller, plan))
