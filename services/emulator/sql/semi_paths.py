"""Paths into VARIANT values and the literals of arrays and objects."""

import json

from sqlglot import exp

from services.emulator import errors
from services.emulator.sql import types as t
from services.emulator.sql.casts import cast, to_variant
from services.emulator.sql.compiler import Compiler, handles
from services.emulator.sql.dialect import position
from services.emulator.sql.operators import types_refused
from services.emulator.sql.scope import Expr, Scope, quoted


def member(value: Expr, path: str) -> Expr:
    """Return what lies at *path*, a path of the engine such as ``$."a"[0]``; NULL where there is nothing."""
    return Expr(f"json_extract({value.sql}, {quoted(path)})", t.VARIANT, aggregate=value.aggregate)


def key_step(name: str) -> str:
    return '."' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


@handles(exp.JSONExtract)
def _extract(c: Compiler, node: exp.JSONExtract, scope: Scope) -> Expr:
    value = c.bind(node.this, scope)
    if not value.type.is_semi:
        raise types_refused(node, "GET", value, Expr("", t.VARCHAR))
    path = "$"
    for step in node.expression.expressions:
        match step:
            case exp.JSONPathRoot():
                pass
            case exp.JSONPathKey():
                path += key_step(str(step.this))
            case exp.JSONPathSubscript():
                path += f"[{step.this}]" if isinstance(step.this, int) else key_step(str(step.this))
            case _:
                raise errors.syntax(*position(node), ":")
    return member(value, path)


@handles(exp.Bracket)
def _bracket(c: Compiler, node: exp.Bracket, scope: Scope) -> Expr:
    if len(node.expressions) != 1:
        raise errors.syntax(*position(node), "[")
    value, key = c.bind(node.this, scope), c.bind(node.expressions[0], scope)
    return element(c, node, value, key)


def element(c: Compiler, node: exp.Expr, value: Expr, key: Expr) -> Expr:
    """Return one element by index or key."""
    if not value.type.is_semi:
        raise types_refused(node, "GET", value, key)
    if isinstance(key.constant, str) and key.type.name == "VARCHAR":
        return member(value, "$" + key_step(key.constant))
    if isinstance(key.constant, int) and key.constant >= 0:
        return member(value, f"$[{key.constant}]")
    return Expr(f"sf_get({value.sql}, CAST({to_variant(c, key)} AS VARCHAR))", t.VARIANT)


def json_of(c: Compiler, value: Expr) -> str:
    """Return *value* as JSON text that is never NULL."""
    if value.type.name == "VECTOR":
        raise errors.invalid_types("ARRAY_CONSTRUCT", str(value.type))
    return f"COALESCE({to_variant(c, value)}, 'null')"


def array_of(c: Compiler, values: list[Expr]) -> Expr:
    """Return an ARRAY of *values*."""
    known = [value.constant for value in values]
    if values and all(
        isinstance(item, int | float | str)
        and not isinstance(item, bool)
        and v.type.name in {"NUMBER", "VARCHAR", "FLOAT"}
        for item, v in zip(known, values, strict=True)
    ):
        text = json.dumps(known, separators=(",", ":"), ensure_ascii=False)
        return Expr(quoted(text), t.ARRAY, nullable=False, constant=text)
    body = " || ',' || ".join(json_of(c, value) for value in values)
    sql = f"('[' || {body} || ']')" if values else "'[]'"
    return Expr(sql, t.ARRAY, nullable=False, aggregate=any(value.aggregate for value in values))


def object_of(c: Compiler, pairs: list[tuple[Expr, Expr]], *, keep_null: bool) -> Expr:
    """Return an OBJECT of *pairs*; keys in order, pairs with a NULL left out unless kept."""
    if all(isinstance(key.constant, str) for key, _ in pairs):
        pairs = sorted(pairs, key=lambda pair: str(pair[0].constant))
    parts = []
    for key, value in pairs:
        if value.type.name == "VECTOR":
            raise errors.invalid_types("OBJECT_CONSTRUCT", f"{key.type}, {value.type}")
        text = f"CAST(to_json({cast(c, key, t.VARCHAR).sql}) AS VARCHAR) || ':' || "
        parts.append(text + (json_of(c, value) if keep_null else to_variant(c, value)))
    ordered = all(isinstance(key.constant, str) for key, _ in pairs)
    sql = f"('{{' || concat_ws(',', {', '.join(f'({part})' for part in parts)}) || '}}')" if parts else "'{}'"
    if not ordered:
        sql = f"sf_sorted({sql})"
    return Expr(sql, t.OBJECT, nullable=False, aggregate=any(value.aggregate for pair in pairs for value in pair))


@handles(exp.Array)
def _array(c: Compiler, node: exp.Array, scope: Scope) -> Expr:
    return array_of(c, [c.bind(part, scope) for part in node.expressions])


@handles(exp.Struct)
def _struct(c: Compiler, node: exp.Struct, scope: Scope) -> Expr:
    pairs = []
    for part in node.expressions:
        if not isinstance(part, exp.PropertyEQ):
            raise errors.syntax(*position(part), "{")
        key = part.this
        name = str(key.this) if isinstance(key, exp.Literal | exp.Identifier) else key.name
        pairs.append((Expr(quoted(name), t.VARCHAR, nullable=False, constant=name), c.bind(part.expression, scope)))
    return object_of(c, pairs, keep_null=False)
