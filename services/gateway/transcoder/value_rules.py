"""Standard rules of protovalidate for one value, each compiled to a function that says what is wrong with it."""

import ipaddress
import math
import re
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.message import Message

from services.gateway.transcoder.field_rules import given

Check = Callable[[Any], str]
"""Returns what is wrong with a value, empty when nothing is."""
Unknown = Callable[[str], None]
"""Is told the name of a rule that is not checked."""

MAX_PATTERN_TEXT = 4096  # code points; a pattern may need quadratic time, and the service looks at longer texts itself
_NANOS = 1_000_000_000
_IGNORED = frozenset({"example", "strict"})

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_EMAIL = re.compile(rf"[a-zA-Z0-9.!#$%&'*+/=?^_`{{|}}~-]+@{_LABEL}(?:\.{_LABEL})*")  # HTML standard, 4.10.5.1.5
_HOSTNAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_TUUID = re.compile(r"[0-9a-fA-F]{32}")
_URI_REFERENCE = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*")  # RFC 3986, 2
_URI = re.compile(rf"[A-Za-z][A-Za-z0-9+.-]*:{_URI_REFERENCE.pattern}")
_MAX_HOSTNAME = 253


def value_checks(kind: str, rules: Message, unknown: Unknown) -> list[Check]:
    """Return the checks of *rules* for a value of *kind*, a member of FieldRules.type; CEL and the like go to *unknown*."""
    found = {name: value for name, value in given(rules).items() if name not in _IGNORED}
    checks = list(_bounds(kind, found))
    for name, expected in found.items():
        make = (_TEXT if kind == "string" else _BYTES if kind == "bytes" else {}).get(name) or _ANY_KIND.get(name)
        if make is not None:
            check = make(expected)
            if check is None:
                unknown(name)
            else:
                checks.append(check)
        elif name not in _BOUNDS and not _known_elsewhere(kind, name):
            unknown(name)
    if kind == "timestamp":
        checks += _about_now(found)
    return checks


def _known_elsewhere(kind: str, name: str) -> bool:
    """Say whether another place looks at a rule: counts and elements, enums, the clock."""
    elsewhere = {
        "repeated": {"min_items", "max_items", "unique", "items"},
        "map": {"min_pairs", "max_pairs", "keys", "values"},
        "enum": {"defined_only"},
        "timestamp": {"lt_now", "gt_now", "within"},
    }
    return name in elsewhere.get(kind, ())


_BOUNDS = frozenset({"gt", "gte", "lt", "lte"})


def _bounds(kind: str, found: dict[str, Any]) -> Iterator[Check]:
    """Yield the check of a range; one whose lower bound lies above the upper allows what is outside."""
    low_name = next((name for name in ("gt", "gte") if name in found), "")
    high_name = next((name for name in ("lt", "lte") if name in found), "")
    if kind not in _COMPARED or not (low_name or high_name):
        return
    key: Callable[[Any], Any] = (
        _instant if kind in {"duration", "timestamp"} else float if kind in {"float", "double"} else int
    )
    low: Any = key(found[low_name]) if low_name else None
    high: Any = key(found[high_name]) if high_name else None
    above = {"gt": lambda value: value > low, "gte": lambda value: value >= low}.get(low_name)
    below = {"lt": lambda value: value < high, "lte": lambda value: value <= high}.get(high_name)
    words = [f"{_WORDS[name]} {_shown(found[name])}" for name in (low_name, high_name) if name]
    if above is None or below is None:
        one = above or below
        yield lambda value: "" if one is None or one(key(value)) else f"must be {words[0]}"
    elif low > high or (low == high and (low_name, high_name) != ("gte", "lte")):
        yield lambda value: "" if above(key(value)) or below(key(value)) else f"must be {' or '.join(words)}"
    else:
        yield lambda value: "" if above(key(value)) and below(key(value)) else f"must be {' and '.join(words)}"


_COMPARED = frozenset(
    {
        *("float", "double", "int32", "int64", "uint32", "uint64", "sint32", "sint64"),
        *("fixed32", "fixed64", "sfixed32", "sfixed64", "duration", "timestamp"),
    }
)
_WORDS = {"gt": "greater than", "gte": "at least", "lt": "less than", "lte": "at most"}


def _instant(value: Any) -> tuple[int, int]:
    return value.seconds, value.nanos


def _shown(value: Any) -> str:
    return value.ToJsonString() if isinstance(value, Message) else f"{value}"  # type: ignore[attr-defined]


def _about_now(found: dict[str, Any]) -> Iterator[Check]:
    def offset_s(value: Any) -> float:
        return float(value.seconds + value.nanos / _NANOS - time.time())

    if found.get("lt_now"):
        yield lambda value: "" if offset_s(value) < 0 else "must lie in the past"
    if found.get("gt_now"):
        yield lambda value: "" if offset_s(value) > 0 else "must lie in the future"
    if "within" in found:
        span = found["within"]
        most = span.seconds + span.nanos / _NANOS
        yield lambda value: "" if abs(offset_s(value)) <= most else f"must lie within {_shown(span)} of now"


def _plain(value: Any) -> Any:
    """Return what can be compared and looked up of a value."""
    if isinstance(value, Message):
        return value.type_url if "type_url" in value.DESCRIPTOR.fields_by_name else _instant(value)  # type: ignore[attr-defined]
    return value


def _listed(values: Any) -> str:
    return ", ".join(_shown(value) if not isinstance(value, bytes) else value.hex() for value in list(values)[:10])


def _const(expected: Any) -> Check:
    wanted = _plain(expected)
    return lambda value: "" if _plain(value) == wanted else f"must be {_listed([expected])}"


def _in(expected: Any) -> Check:
    allowed = frozenset(map(_plain, expected))
    return lambda value: "" if _plain(value) in allowed else f"must be one of {_listed(expected)}"


def _not_in(expected: Any) -> Check:
    denied = frozenset(map(_plain, expected))
    return lambda value: f"must be none of {_listed(expected)}" if _plain(value) in denied else ""


def _finite(expected: Any) -> Check:
    return lambda value: "" if not expected or math.isfinite(value) else "must be finite"


_ANY_KIND: dict[str, Callable[[Any], Check | None]] = {
    "const": _const,
    "in": _in,
    "not_in": _not_in,
    "finite": _finite,
}


def _length(unit: str, word: str, measure: Callable[[Any], int]) -> Callable[[Any], Check]:
    tests: dict[str, Callable[[int, int], bool]] = {
        "at least": lambda size, limit: size >= limit,
        "at most": lambda size, limit: size <= limit,
        "exactly": lambda size, limit: size == limit,
    }
    fits = tests[word]
    return lambda limit: lambda value: "" if fits(measure(value), limit) else f"must have {word} {limit} {unit}"


def _size(text: str) -> int:
    return len(text.encode())


def _affix(word: str, holds: Callable[[Any, Any], bool]) -> Callable[[Any], Check]:
    return lambda part: lambda value: "" if holds(value, part) else f"must {word} {part!r}"


def _pattern(text: Any) -> Check | None:
    expression = safe_pattern(text if isinstance(text, str) else "")
    if expression is None or not isinstance(text, str):
        return None

    def check(value: str) -> str:
        fits = len(value) > MAX_PATTERN_TEXT or expression.search(value) is not None
        return "" if fits else f"must match the pattern {text}"

    return check


def safe_pattern(text: str) -> re.Pattern[str] | None:
    """Return an RE2 pattern for Python, None for one that Python reads otherwise or that may take exponential time."""
    if re.search(r"\\[1-9pPCQ]|\(\?(?:[=!]|<[=!]|P=|\(|[a-zA-Z]*U)", text) or _repeats_repeats(text):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)  # of what Python will read otherwise one day
            return re.compile(re.sub(r"(\\.)|(\[\^?\]?(?:\\.|[^\]\\])*\])|\$", _end_of_text, text, flags=re.DOTALL))
    except (re.error, FutureWarning, RecursionError, OverflowError):
        return None


def _end_of_text(match: re.Match[str]) -> str:
    r"""Write ``$`` and ``\z`` as Python's end of text: its own ``$`` also stands before a last line feed."""
    if match[1] == r"\z":
        return r"\Z"
    return match[1] or match[2] or r"\Z"


def _repeats_repeats(text: str) -> bool:
    """Say whether an open-ended repetition holds another one or an alternative, which may backtrack for ever."""
    inner = [False]
    bare = re.sub(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", "x", text, flags=re.DOTALL)
    for match in re.finditer(r"\(|(\))?(\*|\+|\{\d+,\d*\})?|\|", bare):
        if match[0] == "(":
            inner.append(False)
        elif match[0] == "|":
            inner[-1] = True
        elif match[1]:
            held = inner.pop() if len(inner) > 1 else False
            if held and match[2]:
                return True
            inner[-1] = inner[-1] or held or bool(match[2])
        elif match[2]:
            inner[-1] = True
    return False


def _format(name: str, fits: Callable[[str], bool]) -> Callable[[Any], Check]:
    return lambda wanted: lambda value: "" if not wanted or fits(value) else f"must be {name}"


def _is_hostname(text: str) -> bool:
    last = text.removesuffix(".").rpartition(".")[2]
    return len(text) <= _MAX_HOSTNAME and _HOSTNAME.fullmatch(text) is not None and not last.isdecimal()


def _is_address(version: int | None) -> Callable[[Any], bool]:
    def fits(value: Any) -> bool:
        try:
            return version in {None, ipaddress.ip_address(value).version}
        except ValueError:
            return False

    return fits


def _matches(expression: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: expression.fullmatch(text) is not None


_AFFIXES: dict[str, Callable[[Any], Check | None]] = {
    "prefix": _affix("begin with", lambda value, part: value.startswith(part)),
    "suffix": _affix("end with", lambda value, part: value.endswith(part)),
    "contains": _affix("contain", lambda value, part: part in value),
    "not_contains": _affix("not contain", lambda value, part: part not in value),
}
_TEXT: dict[str, Callable[[Any], Check | None]] = {
    **_AFFIXES,
    "len": _length("characters", "exactly", len),
    "min_len": _length("characters", "at least", len),
    "max_len": _length("characters", "at most", len),
    "len_bytes": _length("bytes", "exactly", _size),
    "min_bytes": _length("bytes", "at least", _size),
    "max_bytes": _length("bytes", "at most", _size),
    "pattern": _pattern,
    "email": _format("an email address", _matches(_EMAIL)),
    "hostname": _format("a host name", _is_hostname),
    "ip": _format("an IP address", _is_address(None)),
    "ipv4": _format("an IPv4 address", _is_address(4)),
    "ipv6": _format("an IPv6 address", _is_address(6)),
    "address": _format("a host name or IP address", lambda text: _is_hostname(text) or _is_address(None)(text)),
    "uri": _format("a URI", _matches(_URI)),
    "uri_ref": _format("a URI reference", _matches(_URI_REFERENCE)),
    "uuid": _format("a UUID", _matches(_UUID)),
    "tuuid": _format("a UUID without hyphens", _matches(_TUUID)),
}
_BYTES: dict[str, Callable[[Any], Check | None]] = {
    **{name: make for name, make in _AFFIXES.items() if name != "not_contains"},
    "len": _length("bytes", "exactly", len),
    "min_len": _length("bytes", "at least", len),
    "max_len": _length("bytes", "at most", len),
    "ip": _format("an IP address of 4 or 16 bytes", _is_address(None)),
    "ipv4": _format("an IPv4 address of 4 bytes", _is_address(4)),
    "ipv6": _format("an IPv6 address of 16 bytes", _is_address(6)),
}
