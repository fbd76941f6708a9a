"""Connections of the public port: how many, how patient with headers, and what a broken request is told."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from aiohttp import web
from aiohttp.http_parser import HttpRequestParser

from services.gateway.edge.headers import SERVER, secure
from services.gateway.edge.refusals import refuse
from services.gateway.transcoder.errors import status_json
from services.mesh.errors import FailedPrecondition

log = logging.getLogger(__name__)

LINGER_S = 5.0  # how long the rest of a refused body is read, so that the answer arrives
_BUSY_BODY = status_json(refuse(503, "too many connections", reason="TOO_MANY_CONNECTIONS").status)
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nServer: %b\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n"
    b"X-Content-Type-Options: nosniff\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
) % (SERVER.encode(), len(_BUSY_BODY), _BUSY_BODY)


class UnsafeParser(FailedPrecondition):
    """aiohttp runs on its pure-Python parser, which has let smuggled requests through (CVE-2025-69224)."""

    reason = "UNSAFE_PARSER"


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """``header_s`` is the time from a request's first byte, or from connecting, to the end of its headers.

    ``idle_s`` may pass between two requests, ``write_s`` without the client taking a byte of an answer.
    ``refused`` is told the reason of every refusal that no handler sees.
    """

    most: int
    header_s: float
    idle_s: float
    write_s: float
    refused: Callable[[str], None]


class EdgeConnection(web.RequestHandler):
    """A connection that ends when headers do not come or answers are not read, and echoes nothing of a broken request."""

    __slots__ = ("_busy", "_header_s", "_header_timer", "_over", "_refused", "_unread", "_write_s", "_write_timer")

    def __init__(self, manager: web.Server, limits: ConnectionLimits, **kwargs: Any) -> None:
        super().__init__(manager, keepalive_timeout=limits.idle_s, **kwargs)
        self._header_s = limits.header_s
        self._over = len(manager.connections) >= limits.most
        self._refused = limits.refused
        self._header_timer: asyncio.TimerHandle | None = None
        self._busy = False
        self._write_s = limits.write_s
        self._write_timer: asyncio.TimerHandle | None = None
        self._unread = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request, or say that there are too many connections."""
        if self._over:
            self._refused("TOO_MANY_CONNECTIONS")
            self.close()
            over = cast("asyncio.Transport", transport)
            over.write(_BUSY)
            over.close()
            return
        super().connection_made(transport)
        self._wait_for_headers()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the timers with the connection."""
        self._stop_waiting()
        self._stop_write_timer()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Watch a client that takes the answer slower than it comes."""
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        """Note that the client has taken most of it."""
        self._stop_write_timer()
        super().resume_writing()

    def _watch_reader(self) -> None:
        if self.transport is not None:
            self._unread = self.transport.get_write_buffer_size()
            self._write_timer = self._loop.call_later(self._write_s, self._close_stuck)

    def _close_stuck(self) -> None:
        if self.transport is not None and self.transport.get_write_buffer_size() >= self._unread:
            self._refused("SLOW_READER")
            self.transport.abort()
        else:
            self._watch_reader()

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def data_received(self, data: bytes) -> None:
        """Feed the parser; the first bytes of a further request start the clock for its headers."""
        if not self._busy and self._header_timer is None and data:
            self._wait_for_headers()
        super().data_received(data)

    def request_begins(self) -> None:
        """Note that all headers of a request are there."""
        self._busy = True
        self._stop_waiting()

    def request_ends(self) -> None:
        """Note that the request is answered."""
        self._busy = False

    def stop_reading(self) -> None:
        """Close after the answer without reading on: the client has had its time."""
        self._lingering_time = 0.0

    def _wait_for_headers(self) -> None:
        self._header_timer = self._loop.call_later(self._header_s, self._close_slow)

    def _stop_waiting(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _close_slow(self) -> None:
        self._refused("SLOW_HEADERS")
        self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what the parser refused, and what went wrong outside any handler, in a neutral form.

        *message* is not told: aiohttp's texts echo what the client sent.
        """
        if request.writer.output_size > 0:
            raise ConnectionResetError("an answer is under way already")
        if status >= 500:  # noqa: PLR2004 HTTP server errors
            log.error("request failed outside its handler", exc_info=exc)
            error = refuse(500, "internal error", reason="INTERNAL")
        else:
            self._refused("MALFORMED_REQUEST")
            error = refuse(400, "the request is not valid HTTP/1.1", reason="MALFORMED_REQUEST")
        response = error.response()
        secure(response.headers)
        response.force_close()
        return response


def connections(server: web.Server, limits: ConnectionLimits) -> Callable[[], EdgeConnection]:
    """Return the factory of *server*'s connections; raises ``UnsafeParser`` without aiohttp's C parser."""
    if "_http_parser" not in HttpRequestParser.__module__:
        raise UnsafeParser("aiohttp's C extension is missing, or AIOHTTP_NO_EXTENSIONS is set; unset it or reinstall")
    loop = asyncio.get_running_loop()

    def factory() -> EdgeConnection:
        # Content codings are undone by the transcoder, within its limits.
        return EdgeConnection(
            server, limits, loop=loop, access_log=None, auto_decompress=False, lingering_time=LINGER_S
        )

    return factory
