"""Around every RPC: what was done, by whom, to which model, and how it ended goes to the audit log."""

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from services.analyst.domain.audit import TOUCHED, Entry, Recorder
from services.mesh.caller import Caller
from services.mesh.interceptors import caller, outcome_of
from services.mesh.server import unbuilt
from services.mesh.telemetry import current_trace_id

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]

# What these did is recorded before they are answered.
WRITES = frozenset(
    {
        *(
            "PutSemanticModel",
            "DeleteSemanticModel",
            "ApproveVerifiedQuery",
            "SubmitFeedback",
            "LoadTable",
            "DropTable",
        ),
        *("EraseSubjectData", "AnonymizeSubjectData"),
    }
)


class RecordedCalls:
    """Wraps servicers so that each call is recorded, refused ones too."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def wrap(self, servicer: Any, descriptor: ServiceDescriptor) -> None:
        """Have every method that *servicer* has built recorded."""
        missing = {method.name for method in unbuilt(servicer, descriptor)}
        for method in descriptor.methods:
            if method.name not in missing:
                setattr(servicer, method.name, self._recorded(method, getattr(servicer, method.name)))

    async def refused(self, method: str, who: Caller, code: str) -> None:
        """Record a call that did not get as far as its handler."""
        entry = Entry(who.user, method.lstrip("/"), code, (), current_trace_id(), datetime.now(UTC))
        await self._recorder.record(entry, durable=False)

    def _recorded(self, method: MethodDescriptor, inner: Callable[..., Any]) -> Callable[..., Any]:
        name, durable = f"{method.containing_service.full_name}/{method.name}", method.name in WRITES

        async def end(outcome: str, touched: list[str], at: datetime) -> None:
            entry = Entry(caller().user, name, outcome, tuple(touched), current_trace_id(), at)
            await self._recorder.record(entry, durable=durable)

        async def unary(request: Any, context: "Context") -> Any:
            touched, at = _begin()
            try:
                answer = await inner(request, context)
            except BaseException as error:
                await end(outcome_of(error, context), touched, at)
                raise
            await end("OK", touched, at)
            return answer

        async def stream(request: Any, context: "Context") -> AsyncIterator[Any]:
            touched, at = _begin()
            try:
                async with aclosing(inner(request, context)) as answers:
                    async for answer in answers:
                        yield answer
            except BaseException as error:
                await end(outcome_of(error, context), touched, at)
                raise
            await end("OK", touched, at)

        return stream if inspect.isasyncgenfunction(inner) else unary


def _begin() -> tuple[list[str], datetime]:
    touched: list[str] = []
    TOUCHED.set(touched)
    return touched, datetime.now(UTC)
