"""What the columns of a result hold, as far as the question's reading, the statement and the values say: labels, times, numbers that add up."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlglot import exp

from services.analyst.domain.language import OutputColumn
from services.analyst.domain.warehouse import Rows

LABEL = "label"
TIME = "time"
MEASURE = "measure"
DETAIL = "detail"  # neither names a row nor can be counted with
ORDER = "_number"  # a column that only puts the one of that name in order, such as weekday_number
_CODES = ("id", "key", "code", "number", "year", "month", "quarter", "week", "day", "hour", "rank", "zip")
_GRAINS = {"year": "%Y", "quarter": "QUARTER %Y", "month": "%B %Y", "week": "the week of %Y-%m-%d"}
_LARGE, _SMALL = Decimal("1e18"), Decimal("1e-6")  # beyond these a number is written with an exponent
_WRAPPERS = (exp.Alias, exp.Paren, exp.Cast, exp.Round, exp.Neg, exp.Filter)


@dataclass(frozen=True, slots=True)
class Field:
    """A column of a result. ``additive``: the sum of its values means something."""

    at: int
    name: str
    title: str
    role: str
    unit: str = ""
    grain: str = ""
    additive: bool = False


def fields_of(columns: Sequence[OutputColumn], rows: Rows, query: exp.Query) -> tuple[Field, ...]:
    """Return a field for each column of *rows*; what the reading does not say is taken from the statement and the values."""
    told = columns if len(columns) == len(rows.columns) else [None] * len(rows.columns)
    sums = additive_columns(query)
    names = {column.name.casefold() for column in rows.columns}
    fields = []
    for at, (column, typed) in enumerate(zip(told, rows.columns, strict=True)):
        values = [row[at] for row in rows.rows if row[at] is not None]
        additive = typed.name in sums
        role = _role(column.role if column else _guess(typed.name, values), values, additive=additive)
        if typed.name.casefold().endswith(ORDER) and typed.name.casefold().removesuffix(ORDER) in names:
            role = DETAIL
        title = (column.title if column else "") or typed.name.replace("_", " ").lower()
        unit, grain = (column.unit, column.grain) if column else ("", "")
        fields.append(Field(at, typed.name, title, role, unit, grain, additive and role == MEASURE and unit != "%"))
    return tuple(fields)


def number(value: Any) -> Decimal | None:
    """Return the exact decimal that a value shows, None when it is no number or not a finite one."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or not math.isfinite(value):
        return None
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)


def additive_columns(query: exp.Query) -> frozenset[str]:
    """Return the columns of *query* that are sums and counts over groups of rows, so that adding them up makes sense."""
    if not isinstance(query, exp.Select):
        return frozenset()
    return frozenset(node.alias_or_name for node in query.selects if _adds(node, query))


def _role(role: str, values: Sequence[Any], *, additive: bool) -> str:
    """Return the role that the values can play."""
    if (role == "measure" or additive) and all(
        isinstance(v, int | float | Decimal) and not isinstance(v, bool) for v in values
    ):
        return MEASURE
    if role == "time" and values and all(isinstance(value, date) for value in values):
        return TIME
    return DETAIL if role == "measure" else LABEL


def _guess(name: str, values: Sequence[Any]) -> str:
    """Return the role of a column that nobody speaks of."""
    if values and all(isinstance(value, date) for value in values):
        return "time"
    is_code = name.casefold().endswith(_CODES)
    numeric = bool(values) and all(number(value) is not None for value in values)
    return "measure" if numeric and not is_code else "dimension"


def _adds(node: exp.Expr, select: exp.Select) -> bool:  # noqa: PLR0911  # one form a line
    match node:
        case exp.Sum() | exp.Count():
            return not isinstance(node.this, exp.Distinct)
        case exp.CountIf():
            return True
        case exp.Coalesce():
            return _adds(node.this, select) and all(isinstance(other, exp.Literal) for other in node.expressions)
        case exp.Add() | exp.Sub():
            return _adds(node.left, select) and _adds(node.right, select)
        case exp.Mul() | exp.Div():
            return _adds(node.left, select) and isinstance(node.right, exp.Literal)
        case exp.Column():
            return _source_adds(node, select)
    return isinstance(node, _WRAPPERS) and _adds(node.this, select)


def _source_adds(column: exp.Column, select: exp.Select) -> bool:
    """Tell whether a column is passed on as it is from one query beneath that adds it up; a join might repeat it."""
    source = select.args.get("from_")
    if source is None or select.args.get("joins") or select.args.get("group"):
        return False
    inner = source.this
    if isinstance(inner, exp.Table):
        inner = next((cte for cte in select.ctes if cte.alias == inner.name), None)
    query = inner.this if isinstance(inner, exp.Subquery | exp.CTE) else None
    if not isinstance(query, exp.Select):
        return False
    return any(node.alias_or_name == column.name and _adds(node, query) for node in query.selects)


def time_text(moment: Any, grain: str) -> str:
    """Return a time as a person would name it at its grain."""
    if not isinstance(moment, date):
        return str(moment)
    if grain in _GRAINS:
        return f"{moment:{_GRAINS[grain]}}".replace("QUARTER", f"Q{(moment.month + 2) // 3}")
    if isinstance(moment, datetime) and (moment.hour or moment.minute or moment.second or grain == "hour"):
        return f"{moment:%Y-%m-%d %H:%M}" if not moment.second else f"{moment:%Y-%m-%d %H:%M:%S}"
    return f"{moment:%Y-%m-%d}"


def label_text(value: Any, field: Field, longest: int = 40) -> str:
    """Return what a label says, on one line and up to *longest* characters."""
    if value is None:
        return "(none)"
    text = time_text(value, field.grain) if field.role == TIME else str(value)
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split()) or "(empty)"
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def number_text(value: Decimal, unit: str = "") -> str:
    """Return a number for people: whole ones whole, others to two decimals, below one to three digits that count."""
    if unit == "%":
        return f"{_digits(value)}%"
    if not unit:
        return _digits(value)
    return f"{_digits(value)} {unit.removesuffix('s') if value == 1 and not unit.endswith('ss') else unit}"


def _digits(value: Decimal) -> str:
    size = abs(value)
    if not size:
        return "0"
    if size >= _LARGE or 0 < size < _SMALL:
        return f"{value:.3e}"
    places = 2 if size >= 1 else 2 - size.adjusted()
    return f"{value:,.{places}f}".rstrip("0").removesuffix(".")
