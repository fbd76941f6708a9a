"""Long work that outlives calls and processes: done in steps, each of which leaves a durable cursor."""

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol, runtime_checkable

import orjson

from services.memory.domain import draft as drafts
from services.memory.domain.audits import Roles
from services.memory.domain.ids import new_memory_id
from services.memory.domain.memories import DEFAULT_PAGE, MAX_PAGE, Clock, bounded, utc_now
from services.memory.domain.memory import Json, RequestIdReused
from services.memory.domain.paging import Pager
from services.memory.domain.ports import StoreSecrets
from services.mesh.caller import Caller
from services.mesh.errors import FailedPrecondition, MemoryBoxError, NotFound

LEASE_S = 600.0  # longer than any step may last; a dead process's is not waited for
POLL_S = 1.0
CONCURRENT = 4
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 60.0
# A step that ends with one of these is tried again, as long as it takes.
PASSING = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED"})

_log = logging.getLogger(__name__)


class OperationState(StrEnum):
    """Where an operation stands."""

    PENDING = "PENDING"  # waits for its turn, or for something that is down
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen."""
        return self in {OperationState.SUCCEEDED, OperationState.FAILED, OperationState.CANCELLED}


class OperationNotFound(NotFound):
    """Absent, or started by someone else."""

    reason = "OPERATION_NOT_FOUND"


class OperationRunning(FailedPrecondition):
    """There may be one operation of this kind at a time; it is named."""

    reason = "OPERATION_RUNNING"


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an operation failed: name of a google.rpc.Code, reason and message of the error."""

    code: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Operation:
    """Long work of one kind. *starter* is a keyed digest of who started it; *request* is what the kind needs to begin."""

    operation_id: str
    kind: str
    starter: str
    request: Json
    created_at: datetime
    updated_at: datetime
    due_at: datetime  # not before is the next step made
    state: OperationState = OperationState.PENDING
    cancelling: bool = False
    cursor: Json | None = None  # None before the first step
    done_count: int = 0
    total_count: int = 0  # 0 while unknown
    note: str = ""  # why it waits
    result: Json | None = None
    fault: Fault | None = None
    attempts: int = 0  # at the next step, so far in vain
    number: int = 0  # in order of their start; given by the store

    @property
    def name(self) -> str:
        """The name by which callers know it."""
        return f"operations/{self.operation_id}"


@dataclass(frozen=True, slots=True)
class Step:
    """What one step achieved. With a *result* the operation is done; *request* replaces what need not be kept any longer."""

    cursor: Json
    done_count: int = 0
    total_count: int = 0
    result: Json | None = None
    request: Json | None = None


class OperationKind(Protocol):
    """How one kind of operation is done."""

    @property
    def name(self) -> str:
        """What the operations of this kind are called, such as ``EraseOwner``."""
        ...

    async def step(self, operation: Operation) -> Step:
        """Do some seconds of work from ``operation.cursor`` on; a step that was cut short is made again with the same cursor.

        Raises what ends the operation, or UNAVAILABLE and the like, after which the step is tried again later.
        """
        ...


@runtime_checkable
class Undoing(Protocol):
    """A kind that has to put something right when one of its operations is cancelled."""

    async def undo(self, operation: Operation) -> Step | None:
        """Take back a bit of what the steps did, None when all is; or, where it is too late for that, make the next step."""
        ...


@dataclass(frozen=True, slots=True)
class OperationPlan:
    """One page, youngest first; *starter* None means everyone's, *before* is the last number of the page before."""

    limit: int
    starter: str | None
    before: int | None = None


class OperationStore(Protocol):
    """Where operations are kept."""

    async def add(self, operation: Operation, request_key: str | None, *, alone: bool = False) -> Operation:
        """Keep a new operation; if there is one of the same *request_key*, return that one.

        With *alone* raises ``OperationRunning`` if another one of its kind is not over.
        """
        ...

    async def get(self, operation_id: str, starter: str | None) -> Operation:
        """Return an operation, of any *starter* when None. Raises ``OperationNotFound``."""
        ...

    async def page(self, plan: OperationPlan) -> Sequence[Operation]:
        """Return up to ``plan.limit`` operations."""
        ...

    async def ask_to_cancel(self, operation_id: str, starter: str | None, now: datetime) -> Operation:
        """Mark an operation that is not over. Raises ``OperationNotFound``."""
        ...

    async def take(self, kinds: Sequence[str], holder: str, now: datetime, until: datetime) -> Operation | None:
        """Lease the operation that is due longest to *holder*, if one is due that nobody else holds."""
        ...

    async def save(self, operation: Operation, holder: str, until: datetime | None) -> Operation | None:
        """Keep what a step changed, and the lease until then, or give it up; None when *holder* has lost it.

        Whether it is to be cancelled is not changed but returned as it is.
        """
        ...


@dataclass(frozen=True, slots=True)
class OperationPage:
    """One page of operations and the token of the next, '' at the end."""

    operations: tuple[Operation, ...]
    next_page_token: str


class Operations:
    """The use cases of operations."""

    def __init__(
        self, store: OperationStore, keys: StoreSecrets, roles: Roles, started: asyncio.Event, clock: Clock = utc_now
    ) -> None:
        self._store = store
        self._key = keys.id_key
        self._pager = Pager(keys.token_key)
        self._roles = roles
        self._started = started
        self._clock = clock

    async def start(
        self,
        caller: Caller,
        kind: str,
        request: Json,
        request_id: str = "",
        *,
        context: Json | None = None,
        alone: bool = False,
    ) -> Operation:
        """Begin an operation of *kind*; the same caller's same *request_id* begins it once. Raises ``RequestIdReused``.

        *context* is kept with the request, but does not make it another one. With *alone* raises ``OperationRunning`` if another
        one of *kind* is not over.
        """
        drafts.check_request_id(request_id)
        now = self._clock()
        digest = self._digest("request", kind, orjson.dumps(request, option=orjson.OPT_SORT_KEYS).decode())
        made = Operation(
            operation_id=new_memory_id(now),
            kind=kind,
            starter=self._starter(caller),
            request={**request, **(context or {}), "digest": digest},
            created_at=now,
            updated_at=now,
            due_at=now,
        )
        request_key = self._digest("request id", kind, caller.user, request_id) if request_id else None
        kept = await self._store.add(made, request_key, alone=alone)
        if kept.request["digest"] != digest:
            raise RequestIdReused("the request id was used before with another request; use a new one")
        self._started.set()
        return kept

    def done(self, caller: Caller, kind: str, result: Json) -> Operation:
        """Return an operation that was over at once; nobody needs to ask for it again, so it is not kept."""
        now = self._clock()
        made = Operation(new_memory_id(now), kind, self._starter(caller), {}, now, now, now)
        return replace(made, state=OperationState.SUCCEEDED, cursor={}, result=result)

    async def get(self, caller: Caller, operation_id: str) -> Operation:
        """Return one's own operation; operators: any. Raises ``OperationNotFound``."""
        return await self._store.get(operation_id, self._whose(caller))

    async def list_page(self, caller: Caller, *, page_size: int, page_token: str) -> OperationPage:
        """Return one page of one's own operations, youngest first; operators: of all."""
        limit = bounded("page_size", page_size, DEFAULT_PAGE, MAX_PAGE)
        now, whose = self._clock(), self._whose(caller)
        request = {"rpc": "ListOperations", "all": whose is None}
        plan = OperationPlan(limit + 1, whose)
        if page_token:
            plan = replace(plan, before=self._pager.open(page_token, caller, request, now)["before"])
        found = await self._store.page(plan)
        shown, more = tuple(found[:limit]), len(found) > limit
        return OperationPage(
            shown, self._pager.seal(caller, request, {"before": shown[-1].number}, now) if more else ""
        )

    async def cancel(self, caller: Caller, operation_id: str) -> Operation:
        """Ask an operation to stop; it does before its next step. Raises ``OperationNotFound``."""
        found = await self._store.ask_to_cancel(operation_id, self._whose(caller), self._clock())
        self._started.set()
        return found

    def _whose(self, caller: Caller) -> str | None:
        return None if self._roles.is_operator(caller) else self._starter(caller)

    def _starter(self, caller: Caller) -> str:
        return self._digest("starter", caller.user)

    def _digest(self, *texts: str) -> str:
        return hmac.digest(self._key, orjson.dumps(("operation", *texts)), hashlib.sha256).hex()


class OperationRunner:
    """Makes the steps of all operations that are due, some at once, until closed. *started* wakes it."""

    def __init__(
        self,
        store: OperationStore,
        kinds: Sequence[OperationKind],
        holder: str,
        started: asyncio.Event,
        clock: Clock = utc_now,
    ) -> None:
        self._store = store
        self._kinds: Mapping[str, OperationKind] = {kind.name: kind for kind in kinds}
        self._holder = holder
        self._started = started
        self._clock = clock
        self._working: set[asyncio.Task[None]] = set()
        self._dispatching = asyncio.create_task(self._dispatch())

    async def close(self) -> None:
        """Stop between or within steps; they are made again by the next process."""
        tasks = {self._dispatching, *self._working}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _dispatch(self) -> None:
        while True:
            self._started.clear()
            try:
                taken = await self._take() if len(self._working) < CONCURRENT else None
            except MemoryBoxError as error:
                _log.warning("operations cannot be read", extra={"reason": error.reason})
                taken = None
            if taken is None:
                await self._rest()
                continue
            task = asyncio.create_task(self._watch(taken))
            self._working.add(task)
            task.add_done_callback(self._working.discard)

    async def _rest(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                await self._started.wait()

    async def _take(self) -> Operation | None:
        now = self._clock()
        return await self._store.take(tuple(self._kinds), self._holder, now, now + timedelta(seconds=LEASE_S))

    async def _watch(self, operation: Operation) -> None:
        """Work on *operation*; a fault of ours ends it, instead of being tried forever."""
        (fault,) = await asyncio.gather(self._work(operation), return_exceptions=True)
        if isinstance(fault, MemoryBoxError):  # the store does not answer; the lease ends by itself
            _log.warning("an operation cannot be saved", extra={"operation": operation.name, "reason": fault.reason})
        elif isinstance(fault, Exception):
            _log.error("an operation failed", extra={"operation": operation.name}, exc_info=fault)
            await self._fail(operation, Fault("INTERNAL", "INTERNAL", "internal error"))

    async def _work(self, operation: Operation) -> None:
        current: Operation | None = operation
        while current is not None and not current.state.is_final:
            try:
                step = await self._step(current)
            except MemoryBoxError as error:
                if error.code in PASSING:
                    await self._wait(current, error)
                else:
                    await self._fail(current, Fault(error.code, error.reason, error.message))
                return
            if step is None:
                current = await self._end(current, OperationState.CANCELLED)
            else:
                current = await self._advance(current, step)

    async def _step(self, operation: Operation) -> Step | None:
        """Make the next step, None when the operation was cancelled and nothing is left to be done about it."""
        kind = self._kinds[operation.kind]
        if not operation.cancelling:
            return await kind.step(operation)
        return await kind.undo(operation) if isinstance(kind, Undoing) else None

    async def _advance(self, operation: Operation, step: Step) -> Operation | None:
        moved = replace(
            operation,
            cursor=step.cursor,
            done_count=step.done_count,
            total_count=step.total_count,
            request=operation.request
            if step.request is None
            else {**step.request, "digest": operation.request["digest"]},
            result=step.result,
            attempts=0,
            note="",
        )
        if step.result is not None:
            return await self._end(moved, OperationState.SUCCEEDED)
        now = self._clock()
        return await self._store.save(replace(moved, updated_at=now), self._holder, now + timedelta(seconds=LEASE_S))

    async def _wait(self, operation: Operation, error: MemoryBoxError) -> None:
        now = self._clock()
        wait_s = min(_FIRST_WAIT_S * 2.0 ** min(operation.attempts, 16), _LONGEST_WAIT_S)
        waiting = replace(
            operation,
            state=OperationState.PENDING,
            due_at=now + timedelta(seconds=wait_s),
            updated_at=now,
            attempts=operation.attempts + 1,
            note=f"{error.reason}: {error.message}",
        )
        await self._store.save(waiting, self._holder, None)

    async def _fail(self, operation: Operation, fault: Fault) -> None:
        await self._end(replace(operation, fault=fault), OperationState.FAILED)

    async def _end(self, operation: Operation, state: OperationState) -> Operation | None:
        # What was asked may name people and say what they wrote; from here on only its digest is needed.
        request = {"digest": operation.request["digest"]}
        over = replace(operation, state=state, request=request, updated_at=self._clock())
        return await self._store.save(over, self._holder, None)
