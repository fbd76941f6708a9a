"""`memorybox serve NAME`: one service in this process, until it is told to stop."""

import argparse
import asyncio
import gc
import importlib
import logging
import sys
from collections.abc import Coroutine, Mapping
from types import TracebackType

from services.cli import unknown
from services.cli.entry import report_fault
from services.cli.settings import service_settings
from services.mesh import logs
from services.mesh.config import LifetimeSettings, MeshSettings, load, require_valid
from services.mesh.keys import GATEWAY

log = logging.getLogger(__name__)


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Serve and drain; a service that cannot start raises its reason."""
    require_valid(environ, MeshSettings, service_settings(arguments.name))
    logs.configure(arguments.name, load(MeshSettings, environ).log_level)
    sys.excepthook = _log_fault
    if load(LifetimeSettings, environ).supervisor_fd is None:  # else the supervisor has said it
        for line in unknown.warnings(environ):
            log.warning(line)
    if arguments.name == GATEWAY and (workers := importlib.import_module("services.cli.workers")).are_asked_for(
        environ
    ):
        workers.run(["serve", GATEWAY], environ, load(MeshSettings, environ))
        return 0
    app = importlib.import_module(f"services.{arguments.name}.app")
    run_to_end(app.serve(environ))
    return 0


def run_to_end(service: Coroutine[None, None, None]) -> None:
    """Run *service* on the fastest loop there is, as the last thing that this process does."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(service)
    gc.freeze()  # everything is closed; looking for garbage among all that was loaded would take the exit 0.1 to 0.3 s


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    """Return uvloop's loop where it is installed: it serves more calls a second than asyncio's own."""
    try:
        return importlib.import_module("uvloop").Loop  # type: ignore[no-any-return]
    except ModuleNotFoundError:
        return None


def _log_fault(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    log.critical("the service ends by a fault of its own", exc_info=(kind, error, trace))
    report_fault(kind, error, trace)
