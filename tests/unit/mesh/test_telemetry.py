"""Trace ids, span files, metrics and log lines: their form, and what never enters them."""

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from services.mesh.config import MeshSettings
from services.mesh.logs import JsonFormatter
from services.mesh.telemetry import MinuteTraceIds, Telemetry, _span_exporters, remote_context, trace_headers

MINUTE_S = 60
PARENT = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


@contextmanager
def telemetry(**settings: Any) -> Iterator[Telemetry]:
    made = Telemetry("memory", MeshSettings(**settings))
    try:
        yield made
    finally:
        made.shutdown()


def spans(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in folder.iterdir() for line in path.read_text().splitlines()]


def test_minute_trace_ids_begin_with_the_minute_and_do_not_repeat() -> None:
    before = int(time.time() // MINUTE_S)
    ids = {MinuteTraceIds().generate_trace_id() for _ in range(1000)}
    after = int(time.time() // MINUTE_S)

    assert {trace_id >> 96 for trace_id in ids} <= {before, after}
    assert len({trace_id & (1 << 64) - 1 for trace_id in ids}) == 1000


def test_minute_trace_ids_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = []
    for minute in (29_000_000, 29_000_001, 29_700_000):
        monkeypatch.setattr(time, "time", lambda minute=minute: minute * MINUTE_S + 59.9)
        ids.append(MinuteTraceIds().generate_trace_id())

    assert ids == sorted(ids)


@pytest.mark.parametrize(
    ("settings", "by_minute"),
    [
        pytest.param({"profile": "snowflake"}, True, id="snowflake"),
        pytest.param({"trace_inbound_setting": "link"}, True, id="link"),
        pytest.param({}, False, id="local"),
    ],
)
def test_snowflakes_form_of_trace_ids_is_used_where_snowflake_reads_them(
    settings: dict[str, str], *, by_minute: bool
) -> None:
    minutes = int(time.time() // MINUTE_S)
    with telemetry(**settings) as made:
        prefixes = {made.tracer.start_span("s").get_span_context().trace_id >> 96 for _ in range(8)}

    assert (max(abs(prefix - minutes) for prefix in prefixes) <= 1) is by_minute


def test_span_file_tells_the_tree(tmp_path: Path) -> None:
    with (
        telemetry(trace_dir=tmp_path / "traces") as made,
        made.tracer.start_as_current_span("outer", context=remote_context(PARENT), kind=SpanKind.SERVER),
        made.tracer.start_as_current_span("inner", attributes={"rpc.method": "m"}) as inner,
    ):
        inner.set_status(StatusCode.ERROR)

    told, outer = sorted(spans(tmp_path / "traces"), key=lambda span: span["name"])
    assert (outer["trace_id"], outer["parent_span_id"]) == (PARENT["traceparent"][3:35], PARENT["traceparent"][36:52])
    assert (told["trace_id"], told["parent_span_id"]) == (outer["trace_id"], outer["span_id"])
    assert (outer["kind"], outer["status"], told["status"]) == ("SERVER", "UNSET", "ERROR")
    assert told["attributes"] == {"rpc.method": "m"}
    assert {told["service"], outer["service"]} == {"memory"}


def test_trace_goes_on_where_nobody_looks_at_it() -> None:
    with telemetry() as made, made.tracer.start_as_current_span("s", context=remote_context(PARENT)):
        headers = trace_headers()

    assert headers["traceparent"][3:35] == PARENT["traceparent"][3:35]
    assert headers["traceparent"][36:52] != PARENT["traceparent"][36:52]


@pytest.mark.parametrize("value", ["", "garbage", "00-" + "0" * 32 + "-b7ad6b7169203331-01", "00-zz-zz-01"])
def test_senseless_traceparent_starts_a_new_trace(value: str) -> None:
    with telemetry() as made, made.tracer.start_as_current_span("s", context=remote_context({"traceparent": value})):
        assert trace_headers()["traceparent"][3:35] != "0" * 32


def test_durations_are_counted_in_buckets_of_seconds() -> None:
    with telemetry() as made:
        made.duration_histogram("rpc.server.call.duration", "Time.").record(0.03, {"rpc.method": "m"})
        text = made.metrics_text().decode()

    assert 'rpc_server_call_duration_seconds_bucket{le="0.025",rpc_method="m"} 0.0' in text
    assert 'rpc_server_call_duration_seconds_bucket{le="0.05",rpc_method="m"} 1.0' in text


def test_two_processes_worth_of_telemetry_do_not_share_metrics() -> None:
    with telemetry() as one, telemetry() as other:
        one.meter.create_counter("tea").add(1)

        assert "tea_total" in one.metrics_text().decode()
        assert "tea_total" not in other.metrics_text().decode()


def line(log: Callable[[logging.Logger], None]) -> dict[str, Any]:
    """Return what *log* writes, as one line of JSON."""
    lines: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler = Collect()
    handler.setFormatter(JsonFormatter("memory"))
    logger = logging.getLogger("services.memory")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        log(logger)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    (text,) = lines
    assert "\n" not in text
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def test_log_line_is_one_json_object_with_its_fields() -> None:
    told = line(lambda log: log.warning("late by %d s\nreally", 3, extra={"port": 15051, "path": Path("/x")}))

    assert set(told) == {"time", "level", "service", "logger", "message", "port", "path"}
    assert (told["level"], told["service"], told["logger"]) == ("WARNING", "memory", "services.memory")
    assert (told["message"], told["port"], told["path"]) == ("late by 3 s\nreally", 15051, "/x")
    assert told["time"].endswith("+00:00")


def test_log_line_names_the_trace_and_span_it_belongs_to() -> None:
    with telemetry() as made, made.tracer.start_as_current_span("s", context=remote_context(PARENT)) as span:
        told = line(lambda log: log.info("inside"))

    assert told["trace_id"] == PARENT["traceparent"][3:35]
    assert told["span_id"] == f"{span.get_span_context().span_id:016x}"


def test_log_line_carries_the_traceback_of_an_exception() -> None:
    def fail(log: logging.Logger) -> None:
        try:
            int("planted")
        except ValueError:
            log.exception("failed")

    assert "ValueError: invalid literal for int() with base 10: 'planted'" in line(fail)["exception"]


@pytest.mark.parametrize("value", [2**70, "lone \udcff surrogate", {1: object()}, float("nan"), b"\xff"])
def test_log_line_survives_odd_values(value: object) -> None:
    assert line(lambda log: log.info("odd %s", value, extra={"value": value}))["level"] == "INFO"


@pytest.mark.parametrize(
    ("settings", "exporting"),
    [
        ({}, False),
        ({"otlp_endpoint": "http://127.0.0.1:9"}, True),
        ({"otlp_traces_endpoint": "http://127.0.0.1:9/v1/traces"}, True),
        ({"otlp_metrics_endpoint": "http://127.0.0.1:9/v1/metrics"}, False),
    ],
    ids=["none", "common", "traces", "metrics"],
)
def test_collector_of_spans_is_found_by_either_variable(settings: dict[str, Any], exporting: bool) -> None:  # noqa: FBT001
    assert bool(_span_exporters("memory", MeshSettings(**settings))) is exporting
