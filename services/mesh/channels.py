"""The only place that opens a channel: discovery, retries, deadlines, identity and tracing of outgoing calls."""

import json
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

import grpc
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context

from services.mesh.config import MeshSettings
from services.mesh.errors import DeadlineExceeded
from services.mesh.identity import ACTING, AUTHORIZATION, SUBJECT_HEADER, SUBJECT_TOKEN, HopSigner
from services.mesh.interceptors import DEADLINE
from services.mesh.telemetry import ERROR_TYPE, RPC_METHOD, RPC_STATUS, RPC_SYSTEM, Telemetry, propagator

Metadata = Sequence[tuple[str, str | bytes]]
DEFAULT_TIMEOUT_S = 30.0
HOP_MARGIN_S = 0.01  # kept back of the caller's deadline, to answer in
MAX_MESSAGE_BYTES = 4 << 20

# Without these a dead link is noticed after a minute and a moved service after half of one. Keepalive's own time-out has no
# effect in grpcio 1.85; the ping time-out closes the link.
CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", 5000),
    ("grpc.http2.ping_timeout_ms", 3000),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
)


def service_config(retryable: Sequence[str]) -> str:
    """Return the client's service config; *retryable* holds ``package.Service/Method`` names that are safe to repeat.

    The first back-off is 50 ms: at 1 ms half of the retried calls hang until their deadline.
    """
    config: dict[str, Any] = {
        "loadBalancingConfig": [
            {
                "outlier_detection_experimental": {
                    "interval": "2s",
                    "baseEjectionTime": "5s",
                    "maxEjectionPercent": 50,
                    "failurePercentageEjection": {"threshold": 50, "minimumHosts": 2, "requestVolume": 10},
                    "childPolicy": [{"round_robin": {}}],
                }
            }
        ],
        "healthCheckConfig": {"serviceName": ""},
        "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
    }
    if retryable:
        names = [dict(zip(("service", "method"), name.split("/"), strict=True)) for name in retryable]
        policy = {
            "maxAttempts": 3,
            "initialBackoff": "0.05s",
            "maxBackoff": "0.5s",
            "backoffMultiplier": 2,
            "retryableStatusCodes": ["UNAVAILABLE"],
        }
        config["methodConfig"] = [{"name": names, "retryPolicy": policy}]
    return json.dumps(config)


class Credentials(Protocol):
    """Says who calls."""

    def metadata(self, audience: str, timeout_s: float) -> Metadata:
        """Return the identity metadata of one call."""
        ...


class GatewayCredentials:
    """Vouches for the user whom the edge has authenticated, towards the called service and those behind it."""

    def __init__(self, signer: HopSigner) -> None:
        self._signer = signer

    def metadata(self, audience: str, timeout_s: float) -> Metadata:
        """Return a hop token for the acting user and a subject token that lives as long as the request."""
        acting = ACTING.get()
        if acting is None:
            return ((AUTHORIZATION, f"Bearer {self._signer.token(audience)}"),)
        return (
            (AUTHORIZATION, f"Bearer {self._signer.token(audience, acting.user, acting.roles)}"),
            (SUBJECT_HEADER, self._signer.subject_token(acting.user, acting.roles, timeout_s)),
        )


class ServiceCredentials:
    """Calls as the service itself, for the user named by the gateway's subject token if there is one."""

    def __init__(self, signer: HopSigner) -> None:
        self._signer = signer

    def metadata(self, audience: str, timeout_s: float) -> Metadata:
        """Return the service's own hop token and the subject token as it came in."""
        own = (AUTHORIZATION, f"Bearer {self._signer.token(audience)}")
        subject = SUBJECT_TOKEN.get()
        return (own,) if subject is None else (own, (SUBJECT_HEADER, subject))


class MeshChannel:
    """A ``grpc.aio.Channel`` to one service, as generated stubs and the transcoder use it; each call gets identity, deadline and span.

    Calls return grpc's own call objects, so cancelling and streaming work as ever.
    """

    def __init__(
        self,
        service: str,
        settings: MeshSettings,
        telemetry: Telemetry,
        credentials: Credentials,
        *,
        retryable: Sequence[str] = (),
    ) -> None:
        options = (*CHANNEL_OPTIONS, ("grpc.service_config", service_config(retryable)))
        self._channel = grpc.aio.insecure_channel(settings.target(service), options=options)
        self._audience = service
        self._credentials = credentials
        self._tracer = telemetry.tracer
        self._duration = telemetry.duration_histogram("rpc.client.call.duration", "Time of an outgoing call.")

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        """Return a callable of this kind."""
        return self._outgoing(method, self._channel.unary_unary(method, *args, **kwargs))

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        """Return a callable of this kind."""
        return self._outgoing(method, self._channel.unary_stream(method, *args, **kwargs))

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        """Return a callable of this kind."""
        return self._outgoing(method, self._channel.stream_unary(method, *args, **kwargs))

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        """Return a callable of this kind."""
        return self._outgoing(method, self._channel.stream_stream(method, *args, **kwargs))

    async def close(self) -> None:
        """Close the channel; calls under way end."""
        await self._channel.close()

    def connectivity(self) -> str:
        """Return the channel's state, such as ``READY`` or ``IDLE``; asks nobody and connects to nobody."""
        return self._channel.get_state().name

    def _outgoing(self, method: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        attributes = {RPC_SYSTEM: "grpc", RPC_METHOD: method.lstrip("/")}

        def start(
            request: Any = None, *, timeout: float | None = None, metadata: Metadata | None = None, **kwargs: Any
        ) -> Any:
            timeout_s = _timeout(timeout)
            identity = self._credentials.metadata(self._audience, timeout_s)
            span = self._tracer.start_span(attributes[RPC_METHOD], kind=SpanKind.CLIENT, attributes=attributes)
            carrier: dict[str, str] = {}
            propagator.inject(carrier, set_span_in_context(span))
            call = inner(
                request, timeout=timeout_s, metadata=(*(metadata or ()), *carrier.items(), *identity), **kwargs
            )
            begin = time.perf_counter()
            call.add_done_callback(lambda done: self._finish(done, span, attributes, begin))
            return call

        return start

    def _finish(self, call: Any, span: Span, attributes: dict[str, str], begin: float) -> None:
        code = _finished_code(call.code())
        span.set_attribute(RPC_STATUS, code)
        if code != "OK":
            span.set_attribute(ERROR_TYPE, code)
            span.set_status(StatusCode.ERROR)
        span.end()
        self._duration.record(time.perf_counter() - begin, {**attributes, RPC_STATUS: code})


def _timeout(wanted: float | None) -> float:
    """Return the time-out of a hop in seconds: what is wanted, but no longer than what the caller's deadline leaves."""
    timeout_s = DEFAULT_TIMEOUT_S if wanted is None else wanted
    deadline = DEADLINE.get()
    if deadline is not None:
        timeout_s = min(timeout_s, deadline - time.monotonic() - HOP_MARGIN_S)
        if timeout_s <= 0:
            raise DeadlineExceeded("the deadline leaves no time for another hop")
    return timeout_s


def _finished_code(code: Coroutine[Any, Any, grpc.StatusCode]) -> str:
    """Return the status of a call that is done: its coroutine then ends without suspending."""
    try:
        code.send(None)
    except StopIteration as done:
        status: grpc.StatusCode = done.value
        return status.name
    code.close()
    return "UNKNOWN"
