"""An embedding service as a process of its own, whose vectors come from an emulated Cortex."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from memorybox.embedding.v1 import embedding_service_pb2 as pb
from memorybox.embedding.v1 import embedding_service_pb2_grpc as pb_grpc
from services.emulator.engine.faults import Fault
from services.mesh.channels import MeshChannel, ServiceCredentials
from services.mesh.config import MeshSettings, load
from services.mesh.identity import HopSigner
from services.mesh.keys import Grant, KeyFolder
from services.mesh.telemetry import Telemetry
from tests.support.emulator import Emulator
from tests.support.mesh import ROOT, free_ports, wait_until

RPC = "/memorybox.embedding.v1.EmbeddingService/*"
CAT, KITTEN, REVENUE = (
    "A small cat is sleeping.",
    "The kitten fell asleep.",
    "Quarterly revenue grew by eleven percent.",
)


class Service:
    """The process's stub, metrics and log."""

    def __init__(self, stub: Any, ops_url: str, token_file: Path) -> None:
        self.stub = stub
        self.ops_url = ops_url
        self.token_file = token_file

    async def embed(self, *texts: str) -> pb.EmbedTextsResponse:
        found: pb.EmbedTextsResponse = await self.stub.EmbedTexts(pb.EmbedTextsRequest(texts=texts), timeout=60)
        return found

    def metric(self, name: str, label: str) -> float:
        with urlopen(f"{self.ops_url}/metrics", timeout=10) as answer:  # noqa: S310
            rows = answer.read().decode().splitlines()
        return sum(float(row.rpartition(" ")[2]) for row in rows if row.startswith(name) and label in row)


@pytest.fixture(params=["rest", "ai_embed", "embed_text"])
async def service(request: pytest.FixtureRequest, running: Emulator, tmp_path: Path) -> AsyncIterator[Service]:
    token = running.credentials.service_token("EMBEDDING", "ACCOUNTADMIN")
    (tmp_path / "token").write_text(token)
    base = free_ports((1, 101))
    KeyFolder(tmp_path / "keys").ensure(
        [("memory", "service", Grant(audiences=("embedding",), rpcs=(RPC,))), ("embedding", "service", Grant())]
    )
    settings = {
        "MEMORYBOX_PROFILE": "snowflake",
        "MEMORYBOX_DATA_DIR": str(tmp_path),
        "MEMORYBOX_KEYS_DIR": str(tmp_path / "keys"),
        "MEMORYBOX_PORT_BASE": str(base),
        "MEMORYBOX_DRAIN": "0.1",
        "MEMORYBOX_CORTEX_EMBED": request.param,
        "SNOWFLAKE_ACCOUNT": "test",
        "SNOWFLAKE_HOST": "127.0.0.1",
        "SNOWFLAKE_PORT": str(running.port),
        "SNOWFLAKE_PROTOCOL": "http",
        "SNOWFLAKE_WAREHOUSE": "COMPUTE_WH",
        "SNOWFLAKE_TOKEN_FILE_PATH": str(tmp_path / "token"),
    }
    mesh = load(MeshSettings, settings)
    telemetry = Telemetry("memory", mesh)
    channel = MeshChannel(
        "embedding", mesh, telemetry, ServiceCredentials(HopSigner(KeyFolder(mesh.keys_dir), "memory"))
    )
    ops_url = f"http://127.0.0.1:{mesh.ops_port('embedding')}"
    with process(settings, ops_url, tmp_path / "log"):
        yield Service(pb_grpc.EmbeddingServiceStub(channel), ops_url, tmp_path / "token")  # type: ignore[call-overload]
        await channel.close()
        telemetry.shutdown()
        running.account.faults.clear()
    assert token not in (tmp_path / "log").read_text()


@contextmanager
def process(settings: dict[str, str], ops_url: str, log: Path) -> Iterator[None]:
    """Run the service until the block is left."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MEMORYBOX_", "SNOWFLAKE_"))}
    with log.open("wb") as output:
        running = subprocess.Popen(
            [sys.executable, "-m", "services.cli", "serve", "embedding"],
            cwd=ROOT,
            env={**inherited, **settings},
            stdout=output,
            stderr=output,
        )
        try:
            wait_until(lambda: running.poll() is not None or ready(ops_url), 60, "the embedding service is ready")
            assert running.poll() is None, log.read_text()[-2000:]
            yield
        finally:
            running.terminate()
            running.wait(30)


def ready(ops_url: str) -> bool:
    try:
        with urlopen(f"{ops_url}/readyz", timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except URLError:
        return False


async def test_vectors_come_from_cortex_and_are_paid_for(service: Service) -> None:
    answer = await service.embed(CAT, KITTEN, REVENUE)
    again = await service.embed(CAT)

    cat, kitten, revenue = (np.array(item.values) for item in answer.embeddings)
    assert answer.model.space == "snowflake-arctic-embed-m-v1.5@cortex/768/mean448/none"
    assert answer.model.threshold == pytest.approx(0.7)
    assert len(cat) == 768
    assert cat @ kitten > 0.5 > cat @ revenue
    assert again.embeddings[0] == answer.embeddings[0]
    assert service.metric("memorybox_embedding_cortex_calls", 'outcome="ok"') == 1
    assert service.metric("memorybox_embedding_cortex_tokens", "") > 3


@pytest.mark.parametrize("service", ["rest"], indirect=True)
async def test_a_busy_cortex_is_waited_for(service: Service, running: Emulator) -> None:
    running.account.faults.arm(Fault("rest_429", 1, {"retry_after": 1}))
    running.account.faults.arm(Fault("rest_503", 1, {}))

    assert (await service.embed(CAT)).embeddings


@pytest.mark.parametrize("service", ["rest"], indirect=True)
async def test_cortex_advice_reaches_the_caller(service: Service, running: Emulator) -> None:
    running.account.faults.arm(Fault("rest_429", -1, {"retry_after": 45}))

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.embed(CAT)

    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    status = rpc_status.from_call(refused.value)  # type: ignore[arg-type]
    assert status is not None
    advice = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(advice) for detail in status.details)
    assert advice.retry_delay.seconds == 45


async def test_a_token_that_expires_amid_many_calls_fails_none(service: Service, running: Emulator) -> None:
    calls = [asyncio.ensure_future(service.embed(f"text {number}")) for number in range(200)]
    await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    old = service.token_file.read_text()
    fresh = service.token_file.with_suffix(".new")
    fresh.write_text(running.credentials.service_token("EMBEDDING", "ACCOUNTADMIN"))
    fresh.replace(service.token_file)
    running.credentials._service[old].expires = 0
    running.credentials.expire(sessions=True, masters=False, services=False)

    answers = await asyncio.gather(*calls)

    assert len({tuple(answer.embeddings[0].values) for answer in answers}) == 200
