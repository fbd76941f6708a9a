"""The public port: listens, and leaves without losing a request."""

import asyncio
import logging

from aiohttp import web

from services.gateway.edge.connection import ConnectionLimits, connections
from services.gateway.edge.front import Front
from services.mesh.ops import PortTaken, Readiness

log = logging.getLogger(__name__)

BACKLOG = 1024
_FAREWELL_S = 1.0  # of the grace, for telling clients of streams
_LEFTOVER_S = 0.5  # for handlers that go on after the grace; aiohttp waits for it twice


class PublicServer:
    """Listens for *front* on one address."""

    def __init__(self, front: Front, readiness: Readiness, limits: ConnectionLimits) -> None:
        self._front = front
        self._readiness = readiness
        self._limits = limits
        # A client that goes away cancels its request, and with it the calls behind.
        self._runner = web.AppRunner(front.application(), handler_cancellation=True, shutdown_timeout=_LEFTOVER_S)
        self._listener: asyncio.Server | None = None

    async def start(self, bind: str, port: int, setting: str) -> None:
        """Begin to serve; raises ``PortTaken`` naming *setting*, which moves the port."""
        await self._runner.setup()
        if self._runner.server is None:
            raise RuntimeError("a runner that is set up has a server")
        factory = connections(self._runner.server, self._limits)
        try:
            self._listener = await asyncio.get_running_loop().create_server(factory, bind, port, backlog=BACKLOG)
        except OSError as error:
            await self._runner.cleanup()
            reason = error.strerror or str(error)
            raise PortTaken(f"cannot listen on {bind}:{port}: {reason} ({setting} moves it)", port=str(port)) from error
        self._readiness.started = True

    @property
    def port(self) -> int:
        """The port really listened on."""
        if self._listener is None or not self._listener.sockets:
            raise RuntimeError("not listening")
        number: int = self._listener.sockets[0].getsockname()[1]
        return number

    async def drain(self, drain_s: float, grace_s: float) -> None:
        """Say that we leave, go on serving for *drain_s*, then wait up to *grace_s* for what is under way.

        Streams that are left then are told to go elsewhere while there is time to hear it.
        """
        self._readiness.draining = True
        await asyncio.sleep(drain_s)
        if self._listener is not None:
            self._listener.close()
        farewell_s = min(_FAREWELL_S, grace_s / 2)
        if not await self._all_done(grace_s - farewell_s):
            self._front.end_streams()
            if not await self._all_done(farewell_s):
                log.warning("requests were still under way", extra={"count": self._front.in_flight.count})

    async def _all_done(self, within_s: float) -> bool:
        try:
            async with asyncio.timeout(within_s):
                await self._front.in_flight.all_done()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Close every connection."""
        self._readiness.started = False
        if self._listener is not None:
            self._listener.close()
        await self._runner.cleanup()
