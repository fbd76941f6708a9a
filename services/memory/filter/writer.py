"""Writes a filter as text: the same text for equal trees, and one that ``parse`` reads back to the same tree."""

import re
from typing import assert_never

from services.memory.filter.tree import (
    And,
    Boolean,
    Comparator,
    Compare,
    Condition,
    Expression,
    Filter,
    Has,
    Integer,
    Literal,
    Match,
    Not,
    Null,
    Number,
    Or,
    Path,
    Pattern,
    Present,
    Text,
    Time,
)

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ESCAPED = re.compile(r'["\\*\x00-\x1f\x7f]')
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_EXACT = 2.0**53


def unparse(meaning: Filter) -> str:
    """Return the canonical text of *meaning*; '' lets everything through. It may be longer than what ``parse`` takes by default."""
    return "" if meaning.expression is None else _expression(meaning.expression)


def _expression(expression: Expression) -> str:
    match expression:
        case And(parts):
            return " AND ".join(map(_factor, parts))
        case _:
            return _factor(expression)


def _factor(expression: Expression) -> str:
    """Return *expression* as it stands beside AND: an OR needs no parentheses there."""
    match expression:
        case Or(parts):
            return " OR ".join(map(_term, parts))
        case _:
            return _term(expression)


def _term(expression: Expression) -> str:
    match expression:
        case And() | Or():
            return f"({_expression(expression)})"
        case Not(Compare(path, Comparator.EQUAL, literal)):
            return f"{_path(path)} != {_literal(literal)}"
        case Not(part):
            return f"NOT {_term(part)}"
        case _:
            return _condition(expression)


def _condition(condition: Condition) -> str:
    match condition:
        case Compare(path, comparator, literal):
            return f"{_path(path)} {comparator} {_literal(literal)}"
        case Match(path, pattern, ignore_case):
            anywhere = pattern.open_start and pattern.open_end and ignore_case
            written = _quoted(pattern.text) if anywhere else _pattern(pattern)
            return f"{_path(path)}{':' if ignore_case else ' = '}{written}"
        case Has(path, value):
            return f"{_path(path)}:{_pattern(value) if isinstance(value, Pattern) else _literal(value)}"
        case Present(path):
            return f"{_path(path)}:*"
        case _:
            assert_never(condition)


def _path(path: Path) -> str:
    return ".".join([path.field, *(key if _NAME.fullmatch(key) else _quoted(key) for key in path.keys)])


def _literal(literal: Literal) -> str:
    match literal:
        case Text(text):
            return _quoted(text)
        case Integer(integer):
            return str(integer)
        case Number(number):
            return str(int(number)) if number.is_integer() and abs(number) <= _EXACT else repr(number)
        case Boolean(boolean):
            return "true" if boolean else "false"
        case Null():
            return "null"
        case Time(time):
            return f'"{time.isoformat().removesuffix("+00:00")}Z"'
        case _:
            assert_never(literal)


def _pattern(pattern: Pattern) -> str:
    inner = _quoted(pattern.text)[1:-1]
    return f'"{"*" * pattern.open_start}{inner}{"*" * pattern.open_end}"'


def _quoted(text: str) -> str:
    return f'"{_ESCAPED.sub(_escape, text)}"'


def _escape(found: re.Match[str]) -> str:
    character = found.group()
    if character in _SHORT:
        return _SHORT[character]
    return f"\\{character}" if character.isprintable() else f"\\u{ord(character):04x}"
