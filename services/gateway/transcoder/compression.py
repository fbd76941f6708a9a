"""Compressed answers: gzip for bodies that gain by it."""

import asyncio
import gzip
import re

from aiohttp import web

from services.gateway.transcoder.options import Options

MIN_BYTES = 1024
LEVEL = 5
_INLINE_BYTES = 256 * 1024  # longer bodies take milliseconds and go to a thread

_COMPRESSIBLE = re.compile(
    r"(?:text/|application/(?:[a-z0-9.+-]*json|proto|xml|javascript|[a-z0-9.-]*\+xml))", re.IGNORECASE
)


async def compress(request: web.Request, response: web.Response, options: Options) -> None:
    """Compress the body of *response* if the client takes gzip and the setting allows it.

    ``public`` leaves out requests with credentials: compressed secrets beside reflected input leak
    by their length (BREACH).
    """
    body = response.body
    if options.compress == "off" or not isinstance(body, bytes) or len(body) < MIN_BYTES:
        return
    if not _COMPRESSIBLE.match(response.headers.get("Content-Type", "")):
        return
    response.headers.add("Vary", "Accept-Encoding")
    private = "Authorization" in request.headers or "Cookie" in request.headers
    if (private and options.compress == "public") or not takes_gzip(request.headers.get("Accept-Encoding", "")):
        return
    if len(body) > _INLINE_BYTES:
        packed = await asyncio.to_thread(gzip.compress, body, LEVEL, mtime=0)
    else:
        packed = gzip.compress(body, LEVEL, mtime=0)
    response.body = packed
    response.headers["Content-Encoding"] = "gzip"


def takes_gzip(accept_encoding: str) -> bool:
    """Return whether an Accept-Encoding header allows gzip."""
    allowed = {}
    for element in accept_encoding.lower().split(","):
        coding, _, parameter = (part.strip() for part in element.partition(";"))
        allowed[coding] = re.fullmatch(r"q\s*=\s*0(?:\.0{0,3})?", parameter) is None
    return allowed.get("gzip", allowed.get("*", False))
