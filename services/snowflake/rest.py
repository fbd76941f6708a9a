"""Snowflake's REST API: one client for Cortex and the SQL API, with its retries, errors and event streams."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import aiohttp
import orjson

from services.mesh.errors import BackendUnavailable, InvalidInput, MemoryBoxError, PermissionDenied, ResourceExhausted
from services.snowflake.errors import LoginRefused, SnowflakeUnavailable
from services.snowflake.login import RestCredential

Json = dict[str, Any]
ATTEMPTS = 4
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 8.0
MAX_BODY_BYTES = 16 << 20  # of an answer
MAX_EVENT_BYTES = 1 << 20
RETRIED = frozenset({429, 500, 502, 503, 504})
USER_AGENT = "MemoryBox/0.1"
REQUEST_ID = "X-Snowflake-Request-ID"


class RateLimited(ResourceExhausted):
    """Cortex takes no more calls of this account for now."""

    reason = "CORTEX_RATE_LIMITED"


class CortexRefused(InvalidInput):
    """Cortex does not take the request: an unknown model, a text too long, a wrong semantic model."""

    reason = "CORTEX_REFUSED"


class CortexNotGranted(PermissionDenied):
    """The role may not use Cortex (SNOWFLAKE.CORTEX_USER), or the API is not enabled in this region."""

    reason = "CORTEX_NOT_GRANTED"


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event of a stream: its name ('message' where none is given) and its data as sent."""

    name: str
    data: bytes


class RestClient:
    """Calls the account at *base_url*; *credential* is asked before each attempt, so that a rotated token is used at once."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        base_url: str,
        credential: Callable[[], RestCredential],
        *,
        pause: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        self._http = http
        self._base_url = base_url.rstrip("/")
        self._credential = credential
        self._pause = pause

    async def call(self, path: str, body: Json, *, timeout_s: float) -> Json:
        """Return the answer to a POST of *body*, which must be safe to repeat.

        Raises ``RateLimited``, ``CortexRefused``, ``CortexNotGranted``, ``LoginRefused`` and ``SnowflakeUnavailable``.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await self._answer(path, body)
        except TimeoutError:
            raise SnowflakeUnavailable("Snowflake did not answer before the deadline", retry_after_s=2.0) from None
        except aiohttp.ClientError as error:
            raise SnowflakeUnavailable("the connection to Snowflake broke", retry_after_s=2.0) from error

    async def stream(
        self, path: str, body: Json, *, timeout_s: float, opened: Callable[[str], None] | None = None
    ) -> AsyncGenerator[ServerEvent, None]:
        """Yield the events of the answer; attempts are repeated only before the first one. Raises as ``call``.

        *opened* is told Snowflake's id of the request before the first event.
        """
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._post(path, body, "application/json, text/event-stream")
                async with response:
                    if opened is not None:
                        opened(response.headers.get(REQUEST_ID, ""))
                    async for event in events(response.content):
                        yield event
        except TimeoutError:
            raise SnowflakeUnavailable(
                "Snowflake did not end its answer before the deadline", retry_after_s=2.0
            ) from None
        except aiohttp.ClientError as error:
            raise SnowflakeUnavailable("the connection to Snowflake broke", retry_after_s=2.0) from error

    async def _answer(self, path: str, body: Json) -> Json:
        """Return the whole answer; one whose connection broke in the middle is asked for once more."""
        try:
            async with await self._post(path, body, "application/json") as response:
                return await _json(response)
        except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError):
            async with await self._post(path, body, "application/json") as response:
                return await _json(response)

    async def _post(self, path: str, body: Json, accept: str) -> aiohttp.ClientResponse:
        """Return the first answer of status 200, leaving its body to be read."""
        fresh_token_tried = False
        pause_s = FIRST_PAUSE_S
        for attempt in range(1, ATTEMPTS + 1):
            try:
                response = await self._attempt(path, body, accept)
            except aiohttp.ClientConnectionError as error:
                failure: MemoryBoxError = SnowflakeUnavailable(
                    "Snowflake cannot be reached; try again", retry_after_s=2.0
                )
                failure.__cause__ = error
                advised = None
            else:
                if response.status == HTTPStatus.OK:
                    return response
                advised = retry_after(response)
                failure = await _failure(response)
                if response.status == HTTPStatus.UNAUTHORIZED and not fresh_token_tried:
                    fresh_token_tried = True
                    continue
                if response.status not in RETRIED:
                    raise failure
            if attempt == ATTEMPTS or (advised or 0) > LONGEST_PAUSE_S:
                raise failure
            await self._pause(advised if advised is not None else random.uniform(pause_s / 2, pause_s))  # noqa: S311
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        raise failure

    async def _attempt(self, path: str, body: Json, accept: str) -> aiohttp.ClientResponse:
        credential = await asyncio.to_thread(self._credential)
        headers = {
            "Authorization": f"Bearer {credential.token.value}",
            "X-Snowflake-Authorization-Token-Type": credential.kind,
            "Accept": accept,
            "Content-Type": "application/json",
            "User-Agent": USER_AGENT,
        }
        return await self._http.post(
            self._base_url + path, data=orjson.dumps(body), headers=headers, allow_redirects=False
        )


async def events(content: aiohttp.StreamReader) -> AsyncIterator[ServerEvent]:
    """Yield the server-sent events of *content*; comments and unknown fields are passed over."""
    name, size = "message", 0
    data: list[bytes] = []
    async for line in _lines(content):
        if not line:
            if data:
                yield ServerEvent(name, b"\n".join(data))
            name, data, size = "message", [], 0
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"event":
            name = value.decode("utf-8", "replace")
        elif field == b"data":
            size += len(value)
            if size > MAX_EVENT_BYTES:
                raise SnowflakeUnavailable(f"Snowflake sent an event of more than {MAX_EVENT_BYTES} bytes")
            data.append(value)
    if data:  # a last event that no empty line ends
        yield ServerEvent(name, b"\n".join(data))


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yield lines without their ends; longer ones than aiohttp's own reader takes, yet bounded."""
    rest = b""
    async for chunk in content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r")
        if len(rest) > MAX_EVENT_BYTES:
            raise SnowflakeUnavailable(f"Snowflake sent an event of more than {MAX_EVENT_BYTES} bytes")
    if rest:
        yield rest.removesuffix(b"\r")


def retry_after(response: aiohttp.ClientResponse) -> float | None:
    """Return the seconds of Retry-After, None where there is none or it is a date."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdigit() else None


async def _json(response: aiohttp.ClientResponse) -> Json:
    body = await _limited(response)
    if not body:  # documented for calls that have nothing to say
        return {}
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise SnowflakeUnavailable("Snowflake's answer is not JSON", retry_after_s=2.0) from error
    if not isinstance(answer, dict):
        raise SnowflakeUnavailable("Snowflake's answer is not a JSON object")
    return answer


async def _limited(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise SnowflakeUnavailable(f"Snowflake's answer is longer than {MAX_BODY_BYTES} bytes")
    return bytes(body)


async def _failure(response: aiohttp.ClientResponse) -> MemoryBoxError:
    """Return what a refusal is to us; a gateway on the way may answer with something else than JSON."""
    async with response:
        try:
            said = orjson.loads(await _limited(response))
        except orjson.JSONDecodeError:
            said = {}
    said = said if isinstance(said, dict) else {}
    context: Json = {
        "http_status": str(response.status),
        "code": str(said.get("code") or said.get("error_code") or ""),
        "request_id": response.headers.get(REQUEST_ID, str(said.get("request_id") or "")),
    }
    advised = retry_after(response)
    match response.status:
        case HTTPStatus.TOO_MANY_REQUESTS:
            return RateLimited("Cortex takes no more calls for now; try again", retry_after_s=advised or 5.0, **context)
        case HTTPStatus.UNAUTHORIZED:
            return LoginRefused("Snowflake refuses this service's token", retry_after_s=10.0, **context)
        case HTTPStatus.FORBIDDEN | HTTPStatus.NOT_FOUND:
            return CortexNotGranted("Cortex is not granted to this service's role, or not enabled", **context)
        case HTTPStatus.BAD_REQUEST | HTTPStatus.REQUEST_ENTITY_TOO_LARGE | HTTPStatus.UNPROCESSABLE_ENTITY:
            return CortexRefused("Cortex does not take this request", **context)
        case _:
            return _unavailable(advised, context)


def _unavailable(advised: float | None, context: Json) -> BackendUnavailable:
    return SnowflakeUnavailable("Cortex does not answer now; try again", retry_after_s=advised or 2.0, **context)
