"""What happens around every RPC on the server side, in one list: telemetry, errors, identity, deadline, decoding."""

import asyncio
import inspect
import logging
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError
from grpc_status import rpc_status
from opentelemetry.trace import SpanKind, StatusCode

from services.mesh.access import AccessPolicy
from services.mesh.caller import Caller
from services.mesh.errors import DeadlineExceeded, InvalidInput, MemoryBoxError, PermissionDenied, Unauthenticated
from services.mesh.identity import ACTING, AUTHORIZATION, SUBJECT_HEADER, SUBJECT_TOKEN, HopVerifier
from services.mesh.status import to_status
from services.mesh.telemetry import ERROR_TYPE, RPC_METHOD, RPC_STATUS, RPC_SYSTEM, Telemetry, remote_context

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]
    Context = grpc.aio.ServicerContext[Any, Any]
Around = Callable[["Context"], AbstractAsyncContextManager[None]]
# Is told of each call that the access table turns away: method, who called, name of the status.
Refused = Callable[[str, Caller, str], Awaitable[None]]

# When the call that this task serves must be over, on the monotonic clock; outgoing hops keep to it.
DEADLINE: ContextVar[float | None] = ContextVar("deadline", default=None)
MIN_REMAINING_S = 0.005
# Asked by probes and tools that have no token; they disclose nothing but names.
EXEMPT = ("/grpc.health.v1.Health/", "/grpc.reflection.")
# Codes that are the server's fault (semantic conventions, RPC spans).
_SERVER_FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})


def caller(_context: object = None) -> Caller:
    """Return for whom the current call is made."""
    acting = ACTING.get()
    if acting is None:
        raise Unauthenticated("this call carries no identity")
    return acting


class AroundInterceptor(grpc.aio.ServerInterceptor):
    """Runs one async context manager around every kind of handler."""

    @abstractmethod
    def around(self, details: grpc.HandlerCallDetails, context: "Context") -> AbstractAsyncContextManager[None]:
        """Return what to run around one call."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        """Wrap the handler of a method that is not exempt; unknown methods pass through."""
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith(EXEMPT):
            return handler
        return _wrapped(handler, lambda context: self.around(handler_call_details, context))


def _kind_and_function(handler: "Handler") -> tuple[str, Any]:
    kind = f"{'stream' if handler.request_streaming else 'unary'}_{'stream' if handler.response_streaming else 'unary'}"
    return kind, getattr(handler, kind)


def _texts(details: grpc.HandlerCallDetails, *names: str) -> dict[str, str]:
    """Return the text metadata called *names*."""
    return {key: value for key, value in details.invocation_metadata or () if key in names and isinstance(value, str)}


def _wrapped(handler: "Handler", around: Around) -> "Handler":
    kind, inner = _kind_and_function(handler)
    wrapped: Any
    if inspect.isasyncgenfunction(inner):

        async def wrapped(request: Any, context: "Context") -> AsyncIterator[Any]:
            async with around(context), aclosing(inner(request, context)) as messages:
                async for message in messages:
                    yield message

    else:

        async def wrapped(request: Any, context: "Context") -> Any:
            async with around(context):
                return await inner(request, context)

    make = getattr(grpc, f"{kind}_rpc_method_handler")
    result: Handler = make(
        wrapped, request_deserializer=handler.request_deserializer, response_serializer=handler.response_serializer
    )
    return result


class TelemetryInterceptor(AroundInterceptor):
    """One SERVER span and one duration for each call; the outermost, so that it sees the final status."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._tracer = telemetry.tracer
        self._duration = telemetry.duration_histogram("rpc.server.call.duration", "Time to serve a call.")

    @asynccontextmanager
    async def around(self, details: grpc.HandlerCallDetails, context: "Context") -> AsyncIterator[None]:
        """Record the call."""
        carrier = _texts(details, "traceparent", "tracestate")
        name = details.method.lstrip("/")
        attributes = {RPC_SYSTEM: "grpc", RPC_METHOD: name}
        start = time.perf_counter()
        code = "OK"
        with self._tracer.start_as_current_span(
            name,
            context=remote_context(carrier),
            kind=SpanKind.SERVER,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except asyncio.CancelledError:
                remaining = context.time_remaining()
                code = "DEADLINE_EXCEEDED" if remaining is not None and remaining <= 0 else "CANCELLED"
                raise
            except BaseException:
                code = _code_name(context)
                raise
            finally:
                span.set_attribute(RPC_STATUS, code)
                if code in _SERVER_FAULTS:
                    span.set_attribute(ERROR_TYPE, code)
                    span.set_status(StatusCode.ERROR)
                self._duration.record(time.perf_counter() - start, {**attributes, RPC_STATUS: code})


def _code_name(context: "Context") -> str:
    code = context.code()
    return code.name if isinstance(code, grpc.StatusCode) else "UNKNOWN"


def outcome_of(error: BaseException, context: "Context") -> str:
    """Return the name of the status that a call which *error* ended will have."""
    if isinstance(error, MemoryBoxError):
        return error.code
    if isinstance(error, grpc.aio.AbortError):
        return _code_name(context)
    return "CANCELLED" if isinstance(error, asyncio.CancelledError | GeneratorExit) else "INTERNAL"


class ErrorInterceptor(AroundInterceptor):
    """Says in gRPC what a domain raised; whatever else escapes becomes INTERNAL with a fixed text."""

    @asynccontextmanager
    async def around(self, details: grpc.HandlerCallDetails, context: "Context") -> AsyncIterator[None]:
        """Translate errors."""
        try:
            yield
        except grpc.aio.AbortError:  # a handler already chose its status
            raise
        except MemoryBoxError as error:
            await context.abort_with_status(rpc_status.to_status(to_status(error)))
        except Exception:
            if context.cancelled():  # writing to a client that left raises odd errors; there is nobody to tell
                raise asyncio.CancelledError from None
            log.exception("unhandled error", extra={"method": details.method})
            await context.abort(grpc.StatusCode.INTERNAL, "internal error")


class IdentityInterceptor(AroundInterceptor):
    """Lets in who proves to be granted the call, and says to the handler for whom it works."""

    def __init__(self, verifier: HopVerifier, policy: AccessPolicy, refused: Refused | None = None) -> None:
        self._verifier = verifier
        self._policy = policy
        self._refused = refused

    @asynccontextmanager
    async def around(self, details: grpc.HandlerCallDetails, context: "Context") -> AsyncIterator[None]:
        """Verify, check the access table, and set whom the call is for."""
        tokens = _texts(details, AUTHORIZATION, SUBJECT_HEADER)
        principal = self._verifier.verify(details.method, tokens.get(AUTHORIZATION), tokens.get(SUBJECT_HEADER))
        try:
            self._policy.check(details.method, principal)
        except PermissionDenied as refusal:
            if self._refused is not None:
                await self._refused(details.method, principal.caller, refusal.code)
            raise
        ACTING.set(principal.caller)
        SUBJECT_TOKEN.set(principal.subject_token)
        yield


class DeadlineInterceptor(AroundInterceptor):
    """Passes the caller's deadline on; refuses calls that can no longer be answered in time."""

    @asynccontextmanager
    async def around(self, details: grpc.HandlerCallDetails, context: "Context") -> AsyncIterator[None]:
        """Set the deadline."""
        remaining = context.time_remaining()
        if remaining is not None:
            if remaining < MIN_REMAINING_S:
                raise DeadlineExceeded("the deadline is over")
            DEADLINE.set(time.monotonic() + remaining)
        yield


class DecodingInterceptor(grpc.aio.ServerInterceptor):
    """Parses requests inside the other interceptors; the innermost.

    grpc itself answers bytes that are no message, such as text that is not UTF-8, with INTERNAL; they are the caller's fault.
    """

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        """Give grpc a handler of bytes."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.request_deserializer is None or handler_call_details.method.startswith(EXEMPT):
            return handler
        return _decoding(handler, handler.request_deserializer)


def _decoding(handler: "Handler", parse: Callable[[bytes], Any]) -> "Handler":
    kind, inner = _kind_and_function(handler)
    decode = _each_parsed if handler.request_streaming else _parsed
    decoding: Any
    if inspect.isasyncgenfunction(inner):

        async def decoding(data: Any, context: "Context") -> AsyncIterator[Any]:
            async with aclosing(inner(decode(data, parse), context)) as messages:
                async for message in messages:
                    yield message

    else:

        async def decoding(data: Any, context: "Context") -> Any:
            return await inner(decode(data, parse), context)

    make = getattr(grpc, f"{kind}_rpc_method_handler")
    result: Handler = make(decoding, response_serializer=handler.response_serializer)
    return result


def _parsed(data: bytes, parse: Callable[[bytes], Any]) -> Any:
    try:
        return parse(data)
    except DecodeError:
        raise InvalidInput("the request is not a well-formed message of its type; text must be UTF-8") from None


async def _each_parsed(stream: AsyncIterator[bytes], parse: Callable[[bytes], Any]) -> AsyncIterator[Any]:
    async for data in stream:
        yield _parsed(data, parse)


def server_interceptors(
    telemetry: Telemetry, verifier: HopVerifier, policy: AccessPolicy, refused: Refused | None = None
) -> Sequence[grpc.aio.ServerInterceptor]:
    """Return the interceptors of every service, outermost first."""
    return (
        TelemetryInterceptor(telemetry),
        ErrorInterceptor(),
        IdentityInterceptor(verifier, policy, refused),
        DeadlineInterceptor(),
        DecodingInterceptor(),
    )
