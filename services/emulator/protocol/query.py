"""Statements over HTTP: run, wait for, fetch, watch and abort."""

import asyncio
import gzip
import re
import zlib
from typing import Any

import orjson
from aiohttp import web

from services.emulator.engine.history import Record
from services.emulator.engine.session import LiveSession
from services.emulator.errors import SqlError
from services.emulator.protocol import shaping
from services.emulator.protocol.answers import failure, success
from services.emulator.protocol.keys import ACCOUNT, CREDENTIALS, WORKERS
from services.emulator.protocol.login import token_of
from services.emulator.protocol.running import run_request
from services.emulator.statements.run import new_record

IN_PROGRESS, IN_PROGRESS_ASYNC = "333333", "333334"
PATIENCE_S = 45.0  # a synchronous statement that takes longer is polled by the client


def routes() -> list[web.RouteDef]:
    return [
        web.post("/queries/v1/query-request", query_request),
        web.post("/queries/v1/abort-request", abort),
        web.get("/queries/{query_id}/result", result),
        web.post("/queries/{query_id}/abort-request", abort_one),
        web.get("/monitoring/queries/{query_id}", monitor),
        web.get("/chunks/{query_id}/{number}", chunk),
    ]


async def body_of(request: web.Request) -> dict[str, Any]:
    raw = await request.read()
    if raw[:2] == b"\x1f\x8b":
        raw = await asyncio.to_thread(_inflated, raw)
    parsed = orjson.loads(raw) if raw else {}
    return parsed if isinstance(parsed, dict) else {}


def _inflated(raw: bytes) -> bytes:
    try:
        return gzip.decompress(raw)
    except (OSError, zlib.error) as error:
        raise web.HTTPBadRequest(text="body is not valid gzip") from error


def session_of(request: web.Request) -> LiveSession:
    """Return the session whose token came with *request*, or refuse."""
    return request.app[ACCOUNT].session(request.app[CREDENTIALS].check(token_of(request)))


async def query_request(request: web.Request) -> web.StreamResponse:
    account = request.app[ACCOUNT]
    if (refused := _http_fault(request)) is not None:
        return refused
    body = await body_of(request)
    text = str(body.get("sqlText") or "")
    try:
        if account.faults.strike("token_expiry", text):
            request.app[CREDENTIALS].expire()
        session = session_of(request)
    except SqlError as error:
        return failure(error)
    request_id = str(request.query.get("requestId") or "")
    record = account.history.by_request(request_id) if request_id else None
    if record is None or record.session_id != session.session_id:
        record = new_record(session, text, request_id)
        work = asyncio.get_running_loop().run_in_executor(request.app[WORKERS], run_request, session, record, body)
        work.add_done_callback(_seen)
    else:
        work = None
    if body.get("asyncExec"):
        return _in_progress(
            record,
            IN_PROGRESS_ASYNC,
            "Asynchronous execution in progress. Use provided query id to perform query monitoring and management.",
        )
    if account.faults.strike("drop_before_result", text):
        return await _dropped(request, b"")
    return await _answer(request, record)


def _seen(work: "asyncio.Future[None]") -> None:
    """Report a fault of our own; the outcome of the statement is in its record."""
    if not work.cancelled() and (error := work.exception()) is not None:
        asyncio.get_running_loop().call_exception_handler(
            {"message": "statement failed by a fault of the emulator", "exception": error}
        )


def _http_fault(request: web.Request) -> web.Response | None:
    for kind, code in (("http_429", 429), ("http_503", 503)):
        if (fault := request.app[ACCOUNT].faults.strike(kind)) is not None:
            after = fault.facts.get("retry_after")
            return web.Response(
                status=code, text="injected", headers={"Retry-After": str(after)} if after is not None else {}
            )
    return None


async def _dropped(request: web.Request, start: bytes) -> web.StreamResponse:
    """Break the connection after *start* bytes of an answer that promised more."""
    response = web.StreamResponse(
        headers={"Content-Type": "application/json", "Content-Length": str(len(start) + 1000)}
    )
    await response.prepare(request)
    if start:
        await response.write(start)
    if request.transport is not None:
        request.transport.abort()
    return response


def _in_progress(record: Record, code: str, message: str) -> web.Response:
    data = {
        "queryId": record.query_id,
        "getResultUrl": f"/queries/{record.query_id}/result",
        "queryAbortsAfterSecs": 300,
        "progressDesc": None,
    }
    return success(data, code, message)


async def waited(record: Record, seconds: float) -> bool:
    """Wait until the statement ended; False when it still runs after *seconds*."""
    deadline = asyncio.get_running_loop().time() + seconds
    pause = 0.0005
    while not record.done.is_set():
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 0.02)
    return True


async def _answer(request: web.Request, record: Record) -> web.StreamResponse:
    if not await waited(record, PATIENCE_S):
        return _in_progress(record, IN_PROGRESS, "Query execution in progress.")
    if record.error is not None:
        return failure(record.error, record.query_id)
    if record.result is None:
        return failure(SqlError(612, "02000", f"Result for query {record.query_id} has expired"), record.query_id)
    session = session_of(request)
    data = await asyncio.to_thread(shaping.shaped, session, record.result, record.query_id, _base(request))
    if request.app[ACCOUNT].faults.strike("drop_mid_result", record.text):
        raw = orjson.dumps({"data": data, "code": None, "message": None, "success": True})
        return await _dropped(request, raw[: len(raw) // 2])
    return success(data)


def _base(request: web.Request) -> str:
    return f"{request.scheme}://{request.host}"


async def result(request: web.Request) -> web.StreamResponse:
    try:
        session_of(request)
        record = _record(request)
    except SqlError as error:
        return failure(error)
    return await _answer(request, record)


def _record(request: web.Request) -> Record:
    query_id = request.match_info["query_id"]
    record = request.app[ACCOUNT].history.get(query_id)
    if record is None or not re.fullmatch(r"[0-9a-fA-F-]+", query_id):
        raise SqlError(612, "02000", f"Result for query {query_id} not found")
    return record


async def abort(request: web.Request) -> web.Response:
    """Abort by the request id that the statement came with."""
    try:
        session = session_of(request)
    except SqlError as error:
        return failure(error)
    body = await body_of(request)
    record = request.app[ACCOUNT].history.by_request(str(body.get("requestId") or ""))
    if record is not None and record.session_id == session.session_id:
        record.cancelled.set()
    return success(None)


async def abort_one(request: web.Request) -> web.Response:
    try:
        session_of(request)
        record = _record(request)
    except SqlError as error:
        return failure(error)
    record.cancelled.set()
    return success(None)


async def monitor(request: web.Request) -> web.Response:
    try:
        session_of(request)
        record = _record(request)
    except SqlError as error:
        return failure(error)
    status = "FAILED_WITH_ERROR" if record.error else record.status
    entry = {
        "id": record.query_id,
        "status": status,
        "state": status,
        "sqlText": record.text,
        "startTime": int(record.started * 1000),
        "endTime": int(record.ended * 1000),
        "errorCode": f"{record.error.code:06d}" if record.error else None,
        "errorMessage": record.error.message if record.error else None,
        "sessionId": record.session_id,
    }
    return success({"queries": [entry]})


async def chunk(request: web.Request) -> web.StreamResponse:
    """Answer with a later part of a large result, as its own file."""
    if (refused := _http_fault(request)) is not None:
        return refused
    record = request.app[ACCOUNT].history.get(request.match_info["query_id"])
    if record is None or record.result is None:
        raise web.HTTPNotFound
    raw = await asyncio.to_thread(shaping.chunk, record.result, int(request.match_info["number"]))
    if request.app[ACCOUNT].faults.strike("drop_mid_chunk", record.text):
        return await _dropped(request, raw[: len(raw) // 2])
    return web.Response(body=raw, content_type="application/octet-stream")
