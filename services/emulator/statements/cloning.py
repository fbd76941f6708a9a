"""CLONE of schemas and databases: every object again, rows as they were."""

from dataclasses import replace

from sqlglot import exp

from services.emulator import errors
from services.emulator.engine.objects import Database, Schema, Table, Thing
from services.emulator.engine.scans import historical
from services.emulator.engine.session import LiveSession
from services.emulator.engine.store import OPEN, View
from services.emulator.sql.dialect import parse
from services.emulator.statements.dispatch import Run
from services.emulator.statements.queries import new_compiler


def moment_of(run: Run) -> View | None:
    """Return what AT or BEFORE behind CLONE lets see, None without one."""
    word = run.reader.peek()
    if word not in {"AT", "BEFORE"}:
        return None
    run.reader.at += 1
    inner = run.reader.parenthesised()
    table = parse(f"SELECT * FROM x {word}({inner})").find(exp.Table)
    if table is None or not table.args.get("when"):
        raise errors.syntax(1, 0, word)
    return historical(new_compiler(run), Table(0, "", "", "CLONE"), table.args["when"])


def clone_database(session: LiveSession, source: str, target: Database, when: View | None) -> None:
    session.may_see_database(source)
    for name, schema in session.catalog.databases[source].schemas.items():
        if name != "INFORMATION_SCHEMA":
            held = target.schemas.setdefault(name, Schema(name, session.role))
            _copy(session, schema, target.name, held, when)


def clone_schema(
    session: LiveSession, source: tuple[str, ...], database: str, target: Schema, when: View | None
) -> None:
    _, schema = session.find_schema(source)
    _copy(session, schema, database, target, when)


def _copy(session: LiveSession, source: Schema, database: str, target: Schema, when: View | None) -> None:
    view = when or session.view(session.store.commit)
    for table in source.tables.values():
        if table.born > view.commit:
            continue
        copy = replace(
            table,
            table_id=session.catalog.new_id(),
            database=database,
            schema=target.name,
            columns=[replace(column) for column in table.columns],
            owner=session.role,
        )
        target.tables[copy.name] = copy
        if not copy.is_view:
            copy_rows(session, table, copy, view)
    for key, thing in source.things.items():
        target.things[key] = replace(thing, database=database, schema=target.name, facts=dict(thing.facts))
        if thing.kind == "TASK":
            target.things[key].facts["state"] = "suspended"
    _ = Thing


def copy_rows(session: LiveSession, source: Table, target: Table, view: View) -> None:
    """Make *target*'s physical table and give it the rows of *source* that *view* sees."""
    session.store.create(target)
    target.born = session.store.commit
    columns = ", ".join(column.physical for column in source.columns)
    with session.store.writing(None) as (engine, mark):
        engine.execute(
            f"INSERT INTO {target.physical} ({columns}, b, e) SELECT {columns}, {mark}, {OPEN} FROM {source.physical} WHERE {view.where()}"
        )
