"""Text functions that the engine does not have or has with other rules."""

import unicodedata
from typing import Any

FUNCTIONS: dict[str, tuple[Any, list[str] | None, str]] = {}


def initcap(text: str, delimiters: str) -> str:
    """Upper-case each word's first letter; a word starts after any of *delimiters*."""
    out, start = [], True
    for mark in text:
        out.append(mark.upper() if start else mark.lower())
        start = mark in delimiters
    return "".join(out)


def soundex(text: str) -> str:
    """Return the four-character phonetic code of *text*."""
    codes = {
        **dict.fromkeys("BFPV", "1"),
        **dict.fromkeys("CGJKQSXZ", "2"),
        **dict.fromkeys("DT", "3"),
        "L": "4",
        **dict.fromkeys("MN", "5"),
        "R": "6",
    }
    letters = [mark for mark in unicodedata.normalize("NFD", text.upper()) if "A" <= mark <= "Z"]
    if not letters:
        return ""
    out, last = letters[0], codes.get(letters[0], "")
    for mark in letters[1:]:
        code = codes.get(mark, "")
        if code and code != last:
            out += code
        if mark not in "HW":
            last = code
    return (out + "000")[:4]


FUNCTIONS.update(
    {
        "sf_initcap": (initcap, ["VARCHAR", "VARCHAR"], "VARCHAR"),
        "sf_soundex": (soundex, ["VARCHAR"], "VARCHAR"),
    }
)
