"""Literals as a filter writes them."""

import math
import re
from datetime import UTC, datetime, timedelta, timezone

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")  # as in JSON
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_INTEGER_FORM = re.compile(r"-?[0-9]+")
_DURATION = re.compile(r"-?[0-9]+(?:\.[0-9]+)?s")  # as proto3 JSON writes them
# RFC 3339, section 5.6; T and Z may be small.
_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})"
    r"(?:\.(?P<fraction>[0-9]+))?(?:[Zz]|(?P<sign>[+-])(?P<hours>[0-9]{2}):(?P<minutes>[0-9]{2}))"
)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def integer(text: str) -> int | None:
    """Return the whole number of 64 bits that *text* is, or None."""
    if not _INTEGER.fullmatch(text):
        return None
    value = int(text)
    return value if -(2**63) <= value < 2**63 else None


def number(text: str) -> float | None:
    """Return the finite double that *text* is, None if it is no number. Raises ``ValueError`` saying what would be right."""
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("it is beyond every double")
    if _INTEGER_FORM.fullmatch(text) and int(value) != int(text):
        raise ValueError("a double would round it, as it does whole numbers beyond 2^53; keep such numbers as text")
    return value + 0.0  # minus zero becomes zero: they are equal, and should be the same tree


def is_duration(text: str) -> bool:
    """Whether *text* is a duration, such as 20s."""
    return _DURATION.fullmatch(text) is not None


def time(text: str) -> datetime:
    """Return the instant that *text* is: aware, UTC. Raises ``ValueError`` saying what would be right."""
    found = _TIME.fullmatch(text)
    if not found:
        if _DATE.fullmatch(text):
            raise ValueError(f'add a time of day and an offset, as in "{text}T00:00:00Z"')
        raise ValueError('write date, time and offset by RFC 3339, as in "2026-03-01T09:00:00Z"')
    fraction = (found["fraction"] or "").rstrip("0")
    if len(fraction) > 6:  # noqa: PLR2004  # digits of a microsecond
        raise ValueError("times are kept in microseconds, so at most 6 digits")
    year, month, day, hour, minute, second = map(int, found.group(1, 2, 3, 4, 5, 6))
    try:
        local = datetime(year, month, day, hour, minute, second, int(fraction.ljust(6, "0")), tzinfo=_offset(found))
        return local.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("there is no such day, time or offset between the years 1 and 9999") from None


def _offset(time: re.Match[str]) -> timezone:
    if time["sign"] is None:
        return UTC
    hours, minutes = int(time["hours"]), int(time["minutes"])
    if hours > 23 or minutes > 59:  # noqa: PLR2004  # RFC 3339, section 5.6: time-hour and time-minute
        raise ValueError
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if time["sign"] == "-" else offset)
