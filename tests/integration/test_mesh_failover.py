"""Two server processes behind one list of addresses: one drains, dies or hangs, and callers hardly notice."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import grpc
import pytest

from tests.support import probe
from tests.support.clients import CALL_S, Deployment, eventually, plain_channel
from tests.support.mesh import ROOT, free_ports, wait_until

SCRIPT = Path(probe.__file__).with_name("probe_server.py")
SAY = "probe.v1.ProbeService/Say"
READY_S = 30.0
OPS = 100


class Server:
    """One probe server as a process."""

    def __init__(self, deployment: Deployment, changes: dict[str, str]) -> None:
        self.port = free_ports((0, OPS))
        environ = {**deployment.environ, "MEMORYBOX_PORT_BASE": str(self.port), **changes}
        environ = {name: value for name, value in environ.items() if name != "MEMORYBOX_TRACE_DIR"}
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), "memory"],
            env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def readiness(self) -> int:
        """Return the status of /readyz, 0 when nobody answers."""
        if self.process.poll() is not None:
            raise AssertionError(f"ended with {self.process.returncode}")
        try:
            with urlopen(f"http://127.0.0.1:{self.port + OPS}/readyz", timeout=5) as answer:
                return int(answer.status)
        except HTTPError as error:
            with error:
                return error.code
        except OSError:
            return 0

    def log(self) -> list[str]:
        """Return the messages logged by a process that has ended."""
        text = self.process.stderr.read() if self.process.stderr else ""
        return [json.loads(line)["message"] for line in text.splitlines() if line.startswith("{")]

    def close(self) -> None:
        """End the process however it is."""
        self.process.kill()
        self.process.wait()
        if self.process.stderr:
            self.process.stderr.close()


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path, probe.KEYS)


@contextmanager
def servers(deployment: Deployment, count: int, **changes: str) -> Iterator[list[Server]]:
    started: list[Server] = []
    try:
        for _ in range(count):
            started.append(Server(deployment, changes))
            # A port is taken only once its server listens; the next one must find another.
            wait_until(lambda: started[-1].readiness() == 200, READY_S, "ready")
        yield started
    finally:
        for server in started:
            server.close()


class Load:
    """Callers that call again as soon as they are answered."""

    def __init__(self, stub: Any, callers: int, timeout_s: float) -> None:
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self.since = Counter[str]()  # answers since somebody last looked
        self._tasks = [asyncio.create_task(self._call(stub, timeout_s)) for _ in range(callers)]

    async def _call(self, stub: Any, timeout_s: float) -> None:
        while True:
            try:
                port = (await stub.Say(probe.text(), timeout=timeout_s)).text
            except grpc.aio.AioRpcError as error:
                self.failures.append(f"{error.code().name}: {error.details()}")
                self.since.clear()
                await asyncio.sleep(0.01)
            else:
                self.answers[port] += 1
                self.since[port] += 1

    async def stop(self) -> None:
        """End all callers."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def load(
    deployment: Deployment,
    pair: list[Server],
    *,
    callers: int,
    timeout_s: float = CALL_S,
    retryable: tuple[str, ...] = (),
) -> AsyncIterator[Load]:
    """Put load on all servers of *pair*; begin once each of them serves."""
    target = "ipv4:" + ",".join(f"127.0.0.1:{server.port}" for server in pair)
    async with deployment.channel("memory", retryable=retryable, MEMORYBOX_MEMORY_TARGET=target) as channel:
        running = Load(probe.stub(channel), callers, timeout_s)
        try:
            await eventually(lambda: len(running.answers) == len(pair), "every server gets calls")
            yield running
        finally:
            await running.stop()


async def ended(server: Server) -> int:
    return await asyncio.to_thread(server.process.wait, 20)


async def test_draining_server_loses_no_call(deployment: Deployment) -> None:
    with servers(deployment, 2, MEMORYBOX_DRAIN="1") as pair:
        leaving, staying = pair
        async with load(deployment, pair, callers=20) as running:
            leaving.process.send_signal(signal.SIGTERM)
            draining = await asyncio.to_thread(leaving.readiness)
            code = await ended(leaving)
            running.since.clear()
            await eventually(lambda: running.since[str(staying.port)] >= 200, "calls go on")

        assert running.failures == []
        assert set(running.since) == {str(staying.port)}
        assert (draining, code) == (503, 0)
        assert [message for message in leaving.log() if message in {"draining", "stopped"}] == ["draining", "stopped"]


async def test_draining_server_still_takes_calls_of_who_has_not_noticed(deployment: Deployment) -> None:
    with servers(deployment, 1, MEMORYBOX_DRAIN="1") as (server,):
        server.process.send_signal(signal.SIGTERM)
        await eventually(lambda: server.readiness() == 503, "the server says that it leaves")

        async with plain_channel(f"127.0.0.1:{server.port}") as channel:
            answer = await probe.stub(channel).Say(
                probe.text(), metadata=deployment.bearer("memory", "ann"), timeout=CALL_S
            )

        assert answer.text == str(server.port)
        assert await ended(server) == 0


async def test_call_under_way_ends_in_peace_when_its_server_is_told_to_stop(deployment: Deployment) -> None:
    with servers(deployment, 1, MEMORYBOX_DRAIN="0", MEMORYBOX_GRACE="10") as (server,):
        async with deployment.channel("memory", MEMORYBOX_MEMORY_TARGET=f"ipv4:127.0.0.1:{server.port}") as channel:
            stub = probe.stub(channel)
            await stub.Say(probe.text(), timeout=CALL_S)
            call = asyncio.ensure_future(stub.Say(probe.text("0.7"), timeout=CALL_S))
            await asyncio.sleep(0.2)

            server.process.send_signal(signal.SIGTERM)

            assert (await call).text == str(server.port)
        assert await ended(server) == 0


async def test_killed_server_costs_no_call_that_may_be_repeated(deployment: Deployment) -> None:
    with servers(deployment, 2) as pair:
        dying, staying = pair
        async with load(deployment, pair, callers=10, retryable=(SAY,)) as running:
            dying.process.kill()
            await ended(dying)
            running.since.clear()
            await eventually(lambda: running.since[str(staying.port)] >= 200, "calls go on")

        assert running.failures == []


async def test_hanging_server_is_bypassed_within_8_seconds_and_taken_back(deployment: Deployment) -> None:
    with servers(deployment, 2) as pair:
        hanging, staying = pair
        async with load(deployment, pair, callers=4, timeout_s=2.0) as running:
            hanging.process.send_signal(signal.SIGSTOP)
            running.answers.clear()
            running.since.clear()

            await eventually(lambda: running.since[str(staying.port)] >= 400, "the hanging server is bypassed", 8)

            hanging.process.send_signal(signal.SIGCONT)
            running.since.clear()
            await eventually(lambda: running.since[str(hanging.port)] >= 20, "the server is taken back", 15)


async def test_server_that_comes_back_is_found_again(deployment: Deployment) -> None:
    with servers(deployment, 1) as (first,):
        async with load(deployment, [first], callers=2, timeout_s=2.0) as running:
            first.process.kill()
            await ended(first)
            await eventually(lambda: running.failures, "calls fail while nobody serves")

            second = Server(deployment, {"MEMORYBOX_PORT_BASE": str(first.port)})
            try:
                second.port = first.port
                running.since.clear()
                await eventually(lambda: running.since[str(first.port)] >= 20, "calls succeed again", READY_S)
            finally:
                second.close()

        assert {failure.split(":")[0] for failure in running.failures} == {"UNAVAILABLE"}


async def test_second_process_on_a_port_ends_with_an_error_that_names_it(deployment: Deployment) -> None:
    with servers(deployment, 1) as (first,):
        second = Server(deployment, {"MEMORYBOX_PORT_BASE": str(first.port)})
        try:
            _, errors = await asyncio.to_thread(second.process.communicate, None, READY_S)
        finally:
            second.close()

        assert second.process.returncode != 0
        assert f":{first.port + OPS}" in errors
        assert "PortTaken" in errors
