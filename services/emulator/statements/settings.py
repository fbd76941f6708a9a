"""USE, SET, UNSET, ALTER SESSION: what a session remembers."""

from services.emulator import errors
from services.emulator.engine.parameters import DEFAULTS
from services.emulator.engine.results import SESSION, USE, Result, status
from services.emulator.sql import types as t
from services.emulator.sql.dialect import parse
from services.emulator.sql.scope import Scope
from services.emulator.statements.dispatch import Run, statement
from services.emulator.statements.queries import new_compiler

DONE = "Statement executed successfully."


@statement("USE DATABASE", "USE")
def use_database(run: Run) -> Result:
    path = run.reader.path()
    run.reader.finish()
    session, by_word = run.session, run.reader.tokens[1].text.upper() == "DATABASE"
    if len(path) == 2:  # noqa: PLR2004 - database and schema
        return _use_schema(run, path)
    if path[0] not in session.catalog.databases or not session.allowed("USAGE", "DATABASE", path[0]):
        if not by_word and session.database and path[0] in session.catalog.databases[session.database].schemas:
            return _use_schema(run, path)
        raise errors.missing_for_use()
    session.database = path[0]
    session.schema = (
        "PUBLIC"
        if "PUBLIC" in session.catalog.databases[path[0]].schemas
        and session.allowed("USAGE", "SCHEMA", f"{path[0]}.PUBLIC")
        else ""
    )
    return status(DONE, USE)


@statement("USE SCHEMA")
def use_schema(run: Run) -> Result:
    path = run.reader.path()
    run.reader.finish()
    return _use_schema(run, path)


def _use_schema(run: Run, path: tuple[str, ...]) -> Result:
    session = run.session
    if len(path) == 1 and not session.database:
        raise errors.no_database("USE SCHEMA")
    database = path[0] if len(path) > 1 else session.database
    held = session.catalog.databases.get(database)
    if (
        held is None
        or path[-1] not in held.schemas
        or not session.allowed("USAGE", "DATABASE", database)
        or not session.allowed("USAGE", "SCHEMA", f"{database}.{path[-1]}")
    ):
        raise errors.missing_for_use()
    session.database, session.schema = database, path[-1]
    return status(DONE, USE)


@statement("USE WAREHOUSE")
def use_warehouse(run: Run) -> Result:
    name = run.reader.path()[-1]
    run.reader.finish()
    if name not in run.session.catalog.warehouses or not run.session.allowed(
        "USAGE", "WAREHOUSE", name, run.session.catalog.warehouses[name].owner
    ):
        raise errors.missing_for_use()
    run.session.warehouse = name
    return status(DONE, USE)


@statement("USE ROLE")
def use_role(run: Run) -> Result:
    name = run.reader.path()[-1]
    run.reader.finish()
    session = run.session
    user = session.catalog.users.get(session.user)
    reachable = {
        inherited for role in (user.roles if user else ()) for inherited in session.catalog.inherited(role)
    } | {"PUBLIC", session.role}
    if session.service_role:
        raise errors.unsupported("USE ROLE in a caller's rights session")
    if name not in session.catalog.roles:
        raise errors.missing_for_use()
    if name not in reachable:
        raise errors.SqlError(
            3013,
            "42501",
            f"SQL access control error:\nRequested role '{name}' is not assigned to the executing user. Specify another role to activate.",
        )
    session.role = name
    return status(DONE, USE)


@statement("USE SECONDARY ROLES")
def use_secondary(run: Run) -> Result:
    word = run.reader.accept_any("ALL", "NONE")
    if not word:
        raise run.reader.wrong()
    run.reader.finish()
    run.session.secondary = word
    return status(DONE, USE)


@statement("ALTER SESSION SET")
def set_parameters(run: Run) -> Result:
    reader = run.reader
    while not reader.done:
        name = reader.name()
        reader.expect("=")
        run.session.set_parameter(name, reader.value())
        if name == "AUTOCOMMIT" and run.session.parameter(name):
            run.session.finish(keep=True)
        reader.accept(",")
    return status(DONE, SESSION)


@statement("ALTER SESSION UNSET")
def unset_parameters(run: Run) -> Result:
    while not run.reader.done:
        name = run.reader.name()
        if name not in DEFAULTS:
            raise errors.compilation(1006, "22023", f"invalid parameter '{name}'")
        run.session.parameters.pop(name, None)
        run.reader.accept(",")
    return status(DONE, SESSION)


@statement("SET")
def set_variable(run: Run) -> Result:
    reader = run.reader
    names = (
        [reader.name()]
        if reader.peek() != "("
        else [part.strip().upper() for part in reader.parenthesised().split(",")]
    )
    reader.expect("=")
    c = new_compiler(run)
    text = reader.rest()
    nodes = parse(f"SELECT {text[1:-1] if len(names) > 1 else text}").expressions
    if len(nodes) != len(names):
        raise errors.compilation(1003, "42000", "syntax error: number of variables and values differ")
    for name, node in zip(names, nodes, strict=True):
        value = c.bind(node, Scope())
        found = run.session.cursor.execute(f"SELECT CAST({value.sql} AS {value.type.physical})").fetchall()[0][0]
        kind = value.type if value.type.name != "NULL" else t.VARCHAR
        if len(str(found)) > 256 and kind.name == "VARCHAR":  # noqa: PLR2004 - docs: session-variables
            raise errors.SqlError(
                2211,
                "22000",
                f"Assignment to '{name}' not done because value exceeds size limit for variables. Its size is {len(str(found))}; the limit is 256 (internal storage size in bytes).",
            )
        run.session.variables[name] = (found, kind)
    return status(DONE, SESSION)


@statement("UNSET")
def unset_variable(run: Run) -> Result:
    run.session.variables.pop(run.reader.name(), None)
    run.reader.finish()
    return status(DONE, SESSION)
