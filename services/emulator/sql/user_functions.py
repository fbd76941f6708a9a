"""Functions that users made with CREATE FUNCTION in SQL."""

from sqlglot import exp

from services.emulator import errors
from services.emulator.sql.casts import cast
from services.emulator.sql.compiler import Compiler
from services.emulator.sql.dialect import parse
from services.emulator.sql.names import fold, shown
from services.emulator.sql.scope import Expr, Scope


def call(c: Compiler, path: list[str], node: exp.Anonymous, scope: Scope) -> Expr:
    """Return a call of a user's scalar function, whose body is put in its place."""
    name = fold(node.this)
    session = c.session
    full = ".".join(map(shown, [*path, name]))
    if not path and not (session.database and session.schema):
        raise errors.unknown_function(name)
    where = session.qualify((*path, name))
    database = session.catalog.databases.get(where[0])
    schema = database.schemas.get(where[1]) if database else None
    thing = schema.things.get(("FUNCTION", name)) if schema else None
    if thing is None or thing.facts.get("table"):
        raise errors.unknown_function(full)
    signature = thing.facts["signature"]
    if len(signature) != len(node.expressions):
        raise errors.invalid_types(full, ", ".join(str(c.bind(part, scope).type) for part in node.expressions))
    values = [c.bind(part, scope) for part in node.expressions]
    parameters = {key: cast(c, value, kind) for (key, kind), value in zip(signature, values, strict=True)}
    body = parse(str(thing.facts["body"]) if _is_query(str(thing.facts["body"])) else f"SELECT {thing.facts['body']}")
    inner = Scope(parameters=parameters)
    if _is_query(str(thing.facts["body"])):
        query = c.query(body, inner)
        value = Expr(f"({query.sql})", query.outputs[0].type)
    else:
        item = body.expressions[0]
        value = c.bind(item.this if isinstance(item, exp.Alias) else item, inner)
    result = cast(c, value, thing.facts["returns"])
    return Expr(result.sql, result.type, aggregate=any(given.aggregate for given in values))


def _is_query(body: str) -> bool:
    return body.lstrip().lower().startswith(("select", "with"))
