"""Draws one chart and ends: the specification comes on stdin, the image goes to stdout. Run by ``chart_renderer``, which may kill it."""

import re
import resource
import sys

DRAWN, NOT_DRAWABLE, TOO_LARGE = 0, 2, 3
MAX_IMAGE_BYTES = 3 << 20  # so that it fits a message
MAX_SIDE = 4096  # pixels
_MEMORY_BYTES = 1536 << 20  # the engine sets 0.6 GiB aside before it begins
_CPU_S = 20
_VEGA_LITE = "6.4"
_REACHES_OUT = re.compile(r"<(?:image|script|a|foreignObject)\b|<[^>]*\burl\((?!#)", re.IGNORECASE)
_SIZE = re.compile(r'<svg[^>]* width="([0-9.]+)" height="([0-9.]+)"')


def main() -> int:
    """Return how it went; arguments are ``svg`` or ``png``, and the scale of the latter."""
    _confine()
    import vl_convert  # noqa: PLC0415  # a whole JavaScript engine, only within the limits

    kind, scale = sys.argv[1], float(sys.argv[2])
    try:
        svg: str = vl_convert.vegalite_to_svg(sys.stdin.read(), vl_version=_VEGA_LITE, allowed_base_urls=[])
    except ValueError:
        return NOT_DRAWABLE
    if _REACHES_OUT.search(svg):
        return NOT_DRAWABLE
    size = _SIZE.match(svg)
    factor = scale if kind == "png" else 1.0
    if size is None or any(float(side) * factor > MAX_SIDE for side in size.groups()):
        return TOO_LARGE
    image: bytes = vl_convert.svg_to_png(svg, scale=scale) if kind == "png" else svg.encode()
    if len(image) > MAX_IMAGE_BYTES:
        return TOO_LARGE
    sys.stdout.buffer.write(image)
    return DRAWN


def _confine() -> None:
    """Give up what drawing does not need: memory and time beyond the limits, files to write to."""
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    raise SystemExit(main())
