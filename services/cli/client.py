"""The public HTTP API as the command line calls it."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from time import time
from typing import Any

import aiohttp
import orjson

from services.cli.settings import CliSettings, public_url
from services.mesh.config import load
from services.mesh.errors import BackendUnavailable, InvalidInput, MemoryBoxError

DEADLINE_S = 120
_MARGIN_S = 10  # our own patience beyond the deadline that the server keeps
UNAVAILABLE = 14  # google.rpc.Code
NDJSON = "application/x-ndjson"
MAX_LINE = 4 << 20  # what gRPC takes as one message
_PASSING = frozenset({4, 10, UNAVAILABLE})  # deadline exceeded, aborted
_STREAM_DEADLINE = {"Grpc-Timeout": "900S"}
_STREAM_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=_MARGIN_S, sock_read=60)


class GatewayUnreachable(BackendUnavailable):
    """Nobody answers where the gateway should be."""

    reason = "GATEWAY_UNREACHABLE"


class RequestRefused(MemoryBoxError):
    """The gateway answered with an error; the message is its own."""

    reason = "REQUEST_REFUSED"


class StreamBroke(MemoryBoxError):
    """A stream ended before it was whole; *is_passing* says whether going on with it may help."""

    reason = "STREAM_BROKE"

    def __init__(self, message: str, *, is_passing: bool) -> None:
        super().__init__(message)
        self.is_passing = is_passing


class NotUtf8(InvalidInput):
    """An argument is not text in UTF-8."""

    reason = "NOT_UTF8"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: its HTTP status, its JSON, and how long to wait before asking again when it says so."""

    status: int
    body: dict[str, Any]
    retry_after_s: float | None = None

    @property
    def ok(self) -> bool:
        """Whether the request was done."""
        return self.status == HTTPStatus.OK

    @property
    def message(self) -> str:
        """What went wrong, in the server's words."""
        return str(self.body.get("message") or f"the gateway answered with HTTP status {self.status}")


class Gateway:
    """The gateway of this machine's mesh, as one user."""

    def __init__(self, http: aiohttp.ClientSession, url: str, user: str) -> None:
        self._http = http
        self.url = url
        self.user = user

    async def greet(self) -> None:
        """Return when somebody answers, else raise ``GatewayUnreachable``."""
        try:
            async with self._http.get(f"{self.url}/livez"):
                return
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreachable() from error

    async def post(self, path: str, body: Mapping[str, Any]) -> Reply:
        """Return the answer to a POST, whatever it is; no answer is one with status 503."""
        return await self.call("POST", path, body)

    async def call(self, method: str, path: str, body: Mapping[str, Any] | None) -> Reply:
        """Return the answer to any request, as ``post`` does."""
        try:
            data = None if body is None else orjson.dumps(body)
        except orjson.JSONEncodeError as error:
            raise NotUtf8(f"what was asked for is not UTF-8 text: {error}") from error
        try:
            async with self._http.request(method, f"{self.url}{path}", data=data) as answer:
                content = await answer.read()
                return Reply(answer.status, _json_object(content), _seconds(answer.headers.get("Retry-After")))
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError) as error:
            message = f"{self._unreachable()}: {error}"
            return Reply(HTTPStatus.SERVICE_UNAVAILABLE, {"code": UNAVAILABLE, "message": message})

    async def lines(
        self, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None = None
    ) -> AsyncIterator[bytes]:
        """Yield the lines of an answer in NDJSON; with a *body* that of a POST. Raises ``StreamBroke`` if it is not whole."""
        headers = {"Accept": NDJSON, **_STREAM_DEADLINE}
        asking = self._http.request(
            "GET" if body is None else "POST",
            f"{self.url}{path}",
            params=query,
            data=None if body is None else orjson.dumps(body),
            headers=headers,
            timeout=_STREAM_TIMEOUT,
            read_bufsize=MAX_LINE,
        )
        try:
            async with asking as answer:
                if answer.status != HTTPStatus.OK:
                    raise _broken(_json_object(await answer.read()), answer.status)
                async for line in answer.content:
                    if line.startswith(b'{"error":'):
                        raise _broken(orjson.loads(line)["error"], HTTPStatus.SERVICE_UNAVAILABLE)
                    yield line
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError) as error:
            raise StreamBroke(f"the stream broke off: {error}", is_passing=True) from error

    async def upload(self, path: str, lines: AsyncIterator[bytes]) -> dict[str, Any]:
        """Send *lines* as NDJSON and return the answer's JSON. Raises ``StreamBroke``."""
        headers = {"Content-Type": NDJSON, **_STREAM_DEADLINE}
        try:
            async with self._http.post(
                f"{self.url}{path}", data=lines, headers=headers, timeout=_STREAM_TIMEOUT
            ) as answer:
                body = _json_object(await answer.read())
                if answer.status != HTTPStatus.OK:
                    raise _broken(body, answer.status)
                return body
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError) as error:
            raise StreamBroke(f"the stream broke off: {error}", is_passing=True) from error

    async def require(self, path: str, body: Mapping[str, Any] | None, *, method: str = "POST") -> dict[str, Any]:
        """Return the answer's JSON, or raise ``GatewayUnreachable`` or ``RequestRefused``."""
        await self.greet()
        reply = await self.call(method, path, body)
        if not reply.ok:
            raise RequestRefused(f"{reply.message} (HTTP {reply.status})")
        return reply.body

    def _unreachable(self) -> GatewayUnreachable:
        return GatewayUnreachable(f"no gateway answers at {self.url}; `memorybox up` starts one")


@asynccontextmanager
async def open_gateway(environ: Mapping[str, str], *, roles: Sequence[str] = ()) -> AsyncIterator[Gateway]:
    """Yield the gateway that the settings name, as ``MEMORYBOX_USER`` with *roles*, which only ``MEMORYBOX_AUTH=dev`` believes."""
    user = load(CliSettings, environ).user
    headers = {
        "X-Memorybox-User": user,
        "Content-Type": "application/json",
        "Grpc-Timeout": f"{DEADLINE_S}S",
        **({"X-Memorybox-Roles": ",".join(roles)} if roles else {}),
    }
    limit = aiohttp.ClientTimeout(total=DEADLINE_S + _MARGIN_S)
    async with aiohttp.ClientSession(headers=headers, timeout=limit) as http:
        yield Gateway(http, public_url(environ), user)


def _broken(status: Mapping[str, Any], http_status: int) -> StreamBroke:
    message = status.get("message") or f"the gateway answered with HTTP status {http_status}"
    return StreamBroke(str(message), is_passing=status.get("code") in _PASSING)


def _json_object(data: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def _seconds(text: str | None) -> float | None:
    """Return what a Retry-After header says, in seconds (RFC 9110, section 10.2.3)."""
    if text is None:
        return None
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time())
    except ValueError:
        return None
