"""`memorybox up`: the whole mesh on this machine, in one command and one stream of log lines."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence

from services.cli import unknown
from services.cli.child import ServiceProcess
from services.cli.exclusive import only_one
from services.cli.grants import standard_keys
from services.cli.logstream import LogStream, as_json, as_text
from services.cli.ports import require_free
from services.cli.settings import CliSettings, public_url, reachable, service_settings
from services.cli.supervisor import Supervisor
from services.mesh.config import BUILT_SERVICES, MeshSettings, load, require_valid
from services.mesh.keys import KeyFolder
from services.mesh.lifetime import STOP_SIGNALS, until_told_to_stop

KILL_MARGIN_S = 5.0  # beyond the drain and grace that a service keeps itself
_FLAGS = {
    "profile": "MEMORYBOX_PROFILE",
    "data_dir": "MEMORYBOX_DATA_DIR",
    "trace_dir": "MEMORYBOX_TRACE_DIR",
    "http_port": "MEMORYBOX_HTTP_PORT",
    "port_base": "MEMORYBOX_PORT_BASE",
}

# On one machine nobody needs long to notice that a service leaves: all of it lies behind the gateway.
_DEFAULTS = {"MEMORYBOX_AUTH": "dev", "MEMORYBOX_DRAIN": "0.3", "MEMORYBOX_SUBJECT_SERVICES": "analyst"}

Table = Callable[[MeshSettings], Sequence[ServiceProcess]]


def built_services(mesh: MeshSettings) -> Sequence[ServiceProcess]:
    """Return every service that exists, in the order in which they start."""
    return [_service(mesh, name) for name in BUILT_SERVICES]


def run(arguments: argparse.Namespace, environ: Mapping[str, str], table: Table = built_services) -> int:
    """Start everything and stay until told to stop."""
    environ = _environment(arguments, environ)
    # Here, so that all that is wrong is told at once; each service would tell its own.
    require_valid(environ, MeshSettings, CliSettings, *map(service_settings, BUILT_SERVICES))
    mesh = load(MeshSettings, environ)
    services = table(mesh)
    grace_s = mesh.drain_s + mesh.grace_s + KILL_MARGIN_S
    with only_one(mesh.data_dir) as predecessor_killed:
        require_free(services, mesh.bind, grace_s if predecessor_killed else 0)
        KeyFolder(mesh.keys_dir).ensure(standard_keys(load(CliSettings, environ).user))
        log = _log_stream(arguments.log_format, mesh.log_level)
        for line in unknown.warnings(environ):
            log.tell("WARNING", line)
        supervisor = Supervisor(services, environ, log, drain_s=mesh.drain_s, grace_s=grace_s)
        try:
            asyncio.run(_stay(supervisor, f"Memory Box is ready at {public_url(environ)}"))
        finally:
            supervisor.close()
            log.close()
    return 0


async def _stay(supervisor: Supervisor, welcome: str) -> None:
    def lose_patience(number: int) -> None:
        supervisor.kill()
        os._exit(128 + number)

    # A closed terminal ends the mesh like Ctrl-C does, unless nohup asked for the opposite.
    hangup = () if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else (signal.SIGHUP,)
    stop = until_told_to_stop({}, signals=(*STOP_SIGNALS, *hangup), at_second_signal=lose_patience)

    def greet() -> None:
        sys.stdout.write(f"{welcome}\n")  # in one piece: log lines go to the same terminal
        sys.stdout.flush()

    await supervisor.run(stop, greet)


def _environment(arguments: argparse.Namespace, environ: Mapping[str, str]) -> dict[str, str]:
    flags = {
        variable: str(value) for flag, variable in _FLAGS.items() if (value := getattr(arguments, flag)) is not None
    }
    return {**_DEFAULTS, **environ, **flags}


def _service(mesh: MeshSettings, name: str) -> ServiceProcess:
    port, ops_port = mesh.port(name), mesh.ops_port(name)
    setting = "MEMORYBOX_HTTP_PORT" if name == "gateway" else "MEMORYBOX_PORT_BASE"
    return ServiceProcess(
        name=name,
        # -P: a folder called `services` where the command is given must not hide ours.
        command=(sys.executable, "-P", "-m", "services.cli", "serve", name),
        ready_url=f"http://{reachable(mesh.bind)}:{ops_port}/readyz",
        ports=((port, setting), (ops_port, setting)),
    )


def _log_stream(chosen: str, level: str) -> LogStream:
    for_people = chosen == "text" or (chosen == "auto" and sys.stderr.isatty())
    return LogStream(sys.stderr, as_text if for_people else as_json, level)
