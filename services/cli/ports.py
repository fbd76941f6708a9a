"""Whether the ports that a mesh needs are free."""

import socket
import sys
import time
from collections.abc import Iterable

from services.cli.child import ServiceProcess
from services.mesh.errors import FailedPrecondition

_LOOK_EVERY_S = 0.2


class PortsTaken(FailedPrecondition):
    """Another process listens where a service of this mesh would."""

    reason = "PORTS_TAKEN"


def require_free(services: Iterable[ServiceProcess], bind: str, patience_s: float) -> None:
    """Return when every port is free; raise ``PortsTaken``, naming each port and its setting, after *patience_s* seconds.

    Patience is for the services of a supervisor that was killed: they are ending.
    """
    services = list(services)
    deadline = time.monotonic() + patience_s
    told = False
    while taken := _taken(services, bind):
        if time.monotonic() >= deadline:
            raise PortsTaken("; ".join(taken))
        if not told:
            print("memorybox: waiting for the services of an `up` that was killed to end", file=sys.stderr, flush=True)
            told = True
        time.sleep(_LOOK_EVERY_S)


def _taken(services: Iterable[ServiceProcess], bind: str) -> list[str]:
    return [
        f"port {port} ({service.name}) is taken on {bind}: {fault}; {setting} moves it"
        for service in services
        for port, setting in service.ports
        if (fault := _fault(bind, port))
    ]


def _fault(bind: str, port: int) -> str:
    """Return why nothing can listen on *port*, or nothing."""
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that just ended are not in the way
        try:
            probe.bind((bind, port))
        except OSError as error:
            return error.strerror or str(error)
    return ""
