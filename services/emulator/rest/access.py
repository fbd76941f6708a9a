"""Who calls over REST, and how REST refuses."""

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import web

from services.emulator.errors import SqlError
from services.emulator.protocol.credentials import Identity
from services.emulator.protocol.keys import ACCOUNT, CREDENTIALS
from services.emulator.protocol.login import token_of

IDENTITY = web.RequestKey("identity", Identity)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def answer(status: int, body: Any, **headers: str) -> web.Response:
    return web.Response(
        status=status,
        body=orjson.dumps(body),
        content_type="application/json",
        headers={"X-Snowflake-Request-ID": str(uuid.uuid4()), **headers},
    )


def refusal(status: int, code: str, message: str, **headers: str) -> web.Response:
    """Return an ErrorResponse: ``code`` and its deprecated twin ``error_code``."""
    return answer(
        status, {"code": code, "error_code": code, "message": message, "request_id": str(uuid.uuid4())}, **headers
    )


def identify(request: web.Request) -> Identity:
    """Return who calls: a session token, or a bearer token whose kind the header or its own form tells."""
    account, credentials = request.app[ACCOUNT], request.app[CREDENTIALS]
    if token := token_of(request):
        session = account.session(credentials.check(token))
        return Identity(session.user, session.role, session.service_role, session.user_type)
    header = request.headers.get("Authorization", "")
    if not header.startswith("Bearer "):
        raise SqlError(390101, "08001", "Authorization header not found in the request data.")
    token = header.removeprefix("Bearer ").strip()
    kind = request.headers.get("X-Snowflake-Authorization-Token-Type", "").upper()
    match kind:
        case "KEYPAIR_JWT":
            return credentials.by_jwt(token)
        case "PROGRAMMATIC_ACCESS_TOKEN":
            return credentials.by_pat(token)
        case "OAUTH":
            return credentials.by_oauth(token)
        case "":
            return _guessed(credentials, token)
    raise SqlError(390102, "08001", f"Unknown token type {kind}.")


def _guessed(credentials: Any, token: str) -> Identity:
    for check in (credentials.by_oauth, credentials.by_pat, credentials.by_jwt):
        try:
            found: Identity = check(token)
        except SqlError as error:
            if error.code == 390318:  # noqa: PLR2004 - known, but expired
                raise
            continue
        return found
    raise SqlError(390303, "08001", "Invalid OAuth access token. ")


_FAULTS = {
    "rest_429": (429, "390429", "Request rate exceeds max"),
    "rest_503": (503, "390503", "Service unavailable"),
}


def guarded(handler: Handler) -> Handler:
    """Return *handler* behind sign-in and the faults that strike all of REST."""

    async def handle(request: web.Request) -> web.StreamResponse:
        faults = request.app[ACCOUNT].faults
        for kind, (status, code, words) in _FAULTS.items():
            if (fault := faults.strike(kind, request.path)) is not None:
                after = fault.facts.get("retry_after")
                return refusal(
                    status,
                    code,
                    words,
                    **({"Retry-After": str(after)} if after is not None else {}),
                )
        try:
            request[IDENTITY] = identify(request)
        except SqlError as error:
            return refusal(401, str(error.code), error.message)
        if request.method == "POST" and request.can_read_body and request.content_type != "application/json":
            return refusal(415, "391902", "Unsupported Content-Type. Only application/json is supported.")
        return await handler(request)

    return handle


async def json_body(request: web.Request) -> dict[str, Any]:
    """Return the body, or raise 400 in REST's words."""
    try:
        body = orjson.loads(await request.read())
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(
            text=orjson.dumps(
                {
                    "code": "391911",
                    "error_code": "391911",
                    "message": "Request body is not a JSON object",
                    "request_id": str(uuid.uuid4()),
                }
            ).decode(),
            content_type="application/json",
        )
    return body
