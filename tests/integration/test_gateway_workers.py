"""A gateway of several processes: one port, one set of limits, one ops port, and nobody left behind."""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2

from services.cli.workers import merged
from tests.support.gateway import FakeUpstream
from tests.support.mesh import children, free_ports, is_alive

OPS = 100
WITHIN_S = 30.0
WORKERS = 2


def zoo(path: str) -> bytes:
    proto = descriptor_pb2.FileDescriptorProto(name="zoo.proto", package="zoo.v1", syntax="proto3")
    proto.dependency.extend(["google/api/annotations.proto", "google/protobuf/wrappers.proto"])
    method = proto.service.add(name="Zoo").method.add(name="Get")
    method.input_type = method.output_type = ".google.protobuf.StringValue"
    method.options.Extensions[annotations_pb2.http].CopyFrom(http_pb2.HttpRule(get=path))
    return descriptor_pb2.FileDescriptorSet(file=[proto]).SerializeToString()


async def until(holds: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not await holds():
            await asyncio.sleep(0.05)


@dataclass
class Crew:
    """The processes of one gateway."""

    process: asyncio.subprocess.Process
    port: int
    descriptors: Path

    async def get(self, path: str, ops: int = 0) -> tuple[int, str]:
        """Return status and text, over a connection of its own, which the kernel gives to any worker."""
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{self.port + ops}{path}") as answer,
            ):
                return answer.status, await answer.text()
        except aiohttp.ClientConnectionError:
            return 0, ""

    async def is_whole(self) -> bool:
        """Say whether every worker is ready."""
        status, text = await self.get("/readyz", OPS)
        return status == 200 and text.count('"ready"') == 1 + WORKERS

    def pids(self) -> list[int]:
        return [pid for pid in children(self.process.pid) if is_alive(pid)]


@asynccontextmanager
async def crew(tmp_path: Path, target: int, **environ: str) -> AsyncIterator[Crew]:
    descriptors, port = tmp_path / "zoo.binpb", free_ports((0, OPS))
    descriptors.write_bytes(zoo("/first"))
    words = [
        "--descriptor-set",
        str(descriptors),
        "--upstream",
        f"zoo.v1.Zoo=127.0.0.1:{target}",
        "--http-port",
        str(port),
    ]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "services.cli", "gateway", *words),
        env={**os.environ, "MEMORYBOX_GATEWAY_WORKERS": str(WORKERS), "MEMORYBOX_DRAIN": "0", **environ},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    found = Crew(process, port, descriptors)
    try:
        await until(found.is_whole)
        yield found
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(WITHIN_S):
            await process.communicate()


async def test_workers_share_port_limits_and_metrics(tmp_path: Path) -> None:
    upstream = FakeUpstream()
    limits = {"MEMORYBOX_GATEWAY_RATE_LIMITS": "read=1/h:30"}

    async with upstream.serving() as target, crew(tmp_path, target, **limits) as gateway:
        statuses = Counter([(await gateway.get("/first"))[0] for _ in range(60)])
        _, metrics = await gateway.get("/metrics", OPS)

    served = [line for line in metrics.splitlines() if line.startswith("http_server_request_duration_seconds_count")]
    assert statuses == {200: 30, 429: 30}
    assert {f'worker="{index}"' in "".join(served) for index in range(WORKERS)} == {True}
    assert metrics.count("# TYPE http_server_request_duration_seconds histogram") == 1
    assert (
        sum(line.startswith("memorybox_gateway_worker_up{") and line.endswith(" 1.0") for line in metrics.splitlines())
        == 2
    )


async def test_dead_worker_is_replaced_and_all_read_descriptors_again(tmp_path: Path) -> None:
    upstream = FakeUpstream()

    async with upstream.serving() as target, crew(tmp_path, target) as gateway:
        before = gateway.pids()
        os.kill(before[0], signal.SIGKILL)

        async def is_replaced() -> bool:
            now = gateway.pids()
            return len(now) == WORKERS and before[0] not in now and await gateway.is_whole()

        await until(is_replaced)
        gateway.descriptors.write_bytes(zoo("/second"))
        gateway.process.send_signal(signal.SIGHUP)

        async def is_everywhere() -> bool:
            return {(await gateway.get("/second"))[0] for _ in range(8 * WORKERS)} == {200}

        await until(is_everywhere)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)], ids=["told", "killed"]
)
async def test_no_worker_outlives_its_gateway(tmp_path: Path, number: signal.Signals, code: int) -> None:
    async with crew(tmp_path, 1) as gateway:
        workers = gateway.pids()
        gateway.process.send_signal(number)
        ended = await gateway.process.wait()

        async def are_gone() -> bool:
            return not any(is_alive(pid) for pid in workers)

        await until(are_gone)

    assert (len(workers), ended) == (WORKERS, code)


async def test_requests_under_way_end_before_the_workers(tmp_path: Path) -> None:
    upstream, go_on = FakeUpstream(), asyncio.Event()

    async def slow(_request: bytes, _context: object) -> bytes:
        await go_on.wait()
        return b""

    upstream.answers["Get"] = slow
    async with upstream.serving() as target, crew(tmp_path, target) as gateway:
        under_way = asyncio.create_task(gateway.get("/first"))
        await upstream.reached.wait()
        gateway.process.terminate()

        async def is_draining() -> bool:
            return (await gateway.get("/readyz", OPS))[0] == 503

        await until(is_draining)
        go_on.set()

        assert (await under_way)[0] == 200


async def test_port_that_another_gateway_shares_is_taken(tmp_path: Path) -> None:
    async with crew(tmp_path, 1) as gateway:
        words = ["--descriptor-set", str(gateway.descriptors), "--upstream", "zoo.v1.Zoo=127.0.0.1:1"]
        second = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "services.cli", "gateway", *words, "--http-port", str(gateway.port)),
            env={**os.environ, "MEMORYBOX_GATEWAY_WORKERS": "2"},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await second.communicate()

    assert second.returncode == 1
    assert f"cannot listen on 127.0.0.1:{gateway.port}".encode() in errors


def test_metrics_of_workers_are_told_apart() -> None:
    text = '# HELP calls_total Calls.\n# TYPE calls_total counter\ncalls_total{kind="a"} 2.0\n'

    whole = merged([text, "", text]).decode()

    assert whole.count("# TYPE calls_total counter") == 1
    assert 'calls_total{kind="a",worker="0"} 2.0' in whole
    assert 'calls_total{kind="a",worker="2"} 2.0' in whole
    assert 'memorybox_gateway_worker_up{worker="1"} 0.0' in whole
