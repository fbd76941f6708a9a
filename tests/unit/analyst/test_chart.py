"""Charts: which kind for which columns, bounded and read by everybody, and every one of them compiles without a warning."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
import sqlglot
from sqlglot import exp

from services.analyst.domain.chart import BARS, POINTS, SERIES, draw
from services.analyst.domain.language import OutputColumn
from services.analyst.domain.result_fields import fields_of
from services.analyst.domain.warehouse import ColumnType, Rows

TITLE = "how did it go?"
MONTH = OutputColumn("month", "time", "", "month", "month")
BASE, CARRIER = OutputColumn("base", "dimension", "", "base"), OutputColumn("carrier", "dimension", "", "carrier")
COUNT, DELAY = OutputColumn("n", "measure", "", "headcount"), OutputColumn("d", "measure", "minutes", "average delay")
MONTHS = [date(2013, month, 1) for month in range(1, 13)]


def spec(
    columns: Sequence[OutputColumn], rows: Sequence[tuple[Any, ...]], *, truncated: bool = False
) -> dict[str, Any]:
    """Return the chart of rows; {} when there is none."""
    query = sqlglot.parse_one("SELECT 1 AS one")
    assert isinstance(query, exp.Query)
    result = Rows(tuple(ColumnType(column.name, "ANY") for column in columns), rows, truncated=truncated)
    chart = draw(TITLE, fields_of(columns, result, query), result)
    return dict(chart.spec) if chart else {}


LINE = ([MONTH, COUNT], [(month, at) for at, month in enumerate(MONTHS)])
LINES = ([MONTH, CARRIER, COUNT], [(month, name, at) for at, month in enumerate(MONTHS) for name in ("AA", None)])
TWO_MEASURES = ([MONTH, COUNT, OutputColumn("m", "measure", "", "leavers")], [(month, 1, 2.5) for month in MONTHS])
TIMES = (
    [OutputColumn("at", "time", "", "at"), DELAY],
    [(datetime(2013, 1, 1, hour, tzinfo=UTC), 1.5) for hour in (1, 2)],
)
QUARTERS = ([OutputColumn("q", "time", "", "quarter", "quarter"), COUNT], [(month, 5) for month in MONTHS[::3]])
BARS_UP = ([BASE, COUNT], [("JFK", 2), ("LGA", Decimal("3.5")), (None, 1)])
BARS_LYING = ([BASE, DELAY], [(f"a rather long name {at}", at / 3) for at in range(30)])
GROUPED = ([BASE, CARRIER, COUNT], [(base, carrier, 1) for base in ("JFK", "LGA") for carrier in ("AA", "UA")])
HOURS = ([OutputColumn("hour", "dimension", "", "hour"), COUNT], [(hour, 24 - hour) for hour in range(24)])
SCATTER = ([COUNT, DELAY], [(at, -at * 1.5) for at in range(5)])
HISTOGRAM = ([DELAY], [(at % 7,) for at in range(50)])
ALL: dict[str, tuple[Any, Any]] = {
    "line": LINE,
    "lines": LINES,
    "two-measures": TWO_MEASURES,
    "times": TIMES,
    "quarters": QUARTERS,
    "bars": BARS_UP,
    "lying": BARS_LYING,
    "grouped": GROUPED,
    "hours": HOURS,
    "scatter": SCATTER,
    "histogram": HISTOGRAM,
}


MARKS = {
    "scatter": "point",
    "line": "line",
    "lines": "line",
    "two-measures": "line",
    "times": "line",
    "quarters": "line",
}


@pytest.mark.parametrize("name", ALL)
def test_kind_follows_from_what_columns_hold(name: str) -> None:
    assert spec(*ALL[name])["mark"]["type"] == MARKS.get(name, "bar")


@pytest.mark.parametrize(
    ("columns", "rows"),
    [
        pytest.param([COUNT], [(1,)], id="one-value"),
        pytest.param([BASE, COUNT], [("JFK", 1)], id="one-row"),
        pytest.param([BASE, COUNT], [], id="no-rows"),
        pytest.param([BASE, COUNT], [("JFK", None), ("LGA", None)], id="no-numbers"),
        pytest.param([BASE, CARRIER], [("JFK", "AA"), ("LGA", "UA")], id="no-measure"),
        pytest.param([BASE, COUNT], [("JFK", 1), ("JFK", 2)], id="name-twice"),
        pytest.param([MONTH, COUNT], [(MONTHS[0], 1), (MONTHS[0], 2), (MONTHS[1], 2)], id="time-twice"),
    ],
)
def test_nothing_is_drawn_where_a_picture_says_no_more(
    columns: Sequence[OutputColumn], rows: Sequence[tuple[Any, ...]]
) -> None:
    assert spec(columns, rows) == {}


def test_bars_are_sorted_and_lie_down_when_they_are_many() -> None:
    up, lying = spec(*BARS_UP), spec(*BARS_LYING)

    assert up["encoding"]["x"]["sort"] == ["LGA", "JFK", "(none)"]
    assert lying["encoding"]["y"]["field"] == "label"
    assert len(lying["data"]["values"]) == BARS
    assert lying["title"]["subtitle"] == f"the {BARS} highest of 30"


def test_hours_stay_in_their_order() -> None:
    assert spec(*HOURS)["encoding"]["x"]["sort"] == [str(hour) for hour in range(24)]


def test_weekdays_follow_the_number_beside_them() -> None:
    columns = [OutputColumn("weekday", "dimension"), OutputColumn("weekday_number", "dimension"), COUNT]

    drawn = spec(columns, [("Tuesday", 2, 9), ("Monday", 1, 3), ("Sunday", 7, 5)])

    assert drawn["encoding"]["x"]["sort"] == ["Monday", "Tuesday", "Sunday"]


def test_series_beyond_the_palette_are_left_out_and_that_is_said() -> None:
    rows = [(month, f"c{at}", at) for month in MONTHS for at in range(20)]

    drawn = spec([MONTH, CARRIER, COUNT], rows)

    assert {value["series"] for value in drawn["data"]["values"]} == {f"c{at}" for at in range(20 - SERIES, 20)}
    assert drawn["title"]["subtitle"] == f"the {SERIES} of 20 series with the highest values"


def test_charts_are_bounded_and_say_what_is_missing() -> None:
    drawn = spec([COUNT, DELAY], [(at, at) for at in range(10_000)], truncated=True)

    assert len(drawn["data"]["values"]) == POINTS
    assert drawn["title"]["subtitle"] == "the first 2,000 of 10,000 rows; the result has more rows"


@pytest.mark.parametrize("case", ALL.values(), ids=ALL)
def test_charts_are_described_titled_and_hold_their_data(case: tuple[Any, Any]) -> None:
    drawn = spec(*case)

    assert drawn["description"]
    assert drawn["title"]["text"] == TITLE
    assert set(drawn["data"]) == {"values"}
    assert "url" not in json.dumps(drawn)
    assert all(channel.get("title") for name, channel in drawn["encoding"].items() if name in {"x", "y"})


def test_units_stand_at_the_axes() -> None:
    assert spec(*ALL["lying"])["encoding"]["x"]["title"] == "average delay (minutes)"


def test_every_chart_compiles_without_a_warning() -> None:
    charts = {name: spec(*case) for name, case in ALL.items()}

    compiled = compile_all(charts)

    assert compiled.returncode == 0, compiled.stderr
    assert compiled.stderr == ""
    assert {name: "<svg" in svg for name, svg in json.loads(compiled.stdout).items()} == dict.fromkeys(ALL, True)


def test_compiler_does_warn_of_what_is_wrong() -> None:
    wrong = spec(*BARS_UP)
    wrong["encoding"]["x"]["type"] = "no such type"

    assert compile_all({"wrong": wrong}).stderr


def compile_all(charts: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
    """Compile charts in a process of its own, which prints warnings to stderr."""
    program = (
        "import json, sys, vl_convert as v; charts = json.load(sys.stdin);"
        "print(json.dumps({n: v.vegalite_to_svg(c, vl_version='6.4', show_warnings=True, allowed_base_urls=[]) for n, c in charts.items()}))"
    )
    return subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(charts),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
