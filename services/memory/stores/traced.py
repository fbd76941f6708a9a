"""A memory store that shows in traces and metrics; wraps any other."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from opentelemetry.trace import SpanKind, StatusCode

from services.memory.domain.deletions import DeletingStore
from services.memory.domain.duplicates import DuplicatePage, DuplicatePlan
from services.memory.domain.facets import FacetCounts, FacetPlan
from services.memory.domain.feed import FeedStore
from services.memory.domain.lineage import MAX_KIN, MAX_KIN_BYTES, Lineage
from services.memory.domain.memory import Embedding, Memory
from services.memory.domain.neighbors import NeighborPlan
from services.memory.domain.ports import (
    ListPage,
    ListPlan,
    MemoryStore,
    SearchPage,
    SearchPlan,
    StoreSecrets,
    UnitOfWork,
)
from services.memory.domain.reads import ALL, MAX_ANSWER_BYTES, Batch, Selection
from services.memory.domain.revisions import RevisionPage, RevisionPlan
from services.memory.domain.spaces import SpaceStore
from services.memory.domain.transfer import MovingStore
from services.mesh.caller import Caller
from services.mesh.telemetry import ERROR_TYPE, Telemetry

SYSTEM = "sqlite"


class TracedMemoryStore:
    """Passes everything on, each call in a span of its own."""

    def __init__(self, store: MemoryStore, telemetry: Telemetry, system: str = SYSTEM) -> None:
        self._store = store
        self._system = system
        self._tracer = telemetry.tracer
        self._duration = telemetry.duration_histogram("db.client.operation.duration", "Time of a store operation.")

    @property
    def secrets(self) -> StoreSecrets:
        """The wrapped store's."""
        return self._store.secrets

    @property
    def moving(self) -> MovingStore:
        """The wrapped store's."""
        return self._store.moving

    @property
    def feed(self) -> FeedStore:
        """The wrapped store's."""
        return self._store.feed

    @property
    def spaces(self) -> SpaceStore:
        """The wrapped store's."""
        return self._store.spaces

    @property
    def deleting(self) -> DeletingStore:
        """The wrapped store's."""
        return self._store.deleting

    async def apply(self, work: UnitOfWork) -> tuple[Memory, ...]:
        """Pass on."""
        async with self._span("apply"):
            return await self._store.apply(work)

    async def get(self, caller: Caller, memory_id: str, now: datetime) -> Memory:
        """Pass on."""
        async with self._span("get"):
            return await self._store.get(caller, memory_id, now)

    async def get_embedding(self, caller: Caller, memory_id: str, now: datetime) -> Embedding:
        """Pass on."""
        async with self._span("get_embedding"):
            return await self._store.get_embedding(caller, memory_id, now)

    async def list(self, caller: Caller, plan: ListPlan) -> ListPage:
        """Pass on."""
        async with self._span("list"):
            return await self._store.list(caller, plan)

    async def search(self, caller: Caller, plan: SearchPlan) -> SearchPage:
        """Pass on."""
        async with self._span("search"):
            return await self._store.search(caller, plan)

    async def list_revisions(self, caller: Caller, plan: RevisionPlan) -> RevisionPage:
        """Pass on."""
        async with self._span("list_revisions"):
            return await self._store.list_revisions(caller, plan)

    async def lineage(
        self, caller: Caller, memory_id: str, now: datetime, max_kin: int = MAX_KIN, max_bytes: int = MAX_KIN_BYTES
    ) -> Lineage:
        """Pass on."""
        async with self._span("lineage"):
            return await self._store.lineage(caller, memory_id, now, max_kin, max_bytes)

    async def get_as_of(self, caller: Caller, memory_id: str, as_of: datetime, now: datetime) -> Memory:
        """Pass on."""
        async with self._span("get_as_of"):
            return await self._store.get_as_of(caller, memory_id, as_of, now)

    async def get_revision(self, caller: Caller, memory_id: str, revision: int, now: datetime) -> Memory:
        """Pass on."""
        async with self._span("get_revision"):
            return await self._store.get_revision(caller, memory_id, revision, now)

    async def find_external(self, caller: Caller, external_id: str, now: datetime) -> Memory | None:
        """Pass on."""
        async with self._span("find_external"):
            return await self._store.find_external(caller, external_id, now)

    async def get_many(
        self, caller: Caller, memory_ids: Sequence[str], now: datetime, max_bytes: int = MAX_ANSWER_BYTES
    ) -> Batch:
        """Pass on."""
        async with self._span("get_many"):
            return await self._store.get_many(caller, memory_ids, now, max_bytes)

    async def count(self, caller: Caller, now: datetime, selection: Selection = ALL) -> int:
        """Pass on."""
        async with self._span("count"):
            return await self._store.count(caller, now, selection)

    async def facet(self, caller: Caller, plan: FacetPlan) -> FacetCounts:
        """Pass on."""
        async with self._span("facet"):
            return await self._store.facet(caller, plan)

    async def duplicates(self, caller: Caller, plan: DuplicatePlan) -> DuplicatePage:
        """Pass on."""
        async with self._span("duplicates"):
            return await self._store.duplicates(caller, plan)

    async def neighbors(self, caller: Caller, plan: NeighborPlan) -> Sequence[tuple[Memory, ...]]:
        """Pass on."""
        async with self._span("neighbors"):
            return await self._store.neighbors(caller, plan)

    @asynccontextmanager
    async def _span(self, operation: str) -> AsyncIterator[None]:
        attributes = {"db.system.name": self._system, "db.operation.name": operation, "db.collection.name": "memories"}
        start = time.perf_counter()
        with self._tracer.start_as_current_span(
            f"{operation} memories",
            kind=SpanKind.CLIENT,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except BaseException as error:
                span.set_attribute(ERROR_TYPE, type(error).__name__)
                span.set_status(StatusCode.ERROR)
                raise
            finally:
                self._duration.record(time.perf_counter() - start, attributes)
