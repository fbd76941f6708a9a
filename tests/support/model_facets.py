"""Counts by value over plain memories, by definition."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from services.memory.domain.facets import Facet, FacetCounts, FacetField, Scalar, TimeUnit
from services.memory.domain.memory import Memory
from tests.support.filters import reached, value_at

Typed = tuple[str, Scalar]


def count_values(memories: Iterable[Memory], field: FacetField, limit: int) -> FacetCounts:
    """Return the most frequent values of *field*."""
    had = [values_at(memory, field) for memory in memories]
    counts = Counter(value for values in had for value in values)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0][0], 0 if item[0][1] is None else item[0][1]))
    facets = tuple(Facet(value, number) for (_, value), number in ordered[:limit])
    other = counts.total() - sum(facet.count for facet in facets)
    return FacetCounts(facets, other, sum(not values for values in had), len(had))


def values_at(memory: Memory, field: FacetField) -> set[Typed]:
    """Return the distinct values, each with its kind."""
    if field.path.field == "metadata":
        return set(scalars(memory, field.path.keys))
    value = value_at(field.path, memory)
    if field.unit is not None:
        return set() if value is None else {("text", first_day(value, field.unit))}
    values = value if isinstance(value, tuple) else (value,)
    return {("text", str(one)) for one in values if one}


def scalars(memory: Memory, keys: tuple[str, ...]) -> Iterator[Typed]:
    """Give what is no object and no list at *keys*; a list stands for its elements."""
    for value in reached(memory.metadata, keys):
        for one in value if isinstance(value, list) else [value]:
            match one:
                case None:
                    yield "null", None
                case bool():
                    yield "boolean", one
                case int() | float():
                    yield "number", float(one)
                case str():
                    yield "text", one


def first_day(moment: datetime, unit: TimeUnit) -> str:
    """Return the first day of the stretch that *moment* lies in."""
    day = moment.date()
    match unit:
        case TimeUnit.WEEK:
            day -= timedelta(days=day.weekday())
        case TimeUnit.MONTH:
            day = day.replace(day=1)
    return day.isoformat()
