"""The signing keys of an identity provider: fetched without blocking, kept, and asked for anew with restraint."""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp
import jwt

from services.gateway.edge.refusals import refuse

log = logging.getLogger(__name__)

FRESH_S = 300.0  # a key that the provider takes back is believed for no longer, unless it cannot be asked
STALE_S = 3600.0  # how long known keys serve while the provider does not answer
COOLDOWN_S = 10.0  # unknown key ids are free to make up, and must not become a flood at the provider
FETCH_S = 5.0
MAX_BYTES = 256 * 1024
# Signatures by keys that only the provider has. Shared secrets (HS*) and `none` are not among them.
ALGORITHMS = frozenset(
    {"ES256", "ES384", "ES512", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"},
)

Fetch = Callable[[], Awaitable[bytes]]


class KeysUnreachable(Exception):
    """The provider's keys could not be fetched, or are no key set."""


class KeySet:
    """The keys behind one *fetch*; *clock* gives monotonic seconds."""

    def __init__(self, fetch: Fetch, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._fetching = asyncio.Lock()

    async def get(self, kid: str) -> jwt.PyJWK | None:
        """Return the key called *kid*, None if the provider has none; 503 if it cannot be asked and nothing is known."""
        if not self._is_current(kid):
            async with self._fetching:
                if not self._is_current(kid) and self._clock() - self._tried_at >= COOLDOWN_S:
                    await self._refresh()
        if self._clock() - self._fetched_at > STALE_S:
            raise refuse(
                503, "the identity provider's keys cannot be fetched", reason="IDENTITY_PROVIDER", retry_after_s=10
            )
        return self._keys.get(kid)

    def _is_current(self, kid: str) -> bool:
        return kid in self._keys and self._clock() - self._fetched_at < FRESH_S

    async def _refresh(self) -> None:
        self._tried_at = self._clock()
        try:
            self._keys = _parse(await self._fetch())
        except KeysUnreachable as error:
            log.warning("cannot fetch the identity provider's keys: %s", error)
            return
        self._fetched_at = self._clock()


def _parse(document: bytes) -> dict[str, jwt.PyJWK]:
    try:
        listed = json.loads(document)["keys"]
        items = [item for item in listed if isinstance(item, Mapping)]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise KeysUnreachable("the answer is no JSON Web Key Set") from error
    keys = {}
    for item in items:
        if item.get("use", "sig") != "sig" or not isinstance(item.get("kid"), str):
            continue
        key = _key(dict(item))
        if key is not None and key.algorithm_name in ALGORITHMS:
            keys[item["kid"]] = key
    return keys


def _key(item: dict[str, Any]) -> jwt.PyJWK | None:
    try:
        return jwt.PyJWK(item)
    except jwt.PyJWTError as error:  # one odd key must not take the others away
        log.warning("ignored a key of the identity provider: %s", type(error).__name__)
        return None


def fetch_from(url: str) -> Fetch:
    """Return a fetch of *url* by HTTP, bounded in time and size, that follows no redirect."""

    async def fetch() -> bytes:
        timeout = aiohttp.ClientTimeout(total=FETCH_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(url, allow_redirects=False, headers={"Accept": "application/json"}) as response,
            ):
                if response.status != 200:  # noqa: PLR2004 HTTP OK
                    raise KeysUnreachable(f"status {response.status}")
                # A stream gives what has come so far; only its end gives less than was asked for.
                body = b""
                while len(body) <= MAX_BYTES and (chunk := await response.content.read(MAX_BYTES)):
                    body += chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise KeysUnreachable(str(error) or type(error).__name__) from error
        if len(body) > MAX_BYTES:
            raise KeysUnreachable(f"the answer is longer than {MAX_BYTES} bytes")
        return body

    return fetch
