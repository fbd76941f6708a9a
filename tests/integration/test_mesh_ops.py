"""The ops port and the traced store: what operators see, and what never shows there."""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from memorybox.memory.v1 import memory_pb2
from memorybox.memory.v1 import memory_service_pb2 as pb
from services.cli.grants import standard_keys
from services.mesh.config import MeshSettings
from services.mesh.ops import PortTaken, Readiness, start_ops
from services.mesh.telemetry import Telemetry
from tests.support.clients import Deployment, refusal
from tests.support.memory import memory_world
from tests.support.mesh import free_ports
from tests.support.model_store import ModelMemoryStore

CONTENT = "planted-content-93d1"
QUERY = "planted-query-0e7c"


async def get(port: int, path: str) -> tuple[int, str, str]:
    """Return status, content type and text of a page."""

    def fetch() -> tuple[int, str, str]:
        try:
            with urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return answer.status, answer.headers["Content-Type"], answer.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.headers["Content-Type"], error.read().decode()

    return await asyncio.to_thread(fetch)


async def test_ops_port_tells_readiness_from_one_state() -> None:
    readiness, port = Readiness(), free_ports((0,))
    telemetry = Telemetry("memory", MeshSettings())
    ops = await start_ops("127.0.0.1", port, readiness, telemetry)
    states = []
    try:
        for started, draining in ((False, False), (True, False), (True, True)):
            readiness.started, readiness.draining = started, draining
            status, _, text = await get(port, "/readyz")
            states.append((status, json.loads(text)["status"]))
            assert (await get(port, "/livez"))[0] == 200
        missing = (await get(port, "/"))[0]
    finally:
        await ops.cleanup()
        telemetry.shutdown()

    assert states == [(503, "starting"), (200, "ready"), (503, "draining")]
    assert missing == 404


async def test_state_of_one_dependency_is_told_apart() -> None:
    readiness, port = (
        Readiness(notes={"memory": "READY", "embedding": "TRANSIENT_FAILURE", "analyst": "IDLE"}),
        free_ports((0,)),
    )
    telemetry = Telemetry("gateway", MeshSettings())
    ops = await start_ops("127.0.0.1", port, readiness, telemetry)
    try:
        states = [
            (await get(port, f"/readyz?service={name}"))[0] for name in ("memory", "embedding", "analyst", "chat")
        ]
    finally:
        await ops.cleanup()
        telemetry.shutdown()

    assert states == [200, 503, 200, 404]


async def test_taken_ops_port_is_named() -> None:
    telemetry = Telemetry("memory", MeshSettings())
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        with pytest.raises(PortTaken, match=str(port)) as refused:
            await start_ops("127.0.0.1", port, Readiness(), telemetry)

    telemetry.shutdown()
    assert refused.value.context == {"port": str(port)}


async def test_contents_queries_and_users_enter_neither_spans_nor_metrics_nor_logs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "services")
    deployment = Deployment(tmp_path, standard_keys("ann"))
    async with memory_world(deployment, ModelMemoryStore()) as world:
        created = await world.ann.create(CONTENT, tags=[CONTENT], external_id=CONTENT)
        await world.ann.create(CONTENT, CONTENT)
        await world.ann.found(QUERY)
        await world.ann.listed()
        taken = memory_pb2.Memory(content=CONTENT, external_id=CONTENT)
        await refusal(
            world.ann.CreateMemory(pb.CreateMemoryRequest(memory=taken, on_duplicate=pb.CreateMemoryRequest.REJECT))
        )
        await refusal(world.ann.create("other", CONTENT))
        await refusal(world.ann.search(QUERY, min_score=9))
        await world.ann.DeleteMemory(pb.DeleteMemoryRequest(memory_id=created.memory_id))
        metrics = world.metrics_text()

    seen = json.dumps(deployment.spans()) + metrics + caplog.text
    assert "MemoryService/SearchMemories" in metrics
    for secret in (CONTENT, QUERY, '"ann"'):
        assert secret not in seen


async def test_store_shows_as_a_span_below_the_call_and_as_a_duration(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path, standard_keys("ann"))
    async with memory_world(deployment, ModelMemoryStore()) as world:
        await world.ann.create("tea")
        await refusal(world.ann.get("absent"))
        metrics = world.metrics_text()

    spans: dict[str, dict[str, Any]] = {span["name"]: span for span in deployment.spans()}
    create, get_call = (spans[f"memorybox.memory.v1.MemoryService/{name}"] for name in ("CreateMemory", "GetMemory"))
    apply, get_row = spans["apply memories"], spans["get memories"]
    assert (apply["trace_id"], apply["parent_span_id"]) == (create["trace_id"], create["span_id"])
    assert (get_row["trace_id"], get_row["parent_span_id"]) == (get_call["trace_id"], get_call["span_id"])
    assert (apply["kind"], apply["status"], apply["attributes"]["db.operation.name"]) == ("CLIENT", "UNSET", "apply")
    assert (get_row["status"], get_row["attributes"]["error.type"]) == ("ERROR", "MemoryNotFound")
    assert (
        'db_client_operation_duration_seconds_count{db_collection_name="memories",db_operation_name="apply"' in metrics
    )
