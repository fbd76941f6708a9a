"""Which charts are drawn: pictures with their data in them, within bounds; nothing that reads from elsewhere, links, or holds code."""

import copy
from collections.abc import Mapping
from typing import Any

import pytest

from services.analyst.backends.chart_renderer import VegaRenderer
from services.analyst.domain.rendering import (
    MAX_DEPTH,
    ChartNotDrawable,
    ChartTooLarge,
    ImageFormat,
    Rendering,
    check_spec,
)
from services.mesh.errors import InvalidInput
from tests.unit.analyst.test_chart import ALL, spec

BARS: dict[str, Any] = {
    "data": {"values": [{"label": "a", "value": 1}, {"label": "b", "value": 3}]},
    "mark": "bar",
    "encoding": {"x": {"field": "label", "type": "nominal"}, "y": {"field": "value", "type": "quantitative"}},
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return the bars with another value at *path*."""
    made: dict[str, Any] = copy.deepcopy(BARS)
    *parents, last = path.split(".")
    node = made
    for name in parents:
        node = node.setdefault(name, {})
    node[last] = value
    return made


@pytest.mark.parametrize("name", ALL)
def test_charts_of_answers_may_be_drawn(name: str) -> None:
    check_spec(spec(*ALL[name]))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("data", {"url": "https://example.com/a.json"}),
        ("data", {"values": "https://example.com/a.json"}),
        ("data", {"values": [], "format": {"type": "json"}}),
        ("data", {"sequence": {"start": 0, "stop": 1e12}}),
        ("data", {"name": "elsewhere"}),
        ("datasets", {"a": []}),
        ("encoding.url", {"field": "label"}),
        ("encoding.href", {"field": "label"}),
        ("encoding.x.axis", {"labelExpr": "this.constructor"}),
        ("encoding.x.axis", {"values": {"expr": "1"}}),
        ("encoding.x.title", {"signal": "1"}),
        ("encoding.x.field", "a['b']"),
        ("transform", [{"calculate": "1", "as": "b"}]),
        ("params", [{"name": "p", "expr": "1"}]),
        ("usermeta", {"embedOptions": {}}),
        ("layer", [{"mark": {"type": "bar", "tooltip": {"expr": "1"}}}]),
    ],
)
def test_specification_that_reaches_out_or_holds_code_is_refused(path: str, value: Any) -> None:
    with pytest.raises(ChartNotDrawable):
        check_spec(changed(path, value))


def test_data_may_have_any_names() -> None:
    check_spec(changed("data", {"values": [{"url": "https://example.com", "expr": {"signal": 1}}]}))


def test_empty_deep_and_huge_specifications_are_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(MAX_DEPTH + 1):
        deep = {"spec": deep}

    for bad in ({}, deep, changed("data", {"values": [0] * 100_001})):
        with pytest.raises(ChartNotDrawable):
            check_spec(bad)


class FakeRenderer:
    """Draws the scale."""

    async def render(self, spec: Mapping[str, Any], image: ImageFormat, scale: float) -> bytes:
        """Return it."""
        return str(scale).encode()


async def test_scale_is_one_unless_said_and_bounded() -> None:
    rendering = Rendering(FakeRenderer())

    assert await rendering.render(BARS, ImageFormat.PNG, 0) == b"1.0"
    for scale in (-1, 4.5, float("nan")):
        with pytest.raises(InvalidInput, match="scale"):
            await rendering.render(BARS, ImageFormat.PNG, scale)


async def test_what_is_no_chart_is_refused_by_who_draws() -> None:
    with pytest.raises(ChartNotDrawable):
        await VegaRenderer().render({**BARS, "mark": "no such mark"}, ImageFormat.SVG, 1)


async def test_picture_beyond_its_pixels_is_refused() -> None:
    with pytest.raises(ChartTooLarge):
        await VegaRenderer().render({**BARS, "width": 100_000}, ImageFormat.SVG, 1)
    with pytest.raises(ChartTooLarge):
        await VegaRenderer().render({**BARS, "width": 2000}, ImageFormat.PNG, 4)


async def test_drawing_that_takes_too_long_is_ended() -> None:
    with pytest.raises(ChartTooLarge):
        await VegaRenderer(timeout_s=0.05).render(BARS, ImageFormat.SVG, 1)


async def test_image_from_elsewhere_is_no_part_of_a_drawing() -> None:
    marked = {**BARS, "mark": {"type": "image", "url": "data:image/png;base64,AAAA", "width": 9, "height": 9}}
    painted = {**BARS, "mark": {"type": "bar", "fill": "url(https://example.com/a.svg)"}}

    for drawn in (marked, painted):
        with pytest.raises(ChartNotDrawable):
            await VegaRenderer().render(drawn, ImageFormat.SVG, 1)
