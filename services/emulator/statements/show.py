"""SHOW and DESCRIBE, docs: sql-reference/sql/show and describe."""

import re
from collections.abc import Callable, Iterable
from typing import Any

from services.emulator import errors
from services.emulator.engine.objects import Schema, Table
from services.emulator.engine.parameters import DEFAULTS
from services.emulator.engine.results import DESCRIBE, Result, listed, status
from services.emulator.engine.session import LiveSession
from services.emulator.sql import types as t
from services.emulator.sql.types import SqlType
from services.emulator.statements.dispatch import Run, statement

_TEXT, _TIME, _COUNT = t.VARCHAR, t.TIMESTAMP_LTZ, t.number(18)


def columns(words: str) -> dict[str, SqlType]:
    """Return columns by name; those of moments and counts are told by their names."""
    return {
        word: _TIME if word.endswith("_on") or word == "created_on" else _COUNT if word in {"rows", "bytes"} else _TEXT
        for word in words.split()
    }


_SHOWN: dict[str, dict[str, SqlType]] = {
    "DATABASES": columns(
        "created_on name is_default is_current origin owner comment options retention_time kind owner_role_type"
    ),
    "SCHEMAS": columns(
        "created_on name is_default is_current database_name owner comment options retention_time owner_role_type"
    ),
    "TABLES": columns(
        "created_on name database_name schema_name kind comment cluster_by rows bytes owner retention_time automatic_clustering change_tracking is_external enable_schema_evolution owner_role_type is_event is_hybrid is_iceberg is_dynamic is_immutable"
    ),
    "VIEWS": columns(
        "created_on name reserved database_name schema_name owner comment text is_secure is_materialized owner_role_type change_tracking"
    ),
    "OBJECTS": columns(
        "created_on name database_name schema_name kind comment cluster_by rows bytes owner retention_time owner_role_type is_hybrid is_dynamic is_iceberg"
    ),
    "COLUMNS": columns(
        "table_name schema_name column_name data_type null? default kind expression comment database_name autoincrement"
    ),
    "WAREHOUSES": columns(
        "name state type size running queued is_default is_current auto_suspend auto_resume created_on owner comment"
    ),
    "ROLES": columns(
        "created_on name is_default is_current is_inherited assigned_to_users granted_to_roles granted_roles owner comment"
    ),
    "USERS": columns(
        "name created_on login_name display_name disabled default_warehouse default_namespace default_role default_secondary_roles owner comment type"
    ),
    "PARAMETERS": columns("key value default level description type"),
    "VARIABLES": columns("session_id name value type comment"),
    "SEQUENCES": columns(
        "name database_name schema_name next_value interval created_on owner comment owner_role_type ordered"
    ),
    "PRIMARY KEYS": columns(
        "created_on database_name schema_name table_name column_name key_sequence constraint_name rely comment"
    ),
    "GRANTS": columns("created_on privilege granted_on name granted_to grantee_name grant_option granted_by"),
    "LOCKS": columns("resource type transaction transaction_started_on status acquired_on query_id session"),
    "TRANSACTIONS": columns("id user session name started_on state"),
    "ROW ACCESS POLICIES": columns(
        "created_on name database_name schema_name kind owner comment owner_role_type options"
    ),
    "MASKING POLICIES": columns("created_on name database_name schema_name kind owner comment owner_role_type options"),
}


def _databases(session: LiveSession) -> Iterable[dict[str, Any]]:
    for item in session.catalog.databases.values():
        if session.allowed("USAGE", "DATABASE", item.name):
            yield {
                "created_on": _moment(item),
                "name": item.name,
                "is_default": "N",
                "is_current": "Y" if item.name == session.database else "N",
                "origin": "",
                "owner": item.owner,
                "comment": item.comment,
                "options": item.kind,
                "retention_time": str(item.retention_days),
                "kind": "STANDARD",
                "owner_role_type": "ROLE",
            }


def _moment(item: Any) -> Any:
    return item.created_on.replace(tzinfo=None)


def _any(_table: Table) -> bool:
    return True


def _tables(session: LiveSession, where: list[tuple[str, Schema]], wanted: Callable[[Table], bool]) -> list[Table]:
    found = [table for _, schema in where for table in schema.tables.values() if wanted(table)]
    names = {(database, schema.name) for database, schema in where}
    found += [
        table for table in session.temporary.values() if (table.database, table.schema) in names and wanted(table)
    ]
    return sorted(
        (
            table
            for table in found
            if session.allowed("SELECT", "VIEW" if table.is_view else "TABLE", ".".join(table.path), table.owner)
        ),
        key=lambda table: table.path,
    )


def _table_row(session: LiveSession, table: Table) -> dict[str, Any]:
    rows = None
    if not table.is_view:
        rows = session.evaluate(
            f"(SELECT count(*) FROM {table.physical} WHERE {session.view(session.store.commit).where()})"
        )
    kind = table.kind if table.kind != "MATERIALIZED VIEW" else "VIEW"
    return {
        "created_on": _moment(table),
        "name": table.name,
        "database_name": table.database,
        "schema_name": table.schema,
        "kind": kind,
        "comment": table.comment,
        "cluster_by": table.cluster_by,
        "rows": rows,
        "bytes": 0 if not table.is_view else None,
        "owner": table.owner,
        "retention_time": str(table.retention_days),
        "automatic_clustering": "OFF",
        "change_tracking": "OFF",
        "is_external": "N",
        "enable_schema_evolution": "N",
        "owner_role_type": "ROLE",
        "is_event": "N",
        "is_hybrid": "N",
        "is_iceberg": "N",
        "is_dynamic": "N",
        "is_immutable": "N",
        "text": table.text,
        "is_secure": "true" if table.secure else "false",
        "is_materialized": "true" if table.kind.startswith("MATERIALIZED") else "false",
        "reserved": "",
    }


def _rows(run: Run, kind: str, where: list[tuple[str, Schema]]) -> Iterable[dict[str, Any]]:  # noqa: C901, PLR0911, PLR0912 - a table of kinds
    session, catalog = run.session, run.session.catalog
    match kind:
        case "DATABASES":
            return _databases(session)
        case "SCHEMAS":
            return [
                {
                    "created_on": _moment(schema),
                    "name": schema.name,
                    "is_default": "N",
                    "is_current": "Y" if (database, schema.name) == (session.database, session.schema) else "N",
                    "database_name": database,
                    "owner": schema.owner,
                    "comment": schema.comment,
                    "options": schema.kind,
                    "retention_time": str(schema.retention_days),
                    "owner_role_type": "ROLE",
                }
                for database, schema in where
            ]
        case "TABLES":
            return [_table_row(session, table) for table in _tables(session, where, lambda table: not table.is_view)]
        case "VIEWS":
            return [_table_row(session, table) for table in _tables(session, where, lambda table: table.is_view)]
        case "OBJECTS":
            return [_table_row(session, table) for table in _tables(session, where, _any)]
        case "WAREHOUSES":
            return [
                {
                    "name": item.name,
                    "state": item.state,
                    "type": "STANDARD",
                    "size": item.size,
                    "running": "0",
                    "queued": "0",
                    "is_default": "N",
                    "is_current": "Y" if item.name == session.warehouse else "N",
                    "auto_suspend": str(item.auto_suspend),
                    "auto_resume": str(item.auto_resume).lower(),
                    "created_on": _moment(item),
                    "owner": item.owner,
                    "comment": item.comment,
                }
                for item in catalog.warehouses.values()
            ]
        case "ROLES":
            return [
                {
                    "created_on": _moment(item),
                    "name": item.name,
                    "is_default": "N",
                    "is_current": "Y" if item.name == session.role else "N",
                    "is_inherited": "N",
                    "owner": item.owner,
                    "comment": item.comment,
                }
                for item in catalog.roles.values()
            ]
        case "USERS":
            return [
                {
                    "name": item.name,
                    "created_on": _moment(item),
                    "login_name": item.name,
                    "display_name": item.name,
                    "disabled": str(item.disabled).lower(),
                    "default_warehouse": item.default_warehouse,
                    "default_role": item.default_role,
                    "owner": item.owner,
                    "comment": item.comment,
                    "type": item.kind,
                }
                for item in catalog.users.values()
            ]
        case "PARAMETERS":
            return [
                {
                    "key": name,
                    "value": str(session.parameter(name)).lower()
                    if isinstance(default, bool)
                    else str(session.parameter(name)),
                    "default": str(default).lower() if isinstance(default, bool) else str(default),
                    "level": "SESSION" if name in session.parameters else "",
                    "description": "",
                    "type": "BOOLEAN"
                    if isinstance(default, bool)
                    else "NUMBER"
                    if isinstance(default, int)
                    else "STRING",
                }
                for name, default in DEFAULTS.items()
            ]
        case "VARIABLES":
            return [
                {
                    "session_id": str(session.session_id),
                    "name": name,
                    "value": str(value),
                    "type": of.name.replace("VARCHAR", "text").replace("NUMBER", "fixed"),
                }
                for name, (value, of) in session.variables.items()
            ]
        case "SEQUENCES" | "ROW ACCESS POLICIES" | "MASKING POLICIES":
            single = {"SEQUENCES": "SEQUENCE"}.get(kind, kind.removesuffix("IES") + "Y")
            return [
                {
                    "created_on": _moment(item),
                    "name": item.name,
                    "database_name": database,
                    "schema_name": schema.name,
                    "owner": item.owner,
                    "comment": item.comment,
                    "kind": single.replace(" ", "_"),
                    "owner_role_type": "ROLE",
                    "next_value": str(item.facts.get("next", "")),
                    "interval": str(item.facts.get("increment", "")),
                    "ordered": "Y",
                }
                for database, schema in where
                for (held, _), item in schema.things.items()
                if held == single
            ]
        case "PRIMARY KEYS":
            return [
                {
                    "created_on": _moment(table),
                    "database_name": table.database,
                    "schema_name": table.schema,
                    "table_name": table.name,
                    "column_name": column.name,
                    "key_sequence": "1",
                    "constraint_name": "SYS_CONSTRAINT",
                    "rely": "false",
                }
                for table in _tables(session, where, _any)
                for column in table.columns
                if column.key == "PRIMARY"
            ]
        case "COLUMNS":
            return [
                {
                    "table_name": table.name,
                    "schema_name": table.schema,
                    "column_name": column.name,
                    "data_type": str(column.type),
                    "null?": str(column.nullable).lower(),
                    "default": column.default,
                    "kind": "COLUMN",
                    "comment": column.comment,
                    "database_name": table.database,
                }
                for table in _tables(session, where, _any)
                for column in table.columns
            ]
        case "GRANTS":
            return [
                {
                    "privilege": item.privilege,
                    "granted_on": item.kind,
                    "name": item.name,
                    "granted_to": "ROLE",
                    "grantee_name": item.role,
                    "grant_option": str(item.option).lower(),
                }
                for item in sorted(catalog.grants, key=lambda item: (item.role, item.kind, item.name, item.privilege))
            ]
        case "LOCKS":
            return [
                {"resource": table, "type": "PARTITIONS", "status": "HOLDING", "query_id": query}
                for table, query, _ in session.account.locks.held()
            ]
    return []


@statement(*[f"SHOW {terse}{kind}" for terse in ("", "TERSE ") for kind in _SHOWN])
def show(run: Run) -> Result:
    reader = run.reader
    words = [token.text.upper() for token in reader.tokens[1 : reader.at]]
    kind = " ".join(word for word in words if word != "TERSE")
    reader.accept("HISTORY")
    pattern = reader.string() if reader.accept("LIKE") else ""
    where = _where(run, kind)
    if reader.accept("LIKE"):
        pattern = reader.string()
    starts = reader.string() if reader.accept("STARTS", "WITH") else ""
    limit = reader.integer() if reader.accept("LIMIT") else 0
    if kind == "GRANTS":
        reader.rest()
    reader.finish()
    key = "key" if kind == "PARAMETERS" else "column_name" if kind == "COLUMNS" else "name"
    rows = [
        row
        for row in _rows(run, kind, where)
        if _like(str(row.get(key, "")), pattern) and str(row.get(key, "")).startswith(starts)
    ]
    return listed(_SHOWN[kind], rows[:limit] if limit else rows)


def _like(text: str, pattern: str) -> bool:
    if not pattern:
        return True
    expression = "".join(".*" if mark == "%" else "." if mark == "_" else re.escape(mark) for mark in pattern)
    return re.fullmatch(expression, text, re.IGNORECASE) is not None


_IN_SCHEMAS = {
    "SCHEMAS",
    "TABLES",
    "VIEWS",
    "OBJECTS",
    "COLUMNS",
    "SEQUENCES",
    "PRIMARY KEYS",
    "ROW ACCESS POLICIES",
    "MASKING POLICIES",
}
Place = tuple[str, Schema]  # name of the database, and the schema


def _where(run: Run, kind: str) -> list[Place]:
    """Return the schemas that IN limits to; without IN the current schema, database or account."""
    reader, session = run.reader, run.session
    if kind not in _IN_SCHEMAS:
        if reader.accept("IN"):
            reader.accept_any("ACCOUNT", "SESSION", "DATABASE", "SCHEMA")
            if reader.peek() and reader.peek() != "LIKE":
                reader.path()
        return []
    everything = [
        (name, schema)
        for name, database in session.catalog.databases.items()
        for schema in database.schemas.values()
        if session.allowed("USAGE", "SCHEMA", f"{name}.{schema.name}")
    ]
    if reader.accept("IN"):
        return everything if reader.accept("ACCOUNT") else _inside(run, everything)
    if session.database and session.schema and kind != "SCHEMAS":
        return [(session.database, session.catalog.schema(session.database, session.schema))]
    return [pair for pair in everything if not session.database or pair[0] == session.database]


def _inside(run: Run, everything: list[Place]) -> list[Place]:
    """Return what ``IN DATABASE d``, ``IN SCHEMA s``, ``IN TABLE t`` or a bare name stands for."""
    reader, session = run.reader, run.session
    word = reader.accept_any("DATABASE", "SCHEMA", "TABLE", "VIEW")
    if not reader.peek() and reader.done:
        here = [pair for pair in everything if pair[0] == session.database]
        return [pair for pair in here if word != "SCHEMA" or pair[1].name == session.schema]
    path = reader.path()
    if word in {"TABLE", "VIEW"}:
        table = session.find_table(path)
        return [(table.database, Schema(table.schema, tables={table.name: table}))]
    databases = session.catalog.databases
    if word == "DATABASE" or (len(path) == 1 and path[0] in databases and word != "SCHEMA"):
        if path[-1] not in databases:
            raise errors.missing_for_use()
        return [pair for pair in everything if pair[0] == path[-1]]
    try:
        return [session.find_schema(path)]
    except errors.SqlError:
        raise errors.missing_for_use() from None


_DESCRIBED = dict.fromkeys(
    (
        "name",
        "type",
        "kind",
        "null?",
        "default",
        "primary key",
        "unique key",
        "check",
        "expression",
        "comment",
        "policy name",
        "privacy domain",
        "schema_evolution_record",
    ),
    _TEXT,
)


@statement("DESCRIBE TABLE", "DESC TABLE", "DESCRIBE VIEW", "DESC VIEW")
def describe(run: Run) -> Result:
    table = run.session.find_table(run.reader.path(), "Table")
    run.reader.options()
    run.reader.finish()
    rows = [
        {
            "name": column.name,
            "type": str(column.type),
            "kind": "COLUMN",
            "null?": "Y" if column.nullable else "N",
            "default": column.default or ("IDENTITY START 1 INCREMENT 1 NOORDER" if column.identity else None),
            "primary key": "Y" if column.key == "PRIMARY" else "N",
            "unique key": "Y" if column.key == "UNIQUE" else "N",
            "comment": column.comment or None,
            "policy name": ".".join(column.masking) if column.masking else None,
        }
        for column in table.columns
    ]
    return listed(_DESCRIBED, rows, DESCRIBE)


@statement("EXPLAIN")
def explain(_run: Run) -> Result:
    raise errors.unsupported("EXPLAIN")


@statement("COMMENT ON", "COMMENT IF EXISTS ON")
def comment(run: Run) -> Result:
    kind = run.reader.name()
    path = run.reader.path()
    run.reader.expect("IS")
    text = run.reader.string()
    session = run.session
    if kind == "COLUMN":
        column = session.find_table(path[:-1]).column(path[-1])
        if column is None:
            raise errors.invalid_identifier(path[-1])
        column.comment = text
    elif kind in {"TABLE", "VIEW"}:
        session.find_table(path).comment = text
    elif kind == "SCHEMA":
        session.find_schema(path)[1].comment = text
    elif kind == "DATABASE":
        session.catalog.database(path[-1]).comment = text
    else:
        session.find_thing(kind, path).comment = text
    session.account.save()
    return status("Statement executed successfully.")
