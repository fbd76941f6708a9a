"""The ops HTTP port: liveness, readiness and metrics. Answers from memory; never asks a dependency."""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from aiohttp import web

from services.mesh.errors import FailedPrecondition

_WELL = frozenset({"ready", "idle"})


class PortTaken(FailedPrecondition):
    """Another process listens on a port that this one needs."""

    reason = "PORT_TAKEN"


@dataclass(slots=True)
class Readiness:
    """The one state that HTTP readiness and gRPC health are told from."""

    started: bool = False
    draining: bool = False
    notes: dict[str, str] = field(default_factory=dict)  # informational, such as the state of a dependency

    @property
    def ready(self) -> bool:
        """Whether new calls are welcome."""
        return self.started and not self.draining


class State(Protocol):
    """What readiness is told from."""

    @property
    def ready(self) -> bool: ...
    @property
    def draining(self) -> bool: ...
    @property
    def notes(self) -> Mapping[str, str]: ...


class Metrics(Protocol):
    """What has metrics in Prometheus' text format, at once or after asking for them."""

    def metrics_text(self) -> bytes | Awaitable[bytes]: ...


async def start_ops(
    address: str, port: int, readiness: State, telemetry: Metrics, *, socket: Path | None = None
) -> web.AppRunner:
    """Serve ``/livez``, ``/readyz`` and ``/metrics``; the caller cleans the runner up. Raises ``PortTaken``.

    With *socket* they are served at that path instead of address and port.
    """

    async def livez(_request: web.Request) -> web.Response:
        return web.json_response({"status": "live"})

    async def readyz(request: web.Request) -> web.Response:
        if "service" in request.query:
            return _dependency(request.query["service"], readiness.notes)
        state = "ready" if readiness.ready else "draining" if readiness.draining else "starting"
        return web.json_response({"status": state, **readiness.notes}, status=200 if readiness.ready else 503)

    async def metrics(_request: web.Request) -> web.Response:
        text = telemetry.metrics_text()
        return web.Response(
            body=text if isinstance(text, bytes) else await text,
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    app = web.Application()
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, address, port) if socket is None else web.UnixSite(runner, socket)
        await site.start()
    except OSError as error:
        await runner.cleanup()
        raise PortTaken(f"cannot listen on {address}:{port}: {error.strerror}", port=str(port)) from error
    return runner


def _dependency(name: str, notes: Mapping[str, str]) -> web.Response:
    """Answer what is known of one dependency: a channel that nobody needed yet is as good as a ready one."""
    state = notes.get(name)
    if state is None:
        return web.json_response({"message": f"known are {', '.join(sorted(notes)) or 'none'}"}, status=404)
    return web.json_response({name: state}, status=200 if state.lower() in _WELL else 503)
