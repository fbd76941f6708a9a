"""Dates and times as text and back, by Snowflake's format elements."""

import re
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from services.emulator.sql.runtime.refusals import refused

# docs: date-time-input-output. Longer elements first, so that the first match is the right one.
_ELEMENTS = (
    "YYYY", "YY", "MMMM", "MON", "MM", "DD", "DY", "HH24", "HH12", "HH", "AM", "PM", "MI", "SS",
    *(f"FF{digits}" for digits in range(10)), "FF", "TZH:TZM", "TZHTZM", "TZH", "TZM", "TZD", "TZISO", "TZIDX", "UUUU",
)  # fmt: skip
_SPLIT = re.compile(
    r'"[^"]*"|' + "|".join(sorted(map(re.escape, _ELEMENTS), key=len, reverse=True)) + "|.", re.IGNORECASE | re.DOTALL
)
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - wall clock times have no zone


@lru_cache(maxsize=512)
def _parts(form: str) -> tuple[str, ...]:
    return tuple(_SPLIT.findall(form))


def show(moment: datetime, minutes: int, form: str) -> str:
    """Return *moment*, a wall clock time *minutes* east of UTC, in the format *form*."""
    out = []
    for part in _parts(form):
        shown = _shown(part.upper(), moment, minutes)
        if shown is None:
            shown = part.strip('"') if part.startswith('"') and len(part) > 1 else part
        elif part[:3] in {"mon", "dy"} or part in {"mmmm", "am", "pm"}:
            shown = shown.lower() if part.islower() and part in {"am", "pm"} else shown
        out.append(shown)
    return "".join(out)


def _shown(element: str, moment: datetime, minutes: int) -> str | None:  # noqa: C901, PLR0911, PLR0912 - a table of elements
    match element:
        case "YYYY" | "UUUU":
            return f"{moment.year:04d}"
        case "YY":
            return f"{moment.year % 100:02d}"
        case "MMMM":
            return _MONTHS[moment.month - 1]
        case "MON":
            return _MONTHS[moment.month - 1][:3]
        case "MM":
            return f"{moment.month:02d}"
        case "DD":
            return f"{moment.day:02d}"
        case "DY":
            return _DAYS[moment.weekday()]
        case "HH24" | "HH":
            return f"{moment.hour:02d}"
        case "HH12":
            return f"{(moment.hour + 11) % 12 + 1:02d}"
        case "AM" | "PM":
            return "AM" if moment.hour < 12 else "PM"  # noqa: PLR2004 - noon
        case "MI":
            return f"{moment.minute:02d}"
        case "SS":
            return f"{moment.second:02d}"
        case "TZH:TZM" | "TZHTZM" | "TZH" | "TZM" | "TZISO":
            return _zone(element, minutes)
    if element.startswith("FF"):
        digits = int(element[2:]) if element[2:] else 9
        return f"{moment.microsecond:06d}000"[:digits]
    return None


def _zone(element: str, minutes: int) -> str:
    sign, size = "-" if minutes < 0 else "+", abs(minutes)
    hours, rest = f"{sign}{size // 60:02d}", f"{size % 60:02d}"
    return {"TZH": hours, "TZM": rest, "TZHTZM": hours + rest}.get(element, f"{hours}:{rest}")


_PATTERNS = {
    "YYYY": r"(?P<year>[+-]?\d{4})", "UUUU": r"(?P<year>\d{4})", "YY": r"(?P<short>\d{2})", "MMMM": r"(?P<monthname>[A-Za-z]{3,9})", "MON": r"(?P<monthname>[A-Za-z]{3})",
    "MM": r"(?P<month>\d{1,2})", "DD": r"(?P<day>\d{1,2})", "DY": r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)", "HH24": r"(?P<hour>\d{1,2})", "HH": r"(?P<hour>\d{1,2})",
    "HH12": r"(?P<hour>\d{1,2})", "AM": r"(?P<half>AM|PM)", "PM": r"(?P<half>AM|PM)", "MI": r"(?P<minute>\d{1,2})", "SS": r"(?P<second>\d{1,2})",
    "TZH:TZM": r"(?P<zone>[+-]\d{1,2}:\d{2})", "TZHTZM": r"(?P<zone>[+-]\d{4})", "TZH": r"(?P<zone>[+-]\d{1,2})", "TZM": r"(?P<zonem>\d{2})", "TZISO": r"(?P<zone>Z|[+-]\d{2}:?\d{2})",
}  # fmt: skip


@lru_cache(maxsize=512)
def _pattern(form: str) -> re.Pattern[str]:
    out = []
    for part in _parts(form):
        element = part.upper()
        if element.startswith("FF") and len(element) <= 3:  # noqa: PLR2004 - FF and one digit
            out.append(r"(?P<fraction>\d{0,9})")
        elif part.startswith('"') and len(part) > 1:
            out.append(re.escape(part.strip('"')))
        else:
            out.append(_PATTERNS.get(element) or re.escape(part))
    return re.compile(r"\s*" + "".join(out) + r"\s*\Z", re.IGNORECASE)


# What AUTO accepts, docs: date-time-input-output, "supported formats for AUTO detection".
_TIME = r"(?P<hour>\d{1,2}):(?P<minute>\d{1,2})(?::(?P<second>\d{1,2})(?:\.(?P<fraction>\d{0,9}))?)?"
_ZONE = r"(?:\s*(?P<zone>Z|[+-]\d{1,2}(?::?\d{2})?))?"
_MONTH_NAME = r"(?P<monthname>Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_AUTO = tuple(
    re.compile(r"\s*" + pattern + r"\s*\Z", re.IGNORECASE)
    for pattern in (
        rf"(?P<year>\d{{4}})-(?P<month>\d{{1,2}})-(?P<day>\d{{1,2}})(?:[T ]\s*{_TIME}{_ZONE})?",
        r"(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})[T ](?P<hour>\d{1,2})",
        rf"(?P<month>\d{{1,2}})/(?P<day>\d{{1,2}})/(?P<year>\d{{4}})(?:[T ]\s*{_TIME}{_ZONE})?",
        rf"(?P<day>\d{{1,2}})-{_MONTH_NAME}-(?P<year>\d{{4}})(?:[T ]\s*{_TIME}{_ZONE})?",
        rf"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),?\s+(?P<day>\d{{1,2}})\s+{_MONTH_NAME}\s+(?P<year>\d{{4}})\s+{_TIME}(?:\s*(?P<half>AM|PM))?{_ZONE}",
        rf"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)\s+{_MONTH_NAME}\s+(?P<day>\d{{1,2}})\s+{_TIME}{_ZONE}\s+(?P<year>\d{{4}})",
    )
)
_AUTO_TIME = re.compile(rf"\s*{_TIME}\s*(?P<half>AM|PM)?\s*\Z", re.IGNORECASE)


def read(text: str, form: str) -> tuple[datetime, int | None] | None:
    """Return the wall clock time that *text* says and its minutes east of UTC where it says them, or None."""
    if form.upper() == "AUTO":
        if re.fullmatch(r"\s*-?\d+\s*", text):
            return _epoch(int(text))
        matches = (pattern.match(text) for pattern in _AUTO)
        match = next((found for found in matches if found), None)
    else:
        match = _pattern(form).match(text)
    if match is None:
        return None
    try:
        return _built(match.groupdict())
    except ValueError:
        return None


_MOST_SECONDS = 31_536_000_000  # a thousand years; larger counts are of a smaller unit


def _epoch(value: int) -> tuple[datetime, int | None] | None:
    """Text of digits is a time since 1970, its size tells the unit; docs: to_timestamp."""
    size = abs(value)
    unit = next((unit for unit in (1, 1_000, 1_000_000) if size < _MOST_SECONDS * unit), 1_000_000_000)
    try:
        return _EPOCH + timedelta(seconds=value // unit, microseconds=value % unit * 1_000_000 // unit), None
    except OverflowError:
        return None


def _built(groups: dict[str, str | None]) -> tuple[datetime, int | None]:
    year = int(groups.get("year") or 1970)
    if groups.get("short"):
        year = int(groups["short"] or 0) + (2000 if int(groups["short"] or 0) < 70 else 1900)  # noqa: PLR2004 - TWO_DIGIT_CENTURY_START
    month = int(groups.get("month") or 1)
    if name := groups.get("monthname"):
        month = next(
            (
                at + 1
                for at, full in enumerate(_MONTHS)
                if full.lower() == name.lower() or full[:3].lower() == name.lower()
            ),
            0,
        )
    hour = int(groups.get("hour") or 0)
    if half := groups.get("half"):
        hour = hour % 12 + (12 if half.upper() == "PM" else 0)
    micro = int((groups.get("fraction") or "").ljust(6, "0")[:6])
    moment = datetime(  # noqa: DTZ001 - wall clock time
        year,
        month,
        int(groups.get("day") or 1),
        hour,
        int(groups.get("minute") or 0),
        int(groups.get("second") or 0),
        micro,
    )
    return moment, _minutes(groups.get("zone"), groups.get("zonem"))


def _minutes(zone: str | None, rest: str | None) -> int | None:
    if not zone:
        return None
    if zone.upper() == "Z":
        return 0
    digits = zone[1:].replace(":", "") + (rest or "")
    hours, minutes = (int(digits), 0) if len(digits) <= 2 else (int(digits[:-2]), int(digits[-2:]))  # noqa: PLR2004
    return (hours * 60 + minutes) * (-1 if zone[0] == "-" else 1)


def _refuse(kind: str, text: str, attempt: bool) -> None:
    if attempt:
        return
    code = {"Date": 100040, "Time": 100108}.get(kind, 100035)
    raise refused(code, "22007", f"{kind} '{text}' is not recognized")


def to_date(text: str, form: str, attempt: bool) -> date | None:
    found = read(text, form)
    if found is None:
        _refuse("Date", text, attempt)
        return None
    return found[0].date()


def to_time(text: str, form: str, attempt: bool) -> time | None:
    if form.upper() == "AUTO":
        match = _AUTO_TIME.match(text)
        if match is None:
            found = read(text, form)
        else:
            try:
                found = _built(match.groupdict())
            except ValueError:
                found = None
    else:
        found = read(text, form)
    if found is None:
        _refuse("Time", text, attempt)
        return None
    return found[0].time()


def to_ntz(text: str, form: str, attempt: bool) -> datetime | None:
    found = read(text, form)
    if found is None:
        _refuse("Timestamp", text, attempt)
        return None
    return found[0]


def to_ltz(text: str, form: str, attempt: bool, zone: str) -> datetime | None:
    found = read(text, form)
    if found is None:
        _refuse("Timestamp", text, attempt)
        return None
    moment, minutes = found
    if minutes is None and form.upper() == "AUTO" and text.strip().lstrip("-").isdigit():
        return moment
    return moment - timedelta(minutes=minutes if minutes is not None else east(moment, zone))


def to_tz(text: str, form: str, attempt: bool, zone: str) -> dict[str, Any] | None:
    found = read(text, form)
    if found is None:
        _refuse("Timestamp", text, attempt)
        return None
    moment, minutes = found
    away = minutes if minutes is not None else east(moment, zone)
    return {"t": moment - timedelta(minutes=away), "o": away}


def east(wall: datetime, zone: str) -> int:
    """Return how many minutes east of UTC *zone* is at the wall clock time *wall*."""
    away = wall.replace(tzinfo=ZoneInfo(zone)).utcoffset()
    return int(away.total_seconds() // 60) if away is not None else 0


def converted(moment: datetime, source: str, target: str) -> datetime:
    """Return a wall clock time of one zone as that of another."""
    try:
        return moment.replace(tzinfo=ZoneInfo(source)).astimezone(ZoneInfo(target)).replace(tzinfo=None)
    except (KeyError, ValueError, OSError):
        raise refused(100065, "22023", f"Unknown timezone: '{target}'") from None


def offset_of(moment: datetime, zone: str) -> int:
    """Return the minutes east of UTC of *zone* at the UTC time *moment*."""
    try:
        away = moment.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).utcoffset()
    except (KeyError, ValueError, OSError):
        raise refused(100065, "22023", f"Unknown timezone: '{zone}'") from None
    return int(away.total_seconds() // 60) if away is not None else 0


_TZ = "STRUCT(t TIMESTAMP, o INTEGER)"
FUNCTIONS: dict[str, tuple[Any, list[str] | None, str]] = {
    "sf_format": (show, ["TIMESTAMP", "INTEGER", "VARCHAR"], "VARCHAR"),
    "sf_date": (to_date, ["VARCHAR", "VARCHAR", "BOOLEAN"], "DATE"),
    "sf_time": (to_time, ["VARCHAR", "VARCHAR", "BOOLEAN"], "TIME"),
    "sf_timestamp_ntz": (to_ntz, ["VARCHAR", "VARCHAR", "BOOLEAN"], "TIMESTAMP"),
    "sf_timestamp_ltz": (to_ltz, ["VARCHAR", "VARCHAR", "BOOLEAN", "VARCHAR"], "TIMESTAMP"),
    "sf_timestamp_tz": (to_tz, ["VARCHAR", "VARCHAR", "BOOLEAN", "VARCHAR"], _TZ),
    "sf_convert_timezone": (converted, ["TIMESTAMP", "VARCHAR", "VARCHAR"], "TIMESTAMP"),
    "sf_offset": (offset_of, ["TIMESTAMP", "VARCHAR"], "INTEGER"),
}
