"""Aggregates and window functions, docs: functions-aggregation, functions-window."""

from services.emulator import errors
from services.emulator.sql import types as t
from services.emulator.sql.casts import cast, to_variant
from services.emulator.sql.functions.calls import OVER, ordered
from services.emulator.sql.functions.registry import Call, built, define, special
from services.emulator.sql.operators import comparable
from services.emulator.sql.scope import Expr


def _over(call: Call) -> str:
    return f" {OVER}" if call.window else ""


def _distinct(call: Call) -> str:
    return "DISTINCT " if call.distinct else ""


@built("COUNT", "a*", aggregate=True)
def _count(call: Call) -> Expr:
    if not call.args:
        raise errors.too_few_arguments("COUNT()", 1, 0)
    if len(call.args) == 1:
        return Expr(f"count({_distinct(call)}{comparable(call.args[0])})", t.number(18), nullable=False)
    known = " AND ".join(f"{arg.sql} IS NOT NULL" for arg in call.args)
    row = f"CASE WHEN {known} THEN ({', '.join(arg.sql for arg in call.args)}) END"
    return Expr(f"count({_distinct(call)}{row})", t.number(18), nullable=False)


define("COUNT_IF", "b", t.number(18), "count(CASE WHEN {0} THEN 1 END)", aggregate=True)


@built("SUM", "n", aggregate=True)
def _sum(call: Call) -> Expr:
    value = call.args[0]
    kind = t.FLOAT if value.type.name == "FLOAT" else t.number(38, value.type.scale)
    inner = value.sql if kind is t.FLOAT else f"CAST({value.sql} AS DECIMAL(38,{kind.scale}))"
    return call.result(f"sum({_distinct(call)}{inner})", kind, nullable=True)


@built("AVG", "n", aggregate=True)
def _avg(call: Call) -> Expr:
    value = call.args[0]
    if value.type.name == "FLOAT":
        return call.result(f"avg({_distinct(call)}{value.sql})", t.FLOAT, nullable=True)
    scale = max(value.type.scale, min(value.type.scale + 6, 12))
    kind = t.number(38, scale)
    inner = f"CAST({value.sql} AS DECIMAL(38,{value.type.scale}))"
    total = f"CAST(sum({_distinct(call)}{inner}){_over(call)} * {10**value.type.scale} AS HUGEINT) * {10 ** (scale - value.type.scale)}"
    count = f"count({_distinct(call)}{inner}){_over(call)}"
    sql = f"CAST(CAST(sf_divide({total}, NULLIF({count}, 0)) AS DECIMAL(38,0)) * CAST('1e-{scale}' AS DECIMAL({scale + 1},{scale})) AS {kind.physical})"
    return call.result(sql, kind, nullable=True)


@built("MIN MAX ANY_VALUE MODE", "a", aggregate=True, page="min")
def _extreme(call: Call) -> Expr:
    if call.args[0].type.name in {"ARRAY", "OBJECT", "VECTOR"} and call.name in {"MIN", "MAX"}:
        raise call.refused()
    return call.result(f"{call.name.lower()}({call.args[0].sql})", call.args[0].type, nullable=True)


for _name, _engine in {
    "STDDEV": "stddev_samp",
    "STDDEV_SAMP": "stddev_samp",
    "STDDEV_POP": "stddev_pop",
    "VARIANCE": "var_samp",
    "VAR_SAMP": "var_samp",
    "VAR_POP": "var_pop",
    "VARIANCE_POP": "var_pop",
    "VARIANCE_SAMP": "var_samp",
    "KURTOSIS": "kurtosis",
    "SKEW": "skewness",
}.items():
    define(_name, "f", t.FLOAT, f"{_engine}({{0}})", aggregate=True)
for _name in (
    "CORR",
    "COVAR_POP",
    "COVAR_SAMP",
    "REGR_SLOPE",
    "REGR_INTERCEPT",
    "REGR_R2",
    "REGR_AVGX",
    "REGR_AVGY",
    "REGR_SXX",
    "REGR_SYY",
    "REGR_SXY",
):
    define(_name, "ff", t.FLOAT, f"{_name.lower()}({{0}}, {{1}})", aggregate=True)
define("REGR_COUNT", "ff", t.number(18), "regr_count({0}, {1})", aggregate=True)
define(
    "MEDIAN",
    "n",
    lambda args: t.FLOAT if args[0].type.name == "FLOAT" else t.number(38, args[0].type.scale + 3),
    "median(CAST({0} AS DOUBLE))",
    aggregate=True,
)
define("BOOLAND_AGG", "b", t.BOOLEAN, "bool_and({0})", aggregate=True)
define("BOOLOR_AGG", "b", t.BOOLEAN, "bool_or({0})", aggregate=True)
define("BOOLXOR_AGG", "b", t.BOOLEAN, "(count(CASE WHEN {0} THEN 1 END) = 1)", aggregate=True)
define("BITAND_AGG BIT_AND_AGG", "i", t.INTEGER, "bit_and(CAST({0} AS BIGINT))", aggregate=True)
define("BITOR_AGG BIT_OR_AGG", "i", t.INTEGER, "bit_or(CAST({0} AS BIGINT))", aggregate=True)
define("BITXOR_AGG BIT_XOR_AGG", "i", t.INTEGER, "bit_xor(CAST({0} AS BIGINT))", aggregate=True)
define("APPROX_COUNT_DISTINCT HLL", "a*", t.number(18), "count(DISTINCT ({all}))", aggregate=True)
define(
    "HASH_AGG",
    "a*",
    t.number(19),
    "CAST(CAST(bit_xor(hash({all})) AS HUGEINT) - 9223372036854775808 AS HUGEINT)",
    aggregate=True,
)
define("MIN_BY", "aa", lambda args: args[0].type, "arg_min({0}, {1})", aggregate=True)
define("MAX_BY", "aa", lambda args: args[0].type, "arg_max({0}, {1})", aggregate=True)
define("APPROX_PERCENTILE", "ff", t.FLOAT, "quantile_cont({0}, {1})", aggregate=True)
define("GROUPING GROUPING_ID", "a*", t.number(18), "grouping({all})", aggregate=True)


def _order(call: Call, fallback: str = "") -> str:
    keys = ", ".join(ordered(call.c, item, call.scope) for item in call.order.expressions) if call.order else fallback
    return f" ORDER BY {keys}" if keys else ""


@special("LISTAGG", 1, 2, aggregate=True)
def _listagg(call: Call) -> Expr:
    value = cast(call.c, call.c.bind(call.written[0], call.scope), t.VARCHAR)
    mark = call.c.bind(call.written[1], call.scope).sql if len(call.written) > 1 else "''"
    joined = f"string_agg({_distinct(call)}{value.sql}, {mark}{_order(call)}){_over(call)}"
    return Expr(f"COALESCE({joined}, '')", t.VARCHAR, nullable=False, aggregate=True)


@built("ARRAY_AGG ARRAYAGG", "a", aggregate=True, page="array_agg")
def _array_agg(call: Call) -> Expr:
    """NULLs are left out; nothing gives an empty array."""
    item = to_variant(call.c, call.args[0])
    joined = f"string_agg({_distinct(call)}{item}, ','{_order(call)}){_over(call)}"
    return Expr(f"('[' || COALESCE({joined}, '') || ']')", t.ARRAY, nullable=False, aggregate=True)


@built("ARRAY_UNIQUE_AGG", "a", aggregate=True)
def _array_unique(call: Call) -> Expr:
    return Expr(
        f"('[' || COALESCE(string_agg(DISTINCT {to_variant(call.c, call.args[0])}, ','), '') || ']')",
        t.ARRAY,
        nullable=False,
        aggregate=True,
    )


@built("OBJECT_AGG", "sa", aggregate=True)
def _object_agg(call: Call) -> Expr:
    pair = f"CAST(to_json({call.args[0].sql}) AS VARCHAR) || ':' || {to_variant(call.c, call.args[1])}"
    return Expr(
        f"sf_sorted('{{' || COALESCE(string_agg({pair}, ','){_over(call)}, '') || '}}')",
        t.OBJECT,
        nullable=False,
        aggregate=True,
    )


@built("PERCENTILE_CONT PERCENTILE_DISC", "f", aggregate=True)
def _percentile(call: Call) -> Expr:
    if call.order is None or len(call.order.expressions) != 1:
        raise errors.compilation(1003, "42601", f"{call.name} needs WITHIN GROUP (ORDER BY ...)")
    item = call.order.expressions[0]
    value = call.c.bind(item.this, call.scope)
    share = f"1 - {call.args[0].sql}" if item.args.get("desc") else call.args[0].sql
    word = "quantile_cont" if call.name.endswith("CONT") else "quantile_disc"
    kind = (
        value.type
        if word == "quantile_disc" or value.type.name == "FLOAT"
        else t.number(38, min(37, value.type.scale + 3))
    )
    inner = f"CAST({value.sql} AS DOUBLE)" if word == "quantile_cont" else value.sql
    return call.result(f"{word}({inner}, {share})", kind, nullable=True)


# window functions


@special("ROW_NUMBER RANK DENSE_RANK", 0, 0, window_only=True, page="row_number")
def _rank(call: Call) -> Expr:
    return Expr(f"{call.name.lower()}()", t.number(18), nullable=False)


@special("CUME_DIST PERCENT_RANK", 0, 0, window_only=True)
def _share(call: Call) -> Expr:
    return Expr(f"{call.name.lower()}()", t.FLOAT, nullable=False)


@special("NTILE", 1, 1, window_only=True)
def _ntile(call: Call) -> Expr:
    return Expr(f"ntile(CAST({call.c.bind(call.written[0], call.scope).sql} AS BIGINT))", t.number(18), nullable=False)


@special("LAG LEAD", 1, 3, window_only=True)
def _lag(call: Call) -> Expr:
    values = [call.c.bind(part, call.scope) for part in call.written]
    parts = [value.sql for value in values]
    parts[1:2] = [f"CAST({offset} AS BIGINT)" for offset in parts[1:2]]
    return Expr(f"{call.name.lower()}({', '.join(parts)})", values[0].type)


@special("FIRST_VALUE LAST_VALUE", 1, 1, window_only=True)
def _first(call: Call) -> Expr:
    value = call.c.bind(call.written[0], call.scope)
    return Expr(f"{call.name.lower()}({value.sql})", value.type)


@special("NTH_VALUE", 2, 2, window_only=True)
def _nth(call: Call) -> Expr:
    value, number = (call.c.bind(part, call.scope) for part in call.written)
    return Expr(f"nth_value({value.sql}, CAST({number.sql} AS BIGINT))", value.type)


@special("RATIO_TO_REPORT", 1, 1, window_only=True)
def _ratio(call: Call) -> Expr:
    value = call.c.bind(call.written[0], call.scope)
    return Expr(f"(CAST({value.sql} AS DOUBLE) / NULLIF(sum({value.sql}) {OVER}, 0))", t.FLOAT)


@special("CONDITIONAL_TRUE_EVENT", 1, 1, window_only=True)
def _true_event(call: Call) -> Expr:
    return Expr(f"count(CASE WHEN {call.c.bind(call.written[0], call.scope).sql} THEN 1 END)", t.number(18))
