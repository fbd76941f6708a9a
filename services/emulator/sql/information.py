"""INFORMATION_SCHEMA, docs: sql-reference/info-schema: what a database holds and what ran, as far as the session may know."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from services.emulator import errors
from services.emulator.engine.history import Record
from services.emulator.engine.objects import Table
from services.emulator.engine.session import LiveSession
from services.emulator.protocol.arrow import from_rows
from services.emulator.sql import types as t
from services.emulator.sql.compiler import Compiler
from services.emulator.sql.scope import Output, Query
from services.emulator.sql.types import SqlType

SCHEMA = "INFORMATION_SCHEMA"
Row = dict[str, Any]
_COUNT = t.number(18)
_KINDS = {"VARCHAR": "TEXT"}  # named otherwise than in DDL


def view(c: Compiler, database: str, name: str) -> Query:
    """Return the rows of a view of the schema."""
    c.session.may_see_database(database)
    if name not in _VIEWS:
        raise errors.missing("Object", f"{database}.{SCHEMA}.{name}")
    columns, rows = _VIEWS[name]
    return _query(c, columns, rows(c.session, database))


def history(c: Compiler, *, limit: int, session_id: int | None = None) -> tuple[str, list[tuple[str, SqlType]]]:
    """Return the newest statements first; a stranger's only to who may monitor the warehouse."""
    session: LiveSession = c.session
    found = [
        _statement(record)
        for record in reversed(session.account.history.all())
        if session_id in {None, record.session_id}
        and (record.user == session.user or session.allowed("MONITOR", "WAREHOUSE", record.warehouse))
    ]
    return _query(c, _STATEMENTS, found[:limit]).sql, list(_STATEMENTS.items())


def _query(c: Compiler, columns: dict[str, SqlType], rows: list[Row]) -> Query:
    outputs = tuple(Output(name, of, nullable=True) for name, of in columns.items())
    name = f"i{c.alias()}_{c.session.session_id}"
    c.session.cursor.register(name, from_rows([tuple(row.get(key) for key in columns) for row in rows], outputs))
    return Query(f"SELECT * FROM {name}", outputs)


def _moment(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None) if seconds else None


def _statement(record: Record) -> Row:
    return {
        "QUERY_ID": record.query_id,
        "QUERY_TEXT": record.text,
        "DATABASE_NAME": record.database,
        "SCHEMA_NAME": record.schema,
        "QUERY_TYPE": record.kind,
        "SESSION_ID": record.session_id,
        "USER_NAME": record.user,
        "ROLE_NAME": record.role,
        "WAREHOUSE_NAME": record.warehouse,
        "QUERY_TAG": record.tag,
        "EXECUTION_STATUS": record.status if record.status != "FAILED" else "FAILED_WITH_ERROR",
        "ERROR_CODE": str(record.error.code) if record.error else None,
        "ERROR_MESSAGE": record.error.message if record.error else None,
        "START_TIME": _moment(record.started),
        "END_TIME": _moment(record.ended),
        "TOTAL_ELAPSED_TIME": round((record.ended - record.started) * 1000) if record.ended else None,
        "ROWS_PRODUCED": record.rows,
    }


def _tables(session: LiveSession, database: str) -> list[Table]:
    return [
        table
        for schema in session.catalog.databases[database].schemas.values()
        for table in schema.tables.values()
        if session.allowed("SELECT", "VIEW" if table.is_view else "TABLE", ".".join(table.path), table.owner)
    ]


def _databases(session: LiveSession, _database: str) -> list[Row]:
    return [
        {"DATABASE_NAME": item.name, "DATABASE_OWNER": item.owner, "COMMENT": item.comment or None, **_made(item)}
        for item in session.catalog.databases.values()
        if session.allowed("USAGE", "DATABASE", item.name)
    ]


def _schemata(session: LiveSession, database: str) -> list[Row]:
    return [
        {
            "CATALOG_NAME": database,
            "SCHEMA_NAME": item.name,
            "SCHEMA_OWNER": item.owner or None,
            "COMMENT": item.comment or None,
            **_made(item),
        }
        for item in session.catalog.databases[database].schemas.values()
        if session.allowed("USAGE", "SCHEMA", f"{database}.{item.name}")
    ]


def _made(item: Any) -> Row:
    return {
        "IS_TRANSIENT": "YES" if item.kind == "TRANSIENT" else "NO",
        "RETENTION_TIME": item.retention_days,
        "CREATED": item.created_on.replace(tzinfo=None),
    }


def _place(table: Table) -> Row:
    return {"TABLE_CATALOG": table.database, "TABLE_SCHEMA": table.schema, "TABLE_NAME": table.name}


def _table_rows(session: LiveSession, database: str) -> list[Row]:
    sight = session.view(session.store.commit).where()
    return [
        {
            **_place(table),
            **_made(table),
            "TABLE_OWNER": table.owner,
            "TABLE_TYPE": table.kind if table.is_view else "BASE TABLE",
            "CLUSTERING_KEY": table.cluster_by or None,
            "ROW_COUNT": None
            if table.is_view
            else session.evaluate(f"(SELECT count(*) FROM {table.physical} WHERE {sight})"),
            "COMMENT": table.comment or None,
        }
        for table in _tables(session, database)
    ]


def _column_rows(session: LiveSession, database: str) -> list[Row]:
    return [
        {
            **_place(table),
            "COLUMN_NAME": column.name,
            "ORDINAL_POSITION": at,
            "COLUMN_DEFAULT": column.default or None,
            "IS_NULLABLE": "YES" if column.nullable else "NO",
            "DATA_TYPE": _KINDS.get(column.type.name, column.type.name),
            "CHARACTER_MAXIMUM_LENGTH": column.type.length or None,
            "NUMERIC_PRECISION": column.type.precision or None,
            "NUMERIC_SCALE": column.type.scale if column.type.name == "NUMBER" else None,
            "COMMENT": column.comment or None,
        }
        for table in _tables(session, database)
        for at, column in enumerate(table.columns, 1)
    ]


def _columns(texts: str, counts: str = "", moments: str = "") -> dict[str, SqlType]:
    return (
        dict.fromkeys(texts.split(), t.VARCHAR)
        | dict.fromkeys(counts.split(), _COUNT)
        | dict.fromkeys(moments.split(), t.TIMESTAMP_LTZ)
    )


_VIEWS: dict[str, tuple[dict[str, SqlType], Callable[[LiveSession, str], list[Row]]]] = {
    "DATABASES": (
        _columns("DATABASE_NAME DATABASE_OWNER IS_TRANSIENT COMMENT", "RETENTION_TIME", "CREATED"),
        _databases,
    ),
    "SCHEMATA": (
        _columns("CATALOG_NAME SCHEMA_NAME SCHEMA_OWNER IS_TRANSIENT COMMENT", "RETENTION_TIME", "CREATED"),
        _schemata,
    ),
    "TABLES": (
        _columns(
            "TABLE_CATALOG TABLE_SCHEMA TABLE_NAME TABLE_OWNER TABLE_TYPE IS_TRANSIENT CLUSTERING_KEY COMMENT",
            "ROW_COUNT RETENTION_TIME",
            "CREATED",
        ),
        _table_rows,
    ),
    "COLUMNS": (
        _columns(
            "TABLE_CATALOG TABLE_SCHEMA TABLE_NAME COLUMN_NAME COLUMN_DEFAULT IS_NULLABLE DATA_TYPE COMMENT",
            "ORDINAL_POSITION CHARACTER_MAXIMUM_LENGTH NUMERIC_PRECISION NUMERIC_SCALE",
        ),
        _column_rows,
    ),
}
_STATEMENTS = _columns(
    "QUERY_ID QUERY_TEXT DATABASE_NAME SCHEMA_NAME QUERY_TYPE USER_NAME ROLE_NAME WAREHOUSE_NAME QUERY_TAG "
    "EXECUTION_STATUS ERROR_CODE ERROR_MESSAGE",
    "SESSION_ID TOTAL_ELAPSED_TIME ROWS_PRODUCED",
    "START_TIME END_TIME",
)
