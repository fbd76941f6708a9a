"""Dates and times, docs: functions-date-time, functions-conversion."""

from sqlglot import exp

from services.emulator import errors
from services.emulator.sql import types as t
from services.emulator.sql.casts import cast, formatted, offset, parsed, to_utc, to_wall, wall
from services.emulator.sql.compiler import Compiler, handles
from services.emulator.sql.dialect import position
from services.emulator.sql.functions.registry import Call, built, coerced, define, special
from services.emulator.sql.scope import Expr, Scope
from services.emulator.sql.types import SqlType

_PARTS = {
    "year": "year y yy yyy yyyy yr years yrs", "month": "month mm mon mons months", "day": "day d dd days dayofmonth", "week": "week w wk weekofyear woy wy",
    "quarter": "quarter q qtr qtrs quarters", "hour": "hour h hh hr hours hrs", "minute": "minute m mi min minutes mins", "second": "second s sec seconds secs",
    "millisecond": "millisecond ms msec milliseconds", "microsecond": "microsecond us usec microseconds", "nanosecond": "nanosecond ns nsec nanosec nsecond nanoseconds nanosecs nseconds",
    "dayofweek": "dayofweek weekday dow dw", "dayofweekiso": "dayofweekiso weekday_iso dow_iso dw_iso dayofweek_iso", "dayofyear": "dayofyear yearday doy dy", "weekiso": "weekiso week_iso weekofyeariso weekofyear_iso",
    "yearofweek": "yearofweek", "yearofweekiso": "yearofweekiso", "epoch_second": "epoch_second epoch epoch_seconds", "epoch_millisecond": "epoch_millisecond epoch_milliseconds",
    "epoch_microsecond": "epoch_microsecond epoch_microseconds", "epoch_nanosecond": "epoch_nanosecond epoch_nanoseconds", "timezone_hour": "timezone_hour tzh", "timezone_minute": "timezone_minute tzm",
}  # fmt: skip
_DAY_AND_TIME = 2  # arguments of TIMESTAMP_FROM_PARTS in its shorter form
_FROM_TO_MOMENT = 3  # arguments of CONVERT_TIMEZONE with both zones
PARTS = {alias: part for part, aliases in _PARTS.items() for alias in aliases.split()}
_LENGTHS = {
    "week": 7 * 86_400_000_000,
    "day": 86_400_000_000,
    "hour": 3_600_000_000,
    "minute": 60_000_000,
    "second": 1_000_000,
    "millisecond": 1_000,
    "microsecond": 1,
}


def part_of(call: Call, node: exp.Expr) -> str:
    """Return the date part that *node* names, bare or quoted."""
    word = (str(node.this) if isinstance(node, exp.Literal) else node.name).lower()
    part = PARTS.get(word)
    if part is None:
        raise errors.SqlError(
            1035,
            "22023",
            f"SQL compilation error: error line {position(call.node)[0]} at position {position(call.node)[1]}\n'{word.upper()}' is not a valid date/time component for function {call.name}.",
        )
    return part


def _argument(call: Call, node: exp.Expr, kind: str = "d") -> Expr:
    return coerced(call, call.c.bind(node, call.scope), kind)


@special("DATEADD TIMEADD TIMESTAMPADD", 3, 3, page="dateadd")
def _dateadd(call: Call) -> Expr:
    part, count, value = (
        part_of(call, call.written[0]),
        _argument(call, call.written[1], "n"),
        _argument(call, call.written[2]),
    )
    number = f"CAST(round({count.sql}) AS BIGINT)"
    units = {
        "year": f"to_months(CAST(12 * {number} AS INTEGER))",
        "quarter": f"to_months(CAST(3 * {number} AS INTEGER))",
        "month": f"to_months(CAST({number} AS INTEGER))",
        "week": f"to_days(CAST(7 * {number} AS INTEGER))",
        "day": f"to_days(CAST({number} AS INTEGER))",
    }
    step = units.get(part) or (
        f"to_microseconds({number} * {_LENGTHS[part]})" if part in _LENGTHS else f"to_microseconds({number} // 1000)"
    )
    nullable = count.nullable or value.nullable
    aggregate = count.aggregate or value.aggregate
    if value.type.name == "DATE":
        if part in units:
            return Expr(f"CAST({value.sql} + {step} AS DATE)", t.DATE, nullable, None, aggregate)
        return Expr(f"(CAST({value.sql} AS TIMESTAMP) + {step})", t.TIMESTAMP_NTZ, nullable, None, aggregate)
    if value.type.name == "TIMESTAMP_TZ":
        return Expr(
            f"sf_zoned(sf_wall({value.sql}) + {step}, struct_extract({value.sql}, 't') + {step})",
            value.type,
            nullable,
            None,
            aggregate,
        )
    if value.type.name == "TIMESTAMP_LTZ" and part in units:
        return Expr(to_utc(call.c, f"({to_wall(call.c, value.sql)} + {step})"), value.type, nullable, None, aggregate)
    return Expr(f"({value.sql} + {step})", value.type, nullable, None, aggregate)


@special("DATEDIFF TIMEDIFF TIMESTAMPDIFF", 3, 3, page="datediff")
def _datediff(call: Call) -> Expr:
    """Count the borders of the part that lie between."""
    part = part_of(call, call.written[0])
    one, two = (_argument(call, node) for node in call.written[1:])
    left, right = (wall(call.c, value) for value in (one, two))
    if one.type.name == "TIME":
        left, right = f"(DATE '1970-01-01' + {left})", f"(DATE '1970-01-01' + {right})"
    factor = " * 1000" if part == "nanosecond" else ""
    word = {"nanosecond": "microsecond"}.get(part, part)
    return Expr(
        f"(date_diff('{word}', CAST({left} AS TIMESTAMP), CAST({right} AS TIMESTAMP)){factor})",
        t.number(18 if factor else 9),
        one.nullable or two.nullable,
        None,
        one.aggregate or two.aggregate,
    )


@special("DATE_TRUNC", 2, 2)
def _date_trunc(call: Call) -> Expr:
    first, second = call.written
    if not (isinstance(first, exp.Literal) or first.name.lower() in PARTS):
        first, second = second, first
    part, value = part_of(call, first), _argument(call, second)
    if value.type.name == "TIME":
        return Expr(
            f"CAST(date_trunc('{part}', DATE '1970-01-01' + {value.sql}) AS TIME)",
            value.type,
            value.nullable,
            None,
            value.aggregate,
        )
    text = f"date_trunc('{part.replace('nano', 'micro')}', {wall(call.c, value)})"
    if value.type.name == "DATE":
        return Expr(f"CAST({text} AS DATE)", t.DATE, value.nullable, None, value.aggregate)
    back = cast(call.c, Expr(f"CAST({text} AS TIMESTAMP)", t.TIMESTAMP_NTZ), value.type)
    return Expr(back.sql, value.type, value.nullable, None, value.aggregate)


_EXTRACTED = {
    "dayofweek": "dayofweek({0})", "dayofweekiso": "isodow({0})", "dayofyear": "dayofyear({0})", "week": "weekofyear({0})", "weekiso": "weekofyear({0})", "yearofweek": "isoyear({0})", "yearofweekiso": "isoyear({0})",
    "nanosecond": "(epoch_us({0}) % 1000000 * 1000)", "millisecond": "(epoch_us({0}) // 1000 % 1000)", "microsecond": "(epoch_us({0}) % 1000000)",
    "epoch_second": "(epoch_us({1}) // 1000000)", "epoch_millisecond": "(epoch_us({1}) // 1000)", "epoch_microsecond": "epoch_us({1})", "epoch_nanosecond": "(epoch_us({1}) * 1000)",
    "timezone_hour": "({2} // 60)", "timezone_minute": "({2} % 60)",
}  # fmt: skip


def extracted(c: Compiler, part: str, value: Expr) -> Expr:
    """Return one part of a date or time as a number."""
    shown = wall(c, value)
    if value.type.name == "TIME":
        shown = f"(DATE '1970-01-01' + {shown})"
    utc = (
        f"struct_extract({value.sql}, 't')"
        if value.type.name == "TIMESTAMP_TZ"
        else value.sql
        if value.type.name == "TIMESTAMP_LTZ"
        else shown
    )
    away = offset(c, value) if part.startswith("timezone") else "0"
    sql = _EXTRACTED.get(part, f"{part}({{0}})").format(shown, utc, away)
    digits = {"year": 4, "yearofweek": 4, "yearofweekiso": 4, "dayofyear": 3, "dayofweek": 2, "dayofweekiso": 2}.get(
        part, 19 if part.startswith("epoch") else 9 if part.endswith(("second",)) and part != "second" else 2
    )
    return Expr(sql, t.number(digits), value.nullable, None, value.aggregate)


@special("DATE_PART", 2, 2)
def _date_part(call: Call) -> Expr:
    return extracted(call.c, part_of(call, call.written[0]), _argument(call, call.written[1]))


@handles(exp.Extract)
def _extract(c: Compiler, node: exp.Extract, scope: Scope) -> Expr:
    call = Call(c, "EXTRACT", node, scope, [node.this, node.expression])
    return extracted(c, part_of(call, node.this), _argument(call, node.expression))


for _name in (
    "YEAR",
    "MONTH",
    "DAY",
    "QUARTER",
    "WEEK",
    "HOUR",
    "MINUTE",
    "SECOND",
    "DAYOFWEEK",
    "DAYOFYEAR",
    "DAYOFMONTH",
    "WEEKOFYEAR",
    "WEEKISO",
    "DAYOFWEEKISO",
    "YEAROFWEEK",
    "YEAROFWEEKISO",
):
    define(_name, "d", t.INTEGER, lambda call: extracted(call.c, PARTS[call.name.lower()], call.args[0]), page="year")

define(
    "MONTHNAME",
    "m",
    t.text(3),
    lambda call: call.result(f"left(monthname({wall(call.c, call.args[0])}), 3)", t.text(3)),
)
define(
    "DAYNAME", "m", t.text(3), lambda call: call.result(f"left(dayname({wall(call.c, call.args[0])}), 3)", t.text(3))
)
define(
    "MONTHS_BETWEEN",
    "mm",
    t.FLOAT,
    lambda call: call.result(
        f"sf_months_between(CAST({wall(call.c, call.args[0])} AS TIMESTAMP), CAST({wall(call.c, call.args[1])} AS TIMESTAMP))",
        t.FLOAT,
    ),
)
define(
    "NEXT_DAY",
    "ms",
    t.DATE,
    lambda call: call.result(f"sf_weekday(CAST({wall(call.c, call.args[0])} AS DATE), {call.args[1].sql}, 1)", t.DATE),
)
define(
    "PREVIOUS_DAY",
    "ms",
    t.DATE,
    lambda call: call.result(f"sf_weekday(CAST({wall(call.c, call.args[0])} AS DATE), {call.args[1].sql}, -1)", t.DATE),
)
define(
    "DATE_FROM_PARTS DATEFROMPARTS",
    "iii",
    t.DATE,
    "CAST(make_date(1970, 1, 1) + to_months(CAST(({0} - 1970) * 12 + {1} - 1 AS INTEGER)) + to_days(CAST({2} - 1 AS INTEGER)) AS DATE)",
    page="date_from_parts",
)
define(
    "TIME_FROM_PARTS TIMEFROMPARTS",
    "iii?i",
    t.TIME,
    lambda call: call.result(
        f"CAST(TIMESTAMP '1970-01-01' + to_microseconds(CAST((({call.args[0].sql} * 60 + {call.args[1].sql}) * 60 + {call.args[2].sql}) * 1000000 + {call.given(3, '0')} // 1000 AS BIGINT)) AS TIME)",
        t.TIME,
    ),
    page="time_from_parts",
)


@built(
    "TIMESTAMP_FROM_PARTS TIMESTAMPFROMPARTS TIMESTAMP_NTZ_FROM_PARTS TIMESTAMPNTZFROMPARTS TIMESTAMP_LTZ_FROM_PARTS TIMESTAMPLTZFROMPARTS TIMESTAMP_TZ_FROM_PARTS",
    "aa?iiiiis",
    page="timestamp_from_parts",
)
def _timestamp_from_parts(call: Call) -> Expr:
    if len(call.args) == _DAY_AND_TIME:
        date, time = cast(call.c, call.args[0], t.DATE), cast(call.c, call.args[1], t.TIME)
        return call.result(f"({date.sql} + {time.sql})", t.TIMESTAMP_NTZ)
    year, month, day, hour, minute, second = (arg.sql for arg in call.args[:6])
    nanos = call.given(6, "0")
    moment = f"(TIMESTAMP '1970-01-01' + to_months(CAST(({year} - 1970) * 12 + {month} - 1 AS INTEGER)) + to_days(CAST({day} - 1 AS INTEGER)) + to_microseconds(CAST((({hour} * 60 + {minute}) * 60 + {second}) * 1000000 + {nanos} // 1000 AS BIGINT)))"
    kind = t.TIMESTAMP_LTZ if "LTZ" in call.name else t.TIMESTAMP_TZ if "_TZ" in call.name else t.TIMESTAMP_NTZ
    return call.result(cast(call.c, Expr(moment, t.TIMESTAMP_NTZ), kind).sql, kind)


@built("LAST_DAY", "m?s")
def _last_day(call: Call) -> Expr:
    part = PARTS.get(str(call.args[1].constant).lower(), "month") if len(call.args) > 1 else "month"
    step = {"month": "to_months(1)", "year": "to_years(1)", "quarter": "to_months(3)", "week": "to_days(7)"}[part]
    return call.result(
        f"CAST(date_trunc('{part}', {wall(call.c, call.args[0])}) + {step} - to_days(1) AS DATE)", t.DATE
    )


@built("ADD_MONTHS", "mi")
def _add_months(call: Call) -> Expr:
    """Move by months; the last day of a month stays the last day."""
    value, count = call.args
    shown = wall(call.c, value)
    moved = f"({shown} + to_months(CAST({count.sql} AS INTEGER)))"
    sql = f"CASE WHEN CAST({shown} AS DATE) = last_day({shown}) THEN last_day({moved}) + ({shown} - date_trunc('day', {shown})) ELSE {moved} END"
    kind = value.type
    return call.result(
        f"CAST({sql} AS {'DATE' if kind.name == 'DATE' else 'TIMESTAMP'})"
        if kind.name in {"DATE", "TIMESTAMP_NTZ"}
        else cast(call.c, Expr(f"CAST({sql} AS TIMESTAMP)", t.TIMESTAMP_NTZ), kind).sql,
        kind,
    )


@built("CONVERT_TIMEZONE", "sa?a")
def _convert(call: Call) -> Expr:
    if len(call.args) == _FROM_TO_MOMENT:
        moment = coerced(call, call.args[2], "m")
        return call.result(
            f"sf_convert_timezone({wall(call.c, moment)}, {call.args[0].sql}, {cast(call.c, call.args[1], t.VARCHAR).sql})",
            t.TIMESTAMP_NTZ,
        )
    moment = cast(call.c, coerced(call, call.args[1], "m"), t.TIMESTAMP_TZ)
    return call.result(
        f"{{'t': struct_extract({moment.sql}, 't'), 'o': sf_offset(struct_extract({moment.sql}, 't'), {call.args[0].sql})}}",
        t.TIMESTAMP_TZ,
    )


def _to_time(kind: SqlType, *, attempt: bool) -> None:
    name = kind.name

    def build(call: Call) -> Expr:
        value = call.args[0]
        if len(call.args) > 1 and value.type.name == "VARCHAR":
            form = call.args[1].constant
            if isinstance(form, str):
                return call.result(
                    parsed(call.c, value.sql, kind, form, attempt=attempt), kind, nullable=value.nullable or attempt
                )
        if len(call.args) > 1 and value.type.is_number:
            scale = call.args[1].constant
            return call.result(
                cast(
                    call.c, Expr(f"({value.sql} / CAST({10 ** int(str(scale))} AS DOUBLE))", t.number(38, 9)), kind
                ).sql,
                kind,
            )
        if attempt and value.type.name not in {"VARCHAR", "NULL"}:
            value = cast(call.c, value, t.VARCHAR)
        return call.result(cast(call.c, value, kind, attempt=attempt).sql, kind, nullable=value.nullable or attempt)

    prefix = "TRY_TO_" if attempt else "TO_"
    names = {"DATE": "DATE", "TIME": "TIME", "TIMESTAMP_NTZ": "TIMESTAMP_NTZ TIMESTAMP"}.get(name, name)
    words = " ".join(prefix + word for word in names.split())
    built(words + (f" {name}" if not attempt and name in {"DATE", "TIME"} else ""), "a?a", page="to_date")(build)


for _kind in (t.DATE, t.TIME, t.TIMESTAMP_NTZ, t.TIMESTAMP_LTZ, t.TIMESTAMP_TZ):
    _to_time(_kind, attempt=False)
    _to_time(_kind, attempt=True)


@built("TO_CHAR TO_VARCHAR", "a?a", page="to_char")
def _to_char(call: Call) -> Expr:
    value = call.args[0]
    if len(call.args) == 1 or value.type.name == "BINARY":
        if len(call.args) > 1 and str(call.args[1].constant).upper() in {"UTF-8", "UTF8"}:
            return call.result(f"decode({value.sql})", t.VARCHAR)
        if len(call.args) > 1 and str(call.args[1].constant).upper() == "BASE64":
            return call.result(f"base64({value.sql})", t.VARCHAR)
        return call.result(cast(call.c, value, t.VARCHAR).sql, t.VARCHAR)
    form = cast(call.c, call.args[1], t.VARCHAR)
    if value.type.is_time:
        return call.result(formatted(call.c, value, form.sql), t.VARCHAR)
    if value.type.is_number:
        return call.result(f"sf_number_format(CAST({value.sql} AS VARCHAR), {form.sql})", t.VARCHAR)
    return call.result(formatted(call.c, coerced(call, value, "m"), form.sql), t.VARCHAR)
