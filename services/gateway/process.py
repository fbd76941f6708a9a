"""One gateway process: its ports, what it reads again while it runs, and how it leaves."""

import asyncio
import functools
import logging
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from aiohttp import web

from services.gateway.edge.auth import Authenticator
from services.gateway.edge.connection import ConnectionLimits
from services.gateway.edge.cors import Cors
from services.gateway.edge.exchange import Recorder
from services.gateway.edge.forwarded import Proxies
from services.gateway.edge.front import Behind, Front
from services.gateway.edge.limits import BodyPace, InFlight
from services.gateway.edge.rates import DEFAULTS, Buckets, Limits, Rates
from services.gateway.edge.server import PublicServer
from services.gateway.edge.shedding import Slots
from services.gateway.edge.tls import Certificates
from services.gateway.settings import GatewaySettings, WorkerSettings
from services.gateway.transcoder import DescriptorError
from services.mesh.config import OPS_OFFSET, MeshSettings
from services.mesh.config import load as load_settings
from services.mesh.keys import GATEWAY
from services.mesh.lifetime import until_told_to_stop
from services.mesh.ops import PortTaken, Readiness, start_ops
from services.mesh.telemetry import Telemetry

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What the process has for whatever lies behind its edge; what must be closed goes on ``stack``."""

    telemetry: Telemetry
    readiness: Readiness
    stack: AsyncExitStack


Load = Callable[[Parts], Awaitable[Behind]]


async def run(
    mesh: MeshSettings,
    settings: GatewaySettings,
    authenticator: Authenticator,
    load: Load,
    environ: Mapping[str, str] | None,
    *,
    reloads: bool = False,
) -> None:
    """Serve what *load* returns until told to stop, then drain.

    At SIGHUP the certificates are read again and, where the gateway *reloads*, what lies behind it is loaded anew; what cannot
    be used is logged, and the old goes on.
    """
    telemetry = Telemetry(GATEWAY, mesh)
    try:
        async with AsyncExitStack() as stack:
            stopped = asyncio.ensure_future(until_told_to_stop(environ))
            stack.callback(stopped.cancel)
            parts = Parts(telemetry, Readiness(), stack)
            certificates = Certificates.open(settings)
            worker = load_settings(WorkerSettings, environ)
            recorder = Recorder(telemetry, mesh.trace_inbound)
            server = public_server(await load(parts), settings, authenticator, recorder, parts.readiness, worker=worker)
            ops = await _start_ops(mesh, parts, worker)
            stack.push_async_callback(ops.cleanup)
            shared = worker.folder is not None
            await server.start(mesh.bind, mesh.http_port, "MEMORYBOX_HTTP_PORT", certificates, shared=shared)
            stack.push_async_callback(server.close)
            actions = [server.renew_certificates]
            if reloads:
                actions.append(functools.partial(_reload, server, load, parts))
            rereading = asyncio.ensure_future(at_each_hangup(actions))
            stack.callback(rereading.cancel)
            log.info("ready", extra={"port": mesh.http_port, "auth": settings.auth})
            await asyncio.wait({stopped, rereading}, return_when=asyncio.FIRST_COMPLETED)
            reason = await stopped if stopped.done() else "rereading failed"
            log.info("draining", extra={"reason": reason})
            await server.drain(mesh.drain_s, mesh.grace_s)
            if rereading.done():
                await rereading
    finally:
        await asyncio.to_thread(telemetry.shutdown)


async def at_each_hangup(actions: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Run *actions*, one after the other, whenever the process gets SIGHUP; signals that come meanwhile count as one."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, asked.set)
    try:
        while True:
            await asked.wait()
            asked.clear()
            for action in actions:
                await action()
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


async def _reload(server: PublicServer, load: Load, parts: Parts) -> None:
    try:
        behind = await load(parts)
        check_pages(behind)
    except (DescriptorError, OSError) as error:
        log.error("the new descriptors cannot be served, the old go on: %s", error)  # noqa: TRY400 the text says it all
        return
    server.swap(behind)
    log.info("descriptors are read again", extra={"routes": len(behind.transcoder.routes)})


async def _start_ops(mesh: MeshSettings, parts: Parts, worker: WorkerSettings) -> web.AppRunner:
    socket = None if worker.folder is None else worker.socket_of(worker.folder, worker.index)
    if socket is not None:
        socket.unlink(missing_ok=True)  # of a predecessor that was killed
    port = mesh.ops_port(GATEWAY)
    try:
        return await start_ops(mesh.bind, port, parts.readiness, parts.telemetry, socket=socket)
    except PortTaken as error:
        text = f"{error.message}; the ops port lies {OPS_OFFSET} above MEMORYBOX_HTTP_PORT, which moves it"
        raise PortTaken(text) from error


def check_pages(behind: Behind) -> None:
    """Raise ``DescriptorError`` when a route has the path of a page."""
    for route in behind.transcoder.routes:
        if route.template in behind.pages:
            raise DescriptorError(f"{route.grpc_method}: {route.template} is a page of the gateway")


def _limits(settings: GatewaySettings) -> Limits:
    if settings.rate_limits is not None:
        return settings.rate_limits
    return {} if settings.auth == "dev" else DEFAULTS


def _buckets(worker: WorkerSettings | None) -> Buckets:
    """Return the buckets of callers: one table for all workers, so that a limit does not depend on who is asked."""
    if worker is None or worker.folder is None:
        return Buckets.private()
    return Buckets.shared(worker.rates_of(worker.folder))


def public_server(
    behind: Behind,
    settings: GatewaySettings,
    authenticator: Authenticator,
    recorder: Recorder,
    readiness: Readiness,
    *,
    worker: WorkerSettings | None = None,
) -> PublicServer:
    """Put the edge before *behind*, not yet listening; raises ``DescriptorError`` when a route has the path of a page."""
    check_pages(behind)
    front = Front(
        behind,
        authenticator=authenticator,
        recorder=recorder,
        readiness=readiness,
        in_flight=InFlight(settings.max_in_flight),
        slots=Slots(settings.max_concurrent),
        rates=Rates(_limits(settings), _buckets(worker)),
        proxies=Proxies(settings.trusted_proxies),
        pace=BodyPace(settings.body_timeout_s, settings.body_grace_s, settings.min_body_rate),
        cors=Cors(settings.cors_origins),
    )
    limits = ConnectionLimits(
        most=settings.max_connections,
        header_s=settings.header_timeout_s,
        idle_s=settings.idle_timeout_s,
        write_s=settings.write_timeout_s,
        refused=recorder.refused,
    )
    return PublicServer(front, readiness, limits)
