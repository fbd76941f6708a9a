"""Identifiers: upper case unless quoted, as Snowflake folds them."""

import re

from sqlglot import exp

from services.emulator import errors

_PLAIN = re.compile(r"[A-Z_][A-Z0-9_$]*\Z")


def fold(identifier: exp.Expr | str | None) -> str:
    """Return the name that *identifier* stands for, empty for none."""
    if identifier is None or identifier == "":
        return ""
    if isinstance(identifier, str):
        return identifier.upper()
    if isinstance(identifier, exp.Identifier):
        return str(identifier.this) if identifier.args.get("quoted") else str(identifier.this).upper()
    if isinstance(identifier, exp.Anonymous):
        return fold(identifier.this)
    return str(identifier.name).upper()


def shown(name: str) -> str:
    """Return *name* as it would have to be written."""
    return name if _PLAIN.match(name) else '"' + name.replace('"', '""') + '"'


def split(text: str) -> tuple[str, ...]:
    """Return the parts of a dotted name given as text, folded."""
    parts: list[str] = []
    rest = text.strip()
    while rest:
        match = re.match(r'\s*(?:"((?:[^"]|"")*)"|([A-Za-z_][\w$]*))\s*(\.|\Z)', rest)
        if match is None:
            raise errors.compilation(1003, "42000", f"syntax error line 1 at position 0 unexpected '{text}'.")
        parts.append(match[1].replace('""', '"') if match[1] is not None else match[2].upper())
        rest = rest[match.end() :]
    return tuple(parts)
