"""The embedded store's reads that look at much to find memories otherwise than by a search."""

from abc import abstractmethod
from collections.abc import Callable
from typing import TypeVar

import apsw

from services.memory.domain.duplicates import DuplicatePage, DuplicatePlan
from services.memory.domain.facets import FacetCounts, FacetPlan
from services.memory.stores.embedded.duplicates import find_duplicates
from services.memory.stores.embedded.facets import count_values
from services.memory.stores.embedded.history import HistoryReads
from services.memory.stores.embedded.index import IndexView, MemoryIndex
from services.mesh.caller import Caller

Found = TypeVar("Found")
Scan = Callable[[apsw.Connection, MemoryIndex, IndexView], Found]


class FindingReads(HistoryReads):
    """Counts by value, and duplicates."""

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
