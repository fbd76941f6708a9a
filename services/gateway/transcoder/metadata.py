"""Headers to metadata and back, and the deadline of a call."""

import base64
import binascii
import logging
import re
from collections.abc import Iterable, Sequence

from multidict import CIMultiDictProxy

from services.gateway.transcoder.errors import (
    DEADLINE_EXCEEDED,
    RESOURCE_EXHAUSTED,
    bad_request,
    refusal,
)
from services.gateway.transcoder.options import Options

log = logging.getLogger(__name__)

Metadata = list[tuple[str, str | bytes]]
TrustedMetadata = Sequence[tuple[str, str | bytes]]

PREFIX = "grpc-metadata-"
MAX_METADATA_BYTES = 8 * 1024  # a default Python server refuses 16 KiB

_KEY = re.compile(r"[0-9a-z_.-]+")
_VALUE = re.compile(r"[\x20-\x7e]*")
_TIMEOUT = re.compile(r"([0-9]{1,18})([HMSmun])")
_SECONDS = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,9})?")
_UNITS_S = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}

_DENIED = frozenset(
    {
        "authorization",
        "cookie",
        "host",
        "te",
        "connection",
        "user-agent",
        "forwarded",
        "traceparent",
        "last-event-id",
    }
)
_DENIED_PREFIXES = ("content-", "grpc-", "x-forwarded-")

_NEVER_OUT = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
        "content-type",
        "server",
        "date",
    }
)


def request_metadata(headers: CIMultiDictProxy[str], options: Options, trusted: TrustedMetadata) -> Metadata:
    """Return the metadata of a call: allowed headers, then *trusted*, which replaces its names."""
    taken = {name for name, _ in trusted}
    metadata: Metadata = []
    size = 0
    for header, value in headers.items():
        name = header.lower()
        if name.startswith(PREFIX):
            name = name[len(PREFIX) :]
            allowed = not _is_denied(name) and name not in options.denied_metadata
        else:
            allowed = name in options.allowed_headers
        if allowed and name not in taken and _KEY.fullmatch(name):
            for entry in _entries(name, value.strip()):
                metadata.append((name, entry))
                size += len(name) + len(entry)
    if size > MAX_METADATA_BYTES:
        text = f"forwarded headers are larger than {MAX_METADATA_BYTES} bytes"
        raise refusal(RESOURCE_EXHAUSTED, text, http_status=431)
    metadata += trusted
    return metadata


def _is_denied(name: str) -> bool:
    return name in _DENIED or name.startswith(_DENIED_PREFIXES)


def _entries(name: str, value: str) -> Iterable[str | bytes]:
    """Return the metadata values of one header; what grpc would choke on is left out."""
    if not name.endswith("-bin"):
        return [value] if _VALUE.fullmatch(value) else []
    try:
        return [_from_base64(part.strip()) for part in value.split(",")]
    except (ValueError, binascii.Error):
        raise bad_request([(PREFIX + name, "must be base64")]) from None


def _from_base64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def _to_base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii").rstrip("=")


def response_headers(
    metadata: Iterable[tuple[str, str | bytes]], allowed: Sequence[str], prefix: str = ""
) -> list[tuple[str, str]]:
    """Return the *metadata* that may become response headers, by allow list."""
    headers = []
    for name, value in metadata:
        if name not in allowed or name in _NEVER_OUT:
            continue
        text = _to_base64(value) if isinstance(value, bytes) else value
        if _VALUE.fullmatch(text):
            headers.append((prefix + name.title() if prefix else name, text))
        else:
            log.warning("dropped response header %s: not printable", name)
    return headers


def timeout_s(headers: CIMultiDictProxy[str], options: Options, *, streaming: bool, also: float | None = None) -> float:
    """Return the time in seconds that a call may take; the smallest of what headers and *also* ask, capped.

    Raises 400 for a header that is no duration and 504 for zero.
    """
    asked = [] if also is None else [also]
    text = headers.get("Grpc-Timeout")
    if text is not None:
        match = _TIMEOUT.fullmatch(text)
        if match is None:
            raise bad_request([("grpc-timeout", "invalid grpc-timeout")])
        asked.append(int(match[1]) * _UNITS_S[match[2]])
    text = headers.get("X-Server-Timeout")
    if text is not None:
        if not _SECONDS.fullmatch(text):
            raise bad_request([("x-server-timeout", "must be decimal seconds")])
        asked.append(float(text))
    cap = options.max_stream_timeout if streaming else options.max_timeout
    default = cap if streaming else min(options.default_timeout, cap)
    timeout = min(*asked, cap) if asked else default
    if timeout <= 0:
        raise refusal(DEADLINE_EXCEEDED, "the deadline is over before the call began")
    return timeout


def check_headers(headers: CIMultiDictProxy[str], options: Options) -> None:
    """Refuse too many or too long headers with 431."""
    if len(headers) > options.max_headers:
        raise _headers_too_large(f"more than {options.max_headers} headers")
    total = 0
    for name, value in headers.items():
        size = len(name) + len(value)
        if size > options.max_header_size:
            raise _headers_too_large(f"a header is larger than {options.max_header_size} bytes")
        total += size
    if total > options.max_headers_size:
        raise _headers_too_large(f"headers are larger than {options.max_headers_size} bytes")


def _headers_too_large(text: str) -> Exception:
    return refusal(RESOURCE_EXHAUSTED, text, http_status=431)
