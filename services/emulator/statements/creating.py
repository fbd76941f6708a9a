"""What all CREATE and DROP statements share: where the object goes, what stands there, what is answered."""

from services.emulator import errors
from services.emulator.engine.objects import Schema, Thing
from services.emulator.engine.results import Result, status
from services.emulator.engine.session import LiveSession
from services.emulator.sql.names import shown

ALREADY = "{name} already exists, statement succeeded."
DONE = "Statement executed successfully."
ABSENT = "Drop statement executed successfully ({name} already dropped)."


def place(
    session: LiveSession, parts: tuple[str, ...], privilege: str, action: str = "CREATE"
) -> tuple[tuple[str, str, str], Schema]:
    """Return path and schema of a new object, or refuse where the role may not create there."""
    path = session.qualify(parts, action)
    session.may_see_database(path[0], path[1])
    schema = session.catalog.schema(path[0], path[1])
    if (
        path[1] == "INFORMATION_SCHEMA"
        or path[0] == "SNOWFLAKE"
        or not session.allowed(privilege, "SCHEMA", f"{path[0]}.{path[1]}")
    ):
        raise errors.privileges("schema", shown(path[1]))
    return path, schema


def add_thing(session: LiveSession, thing: Thing, *, replace: bool, missing_only: bool, word: str) -> Result:
    """Put *thing* into its schema and answer as CREATE does."""
    session.commit_for_ddl()
    _, schema = place(session, thing.path, f"CREATE {thing.kind}")
    key = (thing.kind, thing.name)
    if key in schema.things and not replace:
        if missing_only:
            return status(ALREADY.format(name=shown(thing.name)))
        raise errors.exists("Object", f"{thing.database}.{thing.schema}.{thing.name}")
    thing.owner = session.role
    schema.things[key] = thing
    session.account.save()
    return status(f"{word} {shown(thing.name)} successfully created.")


def drop_thing(session: LiveSession, kind: str, parts: tuple[str, ...], *, missing_ok: bool) -> Result:
    session.commit_for_ddl()
    try:
        thing = session.find_thing(kind, parts)
    except errors.SqlError:
        if missing_ok:
            return status(ABSENT.format(name=shown(parts[-1])))
        raise
    if not session.allowed("OWNERSHIP", kind, ".".join(thing.path), thing.owner):
        raise errors.privileges(kind.lower(), shown(thing.name))
    del session.catalog.schema(thing.database, thing.schema).things[kind, thing.name]
    session.account.save()
    return status(f"{shown(thing.name)} successfully dropped.")
