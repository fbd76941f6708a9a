"""Draws charts with Vega in processes of their own, which end when they take too long or nobody waits any more."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

import orjson

from services.analyst.backends.chart_process import DRAWN, NOT_DRAWABLE
from services.analyst.domain.rendering import ChartNotDrawable, ChartTooLarge, ImageFormat
from services.mesh.errors import Violation

_AT_ONCE = 2
_LOOK_EVERY_S = 0.1
_KILLED = -9
_KINDS = {ImageFormat.SVG: "svg", ImageFormat.PNG: "png"}


class VegaRenderer:
    """Renders up to two charts at once; more wait."""

    def __init__(self, timeout_s: float = 15.0) -> None:
        self._timeout_s = timeout_s
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def render(self, spec: Mapping[str, Any], image: ImageFormat, scale: float) -> bytes:
        """Return the image. Raises ``ChartNotDrawable``, ``ChartTooLarge``."""
        async with self._turns:
            left = threading.Event()
            try:
                outcome, drawn = await asyncio.to_thread(self._draw, spec, _KINDS[image], scale, left)
            finally:
                left.set()
        if outcome == NOT_DRAWABLE:
            message = "spec is no Vega-Lite specification that can be drawn"
            raise ChartNotDrawable(message, violations=[Violation("spec", message)])
        if outcome != DRAWN:
            raise ChartTooLarge(
                "the chart takes more time, memory or pixels than it may; draw less data or a smaller picture"
            )
        return drawn

    def _draw(self, spec: Mapping[str, Any], kind: str, scale: float, left: threading.Event) -> tuple[int, bytes]:
        """Return how the process ended, and what it drew."""
        deadline = time.monotonic() + self._timeout_s
        command = [sys.executable, "-P", "-m", "services.analyst.backends.chart_process", kind, str(scale)]
        data: bytes | None = orjson.dumps(spec)
        with subprocess.Popen(  # noqa: S603  # our own program and two checked words
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={}
        ) as process:
            while True:
                try:
                    drawn, _ = process.communicate(data, timeout=_LOOK_EVERY_S)
                except subprocess.TimeoutExpired:
                    data = None  # it is being sent already
                else:
                    return process.returncode, drawn
                if left.is_set() or time.monotonic() > deadline:
                    process.kill()
                    process.communicate()
                    return _KILLED, b""
