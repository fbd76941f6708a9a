"""Traces and metrics of one process; the only module that touches the OpenTelemetry SDK.

Attribute names follow semantic conventions 1.44 (RPC is a release candidate, so its names stand in constants here).
"""

import json
import os
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import prometheus_client
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import Histogram, Meter
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services.mesh.config import MeshSettings

RPC_SYSTEM = "rpc.system.name"
RPC_METHOD = "rpc.method"
RPC_STATUS = "rpc.response.status_code"
ERROR_TYPE = "error.type"
# Bucket bounds in seconds that the conventions advise for rpc.*.call.duration and http.server.request.duration.
DURATION_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_EXPORT_DELAY_MS = 500
_SHUTDOWN_S = 3.0

propagator = TraceContextTextMapPropagator()


class MinuteTraceIds(RandomIdGenerator):
    """Trace ids that begin with the minute they were made in: Snowflake Trail finds spans by it."""

    def generate_trace_id(self) -> int:
        """Return four bytes of minutes since 1970, then twelve random bytes."""
        return int.from_bytes(int(time.time() // 60).to_bytes(4, "big") + os.urandom(12), "big")


class JsonLinesExporter(SpanExporter):
    """Appends spans to one file of the process, one JSON object a line."""

    def __init__(self, folder: Path, service: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._service = service
        self._file = (folder / f"{service}-{os.getpid()}.jsonl").open("a", encoding="utf-8")
        self._lock = threading.Lock()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write *spans* and flush."""
        with self._lock:
            for span in spans:
                self._file.write(json.dumps(_span_to_json(span, self._service)) + "\n")
            self._file.flush()
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Close the file."""
        self._file.close()


def _span_to_json(span: ReadableSpan, service: str) -> dict[str, object]:
    context = span.get_span_context()
    if context is None:
        raise ValueError("an ended span has a context")
    start, end = span.start_time or 0, span.end_time or 0
    return {
        "trace_id": f"{context.trace_id:032x}",
        "span_id": f"{context.span_id:016x}",
        "parent_span_id": f"{span.parent.span_id:016x}" if span.parent else None,
        "links": [f"{link.context.trace_id:032x}" for link in span.links],
        "service": service,
        "name": span.name,
        "kind": span.kind.name,
        "start_unix_ns": start,
        "duration_ms": round((end - start) / 1e6, 3),
        "status": span.status.status_code.name,
        "attributes": dict(span.attributes or {}),
    }


class Telemetry:
    """Tracer, meter and ``/metrics`` text of one process."""

    def __init__(self, service: str, settings: MeshSettings) -> None:
        resource = Resource.create(
            {
                "service.name": service,
                "service.namespace": "memory-box",
                "service.version": version("memorybox"),
                "service.instance.id": str(uuid.uuid4()),
            }
        )
        exporters = _span_exporters(service, settings)
        snowflake_ids = settings.profile == "snowflake" or settings.trace_inbound == "link"
        self._tracers = TracerProvider(
            sampler=None if exporters else ALWAYS_OFF,  # nobody would see the spans; ids are still made and passed on
            resource=resource,
            id_generator=MinuteTraceIds() if snowflake_ids else None,
            shutdown_on_exit=False,
        )
        for exporter in exporters:
            self._tracers.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=_EXPORT_DELAY_MS))
        self._registry = prometheus_client.CollectorRegistry()
        readers: list[MetricReader] = [PrometheusMetricReader(scope_info_enabled=False, registry=self._registry)]
        if settings.otlp_endpoint or settings.otlp_metrics_endpoint:
            readers.append(PeriodicExportingMetricReader(OTLPMetricExporter()))
        self._meters = MeterProvider(
            readers,
            resource=resource,
            exemplar_filter=AlwaysOffExemplarFilter(),  # Prometheus' text has none, and looking for them costs each record
            shutdown_on_exit=False,
        )
        self.tracer: Tracer = self._tracers.get_tracer("memorybox")
        self.meter: Meter = self._meters.get_meter("memorybox")

    def duration_histogram(self, name: str, description: str) -> Histogram:
        """Return a histogram of seconds with the conventions' buckets."""
        return self.meter.create_histogram(
            name, unit="s", description=description, explicit_bucket_boundaries_advisory=DURATION_BUCKETS_S
        )

    def metrics_text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return prometheus_client.generate_latest(self._registry)

    def shutdown(self) -> None:
        """Send what is left, for at most a few seconds; blocking."""
        worker = threading.Thread(target=self._shutdown, daemon=True)
        worker.start()
        worker.join(_SHUTDOWN_S)

    def _shutdown(self) -> None:
        self._tracers.shutdown()
        self._meters.shutdown()


def _span_exporters(service: str, settings: MeshSettings) -> list[SpanExporter]:
    exporters: list[SpanExporter] = []
    if settings.trace_dir is not None:
        exporters.append(JsonLinesExporter(settings.trace_dir, service))
    if settings.otlp_endpoint or settings.otlp_traces_endpoint:
        exporters.append(OTLPSpanExporter())
    return exporters


def trace_headers() -> dict[str, str]:
    """Return the current span's ``traceparent`` and ``tracestate``, lower-case, as HTTP headers and gRPC metadata take them."""
    carrier: dict[str, str] = {}
    propagator.inject(carrier)
    return carrier


def current_trace_id() -> str:
    """Return the trace that this call is part of, as 32 hexadecimal digits; '' outside of any."""
    span = trace.get_current_span().get_span_context()
    return f"{span.trace_id:032x}" if span.is_valid else ""


def remote_context(carrier: Mapping[str, str]) -> Context:
    """Return the context of the caller's span in *carrier*, an empty one when it has none."""
    return propagator.extract(carrier)
