"""Semi-structured data, docs: functions-semistructured."""

import re

from sqlglot import exp

from services.emulator import errors
from services.emulator.sql import types as t
from services.emulator.sql.casts import cast, to_variant
from services.emulator.sql.functions.registry import Call, built, define, special
from services.emulator.sql.scope import Expr, quoted
from services.emulator.sql.semi_paths import array_of, element, key_step, member, object_of

define("PARSE_JSON", "s?s", t.VARIANT, "sf_parse_json({0}, FALSE)")
define(
    "TRY_PARSE_JSON",
    "s?s",
    t.VARIANT,
    lambda call: call.result(f"sf_parse_json({call.args[0].sql}, TRUE)", t.VARIANT, nullable=True),
)
define(
    "CHECK_JSON",
    "s",
    t.VARCHAR,
    "CASE WHEN sf_parse_json({0}, TRUE) IS NULL AND trim({0}) <> '' THEN 'unknown keyword, pos 0' END",
)
define("TO_JSON", "v", t.VARCHAR, "{0}")
define("TO_VARIANT", "v", t.VARIANT, "{0}")
define("TYPEOF", "v", t.VARCHAR, "sf_typeof({0})")
define("ARRAY_SIZE", "v", t.number(9), "CASE WHEN json_type({0}) = 'ARRAY' THEN json_array_length({0}) END")
define("OBJECT_KEYS", "o", t.ARRAY, "CAST(to_json(list_sort(json_keys({0}))) AS VARCHAR)")
define("STRIP_NULL_VALUE", "v", t.VARIANT, "NULLIF({0}, 'null')")
for _name, _kinds in {
    "IS_ARRAY": ("ARRAY",),
    "IS_OBJECT": ("OBJECT",),
    "IS_BOOLEAN": ("BOOLEAN",),
    "IS_VARCHAR": ("VARCHAR",),
    "IS_CHAR": ("VARCHAR",),
    "IS_DECIMAL": ("BIGINT", "UBIGINT", "HUGEINT"),
    "IS_DOUBLE": ("DOUBLE", "BIGINT", "UBIGINT"),
    "IS_REAL": ("DOUBLE", "BIGINT", "UBIGINT"),
}.items():
    define(_name, "v", t.BOOLEAN, f"(json_type({{0}}) IN ({', '.join(map(quoted, _kinds))}))")
for _name, _function in {
    "ARRAY_CAT": "sf_array_cat",
    "ARRAY_EXCEPT": "sf_array_except",
    "ARRAY_INTERSECTION": "sf_array_intersection",
}.items():
    define(_name, "jj", t.ARRAY, f"{_function}({{0}}, {{1}})")
define("ARRAY_COMPACT", "j", t.ARRAY, "sf_array_compact({0})")
define("ARRAY_DISTINCT", "j", t.ARRAY, "sf_array_distinct({0})")
define("ARRAY_FLATTEN", "j", t.ARRAY, "sf_array_flatten({0})")
define("ARRAY_REVERSE", "j", t.ARRAY, "sf_array_reverse({0})")
define("ARRAY_MIN", "j", t.VARIANT, "sf_array_least({0}, FALSE)")
define("ARRAY_MAX", "j", t.VARIANT, "sf_array_least({0}, TRUE)")
define("ARRAYS_OVERLAP", "jj", t.BOOLEAN, "(sf_array_intersection({0}, {1}) <> '[]')")
define("ARRAY_TO_STRING", "js", t.VARCHAR, "sf_array_text({0}, {1})")
define("ARRAY_SLICE", "jii", t.ARRAY, "sf_array_slice({0}, {1}, {2})")
define(
    "ARRAY_GENERATE_RANGE",
    "ii?i",
    t.ARRAY,
    lambda call: call.result(
        f"CAST(to_json(range(CAST({call.args[0].sql} AS BIGINT), CAST({call.args[1].sql} AS BIGINT), CAST({call.given(2, '1')} AS BIGINT))) AS VARCHAR)",
        t.ARRAY,
    ),
)


@built("ARRAY_CONTAINS", "aj")
def _contains(call: Call) -> Expr:
    """Find a value, which comes first and must be a VARIANT, docs: array_contains."""
    if call.args[0].type.name not in {"VARIANT", "NULL", "ARRAY", "OBJECT"}:
        raise call.refused()
    return call.result(f"sf_array_contains({to_variant(call.c, call.args[0])}, {call.args[1].sql})", t.BOOLEAN)


@built("ARRAY_POSITION", "aj")
def _position(call: Call) -> Expr:
    if call.args[0].type.name not in {"VARIANT", "NULL", "ARRAY", "OBJECT"}:
        raise call.refused()
    return call.result(
        f"sf_array_position({to_variant(call.c, call.args[0])}, {call.args[1].sql})", t.number(9), nullable=True
    )


@built("ARRAY_APPEND ARRAY_PREPEND ARRAY_REMOVE", "ja")
def _append(call: Call) -> Expr:
    word = call.name.removeprefix("ARRAY_").lower()
    return call.result(
        f"sf_array_{word}({call.args[0].sql}, COALESCE({to_variant(call.c, call.args[1])}, 'null'))", t.ARRAY
    )


@built("ARRAY_INSERT", "jia")
def _insert(call: Call) -> Expr:
    return call.result(
        f"sf_array_insert({call.args[0].sql}, {call.args[1].sql}, COALESCE({to_variant(call.c, call.args[2])}, 'null'))",
        t.ARRAY,
    )


@built("ARRAY_SORT", "j?bb")
def _sort(call: Call) -> Expr:
    up = call.given(1, "TRUE")
    first = call.given(2, f"NOT {up}")
    return call.result(f"sf_array_sort({call.args[0].sql}, {up}, {first})", t.ARRAY)


@built("ARRAY_CONSTRUCT", "?a*")
def _array_construct(call: Call) -> Expr:
    return array_of(call.c, call.args)


@built("ARRAY_CONSTRUCT_COMPACT", "?a*")
def _array_compact(call: Call) -> Expr:
    return Expr(f"sf_array_compact({array_of(call.c, call.args).sql})", t.ARRAY, nullable=False)


@special("OBJECT_CONSTRUCT OBJECT_CONSTRUCT_KEEP_NULL", 0)
def _object_construct(call: Call) -> Expr:
    keep = call.name.endswith("NULL")
    if len(call.written) == 1 and isinstance(call.written[0], exp.Star):
        columns = call.scope.visible()
        return object_of(
            call.c, [(_text(column.name), Expr(column.sql, column.type)) for column in columns], keep_null=keep
        )
    values = [call.c.bind(part, call.scope) for part in call.written]
    if len(values) % 2:
        raise errors.invalid_types(call.name, ", ".join(str(value.type) for value in values))
    for key in values[::2]:
        if key.type.name not in {"VARCHAR", "NULL"}:
            raise errors.invalid_types(call.name, ", ".join(str(value.type) for value in values))
    return object_of(call.c, list(zip(values[::2], values[1::2], strict=True)), keep_null=keep)


def _text(name: str) -> Expr:
    return Expr(quoted(name), t.VARCHAR, nullable=False, constant=name)


@built("OBJECT_INSERT", "osa?b")
def _object_insert(call: Call) -> Expr:
    update = call.given(3, "FALSE")
    value = to_variant(call.c, call.args[2])
    return call.result(
        f"CASE WHEN ({value}) IS NULL THEN {call.args[0].sql} ELSE sf_object_insert({call.args[0].sql}, {call.args[1].sql}, {value}, {update}) END",
        t.OBJECT,
    )


@built("OBJECT_DELETE OBJECT_PICK", "os*")
def _object_keys(call: Call) -> Expr:
    word = call.name.removeprefix("OBJECT_").lower()
    keys = ", ".join(arg.sql for arg in call.args[1:])
    return call.result(f"sf_object_{word}({call.args[0].sql}, CAST(to_json([{keys}]) AS VARCHAR))", t.OBJECT)


@built("GET", "aa")
def _get(call: Call) -> Expr:
    return element(call.c, call.node, call.args[0], call.args[1])


@built("GET_IGNORE_CASE", "vs")
def _get_ignore_case(call: Call) -> Expr:
    return call.result(f"sf_get_ignore_case({call.args[0].sql}, {call.args[1].sql})", t.VARIANT, nullable=True)


@built("GET_PATH JSON_EXTRACT_PATH_TEXT", "as", page="get_path")
def _get_path(call: Call) -> Expr:
    path = call.args[1].constant
    value = call.args[0] if call.args[0].type.is_semi else Expr(f"sf_parse_json({call.args[0].sql}, FALSE)", t.VARIANT)
    if not isinstance(path, str):
        raise call.refused()

    steps = "".join(
        f"[{index}]" if index else key_step(quoted_key or key)
        for key, index, quoted_key in re.findall(r"""([A-Za-z_][\w$]*)|\[(\d+)\]|\[?["']([^"']+)["']\]?""", path)
    )
    found = member(value, "$" + steps)
    return cast(call.c, found, t.VARCHAR) if call.name.startswith("JSON") else found


def _as(name: str, kind: t.SqlType, test: str) -> None:
    define(
        name,
        "v",
        kind,
        lambda call: call.result(
            f"CASE WHEN {test.format(call.args[0].sql)} THEN {cast(call.c, call.args[0], kind, attempt=True).sql} END",
            kind,
            nullable=True,
        ),
    )


_as("AS_ARRAY", t.ARRAY, "json_type({}) = 'ARRAY'")
_as("AS_OBJECT", t.OBJECT, "json_type({}) = 'OBJECT'")
_as("AS_VARCHAR", t.VARCHAR, "json_type({}) = 'VARCHAR'")
_as("AS_CHAR", t.VARCHAR, "json_type({}) = 'VARCHAR'")
_as("AS_BOOLEAN", t.BOOLEAN, "json_type({}) = 'BOOLEAN'")
_as("AS_INTEGER", t.INTEGER, "json_type({}) IN ('BIGINT', 'UBIGINT')")
_as("AS_NUMBER", t.INTEGER, "json_type({}) IN ('BIGINT', 'UBIGINT', 'DOUBLE')")
_as("AS_DECIMAL", t.INTEGER, "json_type({}) IN ('BIGINT', 'UBIGINT', 'DOUBLE')")
_as("AS_DOUBLE", t.FLOAT, "json_type({}) IN ('BIGINT', 'UBIGINT', 'DOUBLE')")
_as("AS_REAL", t.FLOAT, "json_type({}) IN ('BIGINT', 'UBIGINT', 'DOUBLE')")
