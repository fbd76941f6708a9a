"""Strict JSON text: what RFC 8259 leaves open is refused here, before any field is looked at."""

import json
from typing import Any

import orjson


class BadJson(ValueError):
    """The bytes are not one unambiguous JSON value within the limits."""


def parse(body: bytes, *, max_depth: int, max_keys: int) -> Any:
    """Return the JSON value of *body*.

    Refused with ``BadJson``: everything that is no strict JSON in UTF-8 (so also a byte order mark, lone
    surrogates, NaN), a member name twice in one object, deeper nesting and more members than the limits.
    Integers beyond 64 bits come back as floats.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadJson(f"invalid JSON: {error}") from None
    opened = body.count(b"{") + body.count(b"[")
    if opened:
        keys = _count_keys(value, min(opened, max_depth))
        if keys > max_keys:
            raise BadJson(f"more than {max_keys} object members")
        if body.count(b":") != keys and _structural_colons(body) != keys:
            raise BadJson(f"member {_duplicate(body)!r} occurs twice in one object")
    return value


def _count_keys(value: Any, max_depth: int) -> int:
    """Count the members of all objects, level by level."""
    keys = 0
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(max_depth):
        deeper: list[Any] = []
        for container in level:
            if type(container) is dict:
                keys += len(container)
                items: Any = container.values()
            else:
                items = container
            deeper += [item for item in items if type(item) is dict or type(item) is list]
        if not deeper:
            return keys
        level = deeper
    raise BadJson(f"nested deeper than {max_depth} levels")


def _structural_colons(body: bytes) -> int:
    """Count the colons of valid JSON that stand outside strings, one for each member written.

    Splitting at quotes keeps this linear; a regular expression over strings would not be.
    """
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(body.split(b'"')[::2]).count(b":")


def _duplicate(body: bytes) -> str:
    """Return the first name that one object of *body* has twice."""
    found: list[str] = []

    def collect(pairs: list[tuple[str, Any]]) -> None:
        names: set[str] = set()
        for name, _ in pairs:
            if name in names:
                found.append(name)
            names.add(name)

    # Ints are read as floats: long digits would hit the interpreter's conversion limit.
    json.loads(body, object_pairs_hook=collect, parse_int=float)
    return found[0] if found else ""
