"""Regular expressions, docs: functions-regexp. They match by Python's engine, which has what POSIX classes need after translation."""

from services.emulator.sql import types as t
from services.emulator.sql.functions.registry import Call, built
from services.emulator.sql.scope import Expr


def _given(call: Call, index: int, default: str) -> str:
    return call.args[index].sql if len(call.args) > index else default


@built("REGEXP_LIKE RLIKE", "ss?s", page="regexp_like")
def _like(call: Call) -> Expr:
    return call.result(
        f"sf_regexp_like({call.args[0].sql}, {call.args[1].sql}, {_given(call, 2, repr('c'))})", t.BOOLEAN
    )


@built("REGEXP_COUNT", "ss?is")
def _count(call: Call) -> Expr:
    return call.result(
        f"sf_regexp_count({call.args[0].sql}, {call.args[1].sql}, {_given(call, 2, '1')}, {_given(call, 3, repr('c'))})",
        t.number(18),
    )


@built("REGEXP_REPLACE", "ss?siis")
def _replace(call: Call) -> Expr:
    rest = f"{_given(call, 2, repr(''))}, {_given(call, 3, '1')}, {_given(call, 4, '0')}, {_given(call, 5, repr('c'))}"
    return call.result(f"sf_regexp_replace({call.args[0].sql}, {call.args[1].sql}, {rest})", t.VARCHAR)


@built("REGEXP_SUBSTR", "ss?iisi")
def _substr(call: Call) -> Expr:
    rest = f"{_given(call, 2, '1')}, {_given(call, 3, '1')}, {_given(call, 4, repr('c'))}, {_given(call, 5, '-1')}"
    return call.result(f"sf_regexp_substr({call.args[0].sql}, {call.args[1].sql}, {rest})", t.VARCHAR, nullable=True)


@built("REGEXP_SUBSTR_ALL", "ss?iisi")
def _substr_all(call: Call) -> Expr:
    rest = f"{_given(call, 2, '1')}, {_given(call, 3, '1')}, {_given(call, 4, repr('c'))}, {_given(call, 5, '-1')}"
    return call.result(f"sf_regexp_substr_all({call.args[0].sql}, {call.args[1].sql}, {rest})", t.ARRAY)


@built("REGEXP_INSTR", "ss?iiisi")
def _instr(call: Call) -> Expr:
    rest = f"{_given(call, 2, '1')}, {_given(call, 3, '1')}, {_given(call, 4, '0')}, {_given(call, 5, repr('c'))}, {_given(call, 6, '-1')}"
    return call.result(f"sf_regexp_instr({call.args[0].sql}, {call.args[1].sql}, {rest})", t.number(18))
