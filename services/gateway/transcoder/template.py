"""Path templates of google/api/http.proto, parsed strictly."""

import enum
import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from services.gateway.transcoder.descriptors import DescriptorError

MAX_TEMPLATE_BYTES = 2048
MAX_SEGMENTS = 64

_FIELD_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
_LITERAL = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()+,;@]|%[0-9A-Fa-f]{2})+")
_SEGMENT_END = re.compile(r"[/:{}]|$")


class Wildcard(enum.IntEnum):
    """A template segment that is no literal."""

    ONE = 1  # `*`: exactly one non-empty segment
    MANY = 2  # `**`: zero or more segments, empty ones included


Segment = str | Wildcard


@dataclass(frozen=True, slots=True)
class Variable:
    """Template segments ``start`` to ``end`` (exclusive) bind the field at ``path``."""

    path: str
    start: int
    end: int
    several: bool  # spans several segments, so that an escaped slash must stay escaped


@dataclass(frozen=True, slots=True)
class Template:
    """One parsed template. Literals and verb are percent-decoded (see ``decode_literal``)."""

    text: str
    segments: tuple[Segment, ...]
    verb: str
    variables: tuple[Variable, ...]

    @property
    def wildcard_at(self) -> int:
        """Index of the ``**`` segment, or the number of segments when there is none."""
        for index, segment in enumerate(self.segments):
            if segment is Wildcard.MANY:
                return index
        return len(self.segments)

    def span(self, variable: Variable, count: int) -> tuple[int, int]:
        """Return which of *count* path segments *variable* covers.

        Positions after ``**`` count from the end of the path.
        """
        shift = count - len(self.segments)
        many = self.wildcard_at
        start = variable.start + shift if variable.start > many else variable.start
        end = variable.end + shift if variable.end > many else variable.end
        return start, end


def decode_literal(text: str) -> str:
    """Return *text* percent-decoded; bytes that are no UTF-8 stay distinct as surrogates."""
    return unquote_to_bytes(text).decode("utf-8", "surrogateescape") if "%" in text else text


def parse_template(text: str) -> Template:
    """Parse *text*, or raise ``DescriptorError`` naming template and column."""
    return _Parser(text).parse()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._segments: list[Segment] = []
        self._variables: list[Variable] = []

    def parse(self) -> Template:
        if len(self._text) > MAX_TEMPLATE_BYTES:
            raise self._error(f"longer than {MAX_TEMPLATE_BYTES} bytes")
        if not self._text.startswith("/"):
            raise self._error("must begin with '/'")
        verb = ""
        while self._at < len(self._text):
            char = self._text[self._at]
            if char == ":":
                verb = self._verb()
            elif char != "/":
                raise self._error("braces must fill a whole segment")
            elif self._text == "/":
                break
            else:
                self._at += 1
                self._segment()
        self._check_shape()
        return Template(self._text, tuple(self._segments), verb, tuple(self._variables))

    def _segment(self) -> None:
        if self._text.startswith("{", self._at):
            self._variable()
            return
        match = _SEGMENT_END.search(self._text, self._at)
        end = match.start() if match else len(self._text)
        self._segments.append(self._plain(self._text[self._at : end]))
        self._at = end

    def _plain(self, text: str) -> Segment:
        if text == "*":
            return Wildcard.ONE
        if text == "**":
            return Wildcard.MANY
        if not text:
            raise self._error("empty segment")
        if not _LITERAL.fullmatch(text):
            raise self._error(f"{text!r} is not a literal; write other characters percent-encoded")
        return decode_literal(text)

    def _variable(self) -> None:
        close = self._text.find("}", self._at)
        if close < 0:
            raise self._error("'{' is never closed")
        path, equals, inner = self._text[self._at + 1 : close].partition("=")
        if not _FIELD_PATH.fullmatch(path):
            raise self._error(f"{path!r} is not a field path")
        if any(path == other.path for other in self._variables):
            raise self._error(f"variable {path!r} occurs twice")
        start = len(self._segments)
        for part in inner.split("/") if equals else ["*"]:
            if ":" in part or "{" in part:
                raise self._error("a variable holds no verb and no other variable")
            self._segments.append(self._plain(part))
        inside = self._segments[start:]
        several = len(inside) > 1 or Wildcard.MANY in inside
        self._variables.append(Variable(path, start, len(self._segments), several))
        self._at = close + 1

    def _verb(self) -> str:
        if not self._segments:
            raise self._error("a verb needs a segment before it")
        self._at += 1
        verb = self._text[self._at :]
        if not _LITERAL.fullmatch(verb):
            raise self._error(f"{verb!r} is not a verb")
        self._at = len(self._text)
        return decode_literal(verb)

    def _check_shape(self) -> None:
        if len(self._segments) > MAX_SEGMENTS:
            raise self._error(f"more than {MAX_SEGMENTS} segments")
        if Wildcard.MANY in self._segments:
            rest = self._segments[self._segments.index(Wildcard.MANY) + 1 :]
            if any(isinstance(segment, Wildcard) for segment in rest):
                raise self._error("only literals may follow '**'")

    def _error(self, reason: str) -> DescriptorError:
        return DescriptorError(f"template {self._text!r}, column {self._at + 1}: {reason}")
