"""Sign-in, token renewal, heartbeat and the end of a session."""

import asyncio
from typing import Any

from aiohttp import web

from services.emulator.engine.account import Account
from services.emulator.engine.objects import User
from services.emulator.engine.parameters import DEFAULTS
from services.emulator.engine.session import LiveSession
from services.emulator.errors import SqlError
from services.emulator.protocol.answers import failure, success
from services.emulator.protocol.credentials import Identity
from services.emulator.protocol.keys import ACCOUNT, CREDENTIALS
from services.emulator.sql.names import split

VERSION = "9.36.0"


def routes() -> list[web.RouteDef]:
    return [
        web.post("/session/v1/login-request", sign_in),
        web.post("/session/token-request", renew),
        web.post("/session/heartbeat", heartbeat),
        web.get("/session/heartbeat", heartbeat),
        web.post("/session", close),
        web.post("/telemetry/send", accepted),
        web.post("/telemetry/send/sessionless", accepted),
    ]


def token_of(request: web.Request) -> str:
    """Return the token of ``Authorization: Snowflake Token="..."``, empty for none."""
    header = request.headers.get("Authorization", "")
    if header.startswith("Snowflake Token="):
        return header.removeprefix("Snowflake Token=").strip('"')
    return ""


async def accepted(_request: web.Request) -> web.Response:
    return success({})


async def sign_in(request: web.Request) -> web.Response:
    body = await request.json()
    data: dict[str, Any] = body.get("data") or {}
    try:
        return success(await asyncio.to_thread(_sign_in, request.app, data, request.query))
    except SqlError as error:
        return failure(error)


def _sign_in(app: web.Application, data: dict[str, Any], query: Any) -> dict[str, Any]:
    account, credentials = app[ACCOUNT], app[CREDENTIALS]
    if (fault := account.faults.strike("login_refused")) is not None:
        raise SqlError(
            int(fault.facts.get("code", 390100)),
            "08001",
            str(fault.facts.get("message", "Incorrect username or password was specified.")),
        )
    if credentials.require_spcs_token and not data.get("SPCS_TOKEN"):
        raise SqlError(390303, "08001", "Invalid OAuth access token. ")
    identity = credentials.sign_in(data)
    session = opened(account, identity, str(query.get("roleName") or ""))
    session.application = str(
        (data.get("CLIENT_ENVIRONMENT") or {}).get("APPLICATION") or data.get("CLIENT_APP_ID") or ""
    )
    start(session, account.catalog.users.get(identity.user), query)
    for name, value in (data.get("SESSION_PARAMETERS") or {}).items():
        if name.upper() in DEFAULTS:
            session.set_parameter(name.upper(), value)
    token, master = credentials.issue(session.session_id)
    return {
        "token": token,
        "masterToken": master,
        "validityInSeconds": int(credentials.session_life_s),
        "masterValidityInSeconds": int(credentials.master_life_s),
        "displayUserName": session.user,
        "serverVersion": VERSION,
        "firstLogin": False,
        "remMeToken": None,
        "remMeValidityInSeconds": 0,
        "healthCheckInterval": 45,
        "newClientForUpgrade": None,
        "sessionId": session.session_id,
        "parameters": parameter_list(session),
        "sessionInfo": session_info(session),
        "idToken": None,
        "idTokenValidityInSeconds": 0,
        "responseData": None,
        "mfaToken": None,
        "mfaTokenValidityInSeconds": 0,
    }


def session_info(session: LiveSession) -> dict[str, str | None]:
    return {
        "databaseName": session.database or None,
        "schemaName": session.schema or None,
        "warehouseName": session.warehouse or None,
        "roleName": session.role or None,
    }


def parameter_list(session: LiveSession) -> list[dict[str, Any]]:
    return [{"name": name, "value": session.parameter(name)} for name in DEFAULTS]


def opened(account: Account, identity: Identity, wanted: str = "") -> LiveSession:
    """Return a session for who signed in, in the role that the credential, the request or the user's default says."""
    user = account.catalog.users.get(identity.user)
    role = (
        identity.role
        or (wanted.upper() if not identity.service_role else "")
        or (user.default_role if user else "PUBLIC")
    )
    held = set(user.roles) | {"PUBLIC"} if user else {identity.role, "PUBLIC"}
    reachable = {inherited for name in held for inherited in account.catalog.inherited(name)}
    if role not in account.catalog.roles or role not in reachable:
        raise SqlError(
            390186,
            "08001",
            f"Role '{role}' specified in the connect string does not exist or not authorized. Contact your local system administrator, or attempt to login with another role, e.g. PUBLIC.",
        )
    session = account.open_session(identity.user, role)
    session.service_role = identity.service_role
    session.user_type = identity.user_type
    if user is not None:
        session.secondary = user.secondary_roles if identity.role == "" else "NONE"
    return session


def start(session: LiveSession, user: User | None, query: Any) -> None:
    """Set warehouse, database and schema; what does not exist is left unset, as Snowflake does at sign-in."""
    warehouse = str(query.get("warehouse") or "").upper() or (user.default_warehouse if user else "")
    if warehouse in session.catalog.warehouses and session.allowed("USAGE", "WAREHOUSE", warehouse):
        session.warehouse = warehouse
    given = str(query.get("databaseName") or "")
    namespace = split(user.default_namespace) if user and user.default_namespace and not given else ()
    database = split(given)[0] if given else (namespace[0] if namespace else "")
    if database not in session.catalog.databases or not session.allowed("USAGE", "DATABASE", database):
        return
    session.database = database
    schema = (
        split(str(query["schemaName"]))[0]
        if query.get("schemaName")
        else (namespace[1] if len(namespace) > 1 else "PUBLIC")
    )
    if schema in session.catalog.databases[database].schemas and session.allowed(
        "USAGE", "SCHEMA", f"{database}.{schema}"
    ):
        session.schema = schema


def _strike_renewal(request: web.Request) -> None:
    """Refuse to renew where that was asked of the emulator."""
    if (fault := request.app[ACCOUNT].faults.strike("renew_refused")) is not None:
        raise SqlError(
            int(fault.facts.get("code", 390114)),
            "08001",
            "Authentication token has expired.  The user must authenticate again.",
        )


async def renew(request: web.Request) -> web.Response:
    credentials = request.app[CREDENTIALS]
    body = await request.json()
    kind = str(body.get("requestType") or "RENEW").upper()
    try:
        _strike_renewal(request)
        if kind == "ISSUE":
            session_id = credentials.check(token_of(request))
            token, master = credentials.issue(session_id)
        else:
            session_id, token, master = credentials.renew(token_of(request), str(body.get("oldSessionToken") or ""))
    except SqlError as error:
        return failure(error)
    return success(
        {
            "sessionToken": token,
            "validityInSecondsST": int(credentials.session_life_s),
            "masterToken": master,
            "validityInSecondsMT": int(credentials.master_life_s),
            "sessionId": session_id,
        }
    )


async def heartbeat(request: web.Request) -> web.Response:
    try:
        request.app[CREDENTIALS].extend(token_of(request))
    except SqlError as error:
        return failure(error)
    return success(None)


async def close(request: web.Request) -> web.Response:
    """``POST /session?delete=true`` ends the session."""
    account, credentials = request.app[ACCOUNT], request.app[CREDENTIALS]
    try:
        session = account.session(credentials.check(token_of(request)))
    except SqlError as error:
        return failure(error)
    if request.query.get("delete") == "true":
        credentials.forget(session.session_id)
        await asyncio.to_thread(account.close_session, session)
    return success(None)
