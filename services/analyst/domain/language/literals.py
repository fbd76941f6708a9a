"""Numbers, dates and periods: as SQL, and in words."""

from collections.abc import Sequence
from datetime import date, timedelta

from sqlglot import exp

from services.analyst.domain.language.dates import Period

OPERATORS: dict[str, type[exp.Binary]] = {
    "gt": exp.GT,
    "ge": exp.GTE,
    "lt": exp.LT,
    "le": exp.LTE,
    "eq": exp.EQ,
    "ne": exp.NEQ,
}


def literal(value: float) -> exp.Expr:
    """Return a number as SQL, whole when it is."""
    return exp.Literal.number(plain(value)) if value >= 0 else exp.Neg(this=exp.Literal.number(plain(-value)))


def plain(value: float) -> str:
    """Return a number without a needless fraction."""
    return str(int(value)) if value == int(value) else repr(value)


def day(value: date) -> exp.Expr:
    """Return a date literal."""
    return exp.cast(exp.Literal.string(value.isoformat()), "DATE")


def within(column: exp.Expr, period: Period) -> exp.Expr:
    """Return the condition that a time lies in a period, its end left out."""
    parts: list[exp.Expr] = []
    if period.start:
        parts.append(exp.GTE(this=column.copy(), expression=day(period.start)))
    if period.end:
        parts.append(exp.LT(this=column.copy(), expression=day(period.end)))
    return exp.paren(exp.and_(*parts)) if len(parts) > 1 else parts[0]


def period_words(period: Period) -> str:
    """Return a period in words, both days included."""
    last = period.end - timedelta(days=1) if period.end else None
    if period.start and last:
        return f"on {period.start}" if period.start == last else f"from {period.start} to {last}"
    return f"from {period.start} on" if period.start else f"up to {last}"


def either(words: Sequence[str]) -> str:
    unique = list(dict.fromkeys(words))
    return unique[0] if len(unique) == 1 else f"{', '.join(unique[:-1])} or {unique[-1]}"
