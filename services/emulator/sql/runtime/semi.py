"""Semi-structured values: JSON text in its one compact form, read and made."""

import json
from typing import Any

from services.emulator.sql.runtime.refusals import refused


def dumps(value: Any) -> str:
    """Return the one form in which values are kept: compact, keys in order."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True, allow_nan=True)


def loads(text: str) -> Any:
    return json.loads(text)


def parse(text: str, attempt: bool) -> str | None:
    """PARSE_JSON: strict JSON, with NaN and trailing blanks allowed; empty text is NULL."""
    if not text.strip():
        return None
    try:
        return dumps(json.loads(text, object_pairs_hook=_unique))
    except (ValueError, RecursionError) as error:
        if attempt:
            return None
        where = getattr(error, "pos", 0)
        raise refused(
            100069, "22P02", f"Error parsing JSON: {error.args[0] if error.args else ''}, pos {where}"
        ) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"duplicate object attribute {json.dumps(key)}")
        found[key] = value
    return found


def scalar(text: str, wanted: str, attempt: bool) -> str | None:
    """Return a VARIANT's scalar as text to be read as another type; null is NULL, arrays and objects are refused."""
    if text == "null":
        return None
    if text[:1] in "[{":
        if attempt:
            return None
        raise refused(100071, "22000", f"Failed to cast variant value {text} to {wanted}")
    value = json.loads(text) if text[:1] == '"' else text
    if not attempt and wanted in {"FIXED", "REAL"} and not _numeric(str(value)):
        raise refused(100071, "22000", f"Failed to cast variant value {text} to {wanted}")
    if wanted in {"FIXED", "REAL"} and value in {"true", "false"}:
        return "1" if value == "true" else "0"
    return str(value)


def _numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text in {"true", "false"}
    return True


def as_array(text: str) -> str | None:
    if text == "null":
        return None
    return text if text.startswith("[") else f"[{text}]"


def as_object(text: str, attempt: bool) -> str | None:
    if text == "null":
        return None
    if text.startswith("{"):
        return text
    if attempt:
        return None
    raise refused(100071, "22000", f"Failed to cast variant value {text} to OBJECT")


def floats(text: str, dimension: int) -> list[float]:
    return [float(item) for item in _elements(text, dimension, (int, float))]


def integers(text: str, dimension: int) -> list[int]:
    """INT elements wrap at 32 bits."""
    return [(int(item) + 2**31) % 2**32 - 2**31 for item in _elements(text, dimension, (int, float))]


def _elements(text: str, dimension: int, kinds: tuple[type, ...]) -> list[Any]:
    values = json.loads(text)
    if not isinstance(values, list) or len(values) != dimension:
        got = len(values) if isinstance(values, list) else 0
        raise refused(
            100351,
            "22000",
            f"Array-like value being cast to a vector has incorrect dimension ({got}, expected {dimension})",
        )
    if any(isinstance(item, bool) or not isinstance(item, kinds) for item in values):
        raise refused(100352, "22000", "Array-like value being cast to a vector has an element of an invalid type")
    return values


def get(text: str, key: str) -> str | None:
    """Return one element by an index or key given as JSON."""
    value, wanted = json.loads(text), json.loads(key)
    if isinstance(value, dict) and isinstance(wanted, str):
        return dumps(value[wanted]) if wanted in value else None
    if isinstance(value, list) and isinstance(wanted, (int, float)) and 0 <= wanted < len(value):
        return dumps(value[int(wanted)])
    return None


def in_order(text: str) -> str:
    return dumps(json.loads(text))


FUNCTIONS: dict[str, tuple[Any, list[str] | None, str]] = {
    "sf_parse_json": (parse, ["VARCHAR", "BOOLEAN"], "VARCHAR"),
    "sf_scalar": (scalar, ["VARCHAR", "VARCHAR", "BOOLEAN"], "VARCHAR"),
    "sf_as_array": (as_array, ["VARCHAR"], "VARCHAR"),
    "sf_as_object": (as_object, ["VARCHAR", "BOOLEAN"], "VARCHAR"),
    "sf_floats": (floats, ["VARCHAR", "INTEGER"], "DOUBLE[]"),
    "sf_get": (get, ["VARCHAR", "VARCHAR"], "VARCHAR"),
    "sf_sorted": (in_order, ["VARCHAR"], "VARCHAR"),
    "sf_integers": (integers, ["VARCHAR", "INTEGER"], "INTEGER[]"),
}
