"""Conversions between types: which exist, and the engine's SQL for each."""

from collections.abc import Callable

from services.emulator import errors
from services.emulator.sql import types as t
from services.emulator.sql.compiler import Compiler
from services.emulator.sql.runtime.semi import floats, integers
from services.emulator.sql.scope import Expr, quoted
from services.emulator.sql.types import SqlType

_TEXT_TIMES = {"DATE", "TIME", "TIMESTAMP_NTZ", "TIMESTAMP_LTZ", "TIMESTAMP_TZ"}


def cast(c: Compiler, value: Expr, to: SqlType, *, attempt: bool = False) -> Expr:
    """Return *value* as *to*; *attempt* answers NULL where the value does not fit. Refuses pairs that have no conversion."""
    source = value.type
    if source == to:
        return value
    if source.name == "NULL":
        return Expr(f"CAST(NULL AS {to.physical})", to)
    rule = _RULES.get((source.name, to.name)) or _RULES.get((source.name, "*"))
    if rule is None:
        raise _refused(source, to)
    sql = rule(c, value, to, attempt)
    return Expr(sql, to, value.nullable or attempt, value.constant if to.name == source.name else None, value.aggregate)


def _refused(source: SqlType, to: SqlType) -> errors.SqlError:
    return errors.SqlError(
        1065,
        "22023",
        f"SQL compilation error: error line 1 at position 0\ninvalid type [CAST(X AS {to})] for parameter '{source}'",
    )


Rule = Callable[[Compiler, Expr, SqlType, bool], str]
_RULES: dict[tuple[str, str], Rule] = {}


def _rule(source: str, *targets: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        for target in targets:
            _RULES[source, target] = rule
        return rule

    return register


def _word(attempt: bool) -> str:
    return "TRY_CAST" if attempt else "CAST"


# numbers


@_rule("NUMBER", "NUMBER", "FLOAT")
@_rule("FLOAT", "FLOAT", "NUMBER")
def _numeric(c: Compiler, value: Expr, to: SqlType, attempt: bool) -> str:
    return f"{_word(attempt)}({value.sql} AS {to.physical})"


@_rule("BOOLEAN", "NUMBER", "FLOAT")
def _boolean_number(c: Compiler, value: Expr, to: SqlType, attempt: bool) -> str:
    return f"CAST(CAST({value.sql} AS INTEGER) AS {to.physical})"


@_rule("NUMBER", "BOOLEAN")
@_rule("FLOAT", "BOOLEAN")
def _number_boolean(c: Compiler, value: Expr, to: SqlType, attempt: bool) -> str:
    return f"({value.sql} <> 0)"


@_rule("VARCHAR", "NUMBER", "FLOAT")
def _text_number(c: Compiler, value: Expr, to: SqlType, attempt: bool) -> str:
    function = "sf_float" if to.name == "FLOAT" else "sf_number"
    inner = f"{function}({value.sql}, {str(attempt).lower()})"
    return f"{_word(attempt)}({inner} AS {to.physical})"


@_rule("VARCHAR", "BOOLEAN")
def _text_boolean(c: Compiler, value: Expr, to: SqlType, attempt: bool) -> str:
    return f"sf_boolean({value.sql}, {str(attempt).lower()})"


# text


@_rule("NUMBER", "VARCHAR")
@_rule("BOOLEAN", "VARCHAR")
def _plain_text(c: Compiler, value: Expr, to: SqlType, attempt: bool) -> str:
    return _limited(f"CAST({exact(value)} AS VARCHAR)", to)


@_rule("FLOAT", "VARCHAR")
def _float_text(c: Compiler, value: Expr, to: SqlType, attempt: bool) -> str:
    return _limited(f"sf_float_text({value.sql})", to)


@_rule("VARCHAR", "VARCHAR")
def _text_text(c: Compiler, value: Expr, to: SqlType, attempt: bool) -> str:
    return value.sql if to.length >= min(value.type.length, t.MAX_TEXT) else _limited(value.sql, to)


def _limited(sql: str, to: SqlType) -> str:
    """Casting to VARCHAR(n) refuses longer text; columns check the same on writes."""
    return sql if to.length >= t.MAX_TEXT else f"sf_fit({sql}, {to.length})"


def exact(value: Expr) -> str:
    """Return the engine's SQL in exactly the physical type, so that its text has the right digits."""
    return f"CAST({value.sql} AS {value.type.physical})" if value.type.name == "NUMBER" else value.sql


@_rule("BINARY", "VARCHAR")
def _binary_text(c: Compiler, value: Expr, to: SqlType, attempt: bool) -> str:
    return f"hex({value.sql})"


@_rule("VARCHAR", "BINARY")
def _text_binary(c: Compiler, value: Expr, to: SqlType, attempt: bool) -> str:
    return f"sf_unhex({value.sql}, {str(attempt).lower()})"


@_rule("BINARY", "BINARY")
def _binary_binary(c: Compiler, value: Expr, to: SqlType, attempt: bool) -> str:
    return value.sql


# dates and times


def zone(c: Compiler) -> str:
    """Return the session's time zone as a literal of the engine."""
    return quoted(str(c.session.parameter("TIMEZONE")))


def shifted(moment: str, minutes: str) -> str:
    return f"({moment} + to_minutes({minutes}))"


def to_utc(c: Compiler, moment: str) -> str:
    """Return a wall clock time of the session's zone as UTC."""
    return f"(({moment} AT TIME ZONE {zone(c)}) AT TIME ZONE 'UTC')"


def to_wall(c: Compiler, moment: str) -> str:
    """Return a UTC time as wall clock time of the session's zone."""
    return f"(({moment} AT TIME ZONE 'UTC') AT TIME ZONE {zone(c)})"


def wall(c: Compiler, value: Expr) -> str:
    """Return any moment as the wall clock time it shows."""
    match value.type.name:
        case "TIMESTAMP_LTZ":
            return to_wall(c, value.sql)
        case "TIMESTAMP_TZ":
            return f"sf_wall({value.sql})"
        case "DATE":
            return f"CAST({value.sql} AS TIMESTAMP)"
    return value.sql


def offset(c: Compiler, value: Expr) -> str:
    """Return the minutes east of UTC that a moment shows."""
    if value.type.name == "TIMESTAMP_TZ":
        return f"struct_extract({value.sql}, 'o')"
    return f"CAST(date_diff('minute', {value.sql}, {to_wall(c, value.sql)}) AS INTEGER)"


@_rule("VARCHAR", "DATE", "TIME", "TIMESTAMP_NTZ", "TIMESTAMP_LTZ", "TIMESTAMP_TZ")
def _text_time(c: Compiler, value: Expr, to: SqlType, attempt: bool) -> str:
    return parsed(c, value.sql, to, "AUTO", attempt=attempt)


def parsed(c: Compiler, sql: str, to: SqlType, form: str, *, attempt: bool) -> str:
    """Return text read as a date or time by the format *form*."""
    function = {"DATE": "sf_date", "TIME": "sf_time"}.get(to.name, to.name.lower().replace("timestamp", "sf_timestamp"))
    extra = f", {zone(c)}" if to.name in {"TIMESTAMP_LTZ", "TIMESTAMP_TZ"} else ""
    return f"{function}({sql}, {quoted(form)}, {str(attempt).lower()}{extra})"


FORMATS = {
    "DATE": "DATE_OUTPUT_FORMAT",
    "TIME": "TIME_OUTPUT_FORMAT",
    "TIMESTAMP_NTZ": "TIMESTAMP_NTZ_OUTPUT_FORMAT",
    "TIMESTAMP_LTZ": "TIMESTAMP_LTZ_OUTPUT_FORMAT",
    "TIMESTAMP_TZ": "TIMESTAMP_TZ_OUTPUT_FORMAT",
}


def formatted(c: Compiler, value: Expr, form: str) -> str:
    """Return a date or time as text by an SQL expression *form* of its format."""
    match value.type.name:
        case "DATE" | "TIMESTAMP_NTZ":
            return f"sf_format(CAST({value.sql} AS TIMESTAMP), 0, {form})"
        case "TIME":
            return f"sf_format(DATE '1970-01-01' + {value.sql}, 0, {form})"
    return f"sf_format({wall(c, value)}, {offset(c, value)}, {form})"


@_rule("DATE", "VARCHAR")
@_rule("TIME", "VARCHAR")
@_rule("TIMESTAMP_NTZ", "VARCHAR")
@_rule("TIMESTAMP_LTZ", "VARCHAR")
@_rule("TIMESTAMP_TZ", "VARCHAR")
def _time_text(c: Compiler, value: Expr, to: SqlType, attempt: bool) -> str:
    form = str(c.session.parameter(FORMATS[value.type.name])) or str(c.session.parameter("TIMESTAMP_OUTPUT_FORMAT"))
    return formatted(c, value, quoted(form))


@_rule("DATE", "TIMESTAMP_NTZ")
def _date_ntz(c: Compiler, value: Expr, to: SqlType, attempt: bool) -> str:
    return f"CAST({value.sql} AS TIMESTAMP)"


@_rule("DATE", "TIMESTAMP_LTZ")
@_rule("TIMESTAMP_NTZ", "TIMESTAMP_LTZ")
def _wall_ltz(c: Compiler, value: Expr, to: SqlType, attempt: bool) -> str:
    return to_utc(c, f"CAST({value.sql} AS TIMESTAMP)")


@_rule("DATE", "TIMESTAMP_TZ")
@_rule("TIMESTAMP_NTZ", "TIMESTAMP_TZ")
def _wall_tz(c: Compiler, value: Expr, to: SqlType, attempt: bool) -> str:
    return f"sf_zoned(CAST({value.sql} AS TIMESTAMP), {to_utc(c, f'CAST({value.sql} AS TIMESTAMP)')})"


@_rule("TIMESTAMP_LTZ", "TIMESTAMP_TZ")
def _ltz_tz(c: Compiler, value: Expr, to: SqlType, attempt: bool) -> str:
    return f"sf_zoned({to_wall(c, value.sql)}, {value.sql})"


@_rule("TIMESTAMP_TZ", "TIMESTAMP_LTZ")
def _tz_ltz(c: Compiler, value: Expr, to: SqlType, attempt: bool) -> str:
    return f"struct_extract({value.sql}, 't')"


@_rule("TIMESTAMP_LTZ", "TIMESTAMP_NTZ")
@_rule("TIMESTAMP_TZ", "TIMESTAMP_NTZ")
def _wall_ntz(c: Compiler, value: Expr, to: SqlType, attempt: bool) -> str:
    return wall(c, value)


@_rule("TIMESTAMP_NTZ", "DATE", "TIME")
@_rule("TIMESTAMP_LTZ", "DATE", "TIME")
@_rule("TIMESTAMP_TZ", "DATE", "TIME")
def _moment_part(c: Compiler, value: Expr, to: SqlType, attempt: bool) -> str:
    return f"CAST({wall(c, value)} AS {to.physical})"


_FRACTION = {0: "second", 3: "millisecond"}


@_rule("TIME", "TIME")
@_rule("TIMESTAMP_NTZ", "TIMESTAMP_NTZ")
@_rule("TIMESTAMP_LTZ", "TIMESTAMP_LTZ")
def _same_time(c: Compiler, value: Expr, to: SqlType, attempt: bool) -> str:
    if to.scale >= value.type.scale or to.scale not in _FRACTION:
        return value.sql
    if to.name == "TIME":
        return f"CAST(date_trunc('{_FRACTION[to.scale]}', DATE '1970-01-01' + {value.sql}) AS TIME)"
    return f"CAST(date_trunc('{_FRACTION[to.scale]}', {value.sql}) AS TIMESTAMP)"


@_rule("TIMESTAMP_TZ", "TIMESTAMP_TZ")
@_rule("DATE", "DATE")
@_rule("BOOLEAN", "BOOLEAN")
def _unchanged(c: Compiler, value: Expr, to: SqlType, attempt: bool) -> str:
    return value.sql


@_rule("NUMBER", "TIMESTAMP_NTZ", "TIMESTAMP_LTZ", "TIMESTAMP_TZ", "DATE", "TIME")
def _epoch(c: Compiler, value: Expr, to: SqlType, attempt: bool) -> str:
    seconds = f"make_timestamp(CAST(CAST({value.sql} AS DECIMAL(38,6)) * 1000000 AS BIGINT))"
    if to.name == "TIMESTAMP_TZ":
        return f"sf_zoned({to_wall(c, seconds)}, {seconds})"
    return f"CAST({seconds} AS {to.physical})"


# semi-structured


def to_variant(c: Compiler, value: Expr) -> str:  # noqa: PLR0911 - one line a type
    """Return any value as JSON text."""
    match value.type.name:
        case "VARIANT" | "OBJECT" | "ARRAY":
            return value.sql
        case "NUMBER":
            plain = f"CAST({exact(value)} AS VARCHAR)"
            return plain if value.type.scale == 0 else f"regexp_replace({plain}, '\\.?0+$', '')"
        case "FLOAT":
            return f"sf_float_text({value.sql})"
        case "BOOLEAN":
            return f"CAST({value.sql} AS VARCHAR)"
        case "VECTOR":
            return f"CAST(to_json({value.sql}) AS VARCHAR)"
        case "NULL":
            return "CAST(NULL AS VARCHAR)"
    return f"CAST(to_json({cast(c, value, t.VARCHAR).sql}) AS VARCHAR)"


def _variant(c: Compiler, value: Expr, to: SqlType, attempt: bool) -> str:
    return to_variant(c, value)


for _name in ("NUMBER", "FLOAT", "VARCHAR", "BOOLEAN", "BINARY", "OBJECT", "ARRAY", "VARIANT", *_TEXT_TIMES):
    _RULES[_name, "VARIANT"] = _variant


@_rule("VARIANT", "NUMBER", "FLOAT", "BOOLEAN", *_TEXT_TIMES)
def _from_variant(c: Compiler, value: Expr, to: SqlType, attempt: bool) -> str:
    inner = Expr(
        f"sf_scalar({value.sql}, {quoted(_VARIANT_NAMES.get(to.name, to.name))}, {str(attempt).lower()})", t.VARCHAR
    )
    return cast(c, inner, to, attempt=attempt).sql


_VARIANT_NAMES = {"NUMBER": "FIXED", "FLOAT": "REAL"}


@_rule("VARIANT", "VARCHAR")
def _variant_text(c: Compiler, value: Expr, to: SqlType, attempt: bool) -> str:
    return _limited(f"json_extract_string({value.sql}, '$')", to)


@_rule("OBJECT", "VARCHAR")
@_rule("ARRAY", "VARCHAR")
def _json_text(c: Compiler, value: Expr, to: SqlType, attempt: bool) -> str:
    return value.sql


@_rule("VARIANT", "ARRAY")
@_rule("VARIANT", "BINARY")
def _variant_array(c: Compiler, value: Expr, to: SqlType, attempt: bool) -> str:
    if to.name == "BINARY":
        return f"sf_unhex(json_extract_string({value.sql}, '$'), {str(attempt).lower()})"
    return f"sf_as_array({value.sql})"


@_rule("VARIANT", "OBJECT")
def _variant_object(c: Compiler, value: Expr, to: SqlType, attempt: bool) -> str:
    return f"sf_as_object({value.sql}, {str(attempt).lower()})"


# vectors


@_rule("VARIANT", "VECTOR")
@_rule("ARRAY", "VECTOR")
def _json_vector(c: Compiler, value: Expr, to: SqlType, attempt: bool) -> str:
    if isinstance(value.constant, str):
        convert = floats if to.element == "FLOAT" else integers
        return f"CAST({convert(value.constant, to.dimension)} AS {to.physical})"
    lists = "sf_floats" if to.element == "FLOAT" else "sf_integers"
    return f"CAST({lists}({value.sql}, {to.dimension}) AS {to.physical})"


@_rule("VECTOR", "VECTOR")
def _vector_vector(c: Compiler, value: Expr, to: SqlType, attempt: bool) -> str:
    if value.type.dimension != to.dimension:
        raise _refused(value.type, to)
    return f"CAST({value.sql} AS {to.physical})"


@_rule("VECTOR", "ARRAY")
def _vector_array(c: Compiler, value: Expr, to: SqlType, attempt: bool) -> str:
    return f"CAST(to_json({value.sql}) AS VARCHAR)"
