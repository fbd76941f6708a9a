"""Raw request paths: split before any decoding, decode exactly once."""

import re
from typing import Literal
from urllib.parse import unquote_to_bytes

from services.gateway.transcoder.template import decode_literal

MAX_PATH_BYTES = 8 * 1024

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f]|%[01][0-9A-Fa-f]")
_SLASH = re.compile(r"%(2[Ff])")
# RFC 6570 reserved characters: ! # $ & ' ( ) * + , / : ; = ? @ [ ]
_RESERVED = re.compile(r"%(2[1346789ABCFabcf]|3[ABDFabdf]|40|5[BDbd])")

PathDecoding = Literal["all_except_slash", "all_except_reserved", "all"]


class BadPath(ValueError):
    """The path cannot be read in one way only."""


def split_path(raw_path: str) -> tuple[list[str], bool]:
    """Return the raw segments of *raw_path* without trailing empty ones, and whether some were cut.

    Raises ``BadPath`` for broken escapes, control characters, ``#`` and dot segments: proxies
    before and behind would normalise them, so their meaning is open.
    """
    if len(raw_path) > MAX_PATH_BYTES:
        raise BadPath(f"path is longer than {MAX_PATH_BYTES} bytes")
    if not raw_path.startswith("/"):
        raise BadPath("path does not begin with '/'")
    if "#" in raw_path:
        raise BadPath("path contains '#'")
    if not raw_path.isascii():
        raise BadPath("path holds bytes that must be percent-encoded")
    if _CONTROL.search(raw_path):
        raise BadPath("path contains a control character")
    if "%" in raw_path and _BAD_ESCAPE.search(raw_path):
        raise BadPath("path contains a broken percent escape")
    segments = raw_path[1:].split("/")
    cut = len(segments)
    while cut and not segments[cut - 1]:
        cut -= 1
    trailing = cut < len(segments) and raw_path != "/"
    del segments[cut:]
    if "." in raw_path or "%2" in raw_path:
        _refuse_dots(segments)
    return segments, trailing


def _refuse_dots(segments: list[str]) -> None:
    for segment in segments:
        if len(segment) <= len("%2e%2e") and decode_literal(segment) in {".", ".."}:
            raise BadPath("path contains a '.' or '..' segment")


def split_verb(segment: str) -> tuple[str, str]:
    """Return a raw last segment without its verb candidate, and the decoded candidate or ``""``."""
    head, colon, verb = segment.rpartition(":")
    if not colon or not head or not verb:
        return segment, ""
    return head, decode_literal(verb)


def decode_variable(raw: str, *, several: bool, decoding: PathDecoding) -> bytes:
    """Return the bytes a variable binds; an escaped slash stays escaped between real ones."""
    if "%" not in raw:
        return raw.encode()
    if several and decoding != "all":
        kept = _SLASH if decoding == "all_except_slash" else _RESERVED
        raw = kept.sub(r"%25\1", raw)
    return unquote_to_bytes(raw)
