"""The way of every request: route, who calls, how much, then the transcoder. Whatever happens is answered as google.rpc.Status."""

import asyncio
import logging
import math
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from aiohttp import HttpVersion10, web

from services.gateway.edge.arrival import arrival
from services.gateway.edge.auth import Authenticator
from services.gateway.edge.connection import EdgeConnection
from services.gateway.edge.cors import Cors
from services.gateway.edge.exchange import CLIENT_GONE, EXCHANGE, Exchange, Recorder
from services.gateway.edge.forwarded import Proxies
from services.gateway.edge.headers import secure
from services.gateway.edge.limits import BodyPace, InFlight, paced_body
from services.gateway.edge.pages import PROBES, Page, Pages
from services.gateway.edge.rates import WRITE, Rates, Standing
from services.gateway.edge.refusals import reason_of, refuse
from services.gateway.edge.shedding import Slots
from services.gateway.transcoder import CallContext, HttpError, Match, Transcoder, from_aiohttp
from services.gateway.transcoder.calls import Channel
from services.gateway.transcoder.errors import ENDED
from services.gateway.transcoder.rules import BIDI, CLIENT_STREAM
from services.mesh.errors import MemoryBoxError
from services.mesh.identity import ACTING
from services.mesh.keys import KeyNotFound, KeysMissing
from services.mesh.ops import Readiness
from services.mesh.status import to_status

log = logging.getLogger(__name__)

_OVERLOAD = 503
_UPLOADS = frozenset({CLIENT_STREAM, BIDI})
_TOO_SLOW = 408
_PAGE_METHODS = "GET, HEAD, OPTIONS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """What lies behind the edge. ``forms`` says that urlencoded forms are a way to call (option ``form_fallback``).

    ``meshed`` channels add identity and trace to calls themselves; calls by others get the trace here.
    """

    transcoder: Transcoder
    channels: Callable[[str], Channel]
    meshed: bool
    max_body: int
    pages: Pages
    forms: bool = False
    classes: Mapping[str, str] = field(default_factory=dict)
    """Class of every method by its gRPC path, for the limits of callers."""


STANDING = web.RequestKey("standing", Standing)
"""What the caller has left of the narrowest limit that was looked at."""
BEHIND = web.RequestKey("behind", Behind)
"""What a request is served by, whatever is swapped in meanwhile."""


class Front:
    """Serves the public port."""

    def __init__(
        self,
        behind: Behind,
        *,
        authenticator: Authenticator,
        recorder: Recorder,
        readiness: Readiness,
        in_flight: InFlight,
        slots: Slots,
        rates: Rates,
        proxies: Proxies,
        pace: BodyPace,
        cors: Cors,
    ) -> None:
        self._behind = behind
        self._retired: weakref.WeakSet[Transcoder] = weakref.WeakSet()
        self._authenticator = authenticator
        self._recorder = recorder
        self._readiness = readiness
        self._slots = slots
        self._rates = rates
        self._proxies = proxies
        self._pace = pace
        self._cors = cors
        self.in_flight = in_flight

    def server(self) -> web.Server:
        """Return the aiohttp server of the running loop.

        It has no application, whose routing and hooks would cost each request more than ours. A client that goes away
        cancels its request, and with it the calls behind.
        """
        loop = asyncio.get_running_loop()

        def request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.Request:
            return EdgeRequest(message, payload, protocol, writer, task, loop)

        return web.Server(self._handle, request_factory=request, handler_cancellation=True)

    def swap(self, behind: Behind) -> None:
        """Serve *behind* from the next request on; those under way end where they began."""
        self._retired.add(self._behind.transcoder)
        self._behind = behind

    def end_streams(self) -> None:
        """End every server stream, telling its client to come back."""
        for transcoder in (self._behind.transcoder, *self._retired):
            transcoder.end_streams()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if not isinstance(request, EdgeRequest):
            raise TypeError("the server's own factory makes its requests")
        request[FRONT] = self
        connection = request.protocol
        if isinstance(connection, EdgeConnection):
            connection.request_begins()
        try:
            probe = request.rel_url.raw_path in PROBES and request.rel_url.raw_path in self._behind.pages
            with self._recorder.exchange(request, probe=probe) as exchange:
                request[EXCHANGE] = exchange
                request[BEHIND] = self._behind
                response = await self._answer(request, exchange)
                exchange.status = response.status
                exchange.code = request.get(ENDED)
                return response
        finally:
            if isinstance(connection, EdgeConnection):
                connection.request_ends()

    async def _answer(self, request: web.Request, exchange: Exchange) -> web.StreamResponse:
        try:
            response = await self._serve(request, exchange)
        except asyncio.CancelledError:
            exchange.status = CLIENT_GONE
            raise
        except Exception as error:
            if isinstance(error, ConnectionError) and _is_gone(request):
                exchange.status = CLIENT_GONE
                raise
            response = self._refused(error, request, exchange)
        if request.writer.output_size and not response.prepared:
            # The answer had begun: ending the connection is the only way left to tell that it is not whole.
            exchange.status = response.status
            raise ConnectionResetError("the answer broke off")
        if response.status == _OVERLOAD and request[BEHIND].meshed and not response.prepared:
            response.headers.setdefault("Retry-After", "1")
        return response

    def _refused(self, error: Exception, request: web.Request, exchange: Exchange) -> web.Response:
        told = self._told(error, exchange)
        response = request[BEHIND].transcoder.refused(request, told)
        if response.headers.get("Connection") == "close":
            response.force_close()
        if told.http_status == _TOO_SLOW and isinstance(request.protocol, EdgeConnection):
            request.protocol.stop_reading()
        return response

    def _told(self, error: Exception, exchange: Exchange) -> HttpError:
        """Return what callers may know of *error*."""
        if isinstance(error, HttpError):
            exchange.reason = reason_of(error)
            return error
        if isinstance(error, MemoryBoxError):
            return self._cannot_call(error, exchange)
        if isinstance(error, web.HTTPException):
            return from_aiohttp(error)
        log.error("unhandled error", exc_info=error)
        return refuse(500, f"internal error (request {exchange.trace_id})", reason="INTERNAL")

    @staticmethod
    def _cannot_call(error: MemoryBoxError, exchange: Exchange) -> HttpError:
        exchange.reason = error.reason
        if isinstance(error, KeysMissing | KeyNotFound):
            log.error("cannot sign calls: %s", error)
            return refuse(503, "the gateway cannot vouch for callers", reason=error.reason, retry_after_s=1)
        return HttpError(to_status(error))

    async def _serve(self, request: web.Request, exchange: Exchange) -> web.StreamResponse:
        if request.method == "CONNECT":
            raise refuse(405, "this is no proxy", reason="METHOD_NOT_ALLOWED", headers=[("Connection", "close")])
        if request.version < HttpVersion10:
            raise refuse(400, "speak HTTP/1.1", reason="OLD_HTTP", headers=[("Connection", "close")])
        behind = request[BEHIND]
        page = behind.pages.get(request.rel_url.raw_path)
        if page is not None:
            exchange.route = request.rel_url.raw_path
            return _page(request, page)
        if self._rates.count_addresses:
            self._count(request, self._rates.take_address(self._proxies.origin(request).client))
        with self.in_flight.one():
            if self._cors.is_preflight(request.method, request.headers):
                return self._preflight(request)
            match = behind.transcoder.match_request(request)
            exchange.route = match.route.template
            return await self._call(request, exchange, match)

    async def _call(self, request: web.Request, exchange: Exchange, match: Match) -> web.StreamResponse:
        behind = request[BEHIND]
        any_type = match.plan.reader.takes_http_body or behind.forms
        arrived = arrival(request, takes_any_type=any_type, opens_socket=match.socket)
        caller = await self._authenticator.authenticate(arrived)
        exchange.user = caller.user
        ACTING.set(caller)
        self._count(request, self._rates.take(behind.classes.get(match.route.grpc_method, WRITE), caller.user))
        await self._let_body_come(request, match)
        context = CallContext(
            channels=behind.channels,
            metadata=[] if behind.meshed else self._told_upstream(request, exchange),
            match=match,
            request_id=exchange.trace_id,
            slot=self._slots.one,
        )
        if request.content.is_eof():
            return await behind.transcoder.handle(request, context)
        async with paced_body(request, self._pace, streamed=match.route.kind in _UPLOADS):
            return await behind.transcoder.handle(request, context)

    def _told_upstream(self, request: web.Request, exchange: Exchange) -> list[tuple[str, str | bytes]]:
        """Return what a stranger's service is told of a request: its trace and where it comes from."""
        return [*_trace_metadata(exchange), *self._proxies.origin(request).metadata()]

    @staticmethod
    def _count(request: web.Request, standing: Standing | None) -> None:
        """Note what is left of a limit for the answer, and raise 429 when nothing was."""
        if standing is None:
            return
        request[STANDING] = standing
        if standing.wait_s:
            raise refuse(
                429,
                f"too many calls of class {standing.limit.name}",
                reason="RATE_LIMITED",
                retry_after_s=math.ceil(standing.wait_s),
            )

    async def _let_body_come(self, request: web.Request, match: Match) -> None:
        """Answer ``Expect: 100-continue`` only now that the request may come in; a body too long is not asked for."""
        expected = request.headers.get("Expect")
        if expected is None or request.version < (1, 1):
            return
        if expected.lower() != "100-continue":
            raise refuse(417, "only Expect: 100-continue is understood", reason="UNKNOWN_EXPECTATION")
        if match.route.kind not in _UPLOADS and (request.content_length or 0) > request[BEHIND].max_body:
            return
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await request.writer.drain()
        request.writer.output_size = 0  # the answer proper has not begun

    def _preflight(self, request: web.Request) -> web.Response:
        try:
            request[BEHIND].transcoder.match("OPTIONS", request.rel_url.raw_path)
        except HttpError as error:
            if error.http_status not in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_FOUND}:
                raise
            # A page may ask for what is not there, so that it can read that it is not.
            allow = dict(error.headers).get("Allow", request.headers["Access-Control-Request-Method"])
            return web.Response(status=204, headers=self._cors.preflight(request.headers, allow.split(", ")))
        return web.Response(status=204, headers=self._cors.preflight(request.headers, ["OPTIONS"]))

    def prepare(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """Add to *response* what it carries because of where it goes."""
        secure(response.headers)
        self._cors.allow(request.headers, response.headers)
        standing = request.get(STANDING)
        if standing is not None:
            response.headers.update(standing.headers())
        exchange = request.get(EXCHANGE)
        if exchange is not None and exchange.traceparent:
            response.headers["traceparent"] = exchange.traceparent
        if response.status == HTTPStatus.SWITCHING_PROTOCOLS:
            return
        if request.headers.get("Upgrade"):
            response.force_close()  # what follows the request was meant for another protocol
        if self._readiness.draining:
            response.headers["Connection"] = "close"  # clients find another instance with their next request
            response.force_close()


FRONT = web.RequestKey("front", Front)
"""What serves a request; in its state, which copies of the request share."""


class EdgeRequest(web.Request):
    """A request whose answer passes its front before the headers are written."""

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        front = self.get(FRONT)
        if front is not None:
            front.prepare(self, response)


def _page(request: web.BaseRequest, page: Page) -> web.Response:
    if request.method in {"GET", "HEAD"}:
        return page(request)
    if request.method == "OPTIONS":
        return web.Response(status=204, headers={"Allow": _PAGE_METHODS})
    raise refuse(
        405, f"this path is served for {_PAGE_METHODS}", reason="METHOD_NOT_ALLOWED", headers=[("Allow", _PAGE_METHODS)]
    )


def _trace_metadata(exchange: Exchange) -> list[tuple[str, str | bytes]]:
    pairs = (("traceparent", exchange.traceparent), ("tracestate", exchange.tracestate))
    return [(name, value) for name, value in pairs if value]


def _is_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()
