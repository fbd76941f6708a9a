"""Deleting by filter: counted first where asked, then done as an operation."""

from dataclasses import replace

from services.memory.domain.audit import Act, current_act
from services.memory.domain.deletions import DeletingStore, DeletionPlan
from services.memory.domain.memories import Clock, utc_now
from services.memory.domain.memory import Json
from services.memory.domain.operations import Operation, Operations, Step
from services.memory.domain.subject_data import BATCH
from services.memory.filter import EVERYTHING, parse
from services.mesh.caller import Caller
from services.mesh.errors import InvalidInput, Violation

DELETE = "DeleteMemories"
METHOD = f"memorybox.memory.v1.MemoryService/{DELETE}"
SAMPLES = 10


class Deletions:
    """The use case of deleting by filter."""

    def __init__(self, store: DeletingStore, operations: Operations, clock: Clock = utc_now) -> None:
        self._store = store
        self._operations = operations
        self._clock = clock

    async def start(
        self, caller: Caller, filter_text: str, request_id: str = "", *, everything: bool, dry_run: bool
    ) -> Operation:
        """Begin to delete the caller's own memories that pass the filter; a dry run only counts them, and is done at once.

        Raises ``InvalidInput``, ``InvalidFilter``, ``RequestIdReused``.
        """
        wanted = parse(filter_text)
        _check(no_filter=wanted == EVERYTHING, everything=everything)
        if dry_run:
            survey = await self._store.survey(DeletionPlan(caller.user, wanted, self._clock()), SAMPLES)
            return self._operations.done(caller, DELETE, _result(survey.count, 0, survey.first_ids))
        act = current_act()
        request: Json = {"user": caller.user, "filter": filter_text}
        return await self._operations.start(
            caller, DELETE, request, request_id, context={"trace_id": act.trace_id if act else ""}
        )


class DeletionKind:
    """How it is done: batch by batch, among the memories that there were when it began."""

    name = DELETE

    def __init__(self, store: DeletingStore, clock: Clock = utc_now) -> None:
        self._store = store
        self._clock = clock

    async def step(self, operation: Operation) -> Step:
        """Count what is meant; then delete a batch."""
        request, now = operation.request, self._clock()
        plan = DeletionPlan(request["user"], parse(request["filter"]), now)
        if operation.cursor is None:
            survey = await self._store.survey(plan, 0)
            return Step({"after": 0, "until": survey.until}, total_count=survey.count)
        plan = replace(plan, after=operation.cursor["after"], until=operation.cursor["until"])
        act = Act(plan.owner, METHOD, now, request.get("trace_id", ""))
        deleted = await self._store.delete_some(plan, operation.operation_id, BATCH, act)
        total = max(operation.total_count, deleted.count)
        if deleted.after is None:
            result = _result(operation.total_count, deleted.count)
            return Step(operation.cursor, deleted.count, total, result=result)
        return Step({**operation.cursor, "after": deleted.after}, deleted.count, total)


def _result(matched: int, deleted: int, sample_ids: tuple[str, ...] = ()) -> Json:
    return {"matched_count": matched, "deleted_count": deleted, "sample_memory_ids": list(sample_ids)}


def _check(*, no_filter: bool, everything: bool) -> None:
    if no_filter and not everything:
        raise _wrong("filter", "must say which memories are meant; all=true means all of your own")
    if everything and not no_filter:
        raise _wrong("all", "must not be set with a filter")


def _wrong(field: str, description: str) -> InvalidInput:
    return InvalidInput(f"{field} {description}", violations=[Violation(field, description)])
