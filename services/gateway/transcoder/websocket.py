"""Streaming methods over WebSocket (RFC 6455): each text message is one JSON message, an empty one ends the client's side."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from aiohttp import WSCloseCode, WSMsgType, web
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # the stubs leave it out
from multidict import CIMultiDict, MultiMapping

from services.gateway.transcoder.calls import RpcErrors, only_call_cancelled, unusable
from services.gateway.transcoder.codec import JsonCodec
from services.gateway.transcoder.errors import (
    CANCELLED,
    ENDED,
    INVALID_ARGUMENT,
    INVALID_INPUT,
    OK,
    RESOURCE_EXHAUSTED,
    UNIMPLEMENTED,
    HttpError,
    bad_request,
    refusal,
    status_json,
)
from services.gateway.transcoder.json_text import BadJson
from services.gateway.transcoder.offload import sized
from services.gateway.transcoder.options import Options
from services.gateway.transcoder.protocols import may_compress
from services.gateway.transcoder.request import BoundValues
from services.gateway.transcoder.rules import CLIENT_STREAM, SERVER_STREAM
from services.gateway.transcoder.stream import ClientGone
from services.gateway.transcoder.table import Plan
from services.gateway.transcoder.upload import send_request

log = logging.getLogger(__name__)

SUBPROTOCOL = "json.transcode.v1"
VERSION = "13"
# Private use codes (RFC 6455, 7.4.2): a gRPC status is told as this and its number.
STATUS_BASE = 4000
MAX_REASON_BYTES = 123  # a control frame holds 125 bytes, two of them the code
_GOODBYE_S = 5.0  # for the client's half of the closing handshake
_PROTOCOLS = "Sec-WebSocket-Protocol"


def asks_for_websocket(request: web.BaseRequest) -> bool:
    """Say whether *request* would open a WebSocket."""
    return (
        request.method == "GET"
        and request.headers.get("Upgrade", "").strip().lower() == "websocket"
        and "upgrade" in [word.strip().lower() for word in request.headers.get("Connection", "").split(",")]
    )


def offered_subprotocols(headers: MultiMapping[str]) -> list[str]:
    """Return the subprotocols that a client offers, in its order."""
    return [word.strip() for line in headers.getall(_PROTOCOLS, []) for word in line.split(",") if word.strip()]


class SocketStream:
    """One call over one WebSocket. *start* begins the call, with the only message where there is just one."""

    def __init__(
        self,
        request: web.Request,
        plan: Plan,
        bound: BoundValues,
        *,
        codec: JsonCodec,
        options: Options,
        start: Callable[..., Any],
    ) -> None:
        self._request = request
        self._plan = plan
        self._bound = bound
        self._codec = codec
        self._options = options
        self._start = start
        loop = asyncio.get_running_loop()
        self._call: asyncio.Future[Any] = loop.create_future()
        self._ended: asyncio.Future[HttpError] = loop.create_future()
        self._socket = web.WebSocketResponse(
            protocols=(SUBPROTOCOL,),
            timeout=_GOODBYE_S,
            autoping=False,
            max_msg_size=options.max_message,
            compress=may_compress(request.headers, options),
            decode_text=False,
        )

    async def run(self, errors: RpcErrors, request_id: str) -> web.WebSocketResponse:
        """Accept, serve the call to its end and close; raises ``HttpError`` only before the upgrade."""
        await self._accept()
        receiving = asyncio.ensure_future(self._receive())
        sending = asyncio.ensure_future(self._respond(errors, request_id))
        try:
            code, error = await self._end(receiving, sending)
        except ClientGone as gone:
            log.debug("client left a WebSocket: %s", gone)
            return self._socket
        finally:
            if self._call.done() and not self._call.cancelled():
                self._call.result().cancel()
            await _discard(receiving, sending)
        await self._close(code, error)
        return self._socket

    def end(self, reason: HttpError) -> None:
        """End the stream soon, telling the client *reason* and to come back elsewhere."""
        if not self._ended.done():
            self._ended.set_result(reason)

    async def _accept(self) -> None:
        if self._request.headers.get("Sec-WebSocket-Version", "") != VERSION:
            text = f"only WebSocket version {VERSION} is spoken"
            raise refusal(
                UNIMPLEMENTED,
                text,
                http_status=426,
                headers=[("Sec-WebSocket-Version", VERSION), ("Upgrade", "websocket")],
            )
        request = self._without_foreign_subprotocols()
        if not self._socket.can_prepare(request):
            raise bad_request([("", "is no valid WebSocket handshake")])
        try:
            await self._socket.prepare(request)
        except ConnectionError as error:
            raise refusal(CANCELLED, str(error)) from None

    def _without_foreign_subprotocols(self) -> web.BaseRequest:
        """Return the request as aiohttp may see it: it logs subprotocols that it does not know, and one may be a token."""
        offered = offered_subprotocols(self._request.headers)
        if not offered or SUBPROTOCOL in offered:
            return self._request
        headers = CIMultiDict(self._request.headers)
        del headers[_PROTOCOLS]
        return self._request.clone(headers=headers)

    async def _end(
        self, receiving: asyncio.Future[None], sending: asyncio.Future[None]
    ) -> tuple[int, HttpError | None]:
        """Return the close code and error of the call's end; a receiver that is done has just nothing more to send."""
        waited: set[asyncio.Future[Any]] = {receiving, sending, self._ended}
        while True:
            done, waited = await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            try:
                for task in done & {sending, receiving}:
                    await task
            except HttpError as error:
                return close_code(error), error
            except _Closing as closing:
                return closing.code, closing.error
            if sending in done:
                return WSCloseCode.OK, None
            if self._ended in done:
                return WSCloseCode.GOING_AWAY, self._ended.result()

    async def _receive(self) -> None:
        """Send the client's messages on, reading further only when the backend has room; then wait for the client's leave."""
        if self._plan.route.kind != SERVER_STREAM:
            self._call.set_result(self._start())
        bound, open_side = self._bound, True
        async for kind, data in self._frames():
            if not open_side:
                if data:
                    raise _Closing(_wrong("a message came after the end of the messages"), WSCloseCode.POLICY_VIOLATION)
                continue
            if self._plan.route.kind == SERVER_STREAM:
                self._call.set_result(self._start(await self._message(kind, data, bound)))
                open_side = False
                continue
            open_side = kind is WSMsgType.BINARY or bool(data)
            message = await self._message(kind, data, bound) if open_side else None
            bound = BoundValues()
            if not await self._pass_on(message):
                return

    async def _pass_on(self, message: bytes | None) -> bool:
        """Send one message, or the end of them, to the backend; False when the call has ended, and its status says why."""
        call = self._call.result()
        try:
            await (call.done_writing() if message is None else send_request(call, message))
        except (asyncio.InvalidStateError, grpc.aio.BaseError, cygrpc.InternalError):
            return False
        return True

    async def _frames(self) -> AsyncIterator[tuple[WSMsgType, bytes]]:
        """Yield the client's messages; a silent client is asked whether it is there, while we listen to it."""
        heartbeat = self._options.heartbeat or None
        asked = False
        while True:
            try:
                frame = await self._socket.receive(heartbeat / 2 if asked and heartbeat else heartbeat)
            except TimeoutError:
                if asked:
                    raise self._gone("it answered no ping") from None
                asked = True
                await self._write(b"", WSMsgType.PING)
                continue
            asked = False
            if frame.type in {WSMsgType.TEXT, WSMsgType.BINARY}:
                yield frame.type, frame.data
            elif frame.type is WSMsgType.PING:
                await self._write(frame.data, WSMsgType.PONG)
            elif frame.type is not WSMsgType.PONG:
                raise ClientGone(f"close code {self._socket.close_code}")

    async def _message(self, kind: WSMsgType, data: bytes, bound: BoundValues) -> bytes:
        """Return the wire form of one message of the client."""
        reader = self._plan.reader
        if (kind is WSMsgType.BINARY) is not reader.takes_http_body and data:
            wanted = "binary" if reader.takes_http_body else "text"
            raise _Closing(_wrong(f"this method takes {wanted} messages"), WSCloseCode.UNSUPPORTED_DATA)
        if not reader.takes_body:
            if data.strip() not in {b"", b"{}"}:
                raise bad_request([("", "this method takes no body: path and query hold its fields")])
            data = b""
        try:
            return await sized(len(data), reader.message, data, "", bound)
        except HttpError as error:
            if data and not reader.takes_http_body and not self._is_json(data):
                raise _Closing(error, WSCloseCode.INVALID_TEXT) from None
            raise

    def _is_json(self, data: bytes) -> bool:
        try:
            self._codec.parse(data)
        except BadJson:
            return False
        return True

    async def _respond(self, errors: RpcErrors, request_id: str) -> None:
        """Send the backend's messages, asking it for more only when the client has room."""
        call = await self._call
        try:
            if self._plan.route.kind == CLIENT_STREAM:
                await self._print(await call)
                return
            while (data := await call.read()) is not grpc.aio.EOF:
                await self._print(data)
        except grpc.aio.AioRpcError as error:
            raise errors.translate(error, request_id=request_id) from None
        except grpc.aio.BaseError as error:
            raise unusable(error) from error
        except asyncio.CancelledError:
            if only_call_cancelled(call):
                raise refusal(CANCELLED, "the call was cancelled") from None
            raise

    async def _print(self, data: bytes) -> None:
        _, printed = await sized(len(data), self._plan.printer.read, data)
        await self._write(printed.body, WSMsgType.BINARY if self._plan.printer.is_http_body else WSMsgType.TEXT)

    async def _write(self, data: bytes, kind: WSMsgType) -> None:
        try:
            async with asyncio.timeout(self._options.write_timeout):
                await self._socket.send_frame(data, kind)
        except TimeoutError:
            raise self._gone("it did not read in time") from None
        except ConnectionError as error:
            raise ClientGone(str(error)) from None

    def _gone(self, why: str) -> ClientGone:
        """Cut the connection to a client that shows no life."""
        if self._request.transport is not None:
            self._request.transport.abort()
        return ClientGone(why)

    async def _close(self, code: int, error: HttpError | None) -> None:
        """Tell the end: nothing but the close for OK, else the error first."""
        reason = "" if error is None else error.status.message
        self._request[ENDED] = OK if error is None else error.status.code
        try:
            if error is not None:
                await self._write(b'{"error":%b}' % status_json(error.status, self._codec), WSMsgType.TEXT)
            await self._socket.close(code=code, message=cut_text(reason, MAX_REASON_BYTES))
        except (ClientGone, ConnectionError) as gone:
            log.debug("client left before the end: %s", gone)


class _Closing(Exception):
    """The call ends with *error*, told by a close *code* of its own."""

    def __init__(self, error: HttpError, code: int) -> None:
        super().__init__(str(error))
        self.error = error
        self.code = int(code)


def close_code(error: HttpError) -> int:
    """Return the close code of *error*: 1009 for what is too large, else 4000 and the gRPC code."""
    if error.status.code == RESOURCE_EXHAUSTED and error.http_status == 413:  # noqa: PLR2004
        return int(WSCloseCode.MESSAGE_TOO_BIG)
    return int(STATUS_BASE + error.status.code)


def _wrong(text: str) -> HttpError:
    return refusal(INVALID_ARGUMENT, text, reason=INVALID_INPUT)


def cut_text(text: str, most: int) -> bytes:
    """Return *text* in at most *most* bytes of whole UTF-8 characters."""
    return text.encode()[:most].decode(errors="ignore").encode()


async def _discard(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
