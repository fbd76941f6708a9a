"""A result in sentences: what is said, when nothing may be said, and that every number can be computed from the rows again."""

import math
import re
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from itertools import pairwise
from statistics import median
from typing import Any

import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import exp

from services.analyst.domain.explanation import explain
from services.analyst.domain.language import OutputColumn
from services.analyst.domain.result_fields import additive_columns, fields_of, number, number_text
from services.analyst.domain.warehouse import ColumnType, Rows

COUNTED = "SELECT base, COUNT(*) AS n FROM staff GROUP BY base"
AVERAGED = "SELECT base, AVG(salary) AS n FROM staff GROUP BY base"
BASE, MONTH = OutputColumn("base", "dimension", "", "base"), OutputColumn("base", "time", "", "month", "month")
HEADCOUNT, DELAY = OutputColumn("n", "measure", "", "headcount"), OutputColumn("n", "measure", "minutes", "delay")


def query(sql: str) -> exp.Query:
    """Return a parsed query."""
    parsed = sqlglot.parse_one(sql, dialect="duckdb")
    assert isinstance(parsed, exp.Query)
    return parsed


def said(
    rows: Sequence[tuple[Any, ...]],
    columns: Sequence[OutputColumn] = (BASE, HEADCOUNT),
    sql: str = COUNTED,
    *,
    truncated: bool = False,
) -> str:
    """Return what is said of rows."""
    result = Rows(tuple(ColumnType(column.name, "ANY") for column in columns), rows, truncated=truncated)
    return explain(fields_of(columns, result, query(sql)), result).text


def test_one_number_is_said_with_its_unit() -> None:
    assert said([(336776,)], [HEADCOUNT]) == "The headcount is 336,776."
    assert said([(Decimal("12.6391"),)], [DELAY], AVERAGED) == "The delay is 12.64 minutes."


def test_no_rows_and_no_value_are_different_things() -> None:
    assert said([]) == "The result is empty: no row meets the conditions."
    assert said([(None,)], [HEADCOUNT]) == "The headcount has no value."
    assert said([(math.nan,)], [DELAY], AVERAGED) == "The delay has no value."
    assert said([("JFK", None), ("LGA", None)]).endswith("Headcount has no value in any row.")


def test_one_row_is_told_column_by_column() -> None:
    assert said([("JFK", 2)]) == "There is one row: base is JFK, headcount is 2."


def test_counts_are_added_up_and_averages_are_not() -> None:
    rows = [("JFK", 2), ("LGA", 3)]

    assert "In these rows, headcount adds up to 5." in said(rows)
    assert "adds up" not in said(rows, [BASE, DELAY], AVERAGED)


def test_extremes_are_named_and_those_alike_together() -> None:
    rows = [("JFK", 2), ("LGA", 5), ("EWR", 2)]

    assert "Headcount is highest for LGA (5) and lowest for JFK and EWR (2)." in said(rows)
    assert "highest for row" not in said([("JFK", 2)] * 3)


def test_series_tells_its_change_and_its_largest_step() -> None:
    rows = [(date(2013, 3, 1), 12), (date(2013, 1, 1), 10), (date(2013, 2, 1), 4)]

    text = said(rows, [MONTH, HEADCOUNT])

    assert "Headcount rises from 10 in January 2013 to 12 in March 2013, by 2, 20%." in text
    assert "Its largest step is from February 2013 to March 2013: up by 8." in text


def test_percentages_change_by_points() -> None:
    rows = [(date(2013, 1, 1), 10.5), (date(2014, 1, 1), 12.5)]

    text = said(rows, [MONTH, OutputColumn("n", "measure", "%", "share")], AVERAGED)

    assert "from 10.5% in January 2013 to 12.5% in January 2014, by 2 percentage points." in text


def test_each_of_a_few_series_is_followed() -> None:
    rows = [(date(2013, month, 1), carrier, month) for month in (1, 2) for carrier in ("AA", "UA")]

    text = said(rows, [MONTH, OutputColumn("carrier", "dimension", "", "carrier"), HEADCOUNT])

    assert "Headcount of AA rises" in text
    assert "Headcount of UA rises" in text


def test_share_of_the_top_rows_is_said_of_counts_alone() -> None:
    rows = [("a", 50), ("b", 20), ("c", 10), ("d", 10), ("e", 10)]

    assert "The 3 highest rows make up 80% of that sum." in said(rows)
    assert "make up" not in said(rows, [BASE, DELAY], AVERAGED)
    assert "make up" not in said([*rows, ("f", -1)])


def test_what_lies_far_from_the_median_is_named() -> None:
    rows = [(name, 10 + at % 3) for at, name in enumerate("abcdefgh")]

    assert "Far from the median of 11, more than 3.5 times the scaled median absolute deviation away: z (90)." in said(
        [*rows, ("z", 90)]
    )
    assert "Far from" not in said(rows)


def test_missing_values_and_a_cut_result_are_said() -> None:
    text = said([("JFK", 2), ("LGA", None), (None, 4)], truncated=True)

    assert text.startswith("These are the first 3 rows of a result that has more")
    assert "1 row has no headcount." in text
    assert "1 row has no base." in text
    assert "highest for (none)" in text


def test_labels_cannot_bring_lines_or_length_into_the_text() -> None:
    text = said([("a\n\x1b[31mb" + "c" * 500, 1), ("d", 2)])

    assert "\n" not in text
    assert "\x1b" not in text
    assert len(text) < 300


@pytest.mark.parametrize(
    ("sql", "adds"),
    [
        ("SELECT SUM(a) AS n FROM t", True),
        ("SELECT COALESCE(SUM(a), 0) / 100 AS n FROM t", True),
        ("SELECT SUM(a) - SUM(b) AS n FROM t", True),
        ("SELECT COUNT(*) FILTER (WHERE a > 1) AS n FROM t", True),
        ("WITH c AS (SELECT k, COUNT(*) AS n FROM t GROUP BY k) SELECT k, n FROM c", True),
        ("SELECT n FROM (SELECT k, SUM(a) AS n FROM t GROUP BY k) AS s", True),
        ("SELECT COUNT(DISTINCT a) AS n FROM t", False),
        ("SELECT AVG(a) AS n FROM t", False),
        ("SELECT SUM(a) / COUNT(*) AS n FROM t", False),
        ("SELECT MAX(a) AS n FROM t", False),
        ("SELECT SUM(a) OVER (ORDER BY b) AS n FROM t", False),
        ("SELECT a AS n FROM t", False),
        ("SELECT s.n FROM (SELECT k, SUM(a) AS n FROM t GROUP BY k) AS s JOIN u ON u.k = s.k", False),
        ("SELECT SUM(a) AS n FROM t UNION ALL SELECT 1", False),
    ],
)
def test_sums_and_counts_add_up_and_nothing_else_does(sql: str, *, adds: bool) -> None:
    assert ("n" in additive_columns(query(sql))) is adds


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-0.0, "0"),
        (1234567, "1,234,567"),
        (-1234.5, "-1,234.5"),
        (12.346, "12.35"),
        (0.1 + 0.2, "0.3"),
        (0.012345, "0.0123"),
        (Decimal("99.999"), "100"),
        (1e-9, "1.000e-9"),
        (10**20, "1.000e+20"),
    ],
)
def test_numbers_are_readable(value: float | Decimal, text: str) -> None:
    exact = number(value)

    assert exact is not None
    assert number_text(exact) == text


NUMBERS = st.one_of(
    st.none(),
    st.integers(-(10**6), 10**6),
    st.decimals(-(10**6), 10**6, places=2, allow_nan=False),
    st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: round(value, 3)),
)


def recomputed(values: Sequence[Decimal]) -> set[Decimal]:
    """Return every number that a sentence about *values* may hold, worked out in another way."""
    found = {*values, sum(values, Decimal()), Decimal(len(values)), Decimal("3.5"), Decimal(3)}
    middle = median(values)
    found |= {middle, *(abs(after - before) for before, after in pairwise(values)), abs(values[-1] - values[0])}
    if values[0]:
        found.add(abs(values[-1] - values[0]) * 100 / values[0])
    total = sum(values, Decimal())
    if total:
        found.add(sum(sorted(values)[-3:], Decimal()) * 100 / total)
    return found | {Decimal(count) for count in range(len(values) + 1)}


def is_among(shown: str, candidates: set[Decimal]) -> bool:
    """Tell whether a number as shown is one of *candidates*, to the digits that are shown."""
    value = Decimal(shown.replace(",", ""))
    digits = -int(value.as_tuple().exponent) if "e" not in shown else 0
    near = max(Decimal(1).scaleb(-digits) / 2, abs(value) / 1000 if "e" in shown else Decimal(0))
    return any(abs(abs(value) - abs(each)) <= near for each in candidates)


@given(
    values=st.lists(NUMBERS, min_size=2, max_size=30), sql=st.sampled_from([COUNTED, AVERAGED]), over_time=st.booleans()
)
def test_every_number_can_be_computed_from_the_rows(values: list[Any], sql: str, *, over_time: bool) -> None:
    labels = [date(2000 + at, 1, 1) if over_time else chr(ord("A") + at) + "x" for at in range(len(values))]
    columns = [OutputColumn("base", "time", "", "year", "year") if over_time else BASE, HEADCOUNT]

    text = said(list(zip(labels, values, strict=True)), columns, sql)

    present = [Decimal(str(value)) for value in values if value is not None]
    candidates = {Decimal(count) for count in range(len(values) + 1)} | (recomputed(present) if present else set())
    candidates |= {Decimal(label.year) for label in labels if isinstance(label, date)}
    shown = re.findall(r"-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]\d+)?", text)
    assert not [number for number in shown if not is_among(number, candidates)], text
