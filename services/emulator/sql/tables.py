"""FROM: tables, views, subqueries, VALUES, table functions, LATERAL, and how they are joined."""

from dataclasses import replace

from sqlglot import exp

from services.emulator import errors
from services.emulator.sql.compiler import Compiler
from services.emulator.sql.dialect import position
from services.emulator.sql.names import fold
from services.emulator.sql.operators import comparable, together, truth, unified
from services.emulator.sql.scope import Column, Expr, Output, Query, Scope, Source

_FORBIDDEN_KINDS = {"SEMI", "ANTI", "STRAIGHT", "POSITIONAL", "ARRAY", "GLOBAL"}


def bind_from(c: Compiler, node: exp.Select, scope: Scope) -> str:
    """Return the FROM clause and put its sources in *scope*; empty without one."""
    start = node.args.get("from_")
    if start is None:
        if node.args.get("joins"):
            raise errors.syntax(*position(node), "JOIN")
        return ""
    text = item(c, start.this, scope)
    for join in [*(start.this.args.get("joins") or ()), *(node.args.get("joins") or ())]:
        text = _join(c, text, join, scope)
    for lateral in node.args.get("laterals") or ():
        text += f", {item(c, lateral, scope)}"
    return f"FROM {text}"


def item(c: Compiler, node: exp.Expr, scope: Scope) -> str:  # noqa: PLR0911 - one line a kind
    """Return one entry of FROM."""
    if (sampled := node.args.get("sample")) is not None:
        return _sampled(c, node, sampled, scope)
    if node.args.get("pivots"):
        return c.rules.pivoted(c, node, scope)
    match node:
        case exp.Table(this=exp.Anonymous() | exp.Func()):
            return c.rules.table_function(c, node.this, node, scope)
        case exp.Table():
            return _table(c, node, scope)
        case exp.Values():
            return _add(c, values(c, node, scope), node, scope)
        case exp.Subquery(this=exp.Table()):
            return item(c, node.this, scope)
        case exp.Subquery():
            return _add(c, c.query(node.this, scope.parent), node, scope)
        case exp.Lateral():
            return _lateral(c, node, scope)
    raise errors.syntax(*position(node), node.sql(dialect="snowflake")[:30])


def _names(node: exp.Expr) -> tuple[str, tuple[str, ...]]:
    alias = node.args.get("alias")
    if not isinstance(alias, exp.TableAlias):
        return "", ()
    return fold(alias.this), tuple(fold(column) for column in alias.args.get("columns") or ())


def _add(c: Compiler, query: Query, node: exp.Expr, scope: Scope) -> str:
    name, renamed = _names(node)
    alias = c.alias()
    scope.sources.append(query.source(alias, (name,) if name else (), renamed))
    return f"({query.sql}) AS {alias}"


def _table(c: Compiler, node: exp.Table, scope: Scope) -> str:
    name, renamed = _names(node)
    alias = c.alias()
    if not isinstance(node.this, exp.Identifier):
        raise errors.syntax(*position(node), node.sql(dialect="snowflake")[:30])
    if isinstance(node.this, exp.Var) or node.args.get("ordinality") or node.args.get("only"):
        raise errors.unsupported("querying a stage")
    if not node.args.get("db"):
        for known in reversed(c.ctes):
            if (query := known.get(fold(node.this))) is not None:
                scope.sources.append(query.source(alias, (name or fold(node.this),), renamed))
                return f"({query.sql}) AS {alias}"
    query, path = c.rules.scan(c, node)
    scope.sources.append(query.source(alias, (name,) if name else tuple(reversed(path)), renamed))
    return f"({query.sql}) AS {alias}"


def values(c: Compiler, node: exp.Values, scope: Scope) -> Query:
    """Return rows of constants; columns are named COLUMN1, COLUMN2, ... and take the type that all rows fit."""
    rows = [[_constant(c, part, scope) for part in _row(row)] for row in node.expressions]
    width = len(rows[0])
    if any(len(row) != width for row in rows):
        raise errors.compilation(2020, "21S01", f"Values list has mismatched number of columns: expected {width}")
    columns = [unified(c, node, [row[at] for row in rows]) for at in range(width)]
    outputs = tuple(
        Output(f"COLUMN{at + 1}", column[0].type, any(value.nullable for value in column))
        for at, column in enumerate(columns)
    )
    lines = [
        ", ".join(f"CAST({columns[at][line].sql} AS {columns[at][line].type.physical})" for at in range(width))
        for line in range(len(rows))
    ]
    names = ", ".join(f"c{at}" for at in range(width))
    body = ", ".join(f"({line})" for line in lines)
    return Query(f"SELECT * FROM (VALUES {body}) AS v({names})", outputs)


def _row(row: exp.Expr) -> list[exp.Expr]:
    return list(row.expressions) if isinstance(row, exp.Tuple) else [row.this if isinstance(row, exp.Paren) else row]


# docs: constructs/values and insert; these are refused in VALUES: "Invalid expression in VALUES clause"
_REFUSED_IN_VALUES = {
    "PARSE_JSON",
    "TRY_PARSE_JSON",
    "OBJECT_CONSTRUCT",
    "ARRAY_CONSTRUCT",
    "OBJECT_CONSTRUCT_KEEP_NULL",
    "TO_VARIANT",
    "TO_ARRAY",
    "TO_OBJECT",
    "PARSE_XML",
    "CHECK_JSON",
}


def _constant(c: Compiler, node: exp.Expr, scope: Scope) -> Expr:
    for part in node.walk():
        refused = isinstance(part, exp.Anonymous) and fold(part.this) in _REFUSED_IN_VALUES
        if refused or isinstance(part, exp.Array | exp.Struct | exp.Subquery | exp.Select):
            shown = node.sql(dialect="snowflake").upper()
            raise errors.compilation(2014, "22000", f"Invalid expression [{shown}] in VALUES clause")
    return c.bind(node, Scope(scope.parent, parameters=scope.parameters))


def _lateral(c: Compiler, node: exp.Lateral, scope: Scope) -> str:
    inner = node.this
    if isinstance(inner, exp.Subquery):
        query = c.query(inner.this, scope)
        name, renamed = _names(node)
        alias = c.alias()
        scope.sources.append(query.source(alias, (name,) if name else (), renamed))
        return f"LATERAL ({query.sql}) AS {alias}"
    if isinstance(inner, exp.Anonymous):
        return c.rules.table_function(c, inner, node, scope)
    raise errors.syntax(*position(node), "LATERAL")


def _sampled(c: Compiler, node: exp.Expr, sample: exp.TableSample, scope: Scope) -> str:
    bare = node.copy()
    bare.set("sample", None)
    text = item(c, bare, scope)
    size, percent = sample.args.get("size"), sample.args.get("percent")
    if size is not None:
        return f"(SELECT * FROM {text} USING SAMPLE {int(size.name)} ROWS) AS {text.rsplit(' AS ', 1)[1]}"
    if percent is None:
        raise errors.syntax(*position(node), "SAMPLE")
    return f"(SELECT * FROM {text} WHERE random() * 100 < {float(percent.name)}) AS {text.rsplit(' AS ', 1)[1]}"


def _joined(c: Compiler, node: exp.Expr, scope: Scope) -> str:
    """Return the right side of a join, which may hold joins of its own."""
    right = item(c, node, scope)
    nested = node.args.get("joins") or ()
    for join in nested:
        right = _join(c, right, join, scope)
    return f"({right})" if nested else right


def _join(c: Compiler, left: str, join: exp.Join, scope: Scope) -> str:
    kind, side, method = (
        str(join.args.get("kind") or ""),
        str(join.args.get("side") or ""),
        str(join.args.get("method") or ""),
    )
    if kind in _FORBIDDEN_KINDS or side in _FORBIDDEN_KINDS or method not in {"", "NATURAL", "ASOF"}:
        raise errors.syntax(*position(join), kind or side or method)
    before = len(scope.sources)
    right = _joined(c, join.this, scope)
    new = scope.sources[before:]
    if method == "ASOF":
        return _asof(c, left, right, join, scope)
    on, using = join.args.get("on"), [fold(part) for part in join.args.get("using") or ()]
    if method == "NATURAL":
        using = _shared(scope.sources[:before], new)
    if kind == "CROSS" or (not on and not using and not side and method != "NATURAL"):
        if on or using:
            raise errors.syntax(*position(join), "ON")
        return f"{left} CROSS JOIN {right}"
    _make_optional(scope, before, side)
    if using:
        test = _using(c, join, using, scope, before=before, side=side)
    elif on is not None:
        test = truth(c, on, scope).sql
    elif right.startswith("LATERAL"):
        test = "TRUE"
    else:
        raise errors.syntax(*position(join), "JOIN")
    return f"{left} {side or 'INNER'} JOIN {right} ON {test}"


def _make_optional(scope: Scope, before: int, side: str) -> None:
    """Let the columns of the side that an outer join may leave empty be NULL."""
    if side in {"LEFT", "FULL"}:
        scope.sources[before:] = [_optional(source) for source in scope.sources[before:]]
    if side in {"RIGHT", "FULL"}:
        scope.sources[:before] = [_optional(source) for source in scope.sources[:before]]


def _optional(source: Source) -> Source:
    """Return *source* as it is on the side of an outer join that may have no row."""
    return replace(source, columns=tuple(replace(column, nullable=True) for column in source.columns))


def _shared(left: list[Source], right: list[Source]) -> list[str]:
    names = {column.name for source in right for column in source.columns if not column.hidden}
    found: list[str] = []
    for source in left:
        found += [column.name for column in source.columns if column.name in names and column.name not in found]
    return found


def _using(c: Compiler, join: exp.Join, using: list[str], scope: Scope, *, before: int, side: str) -> str:
    tests = []
    for name in using:
        one = scope.merged.get(name) or _only(scope.sources[:before], name, join)
        two = _only(scope.sources[before:], name, join)
        left, right = together(c, join, "=", [Expr(one.sql, one.type), Expr(two.sql, two.type)])
        tests.append(f"{comparable(left)} = {comparable(right)}")
        kept = two if side == "RIGHT" else one
        sql = f"COALESCE({left.sql}, {right.sql})" if side == "FULL" else kept.sql
        scope.merged[name] = Column(name, left.type if side == "FULL" else kept.type, one.nullable or two.nullable, sql)
    return " AND ".join(tests) or "TRUE"


def _only(sources: list[Source], name: str, join: exp.Join) -> Column:
    found = [column for source in sources for column in source.columns if column.name == name]
    if not found:
        raise errors.invalid_identifier(name, *position(join))
    if len(found) > 1:
        raise errors.ambiguous_column(name, *position(join))
    return found[0]


def _asof(c: Compiler, left: str, right: str, join: exp.Join, scope: Scope) -> str:
    condition = join.args.get("match_condition")
    if condition is None:
        raise errors.syntax(*position(join), "ASOF")
    tests = [truth(c, condition, scope).sql]
    if (on := join.args.get("on")) is not None:
        tests.append(truth(c, on, scope).sql)
    return f"{left} ASOF LEFT JOIN {right} ON {' AND '.join(tests)}"
