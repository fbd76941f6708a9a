"""What a filter means, said slowly and obviously: the oracle for every store's compilation."""

import unicodedata
from collections.abc import Iterator
from typing import Any

from services.memory.domain.memory import Memory
from services.memory.filter.tree import (
    And,
    Boolean,
    Comparator,
    Compare,
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

NOTHING = object()


def interpret(meaning: Filter, memory: Memory) -> bool:
    """Return whether *memory* passes the filter."""
    return meaning.expression is None or holds(meaning.expression, memory)


def holds(expression: Expression, memory: Memory) -> bool:  # noqa: C901, PLR0911  # one case for each node
    """Return whether *expression* is true of *memory*; there is no third answer."""
    match expression:
        case And(parts):
            return all(holds(part, memory) for part in parts)
        case Or(parts):
            return any(holds(part, memory) for part in parts)
        case Not(part):
            return not holds(part, memory)
        case Compare(path, Comparator.EQUAL, Null()):
            return value_at(path, memory) in (NOTHING, None)
        case Compare(path, comparator, literal):
            value = value_at(path, memory)
            return has_type_of(literal, value) and compared(value, comparator, literal)
        case Match(path, pattern, ignore_case):
            value = value_at(path, memory)
            return isinstance(value, str) and fits(pattern, value, ignore_case=ignore_case)
        case Has(Path(field="metadata", keys=keys), wanted):
            return any(is_any_of(wanted, had_by(value)) for value in reached(memory.metadata, keys))
        case Has(path, wanted):
            return is_any_of(wanted, value_at(path, memory))
        case Present(Path(field="metadata", keys=())):
            return memory.metadata != {}
        case Present(Path(field="metadata", keys=keys)):
            return any(True for _ in reached(memory.metadata, keys))
        case Present(path):
            return value_at(path, memory) not in (NOTHING, None, "", ())
    raise AssertionError(expression)


def value_at(path: Path, memory: Memory) -> Any:
    """Return the value of a field, or what the keys lead to through objects alone."""
    if path.field != "metadata":
        value: Any = memory
        for name in path.field.split("."):
            value = getattr(value, name, "")  # without a source its texts are '' and its list is empty
        return value
    value = memory.metadata
    for key in path.keys:
        value = value.get(key, NOTHING) if isinstance(value, dict) else NOTHING
    return value


def reached(value: Any, keys: tuple[str, ...]) -> Iterator[Any]:
    """Give every value that *keys* lead to; a list on the way stands for those of its elements that are objects."""
    if not keys:
        yield value
    elif isinstance(value, dict) and keys[0] in value:
        inner = value[keys[0]]
        steps = inner if isinstance(inner, list) and keys[1:] else [inner]
        for step in steps:
            yield from reached(step, keys[1:])


def had_by(value: Any) -> list[Any]:
    """Return a list's elements, an object's keys, or the value itself."""
    return list(value) if isinstance(value, list | dict) else [value]


def is_any_of(wanted: Literal | Pattern, values: Any) -> bool:
    """Return whether *wanted* is among *values*."""
    if isinstance(wanted, Pattern):
        return any(isinstance(value, str) and fits(wanted, value) for value in values)
    if isinstance(wanted, Null):
        return any(value is None for value in values)
    return any(has_type_of(wanted, value) and value == wanted.value for value in values)


def has_type_of(literal: Literal, value: Any) -> bool:
    """Return whether *value* can be compared with *literal*; a boolean is no number."""
    match literal:
        case Text():
            return isinstance(value, str)
        case Integer() | Number():
            return isinstance(value, int | float) and not isinstance(value, bool)
        case Boolean():
            return isinstance(value, bool)
        case Time():
            return value is not None
        case Null():
            return value is None


def compared(value: Any, comparator: Comparator, literal: Literal) -> bool:
    """Return how *value* stands to *literal*."""
    assert not isinstance(literal, Null)
    other: Any = literal.value
    match comparator:
        case Comparator.EQUAL:
            return bool(value == other)
        case Comparator.LESS:
            return bool(value < other)
        case Comparator.LESS_EQUAL:
            return bool(value <= other)
        case Comparator.GREATER:
            return bool(value > other)
        case Comparator.GREATER_EQUAL:
            return bool(value >= other)


def fits(pattern: Pattern, text: str, *, ignore_case: bool = False) -> bool:
    """Return whether *text* fits *pattern*."""
    wanted = pattern.text
    if ignore_case:
        text, wanted = folded(text), folded(wanted)
    if pattern.open_start and pattern.open_end:
        return wanted in text
    return text.endswith(wanted) if pattern.open_start else text.startswith(wanted)


def folded(text: str) -> str:
    """Return *text* normalised and case-folded, without short cuts."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
