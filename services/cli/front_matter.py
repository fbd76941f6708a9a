"""Front matter of a Markdown file: the block of `key: value` lines between two `---` lines at its start.

Reads the part of YAML that notes really use: scalars, lists of scalars, quotes, comments. A deeper structure is kept as the text it is.
"""

import re
from typing import Any

_KEY = re.compile(r"([A-Za-z_][\w .-]{0,126}?)[ \t]*:(?:[ \t]+(.*?))?[ \t]*")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,14})(?:\.\d{1,15})?")
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "~": None}


def split_front_matter(text: str) -> tuple[dict[str, Any], str]:
    """Return what the front matter of *text* says, and the rest; without front matter nothing and the whole."""
    lines = text.split("\n")
    if lines[0].rstrip() != "---":
        return {}, text
    for number, line in enumerate(lines[1:], start=1):
        if line.rstrip() in {"---", "..."}:
            values = _parse(lines[1:number])
            return ({}, text) if values is None else (values, "\n".join(lines[number + 1 :]))
    return {}, text


def _parse(lines: list[str]) -> dict[str, Any] | None:
    """Return the values, or nothing when these lines are no front matter, such as text between two rules."""
    values: dict[str, Any] = {}
    nested: dict[str, list[str]] = {}
    key = ""
    for line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line.startswith((" ", "\t", "- ")) and key:
            nested.setdefault(key, []).append(line)
        elif match := _KEY.fullmatch(line):
            key = match[1]
            values[key] = _value(match[2] or "")
        else:
            return None
    for name, block in nested.items():
        values[name] = _block(block)
    return values


def _block(lines: list[str]) -> Any:
    items = [line.strip() for line in lines]
    if all(item.startswith("- ") for item in items):
        return [_scalar(item[2:].strip()) for item in items]
    return "\n".join(lines)


def _value(text: str) -> Any:
    if text.startswith("[") and text.endswith("]"):
        return [_scalar(item.strip()) for item in text[1:-1].split(",") if item.strip()]
    return _scalar(text)


def _scalar(text: str) -> Any:
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    text = re.split(r"[ \t]#", text, maxsplit=1)[0].rstrip()
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    return text
