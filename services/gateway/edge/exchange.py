"""One request and its answer as they are told: the span, the histogram and the access log line of it."""

import hashlib
import logging
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass

import grpc
from aiohttp import web
from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.trace import Link, Span, SpanKind, StatusCode

from services.mesh.telemetry import ERROR_TYPE, RPC_STATUS, Telemetry, remote_context

log = logging.getLogger("services.gateway.access")

CLIENT_GONE = 499  # never sent; stands in logs for a client that did not wait
SERVER_ERROR = 500
# Methods of RFC 9110 and RFC 5789; others count as one, so that callers cannot make label values up.
KNOWN_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
OTHER_METHOD = "_OTHER"
_NO_CONTEXT = Context()
_CODES = {code.value[0]: code.name for code in grpc.StatusCode}
_OUR_FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""Codes that OpenTelemetry counts as errors of a server."""


@dataclass(slots=True)
class Exchange:
    """What is known of a request so far. ``route`` is the template, never the path: paths name memories and people."""

    method: str
    span: Span
    traceparent: str
    tracestate: str
    begin: float
    route: str = ""
    user: str = ""
    reason: str = ""
    status: int = 0
    code: int | None = None
    """gRPC code of the end, where the HTTP status does not tell it."""

    @property
    def trace_id(self) -> str:
        """The trace that this request belongs to, in hex."""
        return f"{self.span.get_span_context().trace_id:032x}"


EXCHANGE = web.RequestKey("exchange", Exchange)


def _trace_headers(span: Span) -> tuple[str, str]:
    """Return the ``traceparent`` and ``tracestate`` of *span*, empty for one that has no trace."""
    ours = span.get_span_context()
    if not ours.is_valid:
        return "", ""
    state = ours.trace_state.to_header() if ours.trace_state else ""
    return f"00-{ours.trace_id:032x}-{ours.span_id:016x}-{ours.trace_flags:02x}", state


class Recorder:
    """Tells every exchange once: as a SERVER span, in the request histogram, and as an access log line."""

    def __init__(self, telemetry: Telemetry, inbound: str) -> None:
        self._tracer = telemetry.tracer
        self._links = inbound == "link"
        self._duration = telemetry.duration_histogram("http.server.request.duration", "Time of a public request.")
        # Counted here and read when metrics are: recording each change would cost more than many a request's own work.
        self._active: dict[tuple[str, str], int] = {}
        telemetry.meter.create_observable_up_down_counter(
            "http.server.active_requests",
            [self._observe_active],
            unit="{request}",
            description="Public requests under way.",
        )
        self._refusals = telemetry.meter.create_counter(
            "memorybox.gateway.refusals", unit="{request}", description="Requests that the edge refused, by reason."
        )
        # Of each access log line the same: asking stack, process and thread anew would cost more than writing it.
        self._record_base = vars(logging.LogRecord(log.name, logging.INFO, __file__, 0, "request", None, None))
        # Users are told apart within the life of this process, and cannot be guessed from the log.
        self._pseudonym_key = secrets.token_bytes(16)

    def refused(self, reason: str) -> None:
        """Count what was refused before it was a request that could be told."""
        self._refusals.add(1, {"reason": reason})
        log.info("refused", extra={"reason": reason})

    def exchange(self, request: web.BaseRequest, *, probe: bool = False) -> "_Recording":
        """Record what happens in the block; spans begun in it are children of the request's. A *probe* has no trace."""
        method = request.method if request.method in KNOWN_METHODS else OTHER_METHOD
        span = trace.INVALID_SPAN if probe else self._span(request, method)
        exchange = Exchange(method, span, *_trace_headers(span), time.perf_counter())
        return _Recording(self, exchange, request.scheme)

    def begin(self, exchange: Exchange, scheme: str) -> None:
        """Count *exchange* as under way."""
        kind = exchange.method, scheme
        self._active[kind] = self._active.get(kind, 0) + 1

    def end(self, exchange: Exchange, scheme: str) -> None:
        """Tell *exchange*, which is over."""
        self._active[exchange.method, scheme] -= 1
        self._record(exchange, {"http.request.method": exchange.method, "url.scheme": scheme})

    def _observe_active(self, _options: CallbackOptions) -> Iterable[Observation]:
        for (method, scheme), count in tuple(self._active.items()):
            yield Observation(count, {"http.request.method": method, "url.scheme": scheme})

    def _span(self, request: web.BaseRequest, method: str) -> Span:
        attributes = {
            "http.request.method": method,
            "url.scheme": request.scheme,
            "network.protocol.version": f"{request.version.major}.{request.version.minor}",
        }
        # Of several traceparent headers none counts, and baggage is dropped: only these two names are read.
        sent = request.headers.getall("traceparent", [])
        if len(sent) != 1:
            return self._tracer.start_span(method, _NO_CONTEXT, SpanKind.SERVER, attributes)
        carrier = {"traceparent": sent[0]}
        if "tracestate" in request.headers:
            carrier["tracestate"] = ",".join(request.headers.getall("tracestate"))
        theirs = trace.get_current_span(remote_context(carrier)).get_span_context()
        if not theirs.is_valid:
            return self._tracer.start_span(method, _NO_CONTEXT, SpanKind.SERVER, attributes)
        if self._links:
            return self._tracer.start_span(method, _NO_CONTEXT, SpanKind.SERVER, attributes, links=[Link(theirs)])
        return self._tracer.start_span(method, remote_context(carrier), SpanKind.SERVER, attributes)

    def _record(self, exchange: Exchange, labels: dict[str, str]) -> None:
        took_s = time.perf_counter() - exchange.begin
        told: dict[str, str | int] = dict(labels)
        if exchange.route:
            told["http.route"] = exchange.route
            exchange.span.update_name(f"{exchange.method} {exchange.route}")
            # The template stands for the path: what its variables hold names memories and people.
            exchange.span.set_attributes({"http.route": exchange.route, "url.path": exchange.route})
        if exchange.status != CLIENT_GONE:
            told["http.response.status_code"] = exchange.status
            exchange.span.set_attribute("http.response.status_code", exchange.status)
        if exchange.code is not None:
            told[RPC_STATUS] = _code_name(exchange.code)
            exchange.span.set_attribute(RPC_STATUS, _code_name(exchange.code))
        error = _error(exchange)
        if error:
            told[ERROR_TYPE] = error
            exchange.span.set_attribute(ERROR_TYPE, error)
            if exchange.status != CLIENT_GONE:
                exchange.span.set_status(StatusCode.ERROR)
        self._duration.record(took_s, told)
        if exchange.reason:
            self._refusals.add(1, {"reason": exchange.reason})
        self._log(exchange, took_s)
        exchange.span.end()

    def _log(self, exchange: Exchange, took_s: float) -> None:
        level = logging.DEBUG if exchange.span is trace.INVALID_SPAN else logging.INFO
        fields = {
            "method": exchange.method,
            "route": exchange.route,
            "status": exchange.status,
            "code": "" if exchange.code is None else _code_name(exchange.code),
            "ms": round(took_s * 1000, 2),
            "user": self._pseudonym(exchange.user),
            "reason": exchange.reason,
        }
        if log.isEnabledFor(level):
            record = logging.LogRecord.__new__(logging.LogRecord)
            now = time.time()
            own = {"levelno": level, "levelname": logging.getLevelName(level), "created": now, "msecs": now % 1 * 1000}
            vars(record).update(self._record_base, **own)
            vars(record).update((name, value) for name, value in fields.items() if value != "")
            log.handle(record)

    def _pseudonym(self, user: str) -> str:
        if not user:
            return ""
        return hashlib.blake2b(user.encode(), key=self._pseudonym_key, digest_size=6).hexdigest()


class _Recording:
    """A context manager of its own: every request goes through it, and generators cost three times as much."""

    __slots__ = ("_exchange", "_recorder", "_scheme", "_token")

    def __init__(self, recorder: Recorder, exchange: Exchange, scheme: str) -> None:
        self._recorder = recorder
        self._exchange = exchange
        self._scheme = scheme

    def __enter__(self) -> Exchange:
        self._recorder.begin(self._exchange, self._scheme)
        self._token = context.attach(trace.set_span_in_context(self._exchange.span))
        return self._exchange

    def __exit__(self, *_: object) -> None:
        try:
            self._recorder.end(self._exchange, self._scheme)
        finally:
            context.detach(self._token)


def _code_name(code: int) -> str:
    return _CODES.get(code, "UNKNOWN")


def _error(exchange: Exchange) -> str:
    """Return what the error is called in metrics, empty for none and for those that are the caller's."""
    if exchange.status == CLIENT_GONE:
        return "client_gone"
    if exchange.status >= SERVER_ERROR:
        return str(exchange.status)
    name = "" if exchange.code is None else _code_name(exchange.code)
    return name if name in _OUR_FAULTS else ""
