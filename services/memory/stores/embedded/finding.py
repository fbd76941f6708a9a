"""The embedded store's reads that find memories otherwise than by a search."""

import apsw

from services.memory.domain.facets import FacetCounts, FacetPlan
from services.memory.stores.embedded.database import transaction
from services.memory.stores.embedded.facets import count_values
from services.memory.stores.embedded.history import HistoryReads
from services.mesh.caller import Caller


class FindingReads(HistoryReads):
    """Counts by value."""

    async def facet(self, caller: Caller, plan: FacetPlan) -> FacetCounts:
        """Return the most frequent values, and how much is besides."""

        def read(connection: apsw.Connection) -> FacetCounts:
            with transaction(connection):
                return count_values(connection, caller, plan)

        return await self._read(read)
