"""Envelopes: what succeeded and what failed both travel as HTTP 200, told apart by ``success``."""

from typing import Any

import orjson
from aiohttp import web

from services.emulator.errors import SqlError


def success(data: Any, code: str | None = None, message: str | None = None) -> web.Response:
    return web.Response(
        body=orjson.dumps({"data": data, "code": code, "message": message, "success": True}),
        content_type="application/json",
    )


def failure(error: SqlError, query_id: str = "") -> web.Response:
    """Return a refusal; statement errors carry number and SQLSTATE inside too."""
    code = f"{error.code:06d}"
    data = {
        "internalError": False,
        "unredactedFromSecureObject": False,
        "errorCode": code,
        "age": 0,
        "sqlState": error.sqlstate,
        "queryId": query_id or None,
        "line": -1,
        "pos": -1,
        "type": "COMPILATION" if error.message.startswith("SQL compilation") else "EXECUTION",
    }
    body = {"data": data, "code": code, "message": error.message, "success": False, "headers": None}
    return web.Response(body=orjson.dumps(body), content_type="application/json")
