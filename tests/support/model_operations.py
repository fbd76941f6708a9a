"""Operations by definition: a list, leases by the clock that is passed in."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from services.memory.domain.operations import (
    Operation,
    OperationNotFound,
    OperationPlan,
    OperationRunning,
    OperationState,
)

NEVER = datetime.min.replace(tzinfo=UTC)


class ModelOperations:
    """The port of operations."""

    def __init__(self) -> None:
        self.kept: dict[str, Operation] = {}
        self.keys: dict[str, str] = {}
        self.leases: dict[str, tuple[str, datetime]] = {}

    async def add(self, operation: Operation, request_key: str | None, *, alone: bool = False) -> Operation:
        if request_key is not None and request_key in self.keys:
            return self.kept[self.keys[request_key]]
        if alone and any(one.kind == operation.kind and not one.state.is_final for one in self.kept.values()):
            raise OperationRunning("another one runs")
        made = replace(operation, number=len(self.kept) + 1)
        self.kept[made.operation_id] = made
        if request_key is not None:
            self.keys[request_key] = made.operation_id
        return made

    async def get(self, operation_id: str, starter: str | None) -> Operation:
        found = self.kept.get(operation_id)
        if found is None or starter not in (None, found.starter):
            raise OperationNotFound("no such operation")
        return found

    async def page(self, plan: OperationPlan) -> Sequence[Operation]:
        meant = [one for one in self.kept.values() if plan.starter in (None, one.starter)]
        older = [one for one in meant if plan.before is None or one.number < plan.before]
        return sorted(older, key=lambda one: one.number, reverse=True)[: plan.limit]

    async def ask_to_cancel(self, operation_id: str, starter: str | None, now: datetime) -> Operation:
        found = await self.get(operation_id, starter)
        if not found.state.is_final and not found.cancelling:
            found = self.kept[operation_id] = replace(found, cancelling=True, updated_at=now)
        return found

    async def take(self, kinds: Sequence[str], holder: str, now: datetime, until: datetime) -> Operation | None:
        due = [one for one in self.kept.values() if self.is_due(one, kinds, holder, now)]
        if not due:
            return None
        first = min(due, key=lambda one: (one.due_at, one.number))
        self.leases[first.operation_id] = (holder, until)
        taken = self.kept[first.operation_id] = replace(first, state=OperationState.RUNNING, updated_at=now)
        return taken

    def is_due(self, one: Operation, kinds: Sequence[str], holder: str, now: datetime) -> bool:
        """Tell whether *holder* may work on it."""
        by, until = self.leases.get(one.operation_id, ("", NEVER))
        free = by != holder or until <= now
        return not one.state.is_final and one.kind in kinds and (one.due_at <= now or one.cancelling) and free

    async def save(self, operation: Operation, holder: str, until: datetime | None) -> Operation | None:
        by, _ = self.leases.get(operation.operation_id, ("", NEVER))
        if by != holder:
            return None
        self.leases[operation.operation_id] = ("", NEVER) if until is None else (holder, until)
        cancelling = self.kept[operation.operation_id].cancelling
        saved = self.kept[operation.operation_id] = replace(operation, cancelling=cancelling)
        return saved
