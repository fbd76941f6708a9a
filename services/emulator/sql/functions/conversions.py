"""Conversion functions, docs: functions-conversion."""

from services.emulator.sql import types as t
from services.emulator.sql.casts import cast
from services.emulator.sql.functions.registry import Call, built
from services.emulator.sql.scope import Expr
from services.emulator.sql.types import SqlType


def _simple(name: str, kind: SqlType) -> None:
    def build(call: Call) -> Expr:
        attempt = call.name.startswith("TRY_")
        value = call.args[0]
        if attempt and value.type.name not in {"VARCHAR", "NULL"}:
            raise call.refused()
        return call.result(cast(call.c, value, kind, attempt=attempt).sql, kind, nullable=value.nullable or attempt)

    built(f"TO_{name} TRY_TO_{name}", "a?a", page=f"to_{name.lower()}")(build)


_simple("BOOLEAN", t.BOOLEAN)
_simple("DOUBLE", t.FLOAT)


@built("TO_BINARY TRY_TO_BINARY", "a?s", page="to_binary")
def _to_binary(call: Call) -> Expr:
    form = str(call.args[1].constant).upper() if len(call.args) > 1 else "HEX"
    if form in {"UTF-8", "UTF8"}:
        return call.result(f"encode({call.args[0].sql})", t.BINARY)
    if form == "BASE64":
        return call.result(f"from_base64({call.args[0].sql})", t.BINARY)
    return call.result(cast(call.c, call.args[0], t.BINARY, attempt=call.name.startswith("TRY")).sql, t.BINARY)


@built("TO_NUMBER TO_DECIMAL TO_NUMERIC TRY_TO_NUMBER TRY_TO_DECIMAL TRY_TO_NUMERIC", "a?aaa", page="to_decimal")
def _to_number(call: Call) -> Expr:
    sizes = [
        arg.constant for arg in call.args[1:] if isinstance(arg.constant, int) and not isinstance(arg.constant, bool)
    ]
    form = next((arg.constant for arg in call.args[1:] if isinstance(arg.constant, str)), None)
    kind = t.number(int(str(sizes[0])) if sizes else 38, int(str(sizes[1])) if len(sizes) > 1 else 0)
    attempt = call.name.startswith("TRY")
    value = call.args[0]
    if form is not None:
        value = Expr(
            f"sf_read_number({cast(call.c, value, t.VARCHAR).sql}, '{form}', {str(attempt).lower()})", t.VARCHAR
        )
    return call.result(cast(call.c, value, kind, attempt=attempt).sql, kind, nullable=value.nullable or attempt)


@built("TO_ARRAY", "a")
def _to_array(call: Call) -> Expr:
    value = call.args[0]
    if value.type.name in {"ARRAY", "VARIANT", "VECTOR"}:
        return call.result(cast(call.c, value, t.ARRAY).sql, t.ARRAY)
    return call.result(f"('[' || {cast(call.c, value, t.VARIANT).sql} || ']')", t.ARRAY)


@built("TO_OBJECT", "o")
def _to_object(call: Call) -> Expr:
    return call.args[0]
