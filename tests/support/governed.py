"""The memory service with all that governs, over an embedded store, and clients of its other services."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from google.longrunning.operations_pb2 import Operation

from memorybox.governance.v1 import audit_service_pb2 as audit_pb
from memorybox.governance.v1 import (
    audit_service_pb2_grpc,
    governance_pb2,
    governance_service_pb2_grpc,
    operation_service_pb2_grpc,
    subject_data_service_pb2_grpc,
)
from memorybox.governance.v1 import operation_service_pb2 as operation_pb
from services.memory.app import govern
from services.memory.domain.operations import OperationKind
from services.memory.settings import Settings
from services.memory.stores.embedded import EmbeddedMemoryStore
from services.mesh.config import load
from tests.support.clients import CALL_S, Deployment, Pairs
from tests.support.memory import FakeEmbedder, World, memory_world

GOVERNOR = "MEMORYBOX_GOVERNOR"
OPERATOR = "MEMORYBOX_OPERATOR"


class Office:
    """Calls the governing services as one user."""

    def __init__(self, channel: Any, metadata: Pairs) -> None:
        self._metadata = metadata
        self._stubs = [
            audit_service_pb2_grpc.AuditServiceStub(channel),
            governance_service_pb2_grpc.GovernanceServiceStub(channel),
            operation_service_pb2_grpc.OperationServiceStub(channel),
            subject_data_service_pb2_grpc.SubjectDataServiceStub(channel),
        ]

    def __getattr__(self, method: str) -> Callable[..., Any]:
        stub = next(stub for stub in self._stubs if hasattr(stub, method))
        return partial(getattr(stub, method), metadata=self._metadata, timeout=CALL_S)

    async def events(self, method: str = "", **fields: Any) -> list[governance_pb2.AuditEvent]:
        """Return the events of RPC *method*, oldest first; all but those of ListAuditEvents without it."""
        page = await self.ListAuditEvents(audit_pb.ListAuditEventsRequest(page_size=1000, **fields))
        events = [event for event in reversed(page.audit_events) if not event.method.endswith("/ListAuditEvents")]
        return [event for event in events if not method or event.method.endswith(f"/{method}")]

    async def operation(self, operation_id: str, within_s: float = 10.0) -> Operation:
        """Return an operation once it is done."""
        deadline = time.monotonic() + within_s
        while True:
            found: Operation = await self.GetOperation(operation_pb.GetOperationRequest(operation_id=operation_id))
            if found.done:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"not done within {within_s} s: {found}")
            await asyncio.sleep(0.02)

    async def verified(self) -> audit_pb.VerifyAuditLogResponse:
        """Return what verifying all chains finds."""
        found: audit_pb.VerifyAuditLogResponse = await self.VerifyAuditLog(audit_pb.VerifyAuditLogRequest())
        return found


class GovernedWorld:
    """A memory service with its users, and their offices: Gwen governs, Otto operates."""

    def __init__(self, world: World, deployment: Deployment) -> None:
        self.memories = world
        self._deployment = deployment
        self.ann, self.bob = self.office("ann"), self.office("bob")
        self.gwen, self.otto = self.office("gwen", GOVERNOR), self.office("otto", OPERATOR)

    def office(self, user: str, *roles: str) -> Office:
        """Return the office of a user."""
        return Office(self.memories.channel, self.memories.metadata(user, *roles))

    def service(self, key: str) -> Office:
        """Return the office of a service that acts for itself."""
        return Office(self.memories.channel, self._deployment.bearer("memory", key=key))


@asynccontextmanager
async def governed_world(
    deployment: Deployment,
    store: EmbeddedMemoryStore,
    kinds: Sequence[OperationKind] = (),
    embedder: FakeEmbedder | None = None,
    **environ: str,
) -> AsyncIterator[GovernedWorld]:
    """Serve the memory service over *store* with everything that governs."""
    settings = load(Settings, environ)
    governed = partial(govern, store=store, settings=settings, kinds=kinds)
    async with memory_world(deployment, store, governed, embedder) as world:
        yield GovernedWorld(world, deployment)
