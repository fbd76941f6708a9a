"""A general gRPC-JSON transcoder for aiohttp, driven by descriptors; it knows no service by name."""

from services.gateway.transcoder.descriptors import (
    DescriptorError,
    DescriptorSet,
    load_descriptor_sets,
)
from services.gateway.transcoder.errors import (
    HttpError,
    bad_request,
    error_response,
    from_aiohttp,
    refusal,
)
from services.gateway.transcoder.options import Options
from services.gateway.transcoder.rules import Route
from services.gateway.transcoder.serving import CallContext
from services.gateway.transcoder.table import Match
from services.gateway.transcoder.transcoder import Transcoder

__all__ = [
    "CallContext",
    "DescriptorError",
    "DescriptorSet",
    "HttpError",
    "Match",
    "Options",
    "Route",
    "Transcoder",
    "bad_request",
    "error_response",
    "from_aiohttp",
    "load_descriptor_sets",
    "refusal",
]
