"""Charts as images: which specifications are drawn, and within which bounds."""

import asyncio
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Protocol

from services.mesh.errors import InvalidInput, ResourceExhausted, Violation

MAX_DEPTH = 24
MAX_NODES = 100_000  # of a specification with its data
MAX_SCALE = 4.0
# What the analyst's own charts are written with, and what changes their looks. Left out is whatever reads data from elsewhere, links, or holds an
# expression: those run as code.
_WORDS = frozenset(
    """
    $schema description title text subtitle anchor background width height step autosize padding config view stroke data mark encoding
    type field sort scale range domain zero scheme axis legend format labelOverlap labelAngle labelLimit titleLimit tickCount gridColor grid
    x y x2 y2 xOffset yOffset color opacity size shape strokeDash strokeWidth fill filled point line tooltip detail order row column facet
    aggregate bin maxbins stack interpolate cornerRadius fontSize labelFontSize titleFontSize font labelFont titleFont fontWeight labelColor
    titleColor orient ticks labels offset layer hconcat vconcat spec resolve bandPosition
    """.split()  # noqa: SIM905  # a list of words
)
_FIELD = re.compile(r"\w{1,64}")


class ImageFormat(StrEnum):
    """What a chart can be drawn as; the value is the media type."""

    SVG = "image/svg+xml"
    PNG = "image/png"


class ChartNotDrawable(InvalidInput):
    """The specification is none that is drawn."""

    reason = "CHART_NOT_DRAWABLE"


class ChartTooLarge(ResourceExhausted):
    """Drawing the chart takes more time, memory or pixels than it may."""

    reason = "CHART_TOO_LARGE"


class Renderer(Protocol):
    """Draws; implemented in ``backends/``."""

    async def render(self, spec: Mapping[str, Any], image: ImageFormat, scale: float) -> bytes:
        """Return the image. Raises ``ChartNotDrawable``, ``ChartTooLarge``."""
        ...


class Rendering:
    """Draws what may be drawn."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer

    async def render(self, spec: Mapping[str, Any], image: ImageFormat, scale: float) -> bytes:
        """Return *spec* as an image, PNG with *scale* pixels to a point; 0 means 1. Raises as ``Renderer`` does."""
        if not 0 <= scale <= MAX_SCALE:
            description = f"must be above 0 and up to {MAX_SCALE:g}"
            raise InvalidInput(f"scale {description}", violations=[Violation("scale", description)])
        await asyncio.to_thread(check_spec, spec)
        return await self._renderer.render(spec, image, scale or 1.0)


def check_spec(spec: Mapping[str, Any]) -> None:
    """Raise ``ChartNotDrawable`` unless *spec* has its data in it and only words of pictures around them."""
    if not spec:
        raise _refused("spec is missing; it is what the event `chart` of an answer holds")
    waiting: list[tuple[Any, int, bool]] = [(spec, 0, False)]
    seen = 0
    while waiting:
        node, depth, is_data = waiting.pop()
        seen += 1
        if depth > MAX_DEPTH or seen > MAX_NODES:
            raise _refused(f"spec has more than {MAX_DEPTH} levels or {MAX_NODES:,} values")
        if isinstance(node, Mapping):
            if not is_data:
                _check_words(node)
            for word, child in node.items():
                at_data = word == "data" and not is_data
                waiting.append((child["values"] if at_data else child, depth + 1, is_data or at_data))
        elif isinstance(node, list):
            waiting.extend((child, depth + 1, is_data) for child in node)


def _check_words(node: Mapping[str, Any]) -> None:
    """Refuse words outside the data that are not known to be harmless."""
    for word, value in node.items():
        if word not in _WORDS:
            raise _refused(
                f"spec may not have {word[:40]!r}: charts are drawn from the data in them, without links and expressions"
            )
        if word == "data" and not (
            isinstance(value, Mapping) and [*value] == ["values"] and isinstance(value["values"], list)
        ):
            raise _refused("data must be {'values': [...]}: nothing is read from elsewhere")
        if word == "field" and not (isinstance(value, str) and _FIELD.fullmatch(value)):
            raise _refused("field must be a name of 1 to 64 letters, digits and _")


def _refused(message: str) -> ChartNotDrawable:
    return ChartNotDrawable(message, violations=[Violation("spec", message)])
