"""SQL API: ``/api/v2/statements``."""

import asyncio
from typing import Any

from aiohttp import web

from services.emulator.engine.history import Record
from services.emulator.errors import SqlError
from services.emulator.protocol import cells
from services.emulator.protocol.keys import ACCOUNT, WORKERS
from services.emulator.protocol.login import opened, start
from services.emulator.protocol.query import waited
from services.emulator.protocol.rowtype import described
from services.emulator.protocol.running import run_request
from services.emulator.rest.access import IDENTITY, answer, guarded, json_body, refusal
from services.emulator.statements.run import new_record

PATIENCE_S = 45.0
PARTITION_ROWS = 10_000
_FORBIDDEN = ("USE", "ALTER SESSION", "BEGIN", "COMMIT", "ROLLBACK", "PUT", "GET", "SET ", "UNSET")


def routes() -> list[web.RouteDef]:
    return [
        web.post("/api/v2/statements", guarded(submit)),
        web.get("/api/v2/statements/{handle}", guarded(fetch)),
        web.post("/api/v2/statements/{handle}/cancel", guarded(cancel)),
    ]


async def submit(request: web.Request) -> web.StreamResponse:
    account = request.app[ACCOUNT]
    body = await json_body(request)
    text = body.get("statement")
    if not isinstance(text, str) or not text.strip():
        return refusal(400, "391911", "statement is required")
    request_id = str(request.query.get("requestId") or "")
    record = account.history.by_request(request_id) if request_id else None
    if record is None:
        if text.lstrip().upper().startswith(_FORBIDDEN):
            return answer(
                422,
                {
                    "code": "391911",
                    "message": "Unsupported statement type in the SQL API.",
                    "sqlState": "0A000",
                    "statementHandle": "",
                },
            )
        try:
            session = opened(account, request[IDENTITY], str(body.get("role") or ""))
        except SqlError as error:
            return refusal(401, str(error.code), error.message)
        user = account.catalog.users.get(session.user)
        start(
            session,
            user,
            {
                "warehouse": body.get("warehouse"),
                "databaseName": _quoted(body.get("database")),
                "schemaName": _quoted(body.get("schema")),
            },
        )
        parameters = {name.upper(): value for name, value in (body.get("parameters") or {}).items()}
        if body.get("timeout"):
            parameters["STATEMENT_TIMEOUT_IN_SECONDS"] = body["timeout"]
        record = new_record(session, text, request_id)
        asyncio.get_running_loop().run_in_executor(
            request.app[WORKERS],
            _run,
            account,
            session,
            record,
            {"bindings": body.get("bindings"), "parameters": parameters},
        )
    if request.query.get("async") == "true" or not await waited(record, PATIENCE_S):
        return _running(record)
    return await asyncio.to_thread(_shaped, record, 0)


def _quoted(name: Any) -> str:
    return f'"{name}"' if name else ""


def _run(account: Any, session: Any, record: Record, body: dict[str, Any]) -> None:
    try:
        run_request(session, record, body)
    finally:
        account.close_session(session)


def _links(record: Record) -> dict[str, Any]:
    return {
        "statementHandle": record.query_id,
        "statementStatusUrl": f"/api/v2/statements/{record.query_id}",
        "createdOn": int(record.started * 1000),
    }


def _running(record: Record) -> web.Response:
    return answer(
        202,
        {
            "code": "333334",
            "message": "Asynchronous execution in progress. Use provided query id to perform query monitoring and management.",
            **_links(record),
        },
    )


def _shaped(record: Record, partition: int) -> web.Response:
    if record.error is not None:
        status = 408 if record.error.code == 630 else 422  # noqa: PLR2004 - timed out
        return answer(
            status,
            {
                "code": f"{record.error.code:06d}",
                "message": record.error.message,
                "sqlState": record.error.sqlstate,
                **_links(record),
            },
        )
    if record.result is None:
        return refusal(404, "391918", "Result not found")
    rows = cells.rows(record.result)
    parts = [rows[at : at + PARTITION_ROWS] for at in range(0, len(rows), PARTITION_ROWS)] or [[]]
    if not 0 <= partition < len(parts):
        return refusal(400, "391911", f"partition must be 0 to {len(parts) - 1}")
    if partition:
        return answer(200, {"data": parts[partition]})
    info = [
        {"rowCount": len(part), "uncompressedSize": sum(len(cell or "") for row in part for cell in row)}
        for part in parts
    ]
    meta = {
        "numRows": len(rows),
        "format": "jsonv2",
        "partitionInfo": info,
        "rowType": [described(output) for output in record.result.outputs],
    }
    body = {
        "resultSetMetaData": meta,
        "data": parts[0],
        "code": "090001",
        "sqlState": "00000",
        "message": "Statement executed successfully.",
        **_links(record),
    }
    if record.result.children:
        body["statementHandles"] = record.result.children
    if record.result.stats:
        body["stats"] = record.result.stats
    return answer(200, body)


def _found(request: web.Request) -> Record | None:
    record = request.app[ACCOUNT].history.get(request.match_info["handle"])
    return record if record is not None and record.user == request[IDENTITY].user else None


async def fetch(request: web.Request) -> web.StreamResponse:
    record = _found(request)
    if record is None:
        return refusal(404, "391918", "Statement not found")
    if not record.done.is_set():
        return _running(record)
    partition = request.query.get("partition", "0")
    if not partition.isdigit():
        return refusal(400, "391911", "partition must be a whole number")
    return await asyncio.to_thread(_shaped, record, int(partition))


async def cancel(request: web.Request) -> web.StreamResponse:
    record = _found(request)
    if record is None or record.done.is_set():
        return answer(
            422,
            {
                "code": "000709",
                "message": f"Statement {request.match_info['handle']} not found",
                "sqlState": "02000",
                "statementHandle": request.match_info["handle"],
            },
        )
    record.cancelled.set()
    return answer(200, {"code": "000604", "sqlState": "57014", "message": "SQL execution canceled", **_links(record)})
