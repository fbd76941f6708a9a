"""Arithmetic, comparison, logic, patterns, CASE and predicates on subqueries."""

from sqlglot import exp

from services.emulator import errors
from services.emulator.sql import types as t
from services.emulator.sql.casts import cast
from services.emulator.sql.compiler import Compiler, handles
from services.emulator.sql.dialect import position
from services.emulator.sql.scope import Expr, Scope
from services.emulator.sql.types import SqlType

_SYMBOLS = {
    exp.Add: "+",
    exp.Sub: "-",
    exp.Mul: "*",
    exp.Div: "/",
    exp.Mod: "%",
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
}


def types_refused(node: exp.Expr, symbol: str, *operands: Expr) -> errors.SqlError:
    return errors.invalid_types(symbol, ", ".join(str(operand.type) for operand in operands), *position(node))


def as_number(c: Compiler, value: Expr) -> Expr:
    """Return an operand of arithmetic as a number: text and VARIANT are read as one."""
    if value.type.is_number:
        return value
    if value.type.name == "NULL":
        return Expr("CAST(NULL AS DECIMAL(38,0))", t.INTEGER)
    if value.type.name == "VARIANT":
        return cast(c, value, t.FLOAT)
    if value.type.name == "VARCHAR":
        return cast(c, value, t.number(18, 5))
    return value


@handles(exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod)
def _arithmetic(c: Compiler, node: exp.Binary, scope: Scope) -> Expr:
    left, right = c.bind(node.this, scope), c.bind(node.expression, scope)
    symbol = _SYMBOLS[type(node)]
    if isinstance(node, exp.Add | exp.Sub) and (moved := _moved(c, node, left, right)):
        return moved
    return arithmetic(c, node, symbol, left, right)


def arithmetic(c: Compiler, node: exp.Expr, symbol: str, left: Expr, right: Expr) -> Expr:
    """Return two numbers combined with the digits that docs: operators-arithmetic gives the result."""
    one, two = as_number(c, left), as_number(c, right)
    if not (one.type.is_number and two.type.is_number):
        raise types_refused(node, symbol, left, right)
    aggregate, nullable = left.aggregate or right.aggregate, left.nullable or right.nullable
    if "FLOAT" in {one.type.name, two.type.name}:
        a, b = f"CAST({one.sql} AS DOUBLE)", f"CAST({two.sql} AS DOUBLE)"
        sql = (
            f"sf_divide_float({a}, {b})"
            if symbol == "/"
            else f"sf_mod_float({a}, {b})"
            if symbol == "%"
            else f"({a} {symbol} {b})"
        )
        return Expr(sql, t.FLOAT, nullable, aggregate=aggregate)
    kind = _digits(symbol, one.type, two.type)
    if symbol == "/":
        return Expr(divided(one, two, kind), kind, nullable, aggregate=aggregate)
    sql = f"sf_mod({one.sql}, {two.sql})" if symbol == "%" else f"({_wide(one)} {symbol} {_wide(two)})"
    if symbol == "*" and kind.scale < one.type.scale + two.type.scale:
        sql = f"CAST({sql} AS {kind.physical})"
    return Expr(sql, kind, nullable, _folded(symbol, left, right), aggregate)


def _folded(symbol: str, left: Expr, right: Expr) -> object:
    a, b = left.constant, right.constant
    if not (isinstance(a, int) and isinstance(b, int)) or symbol not in "+-*":
        return None
    return a + b if symbol == "+" else a - b if symbol == "-" else a * b


def _wide(value: Expr) -> str:
    """Room for the result: the engine checks overflow at the width of its operands."""
    return f"CAST({value.sql} AS DECIMAL(38,{value.type.scale}))"


def divided(one: Expr, two: Expr, kind: SqlType) -> str:
    """Return a quotient with ``kind.scale`` digits, rounded half away from zero, without leaving exact arithmetic."""
    numerator = f"CAST(CAST({one.sql} AS DECIMAL(38,{one.type.scale})) * {10**one.type.scale} AS HUGEINT)"
    denominator = f"CAST(CAST({two.sql} AS DECIMAL(38,{two.type.scale})) * {10**two.type.scale} AS HUGEINT)"
    power = kind.scale + two.type.scale - one.type.scale
    return f"CAST(CAST(sf_divide({numerator} * {10 ** max(0, power)}, {denominator}) AS DECIMAL(38,0)) * CAST('1e-{kind.scale}' AS DECIMAL({kind.scale + 1},{kind.scale})) AS {kind.physical})"


def _digits(symbol: str, a: SqlType, b: SqlType) -> SqlType:
    lead_a, lead_b = a.precision - a.scale, b.precision - b.scale
    if symbol in "+-":
        scale = max(a.scale, b.scale)
        return t.number(max(lead_a, lead_b) + scale + 1, scale)
    if symbol == "*":
        scale = min(a.scale + b.scale, max(a.scale, b.scale, 12))
        return t.number(lead_a + lead_b + scale, scale)
    if symbol == "/":
        scale = max(a.scale, min(a.scale + 6, 12))
        return t.number(lead_a + b.scale + scale, scale)
    scale = max(a.scale, b.scale)
    return t.number(min(max(lead_a, lead_b) + scale, 38), scale)


def _moved(c: Compiler, node: exp.Binary, left: Expr, right: Expr) -> Expr | None:
    """Return DATE plus days, a difference of two dates, or a moment moved by an interval."""
    sign = "+" if isinstance(node, exp.Add) else "-"
    if isinstance(right.constant, tuple) and right.constant[:1] == ("interval",):
        return _plus_interval(c, left, right, sign)
    if left.type.name == "DATE" and right.type.is_number:
        return Expr(
            f"({left.sql} {sign} CAST({right.sql} AS INTEGER))",
            t.DATE,
            left.nullable or right.nullable,
            None,
            left.aggregate or right.aggregate,
        )
    if sign == "+" and right.type.name == "DATE" and left.type.is_number:
        return Expr(f"({right.sql} + CAST({left.sql} AS INTEGER))", t.DATE)
    if sign == "-" and left.type.name == right.type.name == "DATE":
        return Expr(
            f"date_diff('day', {right.sql}, {left.sql})", t.number(9), aggregate=left.aggregate or right.aggregate
        )
    return None


def _plus_interval(c: Compiler, left: Expr, right: Expr, sign: str) -> Expr:
    if left.type.name == "TIMESTAMP_TZ":
        return Expr(
            f"sf_zoned(sf_wall({left.sql}) {sign} {right.sql}, struct_extract({left.sql}, 't') {sign} {right.sql})",
            left.type,
        )
    if left.type.name == "DATE" and not right.constant[1]:  # type: ignore[index]
        return Expr(f"CAST({left.sql} {sign} {right.sql} AS DATE)", t.DATE, left.nullable)
    if left.type.name == "TIME":
        return Expr(f"({left.sql} {sign} {right.sql})", left.type, left.nullable)
    moment = left if left.type.is_timestamp else cast(c, left, t.TIMESTAMP_NTZ)
    return Expr(f"({moment.sql} {sign} {right.sql})", moment.type, left.nullable, None, left.aggregate)


@handles(exp.Neg)
def _negative(c: Compiler, node: exp.Neg, scope: Scope) -> Expr:
    value = as_number(c, c.bind(node.this, scope))
    if not value.type.is_number:
        raise types_refused(node, "-", value)
    known = -value.constant if isinstance(value.constant, int | float) else None
    return Expr(f"(-{value.sql})", value.type, value.nullable, known, value.aggregate)


def together(c: Compiler, node: exp.Expr, symbol: str, values: list[Expr]) -> list[Expr]:
    """Return *values* in the one type that compares or joins them; text gives way to what it is compared with."""
    kind = values[0].type
    for value in values[1:]:
        shared = compared(kind, value.type)
        if shared is None:
            raise types_refused(node, symbol, values[0], value)
        kind = shared
    return [cast(c, value, kind) if value.type.name != kind.name else value for value in values]


def compared(left: SqlType, right: SqlType) -> SqlType | None:
    names = {left.name, right.name}
    if "VARIANT" in names and len(names) > 1 and not names & {"OBJECT", "ARRAY", "NULL"}:
        return right if left.name == "VARIANT" else left
    if names == {"NUMBER", "VARCHAR"}:
        return t.number(38, 5) if left.scale + right.scale else (left if left.name == "NUMBER" else right)
    if names == {"VECTOR"} and left != right:
        return None
    return t.common(left, right)


def comparable(value: Expr) -> str:
    """Return what orders *value*: moments with an offset by the instant."""
    return f"struct_extract({value.sql}, 't')" if value.type.name == "TIMESTAMP_TZ" else value.sql


@handles(exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE)
def _comparison(c: Compiler, node: exp.Binary, scope: Scope) -> Expr:
    symbol = _SYMBOLS[type(node)]
    if isinstance(node.expression, exp.Any | exp.All):
        return _quantified(c, node, symbol, scope)
    if isinstance(node.this, exp.Tuple) and isinstance(node.expression, exp.Tuple):
        return _rows(c, node, symbol, scope)
    given = [c.bind(node.this, scope), c.bind(node.expression, scope)]
    left, right = together(c, node, symbol, given)
    return Expr(
        f"({comparable(left)} {symbol} {comparable(right)})",
        t.BOOLEAN,
        left.nullable or right.nullable,
        None,
        left.aggregate or right.aggregate,
    )


def _rows(c: Compiler, node: exp.Binary, symbol: str, scope: Scope) -> Expr:
    pairs = [
        together(c, node, symbol, [c.bind(a, scope), c.bind(b, scope)])
        for a, b in zip(node.this.expressions, node.expression.expressions, strict=True)
    ]
    left, right = (", ".join(comparable(pair[side]) for pair in pairs) for side in (0, 1))
    return Expr(f"(({left}) {symbol} ({right}))", t.BOOLEAN)


def _quantified(c: Compiler, node: exp.Binary, symbol: str, scope: Scope) -> Expr:
    word = "ANY" if isinstance(node.expression, exp.Any) else "ALL"
    left = c.bind(node.this, scope)
    inner = node.expression.this
    query = c.query(inner.this if isinstance(inner, exp.Subquery | exp.Paren) else inner, scope)
    return Expr(f"({left.sql} {symbol} {word} ({query.sql}))", t.BOOLEAN)


@handles(exp.NullSafeEQ, exp.NullSafeNEQ)
def _distinct(c: Compiler, node: exp.Binary, scope: Scope) -> Expr:
    left, right = together(c, node, "IS DISTINCT FROM", [c.bind(node.this, scope), c.bind(node.expression, scope)])
    word = "IS NOT DISTINCT FROM" if isinstance(node, exp.NullSafeEQ) else "IS DISTINCT FROM"
    return Expr(
        f"({comparable(left)} {word} {comparable(right)})",
        t.BOOLEAN,
        nullable=False,
        aggregate=left.aggregate or right.aggregate,
    )


def truth(c: Compiler, node: exp.Expr, scope: Scope) -> Expr:
    """Return a condition; numbers count as true unless zero, text is read as BOOLEAN."""
    value = c.bind(node, scope)
    if value.type.name in {"BOOLEAN", "NULL"}:
        return value
    if value.type.name in {"NUMBER", "FLOAT", "VARCHAR", "VARIANT"}:
        return cast(c, value, t.BOOLEAN)
    raise errors.compilation(
        2050, "42601", f"Invalid data type [{value.type}] for predicate [{node.sql(dialect='snowflake').upper()}]"
    )


@handles(exp.And, exp.Or)
def _logic(c: Compiler, node: exp.Connector, scope: Scope) -> Expr:
    word = "AND" if isinstance(node, exp.And) else "OR"
    parts = [truth(c, part, scope) for part in node.flatten(unnest=False)]
    return Expr(
        "(" + f" {word} ".join(part.sql for part in parts) + ")",
        t.BOOLEAN,
        any(part.nullable for part in parts),
        None,
        any(part.aggregate for part in parts),
    )


@handles(exp.Not)
def _not(c: Compiler, node: exp.Not, scope: Scope) -> Expr:
    value = truth(c, node.this, scope)
    return Expr(f"(NOT {value.sql})", t.BOOLEAN, value.nullable, None, value.aggregate)


@handles(exp.Is)
def _is(c: Compiler, node: exp.Is, scope: Scope) -> Expr:
    value = c.bind(node.this, scope)
    if isinstance(node.expression, exp.Null):
        return Expr(f"({value.sql} IS NULL)", t.BOOLEAN, nullable=False, aggregate=value.aggregate)
    if isinstance(node.expression, exp.Boolean):
        return Expr(
            f"({value.sql} IS {str(node.expression.this).upper()})",
            t.BOOLEAN,
            nullable=False,
            aggregate=value.aggregate,
        )
    raise errors.syntax(*position(node), "IS")


@handles(exp.Between)
def _between(c: Compiler, node: exp.Between, scope: Scope) -> Expr:
    given = [c.bind(part, scope) for part in (node.this, node.args["low"], node.args["high"])]
    value, low = together(c, node, "BETWEEN", [given[0], given[1]])
    other, high = together(c, node, "BETWEEN", [given[0], given[2]])
    return Expr(
        f"({comparable(value)} >= {comparable(low)} AND {comparable(other)} <= {comparable(high)})",
        t.BOOLEAN,
        aggregate=any(part.aggregate for part in given),
    )


@handles(exp.In)
def _in(c: Compiler, node: exp.In, scope: Scope) -> Expr:
    if (query := node.args.get("query")) is not None:
        return _in_query(c, node, query, scope)
    if node.args.get("unnest") or node.args.get("field"):
        raise errors.syntax(*position(node), "IN")
    if isinstance(node.this, exp.Tuple):
        rows = [exp.EQ(this=node.this, expression=row) for row in node.expressions]
        return Expr("(" + " OR ".join(c.bind(row, scope).sql for row in rows) + ")", t.BOOLEAN)
    values = together(c, node, "IN", [c.bind(part, scope) for part in (node.this, *node.expressions)])
    listed = ", ".join(comparable(value) for value in values[1:])
    return Expr(
        f"({comparable(values[0])} IN ({listed}))",
        t.BOOLEAN,
        values[0].nullable,
        None,
        any(v.aggregate for v in values),
    )


def _in_query(c: Compiler, node: exp.In, query: exp.Expr, scope: Scope) -> Expr:
    inner = c.query(query.this if isinstance(query, exp.Subquery) else query, scope)
    wanted = list(node.this.expressions) if isinstance(node.this, exp.Tuple) else [node.this]
    if len(inner.outputs) != len(wanted):
        raise errors.compilation(
            1789, "42601", f"Invalid subquery: expected {len(wanted)} column(s), got {len(inner.outputs)}"
        )
    sides, columns = [], []
    for index, (part, output) in enumerate(zip(wanted, inner.outputs, strict=True)):
        left, right = together(c, node, "IN", [c.bind(part, scope), Expr(f"q.c{index}", output.type)])
        sides.append(comparable(left))
        columns.append(comparable(right))
    left_sql = f"({', '.join(sides)})" if len(sides) > 1 else sides[0]
    right_sql = f"({', '.join(columns)})" if len(columns) > 1 else columns[0]
    return Expr(f"({left_sql} IN (SELECT {right_sql} FROM ({inner.sql}) AS q))", t.BOOLEAN)


@handles(exp.Exists)
def _exists(c: Compiler, node: exp.Exists, scope: Scope) -> Expr:
    return Expr(f"EXISTS ({c.query(node.this, scope).sql})", t.BOOLEAN, nullable=False)


@handles(exp.Subquery)
def _scalar(c: Compiler, node: exp.Subquery, scope: Scope) -> Expr:
    query = c.query(node.this, scope)
    if len(query.outputs) != 1:
        raise errors.compilation(
            2211,
            "42601",
            "Subquery containing correlated aggregate or more than one column cannot be used as an expression.",
        )
    return Expr(f"({query.sql})", query.outputs[0].type)


@handles(exp.DPipe)
def _concatenated(c: Compiler, node: exp.DPipe, scope: Scope) -> Expr:
    sides = [c.bind(node.this, scope), c.bind(node.expression, scope)]
    if all(side.type.name == "BINARY" for side in sides):
        return Expr(f"({sides[0].sql} || {sides[1].sql})", t.BINARY)
    if any(side.type.name in {"VECTOR", "ARRAY", "OBJECT"} for side in sides):
        raise types_refused(node, "||", *sides)
    left, right = (cast(c, side, t.VARCHAR) for side in sides)
    return Expr(
        f"({left.sql} || {right.sql})",
        t.VARCHAR,
        left.nullable or right.nullable,
        None,
        left.aggregate or right.aggregate,
    )


@handles(exp.Case)
def _case(c: Compiler, node: exp.Case, scope: Scope) -> Expr:
    subject = node.args.get("this")
    conditions = [
        exp.EQ(this=subject, expression=branch.this) if subject is not None else branch.this
        for branch in node.args["ifs"]
    ]
    tests = [truth(c, condition, scope) for condition in conditions]
    results = [c.bind(branch.args["true"], scope) for branch in node.args["ifs"]]
    default = node.args.get("default")
    otherwise = c.bind(default, scope) if default is not None else Expr("NULL", t.NULL)
    *values, last = unified(c, node, [*results, otherwise])
    body = " ".join(f"WHEN {test.sql} THEN {value.sql}" for test, value in zip(tests, values, strict=True))
    return Expr(
        f"CASE {body} ELSE {last.sql} END",
        last.type,
        default is None or any(v.nullable for v in [*values, last]),
        None,
        any(p.aggregate for p in [*tests, *values, last]),
    )


def unified(c: Compiler, node: exp.Expr, values: list[Expr]) -> list[Expr]:
    """Return the branches of a choice in one type."""
    kind = values[0].type
    for value in values[1:]:
        shared = t.common(kind, value.type)
        if shared is None:
            raise errors.compilation(
                2023, "22000", f"Can not convert parameter of type [{value.type}] into expected type [{kind}]"
            )
        kind = shared
    return [cast(c, value, kind) for value in values]


@handles(exp.Like, exp.ILike, exp.Escape)
def _like(c: Compiler, node: exp.Expr, scope: Scope) -> Expr:
    escape = ""
    if isinstance(node, exp.Escape):
        escape, node = f" ESCAPE {c.bind(node.expression, scope).sql}", node.this
    word = "ILIKE" if isinstance(node, exp.ILike) else "LIKE"
    subject = cast(c, c.bind(node.this, scope), t.VARCHAR)
    pattern = node.expression
    if isinstance(pattern, exp.Any | exp.All | exp.Tuple):
        every = isinstance(pattern, exp.All)
        inner = pattern.this if isinstance(pattern, exp.Any | exp.All) else pattern
        listed = (
            inner.expressions
            if isinstance(inner, exp.Tuple)
            else [inner.this if isinstance(inner, exp.Paren) else inner]
        )
        tests = [f"{subject.sql} {word} {cast(c, c.bind(p, scope), t.VARCHAR).sql}{escape}" for p in listed]
        return Expr("(" + (" AND " if every else " OR ").join(tests) + ")", t.BOOLEAN)
    right = cast(c, c.bind(pattern, scope), t.VARCHAR)
    return Expr(
        f"({subject.sql} {word} {right.sql}{escape or chr(32) + 'ESCAPE ' + chr(39) * 2})",
        t.BOOLEAN,
        aggregate=subject.aggregate,
    )


@handles(exp.RegexpLike)
def _regexp(c: Compiler, node: exp.RegexpLike, scope: Scope) -> Expr:
    return c.bind(exp.Anonymous(this="REGEXP_LIKE", expressions=[node.this, node.expression]), scope)
