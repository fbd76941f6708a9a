"""CREATE, DROP, UNDROP and ALTER of databases and schemas."""

from typing import Any

from services.emulator import errors
from services.emulator.engine.objects import Database, Schema, Table, Thing
from services.emulator.engine.results import Result, status
from services.emulator.engine.session import LiveSession
from services.emulator.sql.names import shown
from services.emulator.statements.cloning import clone_database, clone_schema, moment_of
from services.emulator.statements.creating import ABSENT, ALREADY
from services.emulator.statements.dispatch import Run, statement

_REPLACED = ("", "OR REPLACE ")
_KINDS = ("", "TRANSIENT ")
_PROPERTIES = {
    "COMMENT",
    "DATA_RETENTION_TIME_IN_DAYS",
    "MAX_DATA_EXTENSION_TIME_IN_DAYS",
    "DEFAULT_DDL_COLLATION",
    "LOG_LEVEL",
    "TRACE_LEVEL",
}


def beginnings(kind: str) -> list[str]:
    return [f"CREATE {replaced}{word}{kind}" for replaced in _REPLACED for word in _KINDS]


def head(run: Run) -> tuple[bool, bool]:
    """Return whether OR REPLACE and TRANSIENT were said."""
    words = [token.text.upper() for token in run.reader.tokens[: run.reader.at]]
    return "REPLACE" in words, "TRANSIENT" in words


def properties(run: Run, kind: str) -> dict[str, object]:
    """Return what follows the name, refusing what *kind* does not have."""
    run.reader.accept("WITH", "MANAGED", "ACCESS")
    found = run.reader.options()
    for name in found:
        if name not in _PROPERTIES:
            raise errors.compilation(1420, "22023", f"invalid property '{name}' for '{kind}'")
    run.reader.finish()
    return found


@statement(*beginnings("DATABASE"))
def create_database(run: Run) -> Result:
    session, reader = run.session, run.reader
    replace, transient = head(run)
    missing_only = reader.accept("IF", "NOT", "EXISTS")
    path = reader.path()
    source = reader.path()[0] if reader.accept("CLONE") else ""
    when = moment_of(run) if source else None
    facts = properties(run, "DATABASE")
    if not session.allowed("CREATE DATABASE", "ACCOUNT", "") and not session.roles() & {"SYSADMIN"}:
        raise errors.privileges("account", session.account.name)
    session.commit_for_ddl()
    name = path[-1]
    if name in session.catalog.databases:
        if missing_only:
            return status(ALREADY.format(name=shown(name)))
        if not replace:
            raise errors.exists("Object", shown(name))
        session.catalog.drop_database(name)
    database = session.catalog.add_database(
        name, session.role, kind="TRANSIENT" if transient else "", comment=str(facts.get("COMMENT", ""))
    )
    if source:
        clone_database(session, source, database, when)
    session.database, session.schema = name, "PUBLIC"
    session.account.save()
    return status(f"Database {shown(name)} successfully created.")


@statement(*beginnings("SCHEMA"))
def create_schema(run: Run) -> Result:
    session, reader = run.session, run.reader
    replace, transient = head(run)
    missing_only = reader.accept("IF", "NOT", "EXISTS")
    path = reader.path()
    source = reader.path() if reader.accept("CLONE") else ()
    when = moment_of(run) if source else None
    facts = properties(run, "SCHEMA")
    database, name = _database_of(session, path), path[-1]
    if not session.allowed("CREATE SCHEMA", "DATABASE", database):
        raise errors.privileges("database", shown(database))
    session.commit_for_ddl()
    held = session.catalog.databases[database].schemas
    if name in held:
        if missing_only:
            return status(ALREADY.format(name=shown(name)))
        if not replace:
            raise errors.exists("Object", shown(name))
        session.catalog.drop_schema(database, name)
    schema = held[name] = Schema(name, session.role, str(facts.get("COMMENT", "")), "TRANSIENT" if transient else "")
    if source:
        clone_schema(session, source, database, schema, when)
    session.database, session.schema = database, name
    session.account.save()
    return status(f"Schema {shown(name)} successfully created.")


def _database_of(session: LiveSession, path: tuple[str, ...]) -> str:
    if len(path) == 1 and not session.database:
        raise errors.no_database("CREATE SCHEMA")
    database = session.database if len(path) == 1 else path[0]
    session.may_see_database(database)
    return database


@statement("DROP DATABASE")
def drop_database(run: Run) -> Result:
    session = run.session
    missing_ok = run.reader.accept("IF", "EXISTS")
    name = run.reader.path()[-1]
    run.reader.accept_any("CASCADE", "RESTRICT")
    run.reader.finish()
    session.commit_for_ddl()
    held = session.catalog.databases.get(name)
    if held is None:
        if missing_ok:
            return status(ABSENT.format(name=shown(name)))
        raise errors.missing("Database", shown(name))
    if not session.allowed("OWNERSHIP", "DATABASE", name, held.owner):
        raise errors.privileges("database", shown(name))
    session.catalog.drop_database(name)
    if session.database == name:
        session.database = session.schema = ""
    session.account.save()
    return status(f"{shown(name)} successfully dropped.")


@statement("DROP SCHEMA")
def drop_schema(run: Run) -> Result:
    session = run.session
    missing_ok = run.reader.accept("IF", "EXISTS")
    path = run.reader.path()
    run.reader.accept_any("CASCADE", "RESTRICT")
    run.reader.finish()
    session.commit_for_ddl()
    database = _database_of(session, path)
    held = session.catalog.databases[database].schemas.get(path[-1])
    if held is None:
        if missing_ok:
            return status(ABSENT.format(name=shown(path[-1])))
        raise errors.missing("Schema", f"{shown(database)}.{shown(path[-1])}")
    if not session.allowed("OWNERSHIP", "SCHEMA", f"{database}.{path[-1]}", held.owner):
        raise errors.privileges("schema", shown(path[-1]))
    session.catalog.drop_schema(database, path[-1])
    if (session.database, session.schema) == (database, path[-1]):
        session.schema = ""
    session.account.save()
    return status(f"{shown(path[-1])} successfully dropped.")


@statement("UNDROP DATABASE")
def undrop_database(run: Run) -> Result:
    session, name = run.session, run.reader.path()[-1]
    run.reader.finish()
    found = next((held for held in reversed(session.catalog.dropped) if held.name == name), None)
    if found is None:
        raise errors.compilation(2003, "02000", f"Database '{shown(name)}' did not exist or was purged.")
    if name in session.catalog.databases:
        raise errors.exists("Object", shown(name))
    session.catalog.dropped.remove(found)
    found.dropped_on = None
    session.catalog.databases[name] = found
    session.account.save()
    return status(f"Database {shown(name)} successfully restored.")


@statement("UNDROP SCHEMA")
def undrop_schema(run: Run) -> Result:
    session, path = run.session, run.reader.path()
    run.reader.finish()
    database = session.catalog.databases[_database_of(session, path)]
    found = next((held for held in reversed(database.dropped) if held.name == path[-1]), None)
    if found is None:
        raise errors.compilation(2003, "02000", f"Schema '{shown(path[-1])}' did not exist or was purged.")
    if path[-1] in database.schemas:
        raise errors.exists("Object", shown(path[-1]))
    database.dropped.remove(found)
    found.dropped_on = None
    database.schemas[path[-1]] = found
    session.account.save()
    return status(f"Schema {shown(path[-1])} successfully restored.")


@statement("ALTER DATABASE", "ALTER SCHEMA")
def alter(run: Run) -> Result:
    session, reader = run.session, run.reader
    kind = reader.tokens[1].text.upper()
    reader.accept("IF", "EXISTS")
    path = reader.path()
    home: dict[str, Any]
    held: Database | Schema
    if kind == "DATABASE":
        session.may_see_database(path[-1])
        home = session.catalog.databases
        held = home[path[-1]]
    else:
        database, held = session.find_schema(path)
        home = session.catalog.databases[database].schemas
    session.commit_for_ddl()
    if reader.accept("RENAME", "TO"):
        new = reader.path()[-1]
        if new in home:
            raise errors.exists("Object", shown(new))
        _rename(session, home, path[-1], new, kind)
    elif reader.accept("SET"):
        facts = properties(run, kind)
        held.comment = str(facts.get("COMMENT", held.comment))
        held.retention_days = int(str(facts.get("DATA_RETENTION_TIME_IN_DAYS", held.retention_days)))
    elif reader.accept("UNSET"):
        reader.name()
        held.comment = ""
    else:
        raise reader.wrong()
    reader.finish()
    session.account.save()
    return status("Statement executed successfully.")


def _rename(session: LiveSession, home: dict[str, Any], old: str, new: str, kind: str) -> None:
    moved = home.pop(old)
    moved.name = new
    home[new] = moved
    schemas: list[Schema] = list(moved.schemas.values()) if kind == "DATABASE" else [moved]
    for schema in schemas:
        items: list[Table | Thing] = [*schema.tables.values(), *schema.things.values()]
        for item in items:
            if kind == "DATABASE":
                item.database = new
            else:
                item.schema = new
    if kind == "DATABASE" and session.database == old:
        session.database = new
    if kind == "SCHEMA" and session.schema == old:
        session.schema = new
