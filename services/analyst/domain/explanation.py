"""A result in sentences: totals, extremes, change, share and what stands out. Every number in them comes from the rows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from itertools import pairwise
from statistics import median
from typing import Any

from services.analyst.domain.events import Explanation
from services.analyst.domain.result_fields import (
    DETAIL,
    LABEL,
    MEASURE,
    TIME,
    Field,
    label_text,
    number,
    number_text,
)
from services.analyst.domain.warehouse import Rows

_DIGITS = 60  # sums of any numbers of a warehouse, which have up to 38, are exact
MEASURES = 3  # of a result that are spoken of
SERIES = 3  # over time that are followed one by one
_NAMED = 3  # rows that share a place and are named; more are counted
_FEWEST_FOR_SHARE = 5
_TOP = 3
# Iglewicz and Hoaglin, How to Detect and Handle Outliers (1993): 0.6745 * |x - median| / MAD > 3.5, for more than a handful of values.
_FEWEST_FOR_OUTLIERS = 8
_OUTLIER = Decimal("3.5") / Decimal("0.6745")


@dataclass(frozen=True, slots=True)
class Point:
    """A row by its name, and a number of it."""

    name: str
    value: Decimal
    row: tuple[Any, ...]


def explain(fields: Sequence[Field], rows: Rows) -> Explanation:
    """Return what the rows say."""
    with localcontext(prec=_DIGITS):
        return _explain(fields, rows)


def _explain(fields: Sequence[Field], rows: Rows) -> Explanation:
    if not rows.rows:
        return Explanation("The result is empty: no row meets the conditions.")
    if len(rows.rows) == 1:
        return Explanation(_single(fields, rows.rows[0]))
    sentences = [_size(rows)]
    for field in [field for field in fields if field.role == MEASURE][:MEASURES]:
        sentences.extend(_measured(field, fields, rows))
    sentences.extend(_missing(field, rows) for field in fields if _nulls(field, rows) and field.role != MEASURE)
    return Explanation(" ".join(sentences))


def points(field: Field, fields: Sequence[Field], rows: Rows) -> list[Point]:
    """Return the rows that have a number in *field*, by their names."""
    names = [other for other in fields if other.role in {LABEL, TIME}]
    found = []
    for at, row in enumerate(rows.rows, 1):
        value = number(row[field.at])
        if value is not None:
            name = ", ".join(label_text(row[other.at], other) for other in names) or f"row {at}"
            found.append(Point(name, value, tuple(row)))
    return found


def outliers(values: Sequence[Decimal]) -> list[int]:
    """Return which values lie far from the median by the median absolute deviation; none when there are few, or half are the same."""
    if len(values) < _FEWEST_FOR_OUTLIERS:
        return []
    middle = median(values)
    spread = median(abs(value - middle) for value in values)
    return [at for at, value in enumerate(values) if spread and abs(value - middle) > _OUTLIER * spread]


def _single(fields: Sequence[Field], row: Sequence[Any]) -> str:
    """Word the one row that there is."""
    said = [f"{field.title} is {_value(field, row[field.at])}" for field in fields if not _is_missing(field, row)]
    said += [f"{field.title} has no value" for field in fields if _is_missing(field, row)]
    if len(fields) == 1:
        return _sentence(f"{'' if fields[0].title.startswith('the ') else 'the '}{said[0]}")
    return _sentence(f"there is one row: {', '.join(said)}")


def _value(field: Field, value: Any) -> str:
    exact = number(value)
    if exact is None or field.role == LABEL:
        return label_text(value, field, longest=200)
    return number_text(exact, field.unit)


def _size(rows: Rows) -> str:
    if rows.truncated:
        return (
            f"These are the first {len(rows.rows):,} rows of a result that has more; what follows is about them alone."
        )
    return f"There are {len(rows.rows):,} rows."


def _measured(field: Field, fields: Sequence[Field], rows: Rows) -> Iterable[str]:
    """Yield what there is to say of one measure."""
    found = points(field, fields, rows)
    if not found:
        yield _sentence(f"{field.title} has no value in any row")
        return
    if field.additive:
        total = sum((point.value for point in found), Decimal())
        yield _sentence(f"in these rows, {field.title} adds up to {number_text(total, field.unit)}")
    yield from _extremes(field, found)
    yield from _over_time(field, fields, found)
    if field.additive and not any(other.role == TIME for other in fields):
        yield from _share(found)
    yield from _unusual(field, found)
    if _nulls(field, rows):
        yield _missing(field, rows)


def _extremes(field: Field, found: Sequence[Point]) -> Iterable[str]:
    values = [point.value for point in found]
    high, low = max(values), min(values)
    if high == low:
        if len(found) > 1:
            yield _sentence(f"{field.title} is {number_text(high, field.unit)} in every row that has one")
        return
    yield _sentence(
        f"{field.title} is highest for {_who(found, high)} ({number_text(high, field.unit)})"
        f" and lowest for {_who(found, low)} ({number_text(low, field.unit)})"
    )


def _who(found: Sequence[Point], value: Decimal) -> str:
    names = list(dict.fromkeys(point.name for point in found if point.value == value))
    if len(names) > _NAMED:
        return f"{len(names):,} rows alike"
    return " and ".join([*([", ".join(names[:-1])] if names[1:] else []), names[-1]])


def _over_time(field: Field, fields: Sequence[Field], found: Sequence[Point]) -> Iterable[str]:
    """Yield how the measure went, in each series where there are few."""
    times = [other for other in fields if other.role == TIME]
    if len(times) != 1 or any(other.role == DETAIL for other in fields):
        return
    labels = [other for other in fields if other.role == LABEL]
    series: dict[str, list[Point]] = {}
    for point in found:
        if point.row[times[0].at] is not None:
            key = ", ".join(label_text(point.row[label.at], label) for label in labels)
            series.setdefault(key, []).append(point)
    if len(series) > SERIES:
        return
    for name, line in series.items():
        if len({point.row[times[0].at] for point in line}) == len(line) > 1:
            whose = f"{field.title} of {name}" if name else field.title
            yield from _change(whose, field, times[0], sorted(line, key=lambda point: point.row[times[0].at]))


def _change(whose: str, field: Field, time: Field, line: Sequence[Point]) -> Iterable[str]:
    first, last = line[0], line[-1]
    change = last.value - first.value
    start, end = label_text(first.row[time.at], time), label_text(last.row[time.at], time)
    went = f"from {number_text(first.value, field.unit)} in {start} to {number_text(last.value, field.unit)} in {end}"
    if change == 0:
        yield _sentence(f"{whose} ends as it began: {went}")
    else:
        relative = f", {number_text(_rounded(abs(change) * 100 / first.value), '%')}" if _is_ratio(first, field) else ""
        way = "rises" if change > 0 else "falls"
        yield _sentence(f"{whose} {way} {went}, by {number_text(abs(change), _of_change(field))}{relative}")
    steps = [(abs(after.value - before.value), before, after) for before, after in pairwise(line)]
    size, before, after = max(steps, key=lambda step: step[0])
    if len(steps) > 1 and size:
        between = f"from {label_text(before.row[time.at], time)} to {label_text(after.row[time.at], time)}"
        way = "up" if after.value > before.value else "down"
        yield _sentence(f"its largest step is {between}: {way} by {number_text(size, _of_change(field))}")


def _is_ratio(first: Point, field: Field) -> bool:
    """Tell whether a change may be put as a part of where it began."""
    return first.value > 0 and field.unit != "%"


def _of_change(field: Field) -> str:
    return "percentage points" if field.unit == "%" else field.unit


def _share(found: Sequence[Point]) -> Iterable[str]:
    values = sorted((point.value for point in found), reverse=True)
    total = sum(values)
    if len(values) >= _FEWEST_FOR_SHARE and values[-1] >= 0 and total > 0:
        share = number_text(_rounded(sum(values[:_TOP], Decimal()) * 100 / total), "%")
        yield f"The {_TOP} highest rows make up {share} of that sum."


def _unusual(field: Field, found: Sequence[Point]) -> Iterable[str]:
    values = [point.value for point in found]
    far = sorted((found[at] for at in outliers(values)), key=lambda point: -abs(point.value - median(values)))
    if far:
        named = ", ".join(f"{point.name} ({number_text(point.value, field.unit)})" for point in far[:_NAMED])
        more = f" and {len(far) - _NAMED:,} more" if len(far) > _NAMED else ""
        rule = "more than 3.5 times the scaled median absolute deviation away"
        yield f"Far from the median of {number_text(median(values), field.unit)}, {rule}: {named}{more}."


def _nulls(field: Field, rows: Rows) -> int:
    return sum(_is_missing(field, row) for row in rows.rows)


def _is_missing(field: Field, row: Sequence[Any]) -> bool:
    value = row[field.at]
    return value is None or (field.role == MEASURE and number(value) is None)


def _missing(field: Field, rows: Rows) -> str:
    count = _nulls(field, rows)
    return f"{count:,} {'row has' if count == 1 else 'rows have'} no {field.title}."


def _rounded(percent: Decimal) -> Decimal:
    """Return a percentage to one decimal."""
    return round(percent, 1)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
