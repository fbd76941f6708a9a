"""A result as a Vega-Lite specification, chosen by what its columns hold; None where a picture would say no more than the rows."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, TypeAlias

from services.analyst.domain.events import Chart
from services.analyst.domain.result_fields import LABEL, MEASURE, ORDER, TIME, Field, label_text, number
from services.analyst.domain.warehouse import Rows

Json: TypeAlias = dict[str, Any]

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"  # names the version; nothing is read from there
BARS = 20  # categories that are shown; more cannot be told apart
ORDERED_BARS = 60  # the same where they follow one another, as hours and ages do
SERIES = 8  # lines or colours: as many as the palette has
POINTS = 2000  # marks of a chart, so that it stays a small message
_FEWEST_FOR_SCATTER = 3
_FEWEST_FOR_HISTOGRAM = 10
_UPRIGHT_BARS, _UPRIGHT_LABEL = 8, 10  # more or longer ones lie down
_WIDTH, _HEIGHT = 560, 320
# Okabe and Ito, Color Universal Design (2008): told apart by people with any colour vision.
_PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D1F"]
_AXIS_FORMATS = {"year": "%Y", "quarter": "Q%q %Y", "month": "%b %Y", "week": "%Y-%m-%d", "day": "%Y-%m-%d"}
_NUMBERS = ",.12~g"  # whole numbers whole, and no more digits than a double has
_GRID: Json = {"gridColor": "#E5E5E5", "labelLimit": 220, "titleLimit": 400}


def draw(title: str, fields: Sequence[Field], rows: Rows) -> Chart | None:
    """Return a chart of *rows* under *title*."""
    measures = [field for field in fields if field.role == MEASURE]
    times = [field for field in fields if field.role == TIME and _has_several(field, rows)]
    labels = [field for field in fields if field.role == LABEL]
    if len(rows.rows) < 2 or not measures:  # noqa: PLR2004  # one row says itself
        return None
    spec: Json | None = None
    if len(times) == 1 and len(labels) <= 1:
        spec = _lines(times[0], labels, measures, rows)
    elif labels and not times:
        spec = _bars(labels, _order(labels, fields, rows), measures[0], rows)
    elif not labels and not times:
        spec = _scatter(measures, rows) if len(measures) > 1 else _histogram(measures[0], rows)
    if spec is None:
        return None
    notes = [*spec.pop("notes"), *(["the result has more rows"] if rows.truncated else [])]
    return Chart(_framed(title, notes, spec))


def _has_several(field: Field, rows: Rows) -> bool:
    return len({row[field.at] for row in rows.rows} - {None}) > 1


def _order(labels: Sequence[Field], fields: Sequence[Field], rows: Rows) -> Field | None:
    """Return the numbers that put one label in an order of its own, such as hours or weekdays; None when there are none."""
    companions = [field for field in fields if field.name.casefold() == f"{labels[0].name}{ORDER}".casefold()]
    order = (companions or labels)[0]
    ordered = len(labels) == 1 and all(number(row[order.at]) is not None for row in rows.rows)
    return order if ordered else None


def _framed(title: str, notes: Sequence[str], spec: Json) -> Json:
    """Return *spec* with what every chart has."""
    subtitle = "; ".join(notes)
    said = f"{spec.pop('summary')}{f' ({subtitle})' if subtitle else ''}."
    return {
        "$schema": SCHEMA,
        "description": said[:1].upper() + said[1:],
        "title": {"text": _cut(title), **({"subtitle": subtitle} if subtitle else {}), "anchor": "start"},
        "background": "white",
        **spec,
        "config": {"axis": _GRID, "view": {"stroke": None}},
    }


def _lines(time: Field, labels: Sequence[Field], measures: Sequence[Field], rows: Rows) -> Json | None:
    """Return a line for each series over time; measures of one unit without labels are series too."""
    shown = [measures[0]]
    if not labels:
        shown = [field for field in measures if field.unit == measures[0].unit][:SERIES]
    several = bool(labels) or len(shown) > 1
    values: list[Json] = []
    for row in rows.rows:
        for field in shown:
            value = number(row[field.at])
            if value is not None and row[time.at] is not None:
                series = label_text(row[labels[0].at], labels[0]) if labels else field.title
                point: Json = {
                    "time": _moment(row[time.at]),
                    "at": label_text(row[time.at], time),
                    "value": _plain(value),
                }
                values.append({**point, "series": series} if several else point)
    kept, notes = _largest_series(values) if several else (values, [])
    if len({(value["time"], value.get("series")) for value in kept}) < len(kept):
        return None  # several rows at one time would be one jagged line
    kept.sort(key=lambda value: (value["time"], value.get("series", "")))
    if len(kept) > POINTS:
        kept, notes = kept[:POINTS], [*notes, f"the first {POINTS:,} points"]
    title = measures[0].title if len(shown) == 1 else "value"
    encoding: Json = {
        "x": {
            "field": "time",
            "type": "temporal",
            "scale": {"type": "utc"},
            "title": _cut(time.title),
            "axis": {"format": _AXIS_FORMATS[time.grain], "labelOverlap": True} if time.grain in _AXIS_FORMATS else {},
        },
        "y": _quantity("value", title, measures[0].unit, zero=False),
        "tooltip": [_tip("at", time.title), *([_tip("series", "series")] if several else []), _tip("value", title)],
    }
    if several:
        legend = _cut(labels[0].title) if labels else None
        encoding["color"] = _colour("series", legend)
        encoding["strokeDash"] = {"field": "series", "type": "nominal", "title": legend}
    what = f"{_joined(field.title for field in shown)}{f' by {labels[0].title}' if labels else ''}"
    mark = {"type": "line", "point": True, **({} if several else {"color": _PALETTE[0]})}
    return _chart(kept, mark, encoding, notes, f"line chart of {what} over {time.title}")


def _largest_series(values: Sequence[Json]) -> tuple[list[Json], list[str]]:
    """Return the points of the series with the highest values, as many as there are colours."""
    highest: dict[str, float] = {}
    for value in values:
        highest[value["series"]] = max(highest.get(value["series"], value["value"]), value["value"])
    chosen = set(sorted(highest, key=lambda name: (-highest[name], name))[:SERIES])
    notes = [f"the {SERIES} of {len(highest):,} series with the highest values"] if len(highest) > SERIES else []
    return [value for value in values if value["series"] in chosen], notes


def _bars(labels: Sequence[Field], order_by: Field | None, measure: Field, rows: Rows) -> Json | None:
    """Return bars, the longest first, or by *order_by*; two labels make groups of few."""
    values: list[Json] = []
    for row in rows.rows:
        value = number(row[measure.at])
        if value is not None:
            texts = [label_text(row[label.at], label) for label in labels]
            values.append({"label": ", ".join(texts), "value": _plain(value), "row": row, "texts": texts})
    if not values or len({value["label"] for value in values}) < len(values):
        return None  # rows that share a name would be stacked
    values.sort(key=lambda value: -value["value"])
    most = BARS if order_by is None else ORDERED_BARS
    notes = [f"the {most} highest of {len(values):,}"] if len(values) > most else []
    values = values[:most]
    if order_by is not None:
        values.sort(key=lambda value: value["row"][order_by.at])
    grouped = _is_grouped(values)
    order = list(dict.fromkeys(value["texts"][0] if grouped else value["label"] for value in values))
    lying = (order_by is None and len(order) > _UPRIGHT_BARS) or any(len(text) > _UPRIGHT_LABEL for text in order)
    of = _joined(label.title for label in labels)
    data = [
        {"label": value["texts"][0], "series": value["texts"][1], "value": value["value"]}
        if grouped
        else {"label": value["label"], "value": value["value"]}
        for value in values
    ]
    names: Json = {
        "field": "label",
        "type": "nominal",
        "sort": order,
        "title": _cut(labels[0].title if grouped else of),
        "axis": {} if lying else {"labelAngle": 0},
    }
    quantity = _quantity("value", measure.title, measure.unit, zero=True)
    encoding: Json = {
        ("y" if lying else "x"): names,
        ("x" if lying else "y"): quantity,
        "tooltip": [_tip("label", names["title"]), _tip("value", measure.title)],
    }
    mark: Json = {"type": "bar"}
    if grouped:
        encoding["yOffset" if lying else "xOffset"] = {"field": "series", "type": "nominal"}
        encoding["color"] = _colour("series", _cut(labels[1].title))
        encoding["tooltip"].insert(1, _tip("series", labels[1].title))
    else:
        mark["color"] = _PALETTE[0]
    return _chart(data, mark, encoding, notes, f"bar chart of {measure.title} by {of}", lying=lying)


def _is_grouped(values: Sequence[Json]) -> bool:
    """Tell whether two labels are better shown as groups of colours: each pair once, few colours, and fewer groups than bars."""
    if any(len(value["texts"]) != 2 for value in values):  # noqa: PLR2004  # a group and a colour
        return False
    groups, colours = ({value["texts"][at] for value in values} for at in (0, 1))
    return 1 < len(colours) <= SERIES and len(groups) < len(values)


def _scatter(measures: Sequence[Field], rows: Rows) -> Json | None:
    across, up = measures[0], measures[1]
    pairs = [(number(row[across.at]), number(row[up.at])) for row in rows.rows]
    values = [{"x": _plain(x), "y": _plain(y)} for x, y in pairs if x is not None and y is not None]
    if len(values) < _FEWEST_FOR_SCATTER:
        return None
    notes = [f"the first {POINTS:,} of {len(values):,} rows"] if len(values) > POINTS else []
    encoding = {
        "x": _quantity("x", across.title, across.unit, zero=False),
        "y": _quantity("y", up.title, up.unit, zero=False),
        "tooltip": [_tip("x", across.title), _tip("y", up.title)],
    }
    mark = {"type": "point", "color": _PALETTE[0], "filled": True, "opacity": 0.6}
    return _chart(values[:POINTS], mark, encoding, notes, f"scatter plot of {up.title} over {across.title}")


def _histogram(measure: Field, rows: Rows) -> Json | None:
    values = [{"value": _plain(value)} for row in rows.rows if (value := number(row[measure.at])) is not None]
    if len(values) < _FEWEST_FOR_HISTOGRAM:
        return None
    notes = [f"the first {POINTS:,} of {len(values):,} rows"] if len(values) > POINTS else []
    encoding = {
        "x": {
            "field": "value",
            "type": "quantitative",
            "bin": {"maxbins": 20},
            "title": _with_unit(measure.title, measure.unit),
        },
        "y": {"aggregate": "count", "type": "quantitative", "title": "number of rows"},
    }
    return _chart(
        values[:POINTS], {"type": "bar", "color": _PALETTE[0]}, encoding, notes, f"histogram of {measure.title}"
    )


def _chart(
    values: list[Json], mark: Json, encoding: Json, notes: list[str], summary: str, *, lying: bool = False
) -> Json | None:
    """Return the parts of a specification; None without anything to see."""
    if len(values) < 2:  # noqa: PLR2004  # one mark is no picture
        return None
    height: Any = {"step": 22} if lying and "yOffset" not in encoding else _HEIGHT
    return {
        "data": {"values": values},
        "mark": mark,
        "encoding": encoding,
        "width": _WIDTH,
        "height": height,
        "notes": notes,
        "summary": summary,
    }


def _quantity(field: str, title: str, unit: str, *, zero: bool) -> Json:
    return {
        "field": field,
        "type": "quantitative",
        "title": _with_unit(title, unit),
        "scale": {"zero": zero},
        "axis": {"format": _NUMBERS, "tickCount": 6},
    }


def _colour(field: str, title: str | None) -> Json:
    return {"field": field, "type": "nominal", "title": title, "scale": {"range": _PALETTE}}


def _tip(field: str, title: str) -> Json:
    kind: Mapping[str, str] = (
        {"type": "quantitative", "format": _NUMBERS} if field in {"value", "x", "y"} else {"type": "nominal"}
    )
    return {"field": field, "title": _cut(title), **kind}


def _with_unit(title: str, unit: str) -> str:
    return _cut(f"{title} ({unit})" if unit else title)


def _moment(moment: date) -> str:
    """Return a time in UTC, which charts read the same everywhere."""
    if not isinstance(moment, datetime):
        return f"{moment.isoformat()}T00:00:00Z"
    return f"{moment.astimezone(UTC) if moment.tzinfo else moment:%Y-%m-%dT%H:%M:%S}Z"


def _plain(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() and abs(value) <= 1 << 53 else float(value)


def _joined(titles: Iterable[str]) -> str:
    return " and ".join(titles)


def _cut(text: str, longest: int = 100) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
