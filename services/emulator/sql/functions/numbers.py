"""Numbers, docs: functions-numeric, functions-bitwise, functions-data-generation."""

from sqlglot import exp

from services.emulator.sql import types as t
from services.emulator.sql.functions.registry import Call, built, define, same, special
from services.emulator.sql.operators import arithmetic
from services.emulator.sql.scope import Expr

define("ABS", "n", same, "abs({0})")
define("SIGN", "n", t.number(1), "sign({0})")
define(
    "SQRT",
    "f",
    t.FLOAT,
    "CASE WHEN {0} < 0 THEN error('SF[100052|22023|Invalid floating point operation: sqrt(' || {0} || ')]') ELSE sqrt({0}) END",
)
define("CBRT", "f", t.FLOAT, "cbrt({0})")
define("EXP", "f", t.FLOAT, "exp({0})")
define(
    "LN",
    "f",
    t.FLOAT,
    "CASE WHEN {0} <= 0 THEN error('SF[100052|22023|Invalid floating point operation: ln(' || {0} || ')]') ELSE ln({0}) END",
)
define("LOG", "ff", t.FLOAT, "(ln({1}) / ln({0}))")
define("POWER POW", "ff", t.FLOAT, "pow({0}, {1})", page="pow")
define("SQUARE", "f", t.FLOAT, "({0} * {0})")
define("PI", "", t.FLOAT, "pi()")
for _name in (
    "SIN",
    "COS",
    "TAN",
    "ASIN",
    "ACOS",
    "ATAN",
    "COT",
    "DEGREES",
    "RADIANS",
    "SINH",
    "COSH",
    "TANH",
    "ASINH",
    "ACOSH",
    "ATANH",
):
    define(_name, "f", t.FLOAT, f"{_name.lower()}({{0}})")
define("ATAN2", "ff", t.FLOAT, "atan2({0}, {1})")
define("FACTORIAL", "i", t.INTEGER, "factorial(CAST({0} AS INTEGER))")
define("MOD", "nn", t.INTEGER, lambda call: arithmetic(call.c, call.node, "%", *call.args))
define("DIV0", "nn", t.FLOAT, lambda call: _div0(call, null=False))
define("DIV0NULL", "nn", t.FLOAT, lambda call: _div0(call, null=True))
define("BITAND BIT_AND", "ii", t.INTEGER, "(CAST({0} AS BIGINT) & CAST({1} AS BIGINT))", page="bitand")
define("BITOR BIT_OR", "ii", t.INTEGER, "(CAST({0} AS BIGINT) | CAST({1} AS BIGINT))", page="bitor")
define("BITXOR BIT_XOR", "ii", t.INTEGER, "xor(CAST({0} AS BIGINT), CAST({1} AS BIGINT))", page="bitxor")
define("BITNOT BIT_NOT", "i", t.INTEGER, "(~CAST({0} AS BIGINT))", page="bitnot")
define(
    "BITSHIFTLEFT BIT_SHIFTLEFT", "ii", t.INTEGER, "(CAST({0} AS HUGEINT) << CAST({1} AS INTEGER))", page="bitshiftleft"
)
define(
    "BITSHIFTRIGHT BIT_SHIFTRIGHT",
    "ii",
    t.INTEGER,
    "(CAST({0} AS BIGINT) >> CAST({1} AS INTEGER))",
    page="bitshiftright",
)
define("GETBIT", "ii", t.number(1), "((CAST({0} AS BIGINT) >> CAST({1} AS INTEGER)) & 1)")
define(
    "WIDTH_BUCKET",
    "ffff",
    t.number(18),
    "CASE WHEN {0} < {1} THEN 0 WHEN {0} >= {2} THEN {3} + 1 ELSE floor(({0} - {1}) * {3} / ({2} - {1})) + 1 END",
)
define(
    "HAVERSINE",
    "ffff",
    t.FLOAT,
    "(2 * 6371 * asin(sqrt(pow(sin(radians({2} - {0}) / 2), 2) + cos(radians({0})) * cos(radians({2})) * pow(sin(radians({3} - {1}) / 2), 2))))",
)
define("RANDOM", "?i", t.number(19), "CAST(floor((random() - 0.5) * 18446744073709551615) AS HUGEINT)")
define("NORMAL", "ffn", t.FLOAT, "({0} + {1} * sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random()))")
define(
    "HASH",
    "a*",
    t.number(19),
    lambda call: call.result(
        f"CAST(CAST(hash({', '.join(_hashed(call, arg) for arg in call.args)}) AS HUGEINT) - 9223372036854775808 AS HUGEINT)",
        t.number(19),
        nullable=False,
    ),
)
define("IS_INTEGER", "v", t.BOOLEAN, "(json_type({0}) IN ('BIGINT', 'UBIGINT', 'HUGEINT'))")


def _hashed(call: Call, arg: Expr) -> str:
    return (
        f"CAST({arg.sql} AS {arg.type.physical})"
        if arg.type.name != "NUMBER"
        else f"CAST({arg.sql} AS DECIMAL(38,{arg.type.scale}))"
    )


def _div0(call: Call, *, null: bool) -> Expr:
    whole = arithmetic(call.c, call.node, "/", *call.args)
    test = f"{call.args[1].sql} = 0" + (f" OR {call.args[1].sql} IS NULL" if null else "")
    return call.result(
        f"CASE WHEN {test} THEN CAST(CASE WHEN {call.args[0].sql} IS NULL THEN NULL ELSE 0 END AS {whole.type.physical}) ELSE {whole.sql} END",
        whole.type,
    )


@built("UNIFORM", "nnn")
def _uniform(call: Call) -> Expr:
    low, high = call.args[0], call.args[1]
    if "FLOAT" in {low.type.name, high.type.name}:
        return call.result(f"({low.sql} + ({high.sql} - {low.sql}) * random())", t.FLOAT)
    return call.result(f"CAST(floor({low.sql} + ({high.sql} - {low.sql} + 1) * random()) AS BIGINT)", t.number(18))


@built("ROUND", "n?is")
@built("TRUNCATE_NUMBER", "n?i", page="trunc")
def _round(call: Call) -> Expr:
    """Round; NUMBER keeps as many digits after the point as asked for, docs: round."""
    value = call.args[0]
    digits = call.args[1].constant if len(call.args) > 1 else 0
    word = "round" if call.name == "ROUND" else "trunc"
    if value.type.name == "FLOAT":
        places = call.args[1].sql if len(call.args) > 1 else "0"
        return call.result(
            f"round({value.sql}, CAST({places} AS INTEGER))"
            if word == "round"
            else f"(trunc({value.sql} * pow(10, {places})) / pow(10, {places}))",
            t.FLOAT,
        )
    if not isinstance(digits, int):
        return call.result(f"round({value.sql}, CAST({call.args[1].sql} AS INTEGER))", value.type)
    scale = max(0, min(value.type.scale, digits))
    kind = t.number(min(38, value.type.precision + 1), scale)
    half_even = any(str(mode.constant).upper() == "HALF_TO_EVEN" for mode in call.args[2:])
    if half_even:
        return call.result(f"round_even(CAST({value.sql} AS DECIMAL(38,{value.type.scale})), {digits})", kind)
    if word == "round":
        return call.result(
            f"CAST(round(CAST({value.sql} AS DECIMAL(38,{value.type.scale})), {digits}) AS {kind.physical})", kind
        )
    power = 10 ** max(0, digits)
    if digits < 0:
        return call.result(f"(trunc({value.sql} / {10**-digits}) * {10**-digits})", kind)
    return call.result(
        f"CAST(trunc(CAST({value.sql} AS DECIMAL(38,{value.type.scale})) * {power}) / {power} AS {kind.physical})", kind
    )


@special("TRUNC TRUNCATE", 1, 2, page="trunc")
def _trunc(call: Call) -> Expr:
    """Of a number, or of a date to one of its parts."""
    values = [call.c.bind(part, call.scope) for part in call.written]
    if values[0].type.is_time:
        return call.c.bind(exp.Anonymous(this="DATE_TRUNC", expressions=[call.written[1], call.written[0]]), call.scope)

    return call.c.bind(exp.Anonymous(this="TRUNCATE_NUMBER", expressions=call.written), call.scope)


@built("CEIL FLOOR", "n?i")
def _ceil(call: Call) -> Expr:
    value, word = call.args[0], call.name.lower()
    digits = call.args[1].constant if len(call.args) > 1 else 0
    if value.type.name == "FLOAT":
        return call.result(
            f"{word}({value.sql})" if not digits else f"({word}({value.sql} * pow(10, {digits})) / pow(10, {digits}))",
            t.FLOAT,
        )
    if not isinstance(digits, int):
        raise call.refused()
    kind = t.number(min(38, value.type.precision + 1), max(0, min(digits, value.type.scale)))
    if digits == 0:
        return call.result(f"{word}(CAST({value.sql} AS DECIMAL(38,{value.type.scale})))", kind)
    return call.result(f"CAST({word}({value.sql} * {10.0**digits!r}) / {10.0**digits!r} AS {kind.physical})", kind)


@special("SEQ1 SEQ2 SEQ4 SEQ8", 0, 1, page="seq1")
def _sequence(call: Call) -> Expr:
    """Numbers from 0 up; wrapping is far away."""
    return Expr(
        "(row_number() OVER () - 1)", t.number({"1": 3, "2": 5, "4": 10, "8": 19}[call.name[-1]]), nullable=False
    )
