"""Calls: looked up by the name as written, checked, and compiled; plain, aggregate and over windows."""

from sqlglot import exp

from services.emulator import errors
from services.emulator.sql.compiler import Compiler, handles
from services.emulator.sql.dialect import position
from services.emulator.sql.functions.registry import CATALOGUE, Call, Function, check_count, coerce_all
from services.emulator.sql.names import fold
from services.emulator.sql.operators import comparable
from services.emulator.sql.scope import Expr, Scope


def lookup(node: exp.Anonymous) -> Function:
    """Return the catalogue's entry, or refuse: unknown functions do not exist."""
    name = fold(node.this)
    function = CATALOGUE.get(name)
    if function is None:
        raise errors.unknown_function(name)
    return function


@handles(exp.Anonymous)
def _call(c: Compiler, node: exp.Anonymous, scope: Scope) -> Expr:
    return compile_call(c, node, scope)


@handles(exp.Dot)
def _qualified(c: Compiler, node: exp.Dot, scope: Scope) -> Expr:
    """``SNOWFLAKE.CORTEX.F(...)`` and functions of a schema."""
    if not isinstance(node.expression, exp.Anonymous):
        if isinstance(node.expression, exp.Identifier):
            path = node.expression
            return c.bind(exp.Bracket(this=node.this, expressions=[exp.Literal.string(fold(path))]), scope)
        raise errors.syntax(*position(node), ".")
    parts = [fold(part) for part in _parts(node.this)]
    name = ".".join([*parts, fold(node.expression.this)])
    function = CATALOGUE.get(name)
    if function is None:
        return c.rules.user_function(c, parts, node.expression, scope)
    return compile_call(c, exp.Anonymous(this=name, expressions=node.expression.expressions), scope, function)


def _parts(node: exp.Expr) -> list[exp.Expr]:
    if isinstance(node, exp.Dot):
        return [*_parts(node.this), node.expression]
    if isinstance(node, exp.Column):
        return list(node.parts)
    return [node]


def compile_call(c: Compiler, node: exp.Anonymous, scope: Scope, function: Function | None = None) -> Expr:
    """Return a call that stands by itself."""
    if function is None and fold(node.this) not in CATALOGUE:
        return c.rules.user_function(c, [], node, scope)
    function = function or lookup(node)
    if function.window_only:
        raise errors.compilation(2303, "42601", f"Window function [{function.name}] must have an OVER clause.")
    return prepared(c, node, scope, function, over=False)


def prepared(
    c: Compiler, node: exp.Anonymous, scope: Scope, function: Function, *, over: bool, order: exp.Order | None = None
) -> Expr:
    """Return the call with its arguments checked; an aggregate says that it is one."""
    written = list(node.expressions)
    distinct = len(written) == 1 and isinstance(written[0], exp.Distinct)
    if distinct:
        written = list(written[0].expressions)
    elif written and isinstance(written[0], exp.Distinct):
        written, distinct = [*written[0].expressions, *written[1:]], True
    if distinct and not function.aggregate:
        raise errors.syntax(*position(node), "DISTINCT")
    if function.aggregate and scope.aggregates is False and not over:
        raise errors.compilation(2058, "42601", f"Invalid aggregate function in where clause [{function.name}]")
    call = Call(c, function.name, node, scope, written, distinct=distinct, order=order, window=over)
    check_count(function, call)
    if not function.raw:
        call.args = [c.bind(part, scope) for part in written]
        call.args = coerce_all(function, call)
    result = function.build(call)
    aggregate = (function.aggregate and not over) or result.aggregate
    return Expr(result.sql, result.type, result.nullable, result.constant, aggregate)


@handles(exp.WithinGroup)
def _within(c: Compiler, node: exp.WithinGroup, scope: Scope) -> Expr:
    function = lookup(node.this)
    if not function.aggregate:
        raise errors.syntax(*position(node), "WITHIN")
    return prepared(c, node.this, scope, function, over=False, order=node.expression)


_NULLS = {exp.IgnoreNulls: " IGNORE NULLS", exp.RespectNulls: ""}


@handles(exp.Window)
def _window(c: Compiler, node: exp.Window, scope: Scope) -> Expr:
    inner, nulls, order = node.this, "", None
    if type(inner) in _NULLS:
        nulls, inner = _NULLS[type(inner)], inner.this
    if isinstance(inner, exp.WithinGroup):
        order, inner = inner.expression, inner.this
    if not isinstance(inner, exp.Anonymous):
        raise errors.syntax(*position(node), "OVER")
    function = lookup(inner)
    if not (function.aggregate or function.window_only):
        raise errors.compilation(2304, "42601", f"Function [{function.name}] is not a window function.")
    if function.window_only and function.name in _ORDERED and not node.args.get("order"):
        raise errors.compilation(
            2303, "42601", f"Window function type [{function.name}] requires ORDER BY in window specification"
        )
    inner_scope = Scope(
        scope.parent,
        scope.sources,
        scope.aliases,
        scope.pending,
        scope.merged,
        aggregates=True,
        parameters=scope.parameters,
    )
    value = prepared(c, inner, inner_scope, function, over=True, order=order)
    over = f"OVER ({_specification(c, node, inner_scope, function)})"
    sql = value.sql.replace(OVER, f"{over}") if OVER in value.sql else f"{_nulls(value.sql, nulls)} {over}"
    return Expr(sql, value.type, value.nullable, None, scope.aggregates and value.aggregate)


OVER = "/*over*/"  # where a function made of several engine calls wants its window
_ORDERED = {"ROW_NUMBER", "RANK", "DENSE_RANK", "NTILE", "LAG", "LEAD", "CUME_DIST", "PERCENT_RANK"}
_FRAMED = {"FIRST_VALUE", "LAST_VALUE", "NTH_VALUE"}


def _nulls(sql: str, nulls: str) -> str:
    return f"{sql[:-1]}{nulls})" if nulls else sql


def _specification(c: Compiler, node: exp.Window, scope: Scope, function: Function) -> str:
    parts = []
    if node.args.get("partition_by"):
        parts.append("PARTITION BY " + ", ".join(comparable(c.bind(part, scope)) for part in node.args["partition_by"]))
    if (order := node.args.get("order")) is not None:
        parts.append("ORDER BY " + ", ".join(ordered(c, item, scope) for item in order.expressions))
    spec = node.args.get("spec")
    if spec is not None:
        parts.append(_frame(c, spec, scope))
    elif order is not None and function.name in _FRAMED:
        parts.append("ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING")  # docs: functions-window-syntax
    return " ".join(parts)


def ordered(c: Compiler, item: exp.Expr, scope: Scope) -> str:
    """Return one key of ORDER BY with the place of NULLs written out."""
    if not isinstance(item, exp.Ordered):
        return comparable(c.bind(item, scope))
    value = c.bind(item.this, scope)
    return f"{comparable(value)} {direction(item)}"


def direction(item: exp.Ordered) -> str:
    """NULLs come last, with DESC first, unless said otherwise."""
    word = "DESC" if item.args.get("desc") else "ASC"
    return f"{word} NULLS {'FIRST' if item.args.get('nulls_first') else 'LAST'}"


def _frame(c: Compiler, spec: exp.WindowSpec, scope: Scope) -> str:
    def edge(value: object, side: object) -> str:
        text = value if isinstance(value, str) else c.bind(value, scope).sql  # type: ignore[arg-type]
        return f"{text} {side or ''}".strip()

    start = edge(spec.args["start"], spec.args.get("start_side"))
    end = spec.args.get("end")
    finish = edge(end, spec.args.get("end_side")) if end else "CURRENT ROW"
    return f"{spec.args['kind']} BETWEEN {start} AND {finish}"
