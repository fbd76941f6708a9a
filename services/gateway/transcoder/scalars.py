"""Scalar and text conversions shared by JSON, query and path values.

Every function raises ``ValueError`` with a description of what would be right.
"""

import binascii
import functools
import math
import re
import struct
from datetime import UTC, datetime, timedelta

_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_BASE64 = re.compile(r"([A-Za-z0-9+/_-]*)(={0,2})")
_TIMESTAMP = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})"
    r"(?:\.([0-9]{1,9}))?(?:Z|([+-])([0-9]{2}):([0-9]{2}))"
)
_DURATION = re.compile(r"(-?)([0-9]{1,12})(?:\.([0-9]{1,9}))?s")
_FROM_URL_ALPHABET = str.maketrans("-_", "+/")

MIN_TIMESTAMP_S = -62_135_596_800  # 0001-01-01T00:00:00Z
MAX_TIMESTAMP_S = 253_402_300_799  # 9999-12-31T23:59:59Z
MAX_DURATION_S = 315_576_000_000  # google/protobuf/duration.proto: about 10 000 years
NANOS = 1_000_000_000
_DAY_S = 24 * 3600
_MAX_HOUR, _MAX_MINUTE = 23, 59
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FLOATS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_MAX_EXACT_FLOAT32 = 2.0**24  # integers beyond have shorter texts than all their digits
_MAX_FLOAT32_TEXT = 3.4028235e38  # the shortest text of the largest 32-bit float; more rounds to infinity
_FLOAT32 = struct.Struct("<f")
_FLOAT32_FORMS = tuple(f"{{:.{digits}g}}".format for digits in (6, 7, 8))
_MAX_INTEGER_DIGITS = 20  # of a 64-bit number with its sign

Bounds = tuple[int, int]


def integer_from_text(text: str, bounds: Bounds) -> int:
    """Read a JSON number in text; ``1.0`` and ``1e3`` count as integers."""
    if _INTEGER.fullmatch(text):
        if len(text) > _MAX_INTEGER_DIGITS:
            raise ValueError(f"must be {bounds[0]} to {bounds[1]}")
        value = int(text)
    elif _JSON_NUMBER.fullmatch(text):
        return integer_from_float(float(text), bounds)
    else:
        raise ValueError("must be an integer")
    if not bounds[0] <= value <= bounds[1]:
        raise ValueError(f"must be {bounds[0]} to {bounds[1]}")
    return value


def integer_from_float(value: float, bounds: Bounds) -> int:
    """Read an integral float.

    The lower bound of int64 is refused: JSON integers below it arrive as that same float.
    """
    if not value.is_integer():
        raise ValueError("must be an integer")
    low, high = bounds
    if not float(low) <= value <= high or (value == low and low < -(2**31)):
        raise ValueError(f"must be {low} to {high}")
    return int(value)


def float_from_text(text: str) -> float:
    if text in _FLOATS:
        return _FLOATS[text]
    if not _JSON_NUMBER.fullmatch(text):
        raise ValueError("must be a number, NaN, Infinity or -Infinity")
    value = float(text)
    if math.isinf(value):
        raise ValueError("is out of the range of a double")
    return value


def check_float32(value: float) -> float:
    """Return *value* if it rounds to a finite 32-bit float (or is none itself)."""
    try:
        struct.pack("<f", value)
    except OverflowError:
        raise ValueError("is out of the range of a float") from None
    return value


def shortest_float32(value: float) -> float:
    """Return the float with the fewest digits that is the same 32-bit float as *value*."""
    if not math.isfinite(value) or (value.is_integer() and abs(value) <= _MAX_EXACT_FLOAT32):
        return value
    for form in _FLOAT32_FORMS:
        short = float(form(value))
        if abs(short) <= _MAX_FLOAT32_TEXT and _FLOAT32.unpack(_FLOAT32.pack(short))[0] == value:
            return short
    return float(f"{value:.9g}")


def bytes_from_text(text: str) -> bytes:
    """Read base64 in the standard or URL alphabet, padded correctly or not at all."""
    match = _BASE64.fullmatch(text)
    if match is None:
        raise ValueError("must be base64")
    digits, padding = match.groups()
    if len(digits) % 4 == 1 or (padding and (len(digits) + len(padding)) % 4):
        raise ValueError("is base64 of a wrong length")
    padded = digits.translate(_FROM_URL_ALPHABET) + "=" * (-len(digits) % 4)
    return binascii.a2b_base64(padded)


def bytes_to_text(value: bytes) -> str:
    return binascii.b2a_base64(value, newline=False).decode("ascii")


def timestamp_from_text(text: str) -> dict[str, int]:
    """Read RFC 3339 with upper-case T and Z; return seconds and nanos."""
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        raise ValueError("must be a time such as 2031-05-06T07:08:09.5Z")
    *calendar, fraction, sign, hours, minutes = match.groups()
    try:
        moment = datetime(*map(int, calendar), tzinfo=UTC)  # type: ignore[misc,arg-type]
    except ValueError as error:
        raise ValueError(f"is no valid time: {error}") from None
    seconds = (moment - _EPOCH) // timedelta(seconds=1)
    if sign:
        if int(hours) > _MAX_HOUR or int(minutes) > _MAX_MINUTE:
            raise ValueError("has an invalid offset")
        offset = int(hours) * 3600 + int(minutes) * 60
        seconds += -offset if sign == "+" else offset
    if not MIN_TIMESTAMP_S <= seconds <= MAX_TIMESTAMP_S:
        raise ValueError("must lie in the years 0001 to 9999 in UTC")
    return {"seconds": seconds, "nanos": _nanos(fraction)}


def timestamp_to_text(seconds: int, nanos: int) -> str:
    if not (MIN_TIMESTAMP_S <= seconds <= MAX_TIMESTAMP_S and 0 <= nanos < NANOS):
        raise ValueError("holds a time outside the years 0001 to 9999")
    day, second = divmod(seconds, _DAY_S)
    return f"{_date(day)}T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}{_fraction(nanos)}Z"


@functools.lru_cache(maxsize=4096)
def _date(day: int) -> str:
    """Return the date that lies so many days after the epoch."""
    # isoformat pads the year to four digits, which strftime does not.
    return (_EPOCH + timedelta(days=day)).isoformat()[:10]


def duration_from_text(text: str) -> dict[str, int]:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("must be a duration such as 1.5s")
    sign, whole, fraction = match.groups()
    seconds, nanos = int(whole), _nanos(fraction)
    if seconds > MAX_DURATION_S or (seconds == MAX_DURATION_S and nanos):
        raise ValueError(f"must be -{MAX_DURATION_S}s to {MAX_DURATION_S}s")
    return {"seconds": -seconds, "nanos": -nanos} if sign else {"seconds": seconds, "nanos": nanos}


def duration_to_text(seconds: int, nanos: int) -> str:
    if abs(seconds) > MAX_DURATION_S or abs(nanos) >= NANOS or seconds * nanos < 0:
        raise ValueError("holds a duration out of range")
    sign = "-" if seconds < 0 or nanos < 0 else ""
    return f"{sign}{abs(seconds)}{_fraction(abs(nanos))}s"


def _nanos(fraction: str | None) -> int:
    return int(fraction.ljust(9, "0")) if fraction else 0


def _fraction(nanos: int) -> str:
    """Return 0, 3, 6 or 9 digits, the fewest that are exact."""
    if not nanos:
        return ""
    digits = f"{nanos:09d}"
    if digits.endswith("000000"):
        return "." + digits[:3]
    return "." + (digits[:6] if digits.endswith("000") else digits)


def mask_from_json(text: str) -> list[str]:
    """Read the proto3 JSON form of a FieldMask: camelCase paths joined by commas."""
    if "_" in text:
        raise ValueError("must name fields in lowerCamelCase")
    return _mask(text)


def mask_from_query(text: str) -> list[str]:
    """Read a FieldMask of a query: each path in camelCase or in proto names."""
    return [path if "_" in path else _snake(path) for path in _elements(text)]


def _mask(text: str) -> list[str]:
    return [_snake(path) for path in _elements(text)]


def _elements(text: str) -> list[str]:
    if not text:
        return []
    paths = text.split(",")
    if not all(paths):
        raise ValueError("holds an empty path")
    return paths


def _snake(path: str) -> str:
    if re.search(r"(?:^|\.)[A-Z]", path):
        raise ValueError(f"holds {path!r}, which begins with an upper-case letter")
    return re.sub(r"[A-Z]", lambda match: "_" + match[0].lower(), path)


def mask_to_json(paths: list[str]) -> str:
    """Join *paths* in camelCase; a path that would not come back raises ``ValueError``."""
    printed = []
    for path in paths:
        camel = re.sub(r"_([a-z])", lambda match: match[1].upper(), path)
        if "_" in camel or re.search(r"[A-Z]", path):
            raise ValueError(f"holds the path {path!r}, which has no camelCase form")
        printed.append(camel)
    return ",".join(printed)
