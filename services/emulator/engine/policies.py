"""Row access and masking policies: a policy's body compiled over the columns that it guards."""

from sqlglot import exp

from services.emulator import errors
from services.emulator.engine.objects import Column, Table, Thing
from services.emulator.sql import types as t
from services.emulator.sql.casts import cast
from services.emulator.sql.compiler import Compiler
from services.emulator.sql.dialect import parse
from services.emulator.sql.scope import Expr, Scope
from services.emulator.sql.types import SqlType


def row_filter(c: Compiler, table: Table) -> str:
    """Return the predicate that *table*'s row access policy puts on its rows, over the alias ``p``."""
    path, columns = table.policy  # type: ignore[misc]
    policy = _policy(c, "ROW ACCESS POLICY", path)
    given = [_column(table, name) for name in columns]
    return cast(
        c, body(c, policy, [Expr(f"p.{column.physical}", column.type, column.nullable) for column in given]), t.BOOLEAN
    ).sql


def masked(c: Compiler, column: Column, path: tuple[str, str, str]) -> str:
    """Return *column* as its masking policy shows it, over the alias ``m``."""
    policy = _policy(c, "MASKING POLICY", path)
    shown = body(c, policy, [Expr(f"m.{column.physical}", column.type, column.nullable)])
    return f"CAST({cast(c, shown, column.type).sql} AS {column.type.physical})"


def _column(table: Table, name: str) -> Column:
    column = table.column(name)
    if column is None:
        raise errors.invalid_identifier(name)
    return column


def _policy(c: Compiler, kind: str, path: tuple[str, str, str]) -> Thing:
    database = c.session.catalog.databases.get(path[0])
    schema = database.schemas.get(path[1]) if database else None
    policy: Thing | None = schema.things.get((kind, path[2])) if schema else None
    if policy is None:
        raise errors.missing(kind.title(), ".".join(path))
    return policy


def body(c: Compiler, policy: Thing, values: list[Expr]) -> Expr:
    """Return a policy's body over *values*, compiled with its owner's rights; who asks stays the caller."""
    signature: list[tuple[str, SqlType]] = policy.facts["signature"]
    parameters = {name: cast(c, value, kind) for (name, kind), value in zip(signature, values, strict=True)}
    tree = parse(f"SELECT {policy.facts['body']}")
    session = c.session
    kept, c.in_policy = (session.database, session.schema, c.in_policy), True
    session.database, session.schema = policy.database, policy.schema
    ctes, c.ctes = c.ctes, []
    try:
        node = tree.expressions[0]
        return c.bind(node.this if isinstance(node, exp.Alias) else node, Scope(parameters=parameters))
    finally:
        session.database, session.schema, c.in_policy = kept
        c.ctes = ctes
