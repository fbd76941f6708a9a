"""Traces of calls: one CLIENT and one SERVER span each, joined, with the status that the caller saw."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.mesh.errors import NotFound, PermissionDenied
from services.mesh.server import Mesh, Service
from services.mesh.telemetry import remote_context
from tests.support import probe
from tests.support.clients import CALL_S, Deployment, eventually, plain_channel, refusal

TRACE, CALLER_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{CALLER_SPAN}-01"
CONTENT = "what-was-said-51c2"


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path, probe.KEYS)


class Probe:
    """A server whose handlers show what became of them, and the stub of the service that calls it."""

    def __init__(self, stub: Any, health: Any) -> None:
        self.stub = stub
        self.health = health
        self.reached = asyncio.Event()
        self.ended = asyncio.Event()

    async def hang(self, _servicer: object, _request: Any, _context: Any) -> Any:
        self.reached.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()

    async def pour(self, _servicer: object, _request: Any, _context: Any) -> AsyncIterator[Any]:
        self.reached.set()
        try:
            while True:
                yield probe.text("more")
                await asyncio.sleep(0.01)
        finally:
            self.ended.set()


@asynccontextmanager
async def probing(deployment: Deployment, **methods: Any) -> AsyncIterator[Probe]:
    """Serve *methods* as analyst, called by memory's key; methods may be names of ``Probe``'s."""
    made = Probe(None, None)
    bound = {name: _method(made, method) for name, method in methods.items()}
    async with (
        deployment.serving("analyst", lambda _: probe.service(**bound)) as running,
        deployment.channel("analyst", "memory") as channel,
        plain_channel(running.target) as plain,
    ):
        made.stub, made.health = probe.stub(channel), health_pb2_grpc.HealthStub(plain)
        yield made


def _method(made: Probe, method: Any) -> Any:
    if method == "hang":

        async def hang(self: object, request: Any, context: Any) -> Any:
            return await made.hang(self, request, context)

        return hang
    if method == "pour":

        async def pour(self: object, request: Any, context: Any) -> AsyncIterator[Any]:
            async for message in made.pour(self, request, context):
                yield message

        return pour
    return method


def pair(deployment: Deployment) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the one CLIENT and the one SERVER span there are, having checked that they are joined."""
    client, server = sorted(deployment.spans(), key=lambda span: str(span["kind"]))
    assert (client["kind"], server["kind"]) == ("CLIENT", "SERVER")
    assert server["trace_id"] == client["trace_id"]
    assert server["parent_span_id"] == client["span_id"]
    return client, server


def outcome(span: dict[str, Any]) -> tuple[str, str, str | None]:
    attributes = span["attributes"]
    return span["status"], attributes["rpc.response.status_code"], attributes.get("error.type")


def raising(error: Exception) -> Callable[..., Awaitable[Any]]:
    async def method(_self: object, _request: Any, _context: Any) -> Any:
        raise error

    return method


async def test_good_call_has_one_span_on_each_side(deployment: Deployment) -> None:
    async with probing(deployment, Say=probe.echo) as made:
        await made.stub.Say(probe.text(CONTENT), timeout=CALL_S)

    client, server = pair(deployment)
    assert client["name"] == server["name"] == "probe.v1.ProbeService/Say"
    assert client["parent_span_id"] is None
    for span in (client, server):
        assert span["attributes"]["rpc.system.name"] == "grpc"
        assert span["attributes"]["rpc.method"] == "probe.v1.ProbeService/Say"
        assert outcome(span) == ("UNSET", "OK", None)
        assert CONTENT not in repr(span)


@pytest.mark.parametrize(
    ("error", "client", "server"),
    [
        pytest.param(NotFound("gone"), ("ERROR", "NOT_FOUND", "NOT_FOUND"), ("UNSET", "NOT_FOUND", None), id="domain"),
        pytest.param(PermissionDenied("no"), ("ERROR", "PERMISSION_DENIED", "PERMISSION_DENIED"), ("UNSET", "PERMISSION_DENIED", None), id="denied"),
        pytest.param(RuntimeError(CONTENT), ("ERROR", "INTERNAL", "INTERNAL"), ("ERROR", "INTERNAL", "INTERNAL"), id="unexpected"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["Say", "Tell"])
async def test_failed_call_says_why_on_each_side(
    deployment: Deployment, method: str, error: Exception, client: tuple[str, ...], server: tuple[str, ...]
) -> None:
    async with probing(deployment, **{method: raising(error)}) as made:
        call = getattr(made.stub, method)(probe.text(), timeout=CALL_S)
        await refusal(call if method == "Say" else anext(aiter(call)))

    spans = pair(deployment)
    assert [outcome(span) for span in spans] == [client, server]
    assert CONTENT not in repr(spans)


async def test_refused_caller_is_traced_too(deployment: Deployment) -> None:
    async with (
        deployment.serving("analyst", lambda _: probe.service()) as running,
        plain_channel(running.target) as plain,
    ):
        await refusal(probe.stub(plain).Say(probe.text(), metadata=(("traceparent", TRACEPARENT),)))

    (span,) = deployment.spans()
    assert outcome(span) == ("UNSET", "UNAUTHENTICATED", None)
    assert (span["trace_id"], span["parent_span_id"]) == (TRACE, CALLER_SPAN)


@pytest.mark.parametrize("method", ["Say", "Tell"])
async def test_cancelled_call_is_told_on_each_side(deployment: Deployment, method: str) -> None:
    async with probing(deployment, Say="hang", Tell="hang") as made:
        call = getattr(made.stub, method)(probe.text(), timeout=CALL_S)
        await asyncio.wait_for(made.reached.wait(), CALL_S)
        call.cancel()
        await asyncio.wait_for(made.ended.wait(), CALL_S)

    client, server = pair(deployment)
    assert outcome(client) == ("ERROR", "CANCELLED", "CANCELLED")
    assert outcome(server) == ("UNSET", "CANCELLED", None)


async def test_deadline_is_told_on_each_side(deployment: Deployment) -> None:
    async with probing(deployment, Say="hang") as made:
        told = await refusal(made.stub.Say(probe.text(), timeout=0.2))
        await asyncio.wait_for(made.ended.wait(), CALL_S)

    client, server = pair(deployment)
    assert told.code == "DEADLINE_EXCEEDED"
    assert outcome(client) == ("ERROR", "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
    assert outcome(server) == ("ERROR", "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")


async def test_whole_stream_has_one_span_on_each_side(deployment: Deployment) -> None:
    async def tell(_self: object, _request: Any, _context: Any) -> AsyncIterator[Any]:
        for _ in range(50):
            yield probe.text("x")

    async with probing(deployment, Tell=tell) as made:
        assert len([message async for message in made.stub.Tell(probe.text(), timeout=CALL_S)]) == 50

    assert [outcome(span) for span in pair(deployment)] == [("UNSET", "OK", None)] * 2


async def test_stream_that_is_cancelled_early_ends_its_spans_and_leaves_no_error(
    deployment: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    async with probing(deployment, Tell="pour") as made:
        call = made.stub.Tell(probe.text(), timeout=CALL_S)
        async for _ in call:
            break
        call.cancel()
        await asyncio.wait_for(made.ended.wait(), CALL_S)

    client, server = pair(deployment)
    assert outcome(client) == ("ERROR", "CANCELLED", "CANCELLED")
    assert outcome(server) == ("UNSET", "CANCELLED", None)
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


async def test_health_checks_make_no_spans(deployment: Deployment) -> None:
    async with probing(deployment) as made:
        await made.health.Check(health_pb2.HealthCheckRequest(), timeout=CALL_S)

    assert deployment.spans() == []


async def test_hops_of_one_request_are_one_tree(deployment: Deployment) -> None:
    def passing_on(mesh: Mesh) -> Service:
        stub = probe.stub(mesh.channel("analyst"))

        async def say(_self: object, request: Any, _context: Any) -> Any:
            return await stub.Say(request)

        return probe.service(Say=say)

    async with (
        deployment.serving("memory", passing_on) as running,
        deployment.serving("analyst", lambda _: probe.service(Say=probe.echo)),
        plain_channel(running.target) as plain,
    ):
        metadata = (*deployment.bearer("memory", "ann"), ("traceparent", TRACEPARENT))
        await probe.stub(plain).Say(probe.text(), metadata=metadata, timeout=CALL_S)

    spans = {(span["service"], span["kind"]): span for span in deployment.spans()}
    chain = [spans["memory", "SERVER"], spans["memory", "CLIENT"], spans["analyst", "SERVER"]]
    assert len(spans) == len(deployment.spans()) == 3
    assert {span["trace_id"] for span in chain} == {TRACE}
    assert [span["parent_span_id"] for span in chain] == [CALLER_SPAN, chain[0]["span_id"], chain[1]["span_id"]]


async def test_calls_are_counted_by_method_and_status_on_both_sides(deployment: Deployment) -> None:
    async with (
        deployment.serving("analyst", lambda _: probe.service(Say=raising(NotFound("gone")))) as running,
        deployment.channel("analyst", "memory") as channel,
    ):
        for _ in range(3):
            await refusal(probe.stub(channel).Say(probe.text(), timeout=CALL_S))
        labels = 'rpc_method="probe.v1.ProbeService/Say",rpc_response_status_code="NOT_FOUND",rpc_system_name="grpc"'
        line = f"rpc_server_call_duration_seconds_count{{{labels}}} 3.0"

        await eventually(lambda: line in running.mesh.telemetry.metrics_text().decode(), "three calls are counted")


def test_remote_context_ignores_what_it_does_not_know() -> None:
    assert remote_context({"baggage": "user=ann", "x": "y"}) == {}
