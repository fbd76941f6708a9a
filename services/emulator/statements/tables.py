"""CREATE TABLE in its forms, docs: sql-reference/sql/create-table."""

from dataclasses import replace

from sqlglot import exp

from services.emulator import errors
from services.emulator.engine.objects import Column, Schema, Table, Thing
from services.emulator.engine.results import Result, status
from services.emulator.engine.scans import historical, table_parts
from services.emulator.engine.session import LiveSession
from services.emulator.engine.store import View
from services.emulator.sql import types as t
from services.emulator.sql.assignment import takes
from services.emulator.sql.casts import cast
from services.emulator.sql.compiler import Compiler
from services.emulator.sql.datatypes import read
from services.emulator.sql.dialect import parse, position
from services.emulator.sql.names import fold, shown
from services.emulator.sql.scope import Expr, Query, Scope
from services.emulator.sql.select import exactly
from services.emulator.statements.changes import Change
from services.emulator.statements.creating import ALREADY, place
from services.emulator.statements.dispatch import Run, statement
from services.emulator.statements.queries import new_compiler

KINDS = {
    "TEMPORARY": "TEMPORARY",
    "TEMP": "TEMPORARY",
    "LOCAL TEMPORARY": "TEMPORARY",
    "LOCAL TEMP": "TEMPORARY",
    "VOLATILE": "TEMPORARY",
    "TRANSIENT": "TRANSIENT",
    "": "TABLE",
}
_BEGINNINGS = [
    f"CREATE {replaced}{kind}{' ' if kind else ''}TABLE" for replaced in ("", "OR REPLACE ") for kind in KINDS
]


@statement(*_BEGINNINGS)
def create_table(run: Run) -> Result:
    head = " ".join(token.text.upper() for token in run.reader.tokens[: run.reader.at])
    tree = parse(run.text)
    if not isinstance(tree, exp.Create):
        raise errors.syntax(1, 0, "TABLE")
    kind = KINDS[head.removeprefix("CREATE ").removeprefix("OR REPLACE ").removesuffix("TABLE").strip()]
    target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
    c = new_compiler(run)
    path, schema = place(run.session, table_parts(target), "CREATE TABLE")
    table = Table(run.session.catalog.new_id(), *path, kind=kind, owner=run.session.role)
    if run.describe_only:
        return status("")
    run.session.commit_for_ddl()
    replaced = tree.args.get("replace")
    if (held := standing(run.session, schema, table)) is not None and not replaced:
        if tree.args.get("exists"):
            return status(ALREADY.format(name=shown(table.name)))
        raise errors.exists("Object", shown(table.name))
    query = _filled(c, run, tree, table)
    if not table.columns:
        raise errors.syntax(*position(tree), "<EOF>")
    _properties(run.session, table, tree.args.get("properties"))
    if held is not None:
        remove(run.session, held)
    table.born = run.session.store.commit
    run.session.store.create(table)
    keep(run.session, schema, table)
    if query is not None:
        with Change(run.session, table) as change:
            change.add(list(table.columns), _renamed(c, query, table), {})
    run.session.account.save()
    return status(f"Table {shown(table.name)} successfully created.")


def standing(session: LiveSession, schema: Schema, table: Table) -> Table | None:
    """Return what already has this name: temporary tables hide others."""
    if table.kind == "TEMPORARY":
        return session.temporary.get(table.path)
    return schema.tables.get(table.name)


def keep(session: LiveSession, schema: Schema, table: Table) -> None:
    if table.kind == "TEMPORARY":
        table.session_id = session.session_id
        session.temporary[table.path] = table
    else:
        schema.tables[table.name] = table


def remove(session: LiveSession, table: Table) -> None:
    if table.kind == "TEMPORARY":
        del session.temporary[table.path]
        session.store.execute(f"DROP TABLE IF EXISTS {table.physical}")
    else:
        session.catalog.drop_table(table)


def _filled(c: Compiler, run: Run, tree: exp.Create, table: Table) -> Query | None:
    """Give *table* its columns; return the query that fills it, if one does."""
    clone = tree.args.get("clone")
    if clone is not None:
        return _cloned(c, run, clone, table)
    like = _like(tree)
    if like is not None:
        _copy_columns(run.session.find_table(table_parts(like), "Table"), table)
        return None
    query = c.query(tree.expression) if tree.expression is not None else None
    if isinstance(tree.this, exp.Schema):
        for node in tree.this.expressions:
            _define(c, run, node, table, query)
        if query is not None:
            _match(table, query)
    elif query is not None:
        for output in query.outputs:
            if table.column(output.name):
                raise errors.compilation(2025, "42S21", f"duplicate column name '{output.name}'")
            table.add(output.name, t.VARCHAR if output.type.name == "NULL" else output.type, nullable=True)
    return query


def _like(tree: exp.Create) -> exp.Table | None:
    properties = tree.args.get("properties")
    found = (
        next((item for item in properties.expressions if isinstance(item, exp.LikeProperty)), None)
        if properties
        else None
    )
    return found.this if found else None


def _copy_columns(source: Table, table: Table) -> None:
    table.columns = [replace(column) for column in source.columns]
    table.next_column = source.next_column
    table.constraints = [dict(item) for item in source.constraints]
    table.cluster_by = source.cluster_by


def _cloned(c: Compiler, run: Run, clone: exp.Clone, table: Table) -> Query:
    source = run.session.find_table(table_parts(clone.this), "Table")
    _copy_columns(source, table)
    table.comment, table.policy = source.comment, source.policy
    when = clone.args.get("when") or clone.this.args.get("when")
    return Query(rows_of(source, historical(c, source, when) if when is not None else c.view), ())


def rows_of(source: Table, view: View) -> str:
    """Return all rows of *source* in its physical columns, no policy applied: what CLONE takes over."""
    columns = ", ".join(column.physical for column in source.columns)
    return f"SELECT {columns} FROM {source.physical} WHERE {view.where()}"


def _match(table: Table, query: Query) -> None:
    if len(table.columns) != len(query.outputs):
        raise errors.compilation(
            2020,
            "21S01",
            f"Insert value list does not match column list expecting {len(table.columns)} but got {len(query.outputs)}",
        )
    for column, output in zip(table.columns, query.outputs, strict=True):
        if column.type.name == "ANY":
            column.type = output.type
        elif not takes(column.type, output.type):
            raise errors.compilation(
                2023,
                "22000",
                f"Expression type does not match column data type, expecting {column.type} but got {output.type} for column {column.name}",
            )


def _renamed(c: Compiler, query: Query, table: Table) -> str:
    if not query.outputs:
        return query.sql

    parts = [
        f"{exactly(cast(c, Expr(f's.c{at}', output.type), column.type))} AS {column.physical}"
        for at, (column, output) in enumerate(zip(table.columns, query.outputs, strict=True))
    ]
    return f"SELECT {', '.join(parts)} FROM ({query.sql}) AS s"


def _define(c: Compiler, run: Run, node: exp.Expr, table: Table, query: Query | None) -> None:
    """Add one column or constraint of a definition."""
    if isinstance(node, exp.ColumnDef):
        define_column(c, run.session, node, table)
    elif isinstance(node, exp.Identifier | exp.Column) and query is not None:
        table.add(fold(node if isinstance(node, exp.Identifier) else node.this), t.SqlType("ANY"))
    else:
        _constraint(table, node)


def _constraint(table: Table, node: exp.Expr) -> None:
    """Take note of a constraint that is accepted but, NOT NULL aside, never enforced."""
    inner = node.expressions if isinstance(node, exp.Constraint) else [node]
    for item in inner:
        if isinstance(item, exp.CheckColumnConstraint):
            raise errors.syntax(*position(item), "CHECK")
        columns = [
            fold(part.this if isinstance(part, exp.Ordered | exp.Column) else part)
            for part in item.expressions or (item.this.expressions if isinstance(item.this, exp.Schema) else [])
        ]
        if isinstance(item, exp.PrimaryKey):
            for name in columns:
                column = table.column(name)
                if column is None:
                    raise errors.invalid_identifier(name)
                column.nullable, column.key = False, "PRIMARY"
        elif not isinstance(item, exp.UniqueColumnConstraint | exp.ForeignKey | exp.Tags):
            raise errors.syntax(*position(item), item.sql(dialect="snowflake")[:30])
        table.constraints.append(
            {
                "kind": item.key.upper(),
                "columns": columns,
                "name": fold(node.this) if isinstance(node, exp.Constraint) else "",
            }
        )


def define_column(c: Compiler, session: LiveSession, node: exp.ColumnDef, table: Table) -> Column:
    """Add the column that *node* defines."""
    name = fold(node.this)
    if table.column(name):
        raise errors.compilation(2025, "42S21", f"duplicate column name '{name}'")
    if node.args.get("kind") is None:
        raise errors.syntax(*position(node), name)
    column = table.add(name, read(node.args["kind"]))
    for constraint in node.args.get("constraints") or ():
        _column_constraint(c, session, table, column, constraint.args["kind"])
    return column


def _column_constraint(c: Compiler, session: LiveSession, table: Table, column: Column, kind: exp.Expr) -> None:
    match kind:
        case exp.NotNullColumnConstraint():
            column.nullable = bool(kind.args.get("allow_null"))
        case exp.PrimaryKeyColumnConstraint():
            column.nullable, column.key = False, "PRIMARY"
        case exp.UniqueColumnConstraint():
            column.key = "UNIQUE"
        case exp.CommentColumnConstraint():
            column.comment = kind.this.name
        case exp.DefaultColumnConstraint():
            _default(c, column, kind.this)
        case exp.GeneratedAsIdentityColumnConstraint() | exp.AutoIncrementColumnConstraint():
            _identity(session, table, column, kind)
        case exp.CollateColumnConstraint() | exp.Reference() | exp.MaskingPolicyColumnConstraint():
            pass
        case _:
            raise errors.syntax(*position(kind), kind.sql(dialect="snowflake")[:30])


def _default(c: Compiler, column: Column, node: exp.Expr) -> None:
    if column.type.name == "VECTOR":
        raise errors.unsupported("DEFAULT of a VECTOR column")
    value = c.bind(node, Scope())
    if not takes(column.type, value.type):
        raise errors.compilation(
            2262, "22000", f"Default value data type does not match data type for column {column.name}"
        )
    column.default = node.sql(dialect="snowflake")


def _identity(session: LiveSession, table: Table, column: Column, kind: exp.Expr) -> None:
    if not column.type.is_number:
        raise errors.compilation(2025, "42601", f"Identity column {column.name} must be a number")
    start = int(kind.args["start"].name) if kind.args.get("start") else 1
    increment = int(kind.args["increment"].name) if kind.args.get("increment") else 1
    column.identity = f"IDENTITY_{table.table_id}_{column.physical}"
    session.catalog.account_things["IDENTITY", column.identity] = Thing(
        "IDENTITY", "", "", column.identity, facts={"next": start, "start": start, "increment": increment}
    )


_PLAIN_PROPERTIES = (
    exp.TemporaryProperty,
    exp.TransientProperty,
    exp.LikeProperty,
    exp.CopyGrantsProperty,
    exp.VolatileProperty,
)
_OPTIONS = {
    "DATA_RETENTION_TIME_IN_DAYS",
    "MAX_DATA_EXTENSION_TIME_IN_DAYS",
    "CHANGE_TRACKING",
    "ENABLE_SCHEMA_EVOLUTION",
    "DEFAULT_DDL_COLLATION",
    "STAGE_FILE_FORMAT",
}


def _properties(session: LiveSession, table: Table, properties: exp.Properties | None) -> None:
    for item in properties.expressions if properties else ():
        match item:
            case exp.SchemaCommentProperty():
                table.comment = item.this.name
            case exp.ClusterProperty():
                _cluster(table, item)
            case exp.Property():
                name = item.this.name.upper() if not isinstance(item.this, str) else item.this.upper()
                if name not in _OPTIONS:
                    raise errors.compilation(1420, "22023", f"invalid property '{name}' for 'TABLE'")
                if name == "DATA_RETENTION_TIME_IN_DAYS":
                    table.retention_days = int(item.args["value"].name)
            case exp.RowAccessProperty():
                _guarded(session, table, item)
            case _ if isinstance(item, _PLAIN_PROPERTIES):
                pass
            case _:
                raise errors.syntax(*position(item), item.sql(dialect="snowflake")[:30])


def _cluster(table: Table, node: exp.Expr) -> None:
    for part in node.expressions:
        column = (
            table.column(fold(part.this if isinstance(part, exp.Column) else part))
            if isinstance(part, exp.Column | exp.Identifier)
            else None
        )
        if column is not None and column.type.name in {"VECTOR", "VARIANT", "OBJECT", "ARRAY"}:
            raise errors.compilation(2305, "42601", f"Unsupported type '{column.type}' for clustering keys.")
    table.cluster_by = "LINEAR(" + ", ".join(part.sql(dialect="snowflake") for part in node.expressions) + ")"


def _guarded(session: LiveSession, table: Table, node: exp.RowAccessProperty) -> None:
    """Keep what ``WITH ROW ACCESS POLICY p ON (...)`` says."""
    policy = session.find_thing("ROW ACCESS POLICY", tuple(fold(part) for part in node.this.parts))
    columns = tuple(fold(part.this if isinstance(part, exp.Column) else part) for part in node.expressions)
    table.policy = (policy.path, columns)
