"""Choices and NULLs, docs: functions-conditional."""

from services.emulator.sql import types as t
from services.emulator.sql.functions.registry import Call, built, define
from services.emulator.sql.operators import comparable, together, unified
from services.emulator.sql.scope import Expr

define("ZEROIFNULL", "n", lambda args: args[0].type, "COALESCE({0}, 0)")
define("NULLIFZERO", "n", lambda args: args[0].type, "NULLIF({0}, 0)")
define("BOOLAND", "nn", t.BOOLEAN, "(({0} <> 0) AND ({1} <> 0))")
define("BOOLOR", "nn", t.BOOLEAN, "(({0} <> 0) OR ({1} <> 0))")
define("BOOLXOR", "nn", t.BOOLEAN, "(({0} <> 0) <> ({1} <> 0))")
define("BOOLNOT", "n", t.BOOLEAN, "NOT ({0} <> 0)")
define("IS_NULL_VALUE", "v", t.BOOLEAN, "({0} = 'null')")


@built("IFF", "baa")
def _iff(call: Call) -> Expr:
    yes, no = unified(call.c, call.node, call.args[1:])
    return call.result(f"CASE WHEN {call.args[0].sql} THEN {yes.sql} ELSE {no.sql} END", yes.type)


@built("COALESCE", "aa*")
@built("NVL IFNULL", "aa", page="nvl")
def _coalesce(call: Call) -> Expr:
    values = unified(call.c, call.node, call.args)
    return call.result(
        f"COALESCE({', '.join(value.sql for value in values)})",
        values[0].type,
        nullable=all(value.nullable for value in values),
    )


@built("NVL2", "aaa")
def _nvl2(call: Call) -> Expr:
    yes, no = unified(call.c, call.node, call.args[1:])
    return call.result(f"CASE WHEN {call.args[0].sql} IS NOT NULL THEN {yes.sql} ELSE {no.sql} END", yes.type)


@built("NULLIF", "aa")
def _nullif(call: Call) -> Expr:
    left, right = together(call.c, call.node, "NULLIF", call.args)
    return call.result(
        f"CASE WHEN {comparable(left)} = {comparable(right)} THEN NULL ELSE {call.args[0].sql} END",
        call.args[0].type,
        nullable=True,
    )


@built("EQUAL_NULL", "aa")
def _equal_null(call: Call) -> Expr:
    left, right = together(call.c, call.node, "EQUAL_NULL", call.args)
    return call.result(f"({comparable(left)} IS NOT DISTINCT FROM {comparable(right)})", t.BOOLEAN, nullable=False)


@built("GREATEST LEAST", "a*")
def _greatest(call: Call) -> Expr:
    """NULL if any argument is NULL."""
    values = unified(call.c, call.node, call.args)
    nulls = " OR ".join(f"{value.sql} IS NULL" for value in values)
    return call.result(
        f"CASE WHEN {nulls} THEN NULL ELSE {call.name.lower()}({', '.join(value.sql for value in values)}) END",
        values[0].type,
    )


@built("GREATEST_IGNORE_NULLS LEAST_IGNORE_NULLS", "a*")
def _greatest_known(call: Call) -> Expr:
    values = unified(call.c, call.node, call.args)
    return call.result(
        f"{call.name.split('_')[0].lower()}({', '.join(value.sql for value in values)})", values[0].type, nullable=True
    )


@built("DECODE", "aaa*")
def _decode(call: Call) -> Expr:
    """NULL equals NULL here."""
    subject, rest = call.args[0], call.args[1:]
    pairs = [(rest[at], rest[at + 1]) for at in range(0, len(rest) - 1, 2)]
    results = [value for _, value in pairs] + ([rest[-1]] if len(rest) % 2 else [Expr("NULL", t.NULL)])
    *values, last = unified(call.c, call.node, results)
    tests = [together(call.c, call.node, "DECODE", [subject, search]) for search, _ in pairs]
    body = " ".join(
        f"WHEN {comparable(a)} IS NOT DISTINCT FROM {comparable(b)} THEN {value.sql}"
        for (a, b), value in zip(tests, values, strict=True)
    )
    return call.result(f"CASE {body} ELSE {last.sql} END", last.type, nullable=True)


@built("REGR_VALX REGR_VALY", "ff")
def _regr(call: Call) -> Expr:
    kept, other = (1, 0) if call.name.endswith("X") else (0, 1)
    return call.result(f"CASE WHEN {call.args[other].sql} IS NULL THEN NULL ELSE {call.args[kept].sql} END", t.FLOAT)
