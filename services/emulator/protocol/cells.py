"""Rows as JSON: every cell a string, moments as seconds since 1970."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from services.emulator.engine.results import Result
from services.emulator.protocol.pretty import pretty
from services.emulator.sql.runtime.conversions import float_text
from services.emulator.sql.types import SqlType

_DAY0 = date(1970, 1, 1)


def rows(result: Result) -> list[list[str | None]]:
    """Return all rows of *result* as cells."""
    kinds = [output.type for output in result.outputs]
    if result.table is None:
        return [[cell(value, kind) for value, kind in zip(row, kinds, strict=True)] for row in result.rows]
    columns = [column.to_pylist() for column in result.table.columns]
    shown = [[cell(value, kind) for value in column] for column, kind in zip(columns, kinds, strict=False)]
    return [list(row) for row in zip(*shown, strict=True)]


def cell(value: Any, of: SqlType) -> str | None:  # noqa: C901, PLR0911 - one line a type
    """Return *value* as the text of a JSON result."""
    if value is None:
        return None
    match of.name:
        case "BOOLEAN":
            return "true" if value else "false"
        case "NUMBER":
            return format(Decimal(value), f".{of.scale}f")
        case "FLOAT":
            return float_text(float(value))
        case "DATE":
            return str((value - _DAY0).days)
        case "TIME":
            return _seconds(_since_midnight(value), of.scale)
        case "TIMESTAMP_NTZ" | "TIMESTAMP_LTZ":
            return _seconds(_micros(value), of.scale)
        case "TIMESTAMP_TZ":
            return f"{_seconds(_micros(value['t']), of.scale)} {value['o'] + 1440}"
        case "BINARY":
            return bytes(value).hex().upper()
        case "VARIANT" | "OBJECT" | "ARRAY":
            return pretty(str(value))
        case "VECTOR":
            return "[" + ",".join(f"{item:f}" if of.element == "FLOAT" else str(item) for item in value) + "]"
    return str(value)


def _since_midnight(value: time) -> int:
    return ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond


def _micros(value: datetime) -> int:
    moment = value if value.tzinfo else value.replace(tzinfo=UTC)
    span = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds


def _seconds(micros: int, scale: int) -> str:
    whole, rest = divmod(micros, 1_000_000)
    if whole < 0 and rest:
        whole, rest = whole + 1, 1_000_000 - rest
        sign = "-" if whole == 0 else ""
        return f"{sign}{whole}.{rest:06d}000"[: len(f"{sign}{whole}.") + 9] if scale else str(whole)
    return f"{whole}.{rest:06d}000"[: len(str(whole)) + 1 + scale] if scale else str(whole)
