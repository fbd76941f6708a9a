"""One trace per public request, continued or linked, and no content in it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import JSON, FakeUpstream, Gateway, gateway

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


@asynccontextmanager
async def traced(upstream: FakeUpstream, folder: Path, inbound: str = "continue") -> AsyncIterator[Gateway]:
    environ = {"MEMORYBOX_TRACE_DIR": str(folder), "MEMORYBOX_TRACE_INBOUND": inbound}
    async with upstream.serving() as port, gateway(port, environ) as edge:
        yield edge


def spans(folder: Path) -> dict[str, dict[str, Any]]:
    lines = [line for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()]
    return {span["kind"]: span for span in map(json.loads, lines)}


async def test_trace_of_the_caller_is_continued_to_the_service(tmp_path: Path) -> None:
    upstream = FakeUpstream()

    async with traced(upstream, tmp_path) as edge:
        reply = await edge.ask("GET", "/v1/memories/m1", [("traceparent", TRACEPARENT), ("baggage", "k=v")])

    server, client = spans(tmp_path)["SERVER"], spans(tmp_path)["CLIENT"]
    assert server["trace_id"] == client["trace_id"] == TRACE
    assert server["parent_span_id"] == PARENT
    assert client["parent_span_id"] == server["span_id"]
    assert reply.headers["traceparent"] == f"00-{TRACE}-{server['span_id']}-01"
    assert upstream.seen[0].metadata["traceparent"] == f"00-{TRACE}-{client['span_id']}-01"
    assert "baggage" not in upstream.seen[0].metadata


async def test_trace_of_the_caller_is_linked(tmp_path: Path) -> None:
    upstream = FakeUpstream()

    async with traced(upstream, tmp_path, "link") as edge:
        reply = await edge.ask("GET", "/v1/memories/m1", [("traceparent", TRACEPARENT)])

    server = spans(tmp_path)["SERVER"]
    assert server["trace_id"] != TRACE
    assert server["parent_span_id"] is None
    assert server["links"] == [TRACE]
    assert reply.headers["traceparent"].split("-")[1] == server["trace_id"]
    assert str(upstream.seen[0].metadata["traceparent"]).split("-")[1] == server["trace_id"]


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([], id="none"),
        pytest.param([("traceparent", "nonsense")], id="malformed"),
        pytest.param([("traceparent", TRACEPARENT), ("traceparent", TRACEPARENT)], id="twice"),
    ],
)
async def test_request_without_one_valid_trace_starts_its_own(tmp_path: Path, headers: list[tuple[str, str]]) -> None:
    async with traced(FakeUpstream(), tmp_path) as edge:
        reply = await edge.ask("GET", "/v1/memories/m1", headers)

    server = spans(tmp_path)["SERVER"]
    assert server["parent_span_id"] is None
    assert server["trace_id"] != TRACE
    assert reply.headers["traceparent"].split("-")[1] == server["trace_id"]


async def test_refusals_are_traced_too(tmp_path: Path) -> None:
    async with traced(FakeUpstream(), tmp_path) as edge:
        reply = await edge.ask("GET", "/nowhere")

    server = spans(tmp_path)["SERVER"]
    assert server["attributes"]["http.response.status_code"] == 404
    assert "http.route" not in server["attributes"]
    assert reply.headers["traceparent"].split("-")[1] == server["trace_id"]


async def test_probes_leave_no_trace(tmp_path: Path) -> None:
    async with traced(FakeUpstream(), tmp_path) as edge:
        reply = await edge.ask("GET", "/readyz", [("traceparent", TRACEPARENT)])

    assert reply.status == 200
    assert "traceparent" not in reply.headers
    assert spans(tmp_path) == {}


async def test_span_follows_the_conventions_and_holds_no_content(tmp_path: Path) -> None:
    async with traced(FakeUpstream(), tmp_path) as edge:
        await edge.ask(
            "PATCH", "/v1/memories/secret-id", [JSON, ("X-Memorybox-User", "secret-user")], b'{"content":"secret"}'
        )

    server = spans(tmp_path)["SERVER"]
    assert server["name"] == "PATCH /v1/memories/{memory.memory_id}"
    assert server["attributes"] == {
        "http.request.method": "PATCH",
        "http.route": "/v1/memories/{memory.memory_id}",
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
        "url.path": "/v1/memories/{memory.memory_id}",
        "url.scheme": "http",
    }
    assert "secret" not in json.dumps(spans(tmp_path))
