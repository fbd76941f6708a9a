"""DROP, UNDROP and ALTER of tables, views and other objects in a schema."""

from services.emulator import errors
from services.emulator.engine.objects import Column, Table
from services.emulator.engine.results import Result, status
from services.emulator.engine.session import LiveSession
from services.emulator.sql import assignment
from services.emulator.sql.dialect import parse
from services.emulator.sql.names import fold, shown
from services.emulator.statements.creating import ABSENT, DONE, drop_thing
from services.emulator.statements.dispatch import Run, statement
from services.emulator.statements.queries import new_compiler
from services.emulator.statements.reader import Reader
from services.emulator.statements.tables import define_column, remove
from services.emulator.statements.views import type_of


def owned(session: LiveSession, parts: tuple[str, ...], kind: str) -> Table:
    """Return a table or view that the role may change."""
    table = session.find_table(parts, kind.title())
    if table.is_view != (kind == "VIEW"):
        raise errors.compilation(
            1998,
            "42601",
            f"Object found is of type '{'VIEW' if table.is_view else 'TABLE'}', not specified type '{kind}'.",
        )
    if not session.allowed("OWNERSHIP", "VIEW" if table.is_view else "TABLE", ".".join(table.path), table.owner):
        raise errors.privileges(kind.lower(), shown(table.name))
    return table


@statement("DROP TABLE", "DROP VIEW", "DROP MATERIALIZED VIEW")
def drop_table(run: Run) -> Result:
    kind = run.reader.tokens[run.reader.at - 1].text.upper()
    missing_ok = run.reader.accept("IF", "EXISTS")
    path = run.reader.path()
    run.reader.accept_any("CASCADE", "RESTRICT")
    run.reader.finish()
    session = run.session
    session.commit_for_ddl()
    try:
        table = owned(session, path, kind)
    except errors.SqlError as error:
        if missing_ok and error.code in {2003, 2043}:
            return status(ABSENT.format(name=shown(path[-1])))
        raise
    remove(session, table)
    session.account.save()
    return status(f"{shown(table.name)} successfully dropped.")


@statement("UNDROP TABLE")
def undrop_table(run: Run) -> Result:
    session, path = run.session, run.reader.path()
    run.reader.finish()
    full = session.qualify(path)
    schema = session.catalog.schema(full[0], full[1])
    found = next((table for table in reversed(schema.dropped) if table.name == full[2]), None)
    if found is None:
        raise errors.compilation(2003, "02000", f"Table '{shown(full[2])}' did not exist or was purged.")
    if full[2] in schema.tables:
        raise errors.exists("Object", shown(full[2]))
    schema.dropped.remove(found)
    found.dropped_on = None
    schema.tables[full[2]] = found
    session.account.save()
    return status(f"Table {shown(full[2])} successfully restored.")


_THINGS = (
    "SEQUENCE",
    "FUNCTION",
    "STAGE",
    "TASK",
    "ROW ACCESS POLICY",
    "MASKING POLICY",
    "TAG",
    "SECRET",
    "FILE FORMAT",
    "STREAM",
    "NETWORK RULE",
    "IMAGE REPOSITORY",
)


@statement(*[f"DROP {kind}" for kind in _THINGS])
def drop_other(run: Run) -> Result:
    words = " ".join(token.text.upper() for token in run.reader.tokens[1 : run.reader.at])
    missing_ok = run.reader.accept("IF", "EXISTS")
    path = run.reader.path()
    if run.reader.peek() == "(":
        run.reader.parenthesised()
    run.reader.finish()
    _refuse_used(run.session, words, path)
    return drop_thing(run.session, words, path, missing_ok=missing_ok)


def _refuse_used(session: LiveSession, kind: str, parts: tuple[str, ...]) -> None:
    """Refuse to drop a policy that guards something."""
    if not kind.endswith("POLICY"):
        return
    path = session.qualify(parts)
    for database in session.catalog.databases.values():
        for schema in database.schemas.values():
            for table in schema.tables.values():
                if (table.policy and table.policy[0] == path) or any(
                    column.masking == path for column in table.columns
                ):
                    raise errors.SqlError(
                        3530,
                        "42601",
                        f"SQL compilation error:\nPolicy {'.'.join(path)} cannot be dropped/replaced as it is associated with one or more entities.",
                    )


@statement("ALTER TABLE", "ALTER VIEW")
def alter_table(run: Run) -> Result:
    kind = run.reader.tokens[1].text.upper()
    reader, session = run.reader, run.session
    missing_ok = reader.accept("IF", "EXISTS")
    path = reader.path()
    session.commit_for_ddl()
    try:
        table = owned(session, path, kind)
    except errors.SqlError as error:
        if missing_ok and error.code == 2003:  # noqa: PLR2004 - does not exist
            return status(DONE)
        raise
    _alter(run, table, reader)
    session.account.save()
    return status(DONE)


def _alter(run: Run, table: Table, reader: Reader) -> None:  # noqa: C901, PLR0912 - a table of clauses
    session = run.session
    if reader.accept("RENAME", "TO"):
        _rename(session, table, reader.path())
    elif reader.accept("SWAP", "WITH"):
        _swap(session, table, reader.path())
    elif reader.accept("RENAME", "COLUMN"):
        column = _column(table, reader.name())
        reader.expect("TO")
        column.name = reader.name()
    elif reader.accept("ADD", "ROW", "ACCESS", "POLICY"):
        _add_policy(session, table, reader)
    elif reader.accept("DROP", "ALL", "ROW", "ACCESS", "POLICIES"):
        table.policy = None
    elif reader.accept("DROP", "ROW", "ACCESS", "POLICY"):
        policy = session.find_thing("ROW ACCESS POLICY", reader.path())
        if table.policy is None or table.policy[0] != policy.path:
            raise errors.compilation(3551, "42601", f"Policy {policy.name} is not attached to {table.name}")
        table.policy = None
    elif reader.accept("DROP", "COLUMN") or (
        reader.peek() == "DROP"
        and reader.peek(1) not in {"PRIMARY", "CONSTRAINT", "CLUSTERING", "SEARCH", "UNIQUE"}
        and reader.accept("DROP")
    ):
        _drop_columns(session, table, reader)
    elif reader.accept("ADD", "SEARCH", "OPTIMIZATION") or reader.accept("DROP", "SEARCH", "OPTIMIZATION"):
        reader.rest()
    elif reader.peek() == "ADD" and reader.peek(1) in {"PRIMARY", "CONSTRAINT", "UNIQUE", "FOREIGN"}:
        table.constraints.append({"kind": reader.rest(), "columns": [], "name": ""})
    elif reader.accept("ADD"):
        reader.accept("COLUMN")
        _add_column(run, table, reader)
    elif reader.accept_any("ALTER", "MODIFY"):
        _modify(session, table, reader)
    elif reader.accept("SET"):
        facts = reader.options()
        table.comment = str(facts.get("COMMENT", table.comment))
        table.retention_days = int(str(facts.get("DATA_RETENTION_TIME_IN_DAYS", table.retention_days)))
        reader.rest() if reader.accept("TAG") else None
    elif reader.accept("UNSET"):
        table.comment = "" if reader.name() == "COMMENT" else table.comment
    elif reader.accept("CLUSTER", "BY"):
        table.cluster_by = f"LINEAR({reader.parenthesised()})"
    elif reader.accept("DROP", "CLUSTERING", "KEY"):
        table.cluster_by = ""
    elif reader.peek() == "DROP":
        reader.rest()
        table.constraints.clear()
    else:
        raise reader.wrong()
    reader.finish()


def _column(table: Table, name: str) -> Column:
    column = table.column(name)
    if column is None:
        raise errors.invalid_identifier(name)
    return column


def _rename(session: LiveSession, table: Table, parts: tuple[str, ...]) -> None:
    path = session.qualify(parts)
    target = session.catalog.schema(path[0], path[1])
    if path[2] in target.tables:
        raise errors.exists("Object", shown(path[2]))
    del session.catalog.schema(table.database, table.schema).tables[table.name]
    table.database, table.schema, table.name = path
    target.tables[table.name] = table


def _swap(session: LiveSession, table: Table, parts: tuple[str, ...]) -> None:
    other = owned(session, parts, "TABLE")
    one, two = (session.catalog.schema(*item.path[:2]) for item in (table, other))
    one.tables[table.name], two.tables[other.name] = other, table
    (table.database, table.schema, table.name), (other.database, other.schema, other.name) = other.path, table.path


def _add_policy(session: LiveSession, table: Table, reader: Reader) -> None:
    policy = session.find_thing("ROW ACCESS POLICY", reader.path())
    reader.expect("ON")
    columns = tuple(Reader(part).name() for part in reader.parenthesised().split(","))
    if table.policy is not None:
        raise errors.compilation(
            3547,
            "42601",
            f"Object {table.name} already has a ROW_ACCESS_POLICY. Only one ROW_ACCESS_POLICY is allowed at a time.",
        )
    signature = policy.facts["signature"]
    if len(signature) != len(columns):
        raise errors.compilation(3553, "42601", f"Policy {policy.name} expects {len(signature)} arguments")
    for name, (_, kind) in zip(columns, signature, strict=True):
        if _column(table, name).type.name != kind.name:
            raise errors.compilation(
                1008, "42601", f"Column {name} data type does not match the policy's argument type {kind}"
            )
    table.policy = (policy.path, columns)


def _drop_columns(session: LiveSession, table: Table, reader: Reader) -> None:
    missing_ok = reader.accept("IF", "EXISTS")
    while True:
        name = reader.name()
        if table.column(name) is None and missing_ok:
            pass
        else:
            column = _column(table, name)
            if table.policy and name in table.policy[1]:
                raise errors.compilation(3554, "42601", f"Column {name} is used by a row access policy")
            table.columns.remove(column)
            if not column.nullable:
                session.store.execute(f"ALTER TABLE {table.physical} ALTER COLUMN {column.physical} DROP NOT NULL")
        if not reader.accept(","):
            return


def _add_column(run: Run, table: Table, reader: Reader) -> None:
    missing_only = reader.accept("IF", "NOT", "EXISTS")
    c = new_compiler(run)
    node = parse(f"CREATE TABLE x ({reader.rest()})")
    for part in node.this.expressions:
        if missing_only and table.column(fold(part.this)):
            continue
        column = define_column(c, run.session, part, table)

        run.session.store.execute(f"ALTER TABLE {table.physical} ADD COLUMN {column.physical} {column.type.physical}")
        if column.default:
            value = assignment.default(c, column)
            run.session.store.execute(f"UPDATE {table.physical} SET {column.physical} = {value}")


def _modify(session: LiveSession, table: Table, reader: Reader) -> None:
    reader.accept("(")
    while True:
        reader.accept("COLUMN")
        column = _column(table, reader.name())
        _modify_one(session, table, column, reader)
        if not reader.accept(","):
            break
        reader.accept_any("MODIFY", "ALTER")
    reader.accept(")")


def _modify_one(session: LiveSession, table: Table, column: Column, reader: Reader) -> None:
    if reader.accept("SET", "MASKING", "POLICY"):
        policy = session.find_thing("MASKING POLICY", reader.path())
        reader.accept("FORCE")
        kind = policy.facts["signature"][0][1]
        if kind.name != column.type.name:
            raise errors.compilation(
                3004, "42601", f"Masking policy's type {kind} does not match the column's type {column.type}"
            )
        column.masking = policy.path
    elif reader.accept("UNSET", "MASKING", "POLICY"):
        column.masking = None
    elif reader.accept("DROP", "NOT", "NULL"):
        session.store.execute(f"ALTER TABLE {table.physical} ALTER COLUMN {column.physical} DROP NOT NULL")
        column.nullable = True
    elif reader.accept("SET", "NOT", "NULL") or reader.accept("NOT", "NULL"):
        session.store.execute(f"ALTER TABLE {table.physical} ALTER COLUMN {column.physical} SET NOT NULL")
        column.nullable = False
    elif reader.accept("DROP", "DEFAULT"):
        column.default = ""
    elif reader.accept("COMMENT") or reader.accept("SET", "COMMENT"):
        column.comment = reader.string()
    elif reader.accept("SET", "TAG") or reader.accept("UNSET", "TAG"):
        reader.rest()
    else:
        reader.accept("SET", "DATA")
        reader.accept("TYPE")
        _retype(session, table, column, reader)


def _retype(session: LiveSession, table: Table, column: Column, reader: Reader) -> None:
    first = reader.at
    while not reader.done and reader.peek() != ",":
        if reader.peek() == "(":
            reader.parenthesised()
        else:
            reader.at += 1
    kind = type_of(reader.between(first))
    wider = (
        kind.name == column.type.name
        and kind.scale == column.type.scale
        and kind.precision >= column.type.precision
        and kind.length >= column.type.length
    )
    if not wider:
        raise errors.compilation(
            2108,
            "22000",
            f"cannot change column {column.name} from type {column.type} to {kind} because changing to a smaller or other type is not supported.",
        )
    session.store.execute(f"ALTER TABLE {table.physical} ALTER COLUMN {column.physical} TYPE {kind.physical}")
    column.type = kind
