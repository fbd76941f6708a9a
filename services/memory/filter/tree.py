"""What a filter means, as frozen values: paths are resolved, literals have their types, equal meanings mostly have equal trees.

Logic is two-valued. Every condition is true or false of every memory, also where a value is missing, and ``Not`` turns one into
the other. ``a != b`` has no node of its own: it is ``Not`` of ``=``.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Comparator(StrEnum):
    """How a value is compared; texts by code points, numbers by size, times by instant."""

    EQUAL = "="
    LESS = "<"
    LESS_EQUAL = "<="
    GREATER = ">"
    GREATER_EQUAL = ">="


@dataclass(frozen=True, slots=True)
class Path:
    """A field by its name in the contract (``source.uri``); for ``metadata`` also the keys that lead to a value."""

    field: str
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Text:
    """A text, also the name of an enum's value."""

    value: str


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number of 64 bits."""

    value: int


@dataclass(frozen=True, slots=True)
class Number:
    """A number in metadata: finite, as a double."""

    value: float


@dataclass(frozen=True, slots=True)
class Boolean:
    """True or false in metadata."""

    value: bool


@dataclass(frozen=True, slots=True)
class Null:
    """JSON's null in metadata."""


@dataclass(frozen=True, slots=True)
class Time:
    """An instant: aware, UTC, whole microseconds."""

    value: datetime


Literal = Text | Integer | Number | Boolean | Null | Time


@dataclass(frozen=True, slots=True)
class Pattern:
    """Texts that have *text*, never empty, at their end (*open_start*), their beginning (*open_end*), or anywhere (both)."""

    text: str
    open_start: bool
    open_end: bool


@dataclass(frozen=True, slots=True)
class Compare:
    """The value at *path* is of *literal*'s type and compares so; EQUAL to ``Null`` also where there is no value.

    Only keys of objects lead to the value; what lies inside a list is not reached.
    """

    path: Path
    comparator: Comparator
    literal: Literal


@dataclass(frozen=True, slots=True)
class Match:
    """The value at *path* is a text that fits *pattern*, perhaps whatever its case (``folding.fold`` says what that is)."""

    path: Path
    pattern: Pattern
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class Has:
    """A list of texts, or what metadata holds at *path*, has *value*.

    In metadata a list has its elements, an object its keys, any other value itself; a list on the way stands for each of its
    elements that are objects.
    """

    path: Path
    value: Text | Number | Boolean | Null | Pattern


@dataclass(frozen=True, slots=True)
class Present:
    """*path* is set: a text or list is not empty, a time is there, metadata holds the key, whatever its value."""

    path: Path


@dataclass(frozen=True, slots=True)
class Not:
    """True where *part* is not; *part* is never itself a ``Not``."""

    part: "Expression"


@dataclass(frozen=True, slots=True)
class And:
    """True where all *parts* are; two or more, none of them an ``And``."""

    parts: "tuple[Expression, ...]"


@dataclass(frozen=True, slots=True)
class Or:
    """True where any of *parts* is; two or more, none of them an ``Or``."""

    parts: "tuple[Expression, ...]"


Condition = Compare | Match | Has | Present
Expression = And | Or | Not | Condition


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter as read; without an expression it lets everything through."""

    expression: Expression | None


EVERYTHING = Filter(None)


def negation(part: Expression) -> Expression:
    """Return the opposite of *part*."""
    return part.part if isinstance(part, Not) else Not(part)


def conjunction(parts: list[Expression]) -> Expression:
    """Return what is true where all *parts* are; at least one."""
    flat = [inner for part in parts for inner in (part.parts if isinstance(part, And) else (part,))]
    return flat[0] if len(flat) == 1 else And(tuple(flat))


def disjunction(parts: list[Expression]) -> Expression:
    """Return what is true where any of *parts* is; at least one."""
    flat = [inner for part in parts for inner in (part.parts if isinstance(part, Or) else (part,))]
    return flat[0] if len(flat) == 1 else Or(tuple(flat))
