"""Regular expressions with Snowflake's parameters, positions and groups."""

import json
import re
from functools import lru_cache
from typing import Any

from services.emulator.sql.runtime.refusals import refused

_CLASSES = {
    "alpha": "A-Za-z",
    "digit": "0-9",
    "alnum": "A-Za-z0-9",
    "upper": "A-Z",
    "lower": "a-z",
    "space": r"\s",
    "punct": r"!-/:-@\[-`{-~",
    "word": r"\w",
    "xdigit": "0-9A-Fa-f",
    "blank": r" \t",
}


@lru_cache(maxsize=256)
def _compiled(pattern: str, parameters: str) -> re.Pattern[str]:
    flags = 0
    for letter in parameters:
        flags |= {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL}.get(letter, 0)
        if letter == "c":
            flags &= ~re.IGNORECASE
    for name, members in _CLASSES.items():
        pattern = pattern.replace(f"[:{name}:]", members)
    try:
        return re.compile(pattern, flags)
    except re.error:
        raise refused(100048, "2201B", f"Invalid regular expression: '{pattern}'") from None


def like(text: str, pattern: str, parameters: str) -> bool:
    return _compiled(pattern, parameters).fullmatch(text) is not None


def _matches(text: str, pattern: str, start: int, parameters: str) -> list[re.Match[str]]:
    return list(_compiled(pattern, parameters).finditer(text, max(0, int(start) - 1)))


def count(text: str, pattern: str, start: int, parameters: str) -> int:
    return len(_matches(text, pattern, start, parameters)) if pattern else 0


def replace(text: str, pattern: str, new: str, start: int, occurrence: int, parameters: str) -> str:
    template = re.sub(r"\\(\d)", r"\\g<\1>", new.replace("\\\\", "\\"))
    out, last = [], 0
    for number, match in enumerate(_matches(text, pattern, start, parameters), 1):
        if int(occurrence) in {0, number}:
            out += [text[last : match.start()], match.expand(template)]
            last = match.end()
    return "".join(out) + text[last:]


def _group(parameters: str, group: int, match: re.Match[str]) -> int:
    wanted = int(group) if group >= 0 else (1 if "e" in parameters else 0)
    return wanted if wanted <= (match.re.groups or 0) else 0


def substr(text: str, pattern: str, start: int, occurrence: int, parameters: str, group: int) -> str | None:
    found = _matches(text, pattern, start, parameters)
    if len(found) < occurrence:
        return None
    match = found[int(occurrence) - 1]
    return match.group(_group(parameters, group, match))


def substr_all(text: str, pattern: str, start: int, occurrence: int, parameters: str, group: int) -> str:
    found = _matches(text, pattern, start, parameters)[int(occurrence) - 1 :]
    return json.dumps(
        [match.group(_group(parameters, group, match)) for match in found], separators=(",", ":"), ensure_ascii=False
    )


def instr(text: str, pattern: str, start: int, occurrence: int, option: int, parameters: str, group: int) -> int:
    found = _matches(text, pattern, start, parameters)
    if len(found) < occurrence:
        return 0
    match = found[int(occurrence) - 1]
    return match.span(_group(parameters, group, match))[int(option)] + 1


_T, _I = "VARCHAR", "INTEGER"
FUNCTIONS: dict[str, tuple[Any, list[str] | None, str]] = {
    "sf_regexp_like": (like, [_T, _T, _T], "BOOLEAN"),
    "sf_regexp_count": (count, [_T, _T, _I, _T], _I),
    "sf_regexp_replace": (replace, [_T, _T, _T, _I, _I, _T], _T),
    "sf_regexp_substr": (substr, [_T, _T, _I, _I, _T, _I], _T),
    "sf_regexp_substr_all": (substr_all, [_T, _T, _I, _I, _T, _I], _T),
    "sf_regexp_instr": (instr, [_T, _T, _I, _I, _I, _T, _I], _I),
}
