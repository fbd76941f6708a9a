"""Values that come beside a statement, and rows of them for bulk writes."""

from datetime import UTC, datetime, timedelta
from typing import Any

from services.emulator import errors
from services.emulator.sql import types as t
from services.emulator.sql.compiler import Bind
from services.emulator.sql.types import SqlType

_TYPES: dict[str, SqlType] = {
    "REAL": t.FLOAT,
    "TEXT": t.VARCHAR,
    "BOOLEAN": t.BOOLEAN,
    "BINARY": t.BINARY,
    "DATE": t.DATE,
    "TIME": t.TIME,
    "TIMESTAMP_NTZ": t.TIMESTAMP_NTZ,
    "TIMESTAMP_LTZ": t.TIMESTAMP_LTZ,
    "TIMESTAMP_TZ": t.TIMESTAMP_TZ,
    "VARIANT": t.VARIANT,
    "OBJECT": t.OBJECT,
    "ARRAY": t.ARRAY,
    "ANY": t.VARCHAR,
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rows(bindings: dict[str, Any] | None) -> list[list[Bind]]:
    """Return the rows of *bindings*: one, or as many as an array bind has; one empty row without any."""
    if not bindings:
        return [[]]
    ordered = [bindings[key] for key in sorted(bindings, key=int)]
    lengths = {len(entry["value"]) for entry in ordered if isinstance(entry.get("value"), list)}
    if not lengths:
        return [[_bind(entry["type"], entry.get("value"), entry.get("fmt")) for entry in ordered]]
    return [
        [_bind(entry["type"], entry["value"][at], entry.get("fmt")) for entry in ordered] for at in range(max(lengths))
    ]


def is_bulk(bindings: dict[str, Any] | None) -> bool:
    return any(isinstance(entry.get("value"), list) for entry in (bindings or {}).values())


def _bind(kind: str, value: Any, form: str | None) -> Bind:
    name = kind.upper()
    if name == "FIXED":
        return Bind(_fixed(value), None if value is None else str(value))
    if name not in _TYPES:
        raise errors.unsupported(f"binding of type {name}")
    of = _TYPES[name]
    if value is None:
        return Bind(of, None)
    return Bind(of, _text(of, str(value), form))


def _fixed(value: Any) -> SqlType:
    text = str(value or "0").lstrip("-")
    whole, _, fraction = text.partition(".")
    return t.number(len(whole) + len(fraction), len(fraction)) if fraction else t.INTEGER


def _text(of: SqlType, value: str, form: str | None) -> str:  # noqa: PLR0911 - one line a type
    """Return a moment's count as text that reads back; other values are text already."""
    number = value.split(" ", maxsplit=1)[0]
    if form or not number.lstrip("-").isdigit():
        return value
    match of.name:
        case "DATE":
            return str((_EPOCH + timedelta(milliseconds=int(number))).date())
        case "TIME":
            return str((_EPOCH + timedelta(microseconds=int(number) // 1000)).time())
        case "TIMESTAMP_NTZ":
            return str((_EPOCH + timedelta(microseconds=int(number) // 1000)).replace(tzinfo=None))
        case "TIMESTAMP_LTZ":
            return str(_EPOCH + timedelta(microseconds=int(number) // 1000))
        case "TIMESTAMP_TZ":
            minutes = int(value.split(" ")[1]) - 1440 if " " in value else 0
            moment = _EPOCH + timedelta(microseconds=int(number) // 1000, minutes=minutes)
            sign = "-" if minutes < 0 else "+"
            return f"{moment.replace(tzinfo=None)} {sign}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
    return value
