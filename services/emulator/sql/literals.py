"""Constants, binds, session variables, columns and the special forms around them."""

import re
from typing import Any

from sqlglot import exp

from services.emulator import errors
from services.emulator.sql import types as t
from services.emulator.sql.casts import cast
from services.emulator.sql.compiler import Compiler, handles
from services.emulator.sql.datatypes import read
from services.emulator.sql.dialect import TEXT, position
from services.emulator.sql.names import fold
from services.emulator.sql.scope import Expr, Scope, quoted

_BARE_FUNCTIONS = {
    "CURRENT_DATE",
    "CURRENT_TIME",
    "CURRENT_TIMESTAMP",
    "CURRENT_USER",
    "LOCALTIME",
    "LOCALTIMESTAMP",
    "CURRENT_ROLE",
    "SYSDATE",
}


@handles(exp.Literal)
def _literal(c: Compiler, node: exp.Literal, scope: Scope) -> Expr:
    return text_literal(str(node.this)) if node.is_string else number_literal(str(node.this))


@handles(exp.Star)
def _star(c: Compiler, node: exp.Star, scope: Scope) -> Expr:
    """``COUNT(*)``: functions that do not take it refuse it by its type."""
    return Expr("*", t.SqlType("STAR"), nullable=False)


@handles(exp.Interval)
def _interval(c: Compiler, node: exp.Interval, scope: Scope) -> Expr:
    text = f"{node.this.name} {node.args['unit'].name if node.args.get('unit') else ''}"
    months, days, seconds = interval_parts(text)
    sql = f"(to_months({months}) + to_days({days}) + to_microseconds({round(seconds * 1_000_000)}))"
    return Expr(sql, t.SqlType("INTERVAL"), nullable=False, constant=("interval", bool(seconds)))


_UNITS = {
    "year": (12, 0, 0), "quarter": (3, 0, 0), "month": (1, 0, 0), "week": (0, 7, 0), "day": (0, 1, 0), "hour": (0, 0, 3600), "minute": (0, 0, 60), "second": (0, 0, 1),
    "millisecond": (0, 0, 0.001), "microsecond": (0, 0, 0.000001), "y": (12, 0, 0), "yy": (12, 0, 0), "q": (3, 0, 0), "mm": (1, 0, 0), "mon": (1, 0, 0), "w": (0, 7, 0),
    "d": (0, 1, 0), "h": (0, 0, 3600), "hh": (0, 0, 3600), "m": (0, 0, 60), "mi": (0, 0, 60), "min": (0, 0, 60), "s": (0, 0, 1), "sec": (0, 0, 1), "ms": (0, 0, 0.001), "us": (0, 0, 0.000001),
}  # fmt: skip


def interval_parts(text: str) -> tuple[int, int, float]:
    """Return months, days and seconds of an interval such as ``1 year, 3 days``."""
    months, days, seconds = 0, 0, 0.0
    for number, unit in re.findall(r"([+-]?\d+)\s*([A-Za-z]*)", text):
        word = unit.lower() or "second"
        size = _UNITS.get(word) or _UNITS.get(word.rstrip("s"))
        if size is None:
            raise errors.compilation(1003, "42000", f"syntax error: invalid interval '{text.strip()}'")
        months, days, seconds = (
            months + int(number) * int(size[0]),
            days + int(number) * int(size[1]),
            seconds + int(number) * size[2],
        )
    return months, days, seconds


@handles(exp.RawString, exp.National)
def _raw(c: Compiler, node: exp.RawString, scope: Scope) -> Expr:
    return text_literal(str(node.this))


def text_literal(value: str) -> Expr:
    return Expr(quoted(value), t.text(len(value)), nullable=False, constant=value)


def number_literal(digits: str) -> Expr:
    """Return NUMBER with the fewest digits that hold it; an exponent makes FLOAT."""
    match = re.fullmatch(r"(\d*)\.?(\d*)(?:[eE]([+-]?\d+))?", digits)
    if match is None:
        raise errors.syntax(1, 0, digits)
    if match[3] is not None:
        return Expr(f"CAST({digits} AS DOUBLE)", t.FLOAT, nullable=False, constant=float(digits))
    whole, fraction = match[1].lstrip("0") or "0", match[2]
    precision = len(whole if not fraction or whole != "0" else "") + len(fraction)
    if precision > t.MAX_DIGITS:
        return Expr(f"CAST({digits} AS DOUBLE)", t.FLOAT, nullable=False, constant=float(digits))
    kind = t.number(max(1, precision), len(fraction))
    value: Any = int(whole) if not fraction else float(digits)
    text = f"{whole}.{fraction}" if fraction else whole
    return Expr(f"CAST('{text}' AS {kind.physical})" if fraction else text, kind, nullable=False, constant=value)


@handles(exp.Boolean)
def _boolean(c: Compiler, node: exp.Boolean, scope: Scope) -> Expr:
    return Expr("TRUE" if node.this else "FALSE", t.BOOLEAN, nullable=False, constant=bool(node.this))


@handles(exp.Null)
def _null(c: Compiler, node: exp.Null, scope: Scope) -> Expr:
    return Expr("NULL", t.NULL)


@handles(exp.HexString)
def _hex(c: Compiler, node: exp.HexString, scope: Scope) -> Expr:
    digits = str(node.this)
    digits = format(int(digits), "X") if digits.isdigit() and node.args.get("is_integer") else digits
    return Expr(f"unhex('{digits}')", t.SqlType("BINARY", length=max(1, len(digits) // 2)), nullable=False)


@handles(exp.Paren)
def _paren(c: Compiler, node: exp.Paren, scope: Scope) -> Expr:
    inner = c.bind(node.this, scope)
    return Expr(f"({inner.sql})", inner.type, inner.nullable, inner.constant, inner.aggregate)


@handles(exp.Identifier)
def _identifier(c: Compiler, node: exp.Identifier, scope: Scope) -> Expr:
    return c.bind(exp.Column(this=node), scope)


@handles(exp.Column)
def _column(c: Compiler, node: exp.Column, scope: Scope) -> Expr:
    if isinstance(node.this, exp.Star):
        raise errors.syntax(*position(node), "*")
    name = fold(node.this)
    if name == "NEXTVAL" and node.args.get("table"):
        return next_value(c, node)
    qualifiers = tuple(fold(node.args.get(part)) for part in ("table", "db", "catalog") if node.args.get(part))
    if qualifiers and qualifiers[-1].startswith("$"):
        qualifiers = ()
    found = scope.find(name, qualifiers, position(node))
    if found is None and not qualifiers and name in _BARE_FUNCTIONS and not node.this.args.get("quoted"):
        return c.bind(exp.Anonymous(this=name, expressions=[]), scope)
    if found is None:
        raise errors.invalid_identifier(".".join([*reversed(qualifiers), name]), *position(node))
    return found


def next_value(c: Compiler, node: exp.Column) -> Expr:
    """``seq.NEXTVAL``: another number for each row."""
    path = tuple(fold(part) for part in node.parts[:-1])
    thing = c.session.find_thing("SEQUENCE", path)
    return Expr(f"sf_next({quoted('.'.join(thing.path))}, random())", t.INTEGER, nullable=False)


@handles(
    exp.CurrentDate,
    exp.CurrentTimestamp,
    exp.CurrentTime,
    exp.CurrentUser,
    exp.CurrentRole,
    exp.Localtime,
    exp.Localtimestamp,
)
def _current(c: Compiler, node: exp.Expr, scope: Scope) -> Expr:
    name = node.key.upper()
    spelled = {
        "CURRENTDATE": "CURRENT_DATE",
        "CURRENTTIMESTAMP": "CURRENT_TIMESTAMP",
        "CURRENTTIME": "CURRENT_TIME",
        "CURRENTUSER": "CURRENT_USER",
        "CURRENTROLE": "CURRENT_ROLE",
    }
    return c.bind(exp.Anonymous(this=spelled.get(name, name), expressions=[]), scope)


@handles(exp.Placeholder)
def _placeholder(c: Compiler, node: exp.Placeholder, scope: Scope) -> Expr:
    index = int(node.name) - 1 if node.name.isdigit() else c.next_bind
    c.next_bind += 0 if node.name.isdigit() else 1
    if c.describing and index >= len(c.binds):
        return Expr("NULL", t.NULL)
    if index >= len(c.binds):
        raise errors.compilation(1014, "42601", "Bind variable ? not set.")
    bind = c.binds[index]
    if bind.value is None:
        return Expr("NULL", t.NULL)
    return cast(c, Expr(quoted(bind.value), t.VARCHAR, nullable=False, constant=bind.value), bind.type)


@handles(exp.Parameter)
def _parameter(c: Compiler, node: exp.Parameter, scope: Scope) -> Expr:
    name = str(node.this.name)
    if name.isdigit():
        found = scope.find(f"${name}", (), position(node)) or _nth(scope, int(name))
        if found is None:
            raise errors.invalid_identifier(f"${name}", *position(node))
        return found
    return variable(c, name.upper())


def _nth(scope: Scope, number: int) -> Expr | None:
    columns = scope.visible()
    if 0 < number <= len(columns):
        column = columns[number - 1]
        return Expr(column.sql, column.type, column.nullable)
    return None


def variable(c: Compiler, name: str) -> Expr:
    """Return a session variable's value."""
    held = c.session.variables.get(name)
    if held is None:
        raise errors.compilation(2211, "02000", f"Session variable '${name}' does not exist")
    value, kind = held
    inner = Expr(quoted(str(value)), t.VARCHAR, nullable=False, constant=str(value))
    return cast(c, inner, kind) if kind.name != "VARCHAR" else inner


@handles(exp.Cast)
def _cast(c: Compiler, node: exp.Cast, scope: Scope) -> Expr:
    to = read(node.to)
    value = c.bind(node.this, scope)
    if isinstance(node.this, exp.Placeholder) and to.name == "VECTOR":
        raise errors.unsupported("binding of type VECTOR")
    return cast(c, value, to)


@handles(exp.TryCast)
def _try_cast(c: Compiler, node: exp.TryCast, scope: Scope) -> Expr:
    to = read(node.to)
    value = c.bind(node.this, scope)
    if value.type.name not in {"VARCHAR", "NULL"} or to.name in {"VARIANT", "OBJECT", "ARRAY", "VECTOR"}:
        line, column = position(node)
        text = f"error line {line} at position {column}\nFunction TRY_CAST cannot be used with arguments of types {value.type} and {to}"
        raise errors.SqlError(1065, "22023", f"SQL compilation error: {text}")
    return cast(c, value, to, attempt=True)


@handles(exp.Collate)
def _collate(c: Compiler, node: exp.Collate, scope: Scope) -> Expr:
    return c.bind(node.this, scope)


@handles(exp.Alias)
def _alias(c: Compiler, node: exp.Alias, scope: Scope) -> Expr:
    raise errors.syntax(*position(node), str(node.meta.get(TEXT, node.alias)))
