"""Around every RPC: what was done, by whom, to what, and how it ended goes to the audit log."""

import asyncio
import inspect
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc
from google.longrunning import operations_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message

from memorybox.memory.v1 import memory_pb2
from services.memory.domain.audit import ACT, Act, Entry, Touched
from services.memory.domain.audits import Recorder
from services.memory.domain.memories import Clock, utc_now
from services.mesh.caller import Caller
from services.mesh.interceptors import caller, outcome_of
from services.mesh.server import unbuilt
from services.mesh.telemetry import current_trace_id

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]

MAX_TOUCHED = 1000  # of one event; a stream that touches more leaves several
SPILL_S = 0.4  # with the recorder's half a second less than one
_DEPTH = 4  # how deep messages of ours are searched for memories
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # ids of ours; anything else may be what somebody wrote


class RecordedCalls:
    """Wraps servicers so that each call is recorded, refused ones too."""

    def __init__(self, recorder: Recorder, clock: Clock = utc_now) -> None:
        self._recorder = recorder
        self._clock = clock

    def wrap(self, servicer: Any, descriptor: ServiceDescriptor) -> None:
        """Have every method that *servicer* has built recorded."""
        missing = {method.name for method in unbuilt(servicer, descriptor)}
        for method in descriptor.methods:
            if method.name not in missing:
                setattr(servicer, method.name, self._recorded(method, getattr(servicer, method.name)))

    async def refused(self, method: str, who: Caller, code: str) -> None:
        """Record a call that did not get as far as its handler."""
        await self._recorder.record(Entry(Act(who.user, method.lstrip("/"), self._clock(), current_trace_id()), code))

    def _recorded(self, method: MethodDescriptor, inner: Callable[..., Any]) -> Callable[..., Any]:
        name = f"{method.containing_service.full_name}/{method.name}"

        async def unary(request: Any, context: "Context") -> Any:
            call = _Call(self._recorder, self._begin(name), request)
            try:
                answer = await inner(request, context)
            except BaseException as error:
                await call.end(outcome_of(error, context))
                raise
            call.note(answer)
            await call.end("OK")
            return answer

        async def stream(request: Any, context: "Context") -> AsyncIterator[Any]:
            call = _Call(self._recorder, self._begin(name), request)
            spilling = asyncio.create_task(call.spill_regularly())
            try:
                async with aclosing(inner(request, context)) as answers:
                    async for answer in answers:
                        call.note(answer)
                        await call.spill(MAX_TOUCHED)
                        yield answer
            except BaseException as error:
                await call.end(outcome_of(error, context))
                raise
            finally:
                spilling.cancel()
            await call.end("OK")

        return stream if inspect.isasyncgenfunction(inner) else unary

    def _begin(self, method: str) -> Act:
        act = Act(caller().user, method, self._clock(), current_trace_id())
        ACT.set(act)
        return act


class _Call:
    """What a call under way has touched so far."""

    def __init__(self, recorder: Recorder, act: Act, request: Any) -> None:
        self._recorder = recorder
        self._act = act
        self._asked = tuple(_asked_for(request)) if isinstance(request, Message) else ()
        self._touched: dict[str, Touched] = {}

    def note(self, answer: Message) -> None:
        for item in _touched_by(answer, _DEPTH):
            self._touched[item.resource_id] = item

    async def spill(self, least: int) -> None:
        """Record what was touched so far if it is *least* things or more."""
        if len(self._touched) >= least:
            await self._record("OK")

    async def spill_regularly(self) -> None:
        """Record what a stream shows while it goes on, which it may for long; until cancelled, or until that fails."""
        while True:
            await asyncio.sleep(SPILL_S)
            await self.spill(1)

    async def end(self, outcome: str) -> None:
        """Record the call, unless its event was committed together with what it wrote."""
        if outcome != "OK" or not self._act.written:
            await self._record(outcome)

    async def _record(self, outcome: str) -> None:
        asked = tuple(item for item in self._asked if item.resource_id not in self._touched or not item.resource_id)
        touched = (*asked, *self._touched.values())[:MAX_TOUCHED]
        self._touched = {}
        await self._recorder.record(Entry(self._act, outcome, touched))


def _asked_for(request: Message) -> Iterator[Touched]:
    """Yield what a request names: ids of ours, and the person it is about."""
    for field, prefix in (("memory_id", ""), ("operation_id", "operations/"), ("backup_id", "backups/")):
        value = getattr(request, field, "")
        if _ID.fullmatch(value):
            yield Touched(prefix + value)
    memory = getattr(request, "memory", None)
    ids = [memory.memory_id] if isinstance(memory, memory_pb2.Memory) else []
    yield from (Touched(value) for value in (*ids, *getattr(request, "memory_ids", ())) if _ID.fullmatch(value))
    owner = getattr(request, "owner_user", "")
    if owner:
        yield Touched("", owner)


def _touched_by(message: Message, depth: int) -> Iterator[Touched]:
    """Yield the memories and operations that an answer shows."""
    if isinstance(message, memory_pb2.Memory):
        yield Touched(message.memory_id, message.owner_user)
    elif isinstance(message, operations_pb2.Operation):
        yield Touched(message.name)
    elif depth and message.DESCRIPTOR.full_name.startswith("memorybox."):
        for field, value in message.ListFields():
            if field.message_type is not None and not field.message_type.GetOptions().map_entry:
                for item in value if field.is_repeated else (value,):
                    yield from _touched_by(item, depth - 1)
