"""Results as the connector's protocol carries them: Arrow in base64, later parts as files of their own, or JSON."""

import base64
from typing import Any

import pyarrow as pa

from services.emulator.engine.results import INSERT, Result
from services.emulator.engine.session import LiveSession
from services.emulator.protocol import arrow, cells
from services.emulator.protocol.login import parameter_list
from services.emulator.protocol.rowtype import described

FIRST_ROWS = 10_000  # rows that come with the answer; the rest is fetched in files
CHUNK_ROWS = 50_000
FIRST_BYTES = 8 * 1024 * 1024  # wide rows, such as vectors, are cut earlier


def shaped(session: LiveSession, result: Result, query_id: str, base: str) -> dict[str, Any]:
    """Return the ``data`` of a successful answer."""
    as_arrow = (
        result.table is not None and str(session.parameter("PYTHON_CONNECTOR_QUERY_RESULT_FORMAT")).lower() != "json"
    )
    data: dict[str, Any] = {
        "parameters": parameter_list(session),
        "rowtype": [described(output) for output in result.outputs],
        "total": result.count,
        "returned": result.count,
        "queryId": query_id,
        "databaseProvider": None,
        "finalDatabaseName": session.database or None,
        "finalSchemaName": session.schema or None,
        "finalWarehouseName": session.warehouse or None,
        "finalRoleName": session.role,
        "numberOfBinds": result.binds,
        "arrayBindSupported": result.kind == INSERT and result.binds > 0,
        "statementTypeId": result.kind,
        "version": 1,
        "sendResultTime": 0,
        "queryResultFormat": "arrow" if as_arrow else "json",
        "queryContext": {"entries": []},
    }
    if result.stats:
        data["stats"] = result.stats
    if result.children:
        data["resultIds"] = ",".join(result.children)
        data["resultTypes"] = ",".join(str(kind) for kind in result.children_kinds)
    if as_arrow and result.table is not None:
        return data | _arrow(result, result.table, query_id, base)
    return data | {"rowset": cells.rows(result)}


def _first(table: pa.Table) -> int:
    """Return how many rows come with the answer."""
    if table.num_rows == 0:
        return 0
    width = max(1, int(table.nbytes) // int(table.num_rows))
    return max(1, min(FIRST_ROWS, FIRST_BYTES // width))


def _starts(table: pa.Table) -> list[tuple[int, int]]:
    """Return offset and length of every later part."""
    first = _first(table)
    size = max(first, min(CHUNK_ROWS, first * 5))
    return [(at, min(size, table.num_rows - at)) for at in range(first, table.num_rows, max(1, size))]


def _arrow(result: Result, table: pa.Table, query_id: str, base: str) -> dict[str, Any]:
    head = arrow.encoded(table.slice(0, _first(table)), result.outputs)
    data: dict[str, Any] = {"rowsetBase64": base64.b64encode(arrow.stream(head)).decode()}
    parts = _starts(table)
    if parts:
        width = max(1, table.nbytes // table.num_rows)
        data["chunks"] = [
            {
                "url": f"{base}/chunks/{query_id}/{number}",
                "rowCount": length,
                "uncompressedSize": length * width,
                "compressedSize": length * width,
            }
            for number, (_, length) in enumerate(parts)
        ]
        data["chunkHeaders"] = {"x-emulator": "1"}
    return data


def chunk(result: Result, number: int) -> bytes:
    """Return a later part of a result."""
    if result.table is None:
        raise IndexError(number)
    start, length = _starts(result.table)[number]
    return arrow.stream(arrow.encoded(result.table.slice(start, length), result.outputs))
