"""The public port: listens, takes new certificates, and leaves without losing a request."""

import asyncio
import logging
import socket
import ssl

from aiohttp import web

from services.gateway.edge.connection import ConnectionLimits, connections
from services.gateway.edge.front import Behind, Front
from services.gateway.edge.tls import LOOK_EVERY_S, Certificates
from services.mesh.config import BadSettings
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
        self._runner: web.ServerRunner | None = None
        self._socket: socket.socket | None = None
        self._listener: asyncio.Server | None = None
        self._certificates: Certificates | None = None
        self._watch: asyncio.Task[None] | None = None

    async def start(
        self, bind: str, port: int, setting: str, certificates: Certificates | None = None, *, shared: bool = False
    ) -> None:
        """Begin to serve; raises ``PortTaken`` naming *setting*, which moves the port, and ``BadSettings``.

        A *shared* port is listened on by other processes too, among which the kernel spreads connections.
        """
        self._certificates = certificates
        context = await asyncio.to_thread(certificates.context) if certificates is not None else None
        self._runner = web.ServerRunner(self._front.server(), shutdown_timeout=_LEFTOVER_S)
        await self._runner.setup()
        try:
            self._socket = bound_socket(bind, port, shared=shared)
            await self._listen(self._socket, context)
        except OSError as error:
            await self._runner.cleanup()
            reason = error.strerror or str(error)
            raise PortTaken(f"cannot listen on {bind}:{port}: {reason} ({setting} moves it)", port=str(port)) from error
        if certificates is not None:
            self._watch = asyncio.create_task(self._watch_certificates(certificates))
        self._readiness.started = True

    async def _listen(self, listening: socket.socket, context: ssl.SSLContext | None) -> None:
        if self._runner is None or self._runner.server is None:
            raise RuntimeError("a runner that is set up has a server")
        factory = connections(self._runner.server, self._limits)
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            factory,
            sock=listening.dup(),
            backlog=BACKLOG,
            ssl=context,
            ssl_handshake_timeout=self._limits.header_s if context is not None else None,
        )

    @property
    def port(self) -> int:
        """The port really listened on."""
        if self._socket is None:
            raise RuntimeError("not listening")
        number: int = self._socket.getsockname()[1]
        return number

    def swap(self, behind: Behind) -> None:
        """Serve *behind* from the next request on; those under way end where they began."""
        self._front.swap(behind)

    async def renew_certificates(self) -> None:
        """Use the certificate files as they are now for new connections; files that cannot be used change nothing."""
        if self._certificates is None or self._socket is None or self._readiness.draining:
            return
        try:
            context = await asyncio.to_thread(self._certificates.context)
        except BadSettings as error:
            log.error("the new certificate cannot be used, the old goes on: %s", error)  # noqa: TRY400 the text says it all
            return
        old = self._listener
        # Both accept from one queue, so no connection is lost between them.
        await self._listen(self._socket, context)
        if old is not None:
            old.close()
        log.info("the certificate is read again")

    async def _watch_certificates(self, certificates: Certificates) -> None:
        seen = await asyncio.to_thread(certificates.seen)
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            now = await asyncio.to_thread(certificates.seen)
            if now != seen:
                seen = now
                await self.renew_certificates()

    async def drain(self, drain_s: float, grace_s: float) -> None:
        """Say that we leave, go on serving for *drain_s*, then wait up to *grace_s* for what is under way.

        Streams that are left then are told to go elsewhere while there is time to hear it.
        """
        self._readiness.draining = True
        await asyncio.sleep(drain_s)
        self._stop_listening()
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

    def _stop_listening(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        if self._listener is not None:
            self._listener.close()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def close(self) -> None:
        """Close every connection."""
        self._readiness.started = False
        self._stop_listening()
        if self._runner is not None:
            await self._runner.cleanup()


def bound_socket(bind: str, port: int, *, shared: bool) -> socket.socket:
    """Return a socket bound to the address, or raise ``OSError``."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        bind, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.setblocking(False)  # noqa: FBT003 the name of the method says it
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound
