"""``/_control``: faults, latency, expiry, scripts and tokens, on loopback listeners only."""

import ipaddress

from aiohttp import web

from services.emulator.cortex import analyst, completion
from services.emulator.engine.faults import Fault
from services.emulator.errors import SqlError
from services.emulator.protocol.keys import ACCOUNT, CREDENTIALS
from services.emulator.rest.access import Handler, answer, json_body, refusal

KINDS = (
    "login_refused", "renew_refused", "token_expiry", "http_429", "http_503", "rest_429", "rest_503", "drop_before_result", "drop_mid_result", "drop_mid_chunk",
    "drop_mid_stream", "slow_statement", "statement_error",
)  # fmt: skip


def routes() -> list[web.RouteDef]:
    return [
        web.get("/_control/faults", _local(faults)),
        web.post("/_control/faults", _local(arm)),
        web.delete("/_control/faults", _local(clear)),
        web.post("/_control/latency", _local(latency)),
        web.post("/_control/expire", _local(expire)),
        web.post("/_control/tokens", _local(tokens)),
        web.post("/_control/scripts", _local(scripts)),
    ]


def _local(handler: Handler) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        if request.remote is None or not ipaddress.ip_address(request.remote).is_loopback:
            raise web.HTTPNotFound
        return await handler(request)

    return handle


async def faults(request: web.Request) -> web.Response:
    return answer(
        200,
        {
            "faults": [
                {"kind": item.kind, "times": item.times, **item.facts} for item in request.app[ACCOUNT].faults.armed()
            ]
        },
    )


async def arm(request: web.Request) -> web.Response:
    """``{"kind": ..., "times": 1, ...}``; ``times`` -1 strikes always, ``match`` limits it to statements or paths with that text."""
    body = await json_body(request)
    kind = body.pop("kind", None)
    if kind not in KINDS:
        return refusal(400, "400", f"kind must be one of {', '.join(KINDS)}")
    request.app[ACCOUNT].faults.arm(Fault(str(kind), int(body.pop("times", 1)), body))
    return answer(200, {})


async def clear(request: web.Request) -> web.Response:
    request.app[ACCOUNT].faults.clear()
    return answer(200, {})


async def latency(request: web.Request) -> web.Response:
    request.app[ACCOUNT].faults.latency_s = float((await json_body(request)).get("seconds", 0))
    return answer(200, {})


async def expire(request: web.Request) -> web.Response:
    body = await json_body(request)
    ended = request.app[CREDENTIALS].expire(
        sessions=bool(body.get("sessions", True)),
        masters=bool(body.get("masters")),
        services=bool(body.get("services")),
    )
    return answer(200, {"expired": ended})


async def tokens(request: web.Request) -> web.Response:
    """Mint what SPCS would inject: ``{"service", "role"}`` a service's token, ``{"user"}`` a caller's."""
    body, credentials = await json_body(request), request.app[CREDENTIALS]
    try:
        if "user" in body:
            return answer(200, {"token": credentials.caller_token(str(body["user"]), float(body.get("seconds", 120)))})
        return answer(
            200,
            {
                "token": credentials.service_token(
                    str(body.get("service", "SERVICE")),
                    str(body.get("role", "PUBLIC")),
                    float(body.get("seconds", 3600)),
                )
            },
        )
    except SqlError as error:
        return refusal(400, str(error.code), error.message)


async def scripts(request: web.Request) -> web.Response:
    """``{"prompt", "answer"}`` for completions, ``{"question", "text", "statement"}`` for the analyst."""
    body = await json_body(request)
    if "question" in body:
        analyst.script(str(body["question"]), str(body.get("text", "")), str(body.get("statement", "")))
    else:
        completion.script(str(body.get("prompt", "")), str(body.get("answer", "")))
    return answer(200, {})
