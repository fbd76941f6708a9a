"""A general gRPC-JSON transcoder for aiohttp, driven by descriptors; it knows no service by name.

``Transcoder`` compiles descriptor sets and their google.api.http rules into routes and serves requests through
channels that the caller gives. Everything that may go wrong is an ``HttpError`` or, at start-up, a ``DescriptorError``.
"""

from services.gateway.transcoder.calls import Channel
from services.gateway.transcoder.descriptors import DescriptorError, DescriptorSet, load_descriptor_sets
from services.gateway.transcoder.errors import HttpError, bad_request, error_response, from_aiohttp, refusal
from services.gateway.transcoder.options import Options
from services.gateway.transcoder.reflection import Reflected, reflect
from services.gateway.transcoder.rules import BIDI, CLIENT_STREAM, SERVER_STREAM, UNARY, Route
from services.gateway.transcoder.serving import CallContext
from services.gateway.transcoder.table import Match
from services.gateway.transcoder.transcoder import Transcoder
from services.gateway.transcoder.websocket import offered_subprotocols

__all__ = [
    "BIDI",
    "CLIENT_STREAM",
    "SERVER_STREAM",
    "UNARY",
    "CallContext",
    "Channel",
    "DescriptorError",
    "DescriptorSet",
    "HttpError",
    "Match",
    "Options",
    "Reflected",
    "Route",
    "Transcoder",
    "bad_request",
    "error_response",
    "from_aiohttp",
    "load_descriptor_sets",
    "offered_subprotocols",
    "reflect",
    "refusal",
]
