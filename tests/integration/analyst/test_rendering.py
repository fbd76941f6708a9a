"""Charts as images over real gRPC: from the event of an answer to a picture, and no call to anybody else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from google.protobuf import json_format, struct_pb2

from memorybox.analyst.v1 import analyst_service_pb2 as pb
from services.analyst.backends.chart_renderer import VegaRenderer
from services.analyst.domain.rendering import ChartNotDrawable, ImageFormat
from tests.support.analyst import World
from tests.support.clients import refusal


async def chart_of(world: World) -> struct_pb2.Struct:
    """Return the chart of an answer."""
    (chart,) = [event.chart for event in await world.ann.ask("headcount by base") if event.HasField("chart")]
    return chart.spec


async def test_chart_of_an_answer_becomes_svg_and_png(world: World) -> None:
    spec = await chart_of(world)

    svg = (await world.ann.RenderChart(pb.RenderChartRequest(spec=spec))).image
    png = (await world.ann.RenderChart(pb.RenderChartRequest(spec=spec, format=pb.RenderChartRequest.PNG))).image

    assert svg.content_type == "image/svg+xml"
    assert svg.data.startswith(b"<svg")
    assert b"JFK" in svg.data
    assert png.content_type == "image/png"
    assert png.data.startswith(b"\x89PNG")


async def test_scale_makes_more_pixels(world: World) -> None:
    spec = await chart_of(world)

    sizes = []
    for scale in (1, 2):
        request = pb.RenderChartRequest(spec=spec, format=pb.RenderChartRequest.PNG, scale=scale)
        drawn = (await world.ann.RenderChart(request)).image.data
        sizes.append(int.from_bytes(drawn[16:20], "big"))  # the width, as PNG's first chunk has it

    assert sizes[1] == 2 * sizes[0]


async def test_chart_without_its_data_is_refused_with_a_reason(world: World) -> None:
    spec = struct_pb2.Struct()
    json_format.ParseDict({"data": {"url": "https://example.com/a.json"}, "mark": "bar"}, spec)

    refused = await refusal(world.ann.RenderChart(pb.RenderChartRequest(spec=spec)))

    assert (refused.code, refused.reason, refused.fields) == ("INVALID_ARGUMENT", "CHART_NOT_DRAWABLE", ("spec",))


async def test_renderer_itself_fetches_nothing() -> None:
    calls: list[str] = []
    async with listening(calls) as port:
        spec: dict[str, Any] = {
            "data": {"url": f"http://127.0.0.1:{port}/a.json"},
            "mark": "bar",
            "encoding": {"x": {"field": "a", "type": "nominal"}},
        }
        picture = {"data": {"values": [{"a": 1}]}, "mark": {"type": "image", "url": f"http://127.0.0.1:{port}/a.png"}}
        for bad in (spec, picture):
            for image in ImageFormat:
                try:
                    await VegaRenderer().render(bad, image, 1)
                except ChartNotDrawable:
                    continue

    assert calls == []


@asynccontextmanager
async def listening(calls: list[str]) -> AsyncIterator[int]:
    """Listen on a free port, and note whoever comes."""

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append("called")
        writer.close()

    server = await asyncio.start_server(note, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
