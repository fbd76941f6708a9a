"""Text read as numbers and truth, and numbers shown as text, by Snowflake's rules."""

import re
from decimal import Decimal, InvalidOperation

from services.emulator.sql.runtime.refusals import refused

_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*\Z")
_TRUE = {"true", "t", "yes", "y", "on", "1"}
_FALSE = {"false", "f", "no", "n", "off", "0"}


def number(text: str, attempt: bool) -> str | None:
    """Return *text* as plain digits that the engine reads exactly."""
    if _NUMBER.match(text):
        try:
            value = Decimal(text.strip())
        except InvalidOperation:
            pass
        else:
            return format(value, "f")
    if attempt:
        return None
    raise refused(100038, "22018", f"Numeric value '{text}' is not recognized")


def floating(text: str, attempt: bool) -> float | None:
    word = text.strip().lower()
    if _NUMBER.match(text) or word in {"nan", "inf", "-inf", "infinity", "-infinity", "+inf"}:
        return float(word)
    if attempt:
        return None
    raise refused(100038, "22018", f"Numeric value '{text}' is not recognized")


def boolean(text: str, attempt: bool) -> bool | None:
    word = text.strip().lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    if attempt:
        return None
    raise refused(100037, "22018", f"Boolean value '{text}' is not recognized")


def float_text(value: float) -> str:
    """Return the shortest text that reads back the same; whole numbers have no point."""
    if value != value:  # noqa: PLR0124 - NaN is the one value that differs from itself
        return "NaN"
    if value in {float("inf"), float("-inf")}:
        return "inf" if value > 0 else "-inf"
    if value == int(value) and abs(value) < 1e15:  # noqa: PLR2004 - digits that a double holds for sure
        return str(int(value))
    text = repr(value)
    return text.replace("e+", "e") if "e" in text else text


def unhex(text: str, attempt: bool) -> bytes | None:
    try:
        return bytes.fromhex(text) if " " not in text else _bad_hex(text)
    except ValueError:
        if attempt:
            return None
        return _bad_hex(text)


def _bad_hex(text: str) -> bytes:
    raise refused(100115, "22000", f"The following string is not a legal hex-encoded value: '{text}'")


FUNCTIONS = {
    "sf_number": (number, ["VARCHAR", "BOOLEAN"], "VARCHAR"),
    "sf_float": (floating, ["VARCHAR", "BOOLEAN"], "DOUBLE"),
    "sf_boolean": (boolean, ["VARCHAR", "BOOLEAN"], "BOOLEAN"),
    "sf_float_text": (float_text, ["DOUBLE"], "VARCHAR"),
    "sf_unhex": (unhex, ["VARCHAR", "BOOLEAN"], "BLOB"),
}
