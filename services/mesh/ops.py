"""The ops HTTP port: liveness, readiness and metrics. Answers from memory; never asks a dependency."""

from dataclasses import dataclass, field

from aiohttp import web

from services.mesh.errors import FailedPrecondition
from services.mesh.telemetry import Telemetry


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


async def start_ops(address: str, port: int, readiness: Readiness, telemetry: Telemetry) -> web.AppRunner:
    """Serve ``/livez``, ``/readyz`` and ``/metrics``; the caller cleans the runner up. Raises ``PortTaken``."""

    async def livez(_request: web.Request) -> web.Response:
        return web.json_response({"status": "live"})

    async def readyz(_request: web.Request) -> web.Response:
        state = "ready" if readiness.ready else "draining" if readiness.draining else "starting"
        return web.json_response({"status": state, **readiness.notes}, status=200 if readiness.ready else 503)

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(
            body=telemetry.metrics_text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    app = web.Application()
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, port).start()
    except OSError as error:
        await runner.cleanup()
        raise PortTaken(f"cannot listen on {address}:{port}: {error.strerror}", port=str(port)) from error
    return runner
