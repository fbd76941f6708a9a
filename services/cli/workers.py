"""A gateway of several processes: they share the public port, the kernel spreads connections among them; one ops port tells of all."""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import prometheus_client
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from services.cli.child import Child, ServiceProcess
from services.cli.logstream import LogStream, as_json
from services.cli.supervisor import Supervisor
from services.gateway.edge.rates import lay_out
from services.gateway.edge.server import bound_socket
from services.gateway.settings import GatewaySettings, WorkerSettings
from services.mesh.config import MeshSettings, load
from services.mesh.keys import GATEWAY
from services.mesh.lifetime import until_told_to_stop
from services.mesh.ops import PortTaken, start_ops

KILL_MARGIN_S = 2.0  # beyond the drain and grace that a worker keeps itself; less than `up` gives to us
LEAVE_S = 2.0  # beyond the drain, for workers of a predecessor that was killed
LOOK_EVERY_S = 0.1
_ASK_S = 2.0


def are_asked_for(environ: Mapping[str, str]) -> bool:
    """Say whether this process is to start workers, and is none itself."""
    return load(GatewaySettings, environ).workers > 1 and load(WorkerSettings, environ).folder is None


def run(words: Sequence[str], environ: Mapping[str, str], mesh: MeshSettings) -> None:
    """Keep workers running, each by the command `memorybox` and *words*, until told to stop; then drain them all."""
    number = load(GatewaySettings, environ).workers
    with tempfile.TemporaryDirectory(prefix="memorybox-gateway-") as name:
        folder = Path(name)
        lay_out(WorkerSettings.rates_of(folder))
        services = [_service(words, folder, index) for index in range(number)]
        log = LogStream(sys.stderr, as_json, mesh.log_level, name=GATEWAY)
        grace_s = mesh.drain_s + mesh.grace_s + KILL_MARGIN_S
        supervisor = Supervisor(services, environ, log, drain_s=mesh.drain_s, grace_s=grace_s, together=True)
        try:
            asyncio.run(_stay(supervisor, services, mesh, log, environ))
        finally:
            supervisor.close()
            log.close()


def _service(words: Sequence[str], folder: Path, index: int) -> ServiceProcess:
    return ServiceProcess(
        name=f"{GATEWAY}-{index}",
        command=(sys.executable, "-P", "-m", "services.cli", *words),
        ready_url="http://worker/readyz",
        ports=(),
        socket=str(WorkerSettings.socket_of(folder, index)),
        environ={"MEMORYBOX_GATEWAY_WORKER_DIR": str(folder), "MEMORYBOX_GATEWAY_WORKER": str(index)},
    )


async def _stay(
    supervisor: Supervisor,
    services: Sequence[ServiceProcess],
    mesh: MeshSettings,
    log: LogStream,
    environ: Mapping[str, str],
) -> None:
    def lose_patience(number: int) -> None:
        supervisor.kill()
        os._exit(128 + number)

    crew = Crew(services, supervisor.children)
    stop = asyncio.ensure_future(until_told_to_stop(environ, at_second_signal=lose_patience))
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, supervisor.tell, signal.SIGHUP)
    try:
        await _until_free(mesh)
        # Held, so that no other process takes the port while workers come and go.
        with bound_socket(mesh.bind, mesh.http_port, shared=True):
            ops = await start_ops(mesh.bind, mesh.ops_port(GATEWAY), crew, crew)
            stop.add_done_callback(crew.drain)
            try:
                await supervisor.run(
                    stop, lambda: log.tell("INFO", "ready", port=mesh.http_port, workers=len(services))
                )
            finally:
                await ops.cleanup()
    finally:
        stop.cancel()


async def _until_free(mesh: MeshSettings) -> None:
    """Return when nobody has the public port, not even to share it; raise ``PortTaken`` when that stays so.

    Workers of a predecessor that was killed are leaving, and get their time.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + mesh.drain_s + LEAVE_S
    while True:
        try:
            with bound_socket(mesh.bind, mesh.http_port, shared=False) as probe:
                probe.listen()
        except OSError as error:
            if loop.time() > deadline:
                text = f"cannot listen on {mesh.bind}:{mesh.http_port}: {error.strerror} (MEMORYBOX_HTTP_PORT moves it)"
                raise PortTaken(text, port=str(mesh.http_port)) from error
            await asyncio.sleep(LOOK_EVERY_S)
        else:
            return


@dataclass(slots=True)
class Crew:
    """What the one ops port tells of all workers."""

    services: Sequence[ServiceProcess]
    children: Sequence[Child]
    draining: bool = False

    @property
    def ready(self) -> bool:
        """Whether any worker takes requests."""
        return not self.draining and any(child.ready.is_set() for child in self.children)

    @property
    def notes(self) -> Mapping[str, str]:
        """The state of each worker."""
        return {child.name: "ready" if child.ready.is_set() else "starting" for child in self.children}

    def drain(self, _stopped: asyncio.Future[str]) -> None:
        """Note that all are told to leave."""
        self.draining = True

    async def metrics_text(self) -> bytes:
        """Return the metrics of all workers, told apart by the label ``worker``."""
        texts = await asyncio.gather(*(_metrics_of(service) for service in self.services))
        return await asyncio.to_thread(merged, texts)


async def _metrics_of(service: ServiceProcess) -> str:
    """Return what a worker tells; nothing of one that is just being started again."""
    connector = aiohttp.UnixConnector(service.socket)
    limit = aiohttp.ClientTimeout(total=_ASK_S)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=limit) as session,
            session.get("http://worker/metrics") as answer,
        ):
            return await answer.text()
    except (aiohttp.ClientError, TimeoutError):
        return ""


class _Families(Collector):
    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Sequence[Metric]:
        return self._families


def merged(texts: Sequence[str]) -> bytes:
    """Return metrics in Prometheus' text format as one, those of the nth text with the label ``worker`` n."""
    ready = Metric("memorybox_gateway_worker_up", "Whether a worker of the gateway answers.", "gauge")
    families: dict[str, Metric] = {ready.name: ready}
    for index, text in enumerate(texts):
        worker = {"worker": str(index)}
        ready.add_sample(ready.name, worker, float(bool(text)))
        for family in text_string_to_metric_families(text):
            known = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                known.add_sample(sample.name, {**sample.labels, **worker}, sample.value)
    return prometheus_client.generate_latest(_Families(list(families.values())))


def words_of(arguments: argparse.Namespace) -> list[str]:
    """Return the words that `memorybox gateway` was asked with."""
    several = {
        "--descriptor-set": arguments.descriptor_set,
        "--upstream": arguments.upstream,
        "--reflect": arguments.reflect,
    }
    single = {
        "--upstream-ca": arguments.upstream_ca,
        "--bind": arguments.bind,
        "--http-port": arguments.http_port,
        "--auth": arguments.auth,
    }
    words = [f"{flag}={value}" for flag, values in several.items() for value in values]
    words += [f"{flag}={value}" for flag, value in single.items() if value is not None]
    return ["gateway", *words, *(["--upstream-tls"] if arguments.upstream_tls else []), *arguments.options]
