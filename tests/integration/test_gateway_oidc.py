"""Bearer tokens at a gateway whose identity provider is a real HTTP server."""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from services.gateway.edge.jwks import MAX_BYTES, KeysUnreachable, fetch_from
from tests.support.gateway import FakeUpstream, gateway

ISSUER = "https://id.test"
KEY = ec.generate_private_key(ec.SECP256R1())


async def keys(_request: web.Request) -> web.Response:
    key = {**ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True), "kid": "k"}
    return web.Response(text=json.dumps({"keys": [key]}))


async def endless(_request: web.Request) -> web.Response:
    return web.Response(body=b" " * (MAX_BYTES + 1))


async def elsewhere(_request: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": "/keys"})


async def broken(_request: web.Request) -> web.Response:
    return web.Response(status=500)


@asynccontextmanager
async def provider(handler: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/keys", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{site.port}/keys"
    finally:
        await runner.cleanup()


async def test_token_of_the_provider_opens_the_gateway() -> None:
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": "box", "sub": "ann", "iat": now, "exp": now + 60}
    token = jwt.encode(claims, KEY, "ES256", headers={"kid": "k"})
    upstream = FakeUpstream()

    async with provider(keys) as url, upstream.serving() as port:
        environ = {
            "MEMORYBOX_AUTH": "oidc",
            "MEMORYBOX_OIDC_ISSUER": ISSUER,
            "MEMORYBOX_OIDC_AUDIENCE": "box",
            "MEMORYBOX_OIDC_JWKS_URL": url,
        }
        async with gateway(port, environ) as edge:
            admitted = await edge.ask("GET", "/v1/memories", [("Authorization", f"Bearer {token}")])
            refused = await edge.ask("GET", "/v1/memories", [("X-Memorybox-User", "ann")])

    assert admitted.status == 200
    assert refused.status == 401
    assert refused.json["code"] == 16
    assert refused.headers["WWW-Authenticate"] == "Bearer"
    assert len(upstream.seen) == 1
    assert "authorization" not in upstream.seen[0].metadata


@pytest.mark.parametrize("handler", [endless, elsewhere, broken])
async def test_answers_that_are_no_keys_are_not_believed(
    handler: Callable[[web.Request], Awaitable[web.Response]],
) -> None:
    async with provider(handler) as url:
        with pytest.raises(KeysUnreachable):
            await fetch_from(url)()


async def test_provider_that_is_down_is_told_apart() -> None:
    async with provider(keys) as url:
        pass

    with pytest.raises(KeysUnreachable):
        await fetch_from(url)()
