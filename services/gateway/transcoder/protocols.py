"""What the RPC protocols have in common: a face is one protocol as one request speaks it."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import DecodeError, Message
from multidict import CIMultiDictProxy

from services.gateway.transcoder import metadata as md
from services.gateway.transcoder.codec import JsonCodec
from services.gateway.transcoder.envelopes import message_too_large
from services.gateway.transcoder.errors import INTERNAL, HttpError, bad_request, refusal
from services.gateway.transcoder.json_text import BadJson
from services.gateway.transcoder.options import Options
from services.gateway.transcoder.request import BoundValues, RequestReader
from services.gateway.transcoder.values import JsonRefused
from services.gateway.transcoder.writer import Unprintable

PROTO = "proto"
JSON = "json"

Pairs = Sequence[tuple[str, str]]


class Face(Protocol):
    """How one request is read and answered. Errors that it raises are ``HttpError``."""

    form: str
    """How messages are written: ``proto`` or ``json``."""
    content_type: str
    """Content-Type of answers that are no failure."""
    headers: Pairs
    """What such answers say beside it."""

    def check(self, kind: str) -> None:
        """Refuse what the protocol cannot do with a method of this kind, and headers that it does not understand."""

    def asked_s(self, headers: CIMultiDictProxy[str]) -> float | None:
        """Return the time in seconds that a header of this protocol alone asks for."""

    def messages(self, request: web.Request, options: Options) -> AsyncIterator[bytes]:
        """Yield the messages of the request as they arrive."""

    async def answer(self, request: web.Request, data: bytes, headers: Pairs, trailers: Pairs) -> web.Response:
        """Return the whole answer of a method with one response."""

    def failure(self, error: HttpError) -> web.Response:
        """Return the whole answer of a request that failed."""

    async def part(self, data: bytes) -> bytes:
        """Return one message of a streamed answer."""

    def end(self, error: HttpError | None, trailers: Pairs) -> bytes:
        """Return what ends a streamed answer."""


class Messages:
    """Reads and writes the messages of one method in either form."""

    def __init__(self, method: MethodDescriptor, codec: JsonCodec, options: Options) -> None:
        self._input: type[Message] = message_factory.GetMessageClass(method.input_type)
        self._output: type[Message] = message_factory.GetMessageClass(method.output_type)
        self._codec = codec
        self._options = options
        self._validate = codec.validators.of(method.input_type)
        self.has_no_side_effects = method.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS

    def request(self, data: bytes, form: str, reader: RequestReader, bound: BoundValues) -> bytes:
        """Return the wire form of a request message; raises ``HttpError``.

        Binary messages stay as they are. They are parsed all the same: a service would answer bytes that are no
        message with an internal error, which is the client's to see as its own mistake.
        """
        wire = self._from_json(data) if form == JSON else data
        if len(wire) > self._options.max_message:
            raise message_too_large(self._options.max_message)
        if form == PROTO:
            self._parse(wire)
        if bound.headers:
            wire = self._with_headers(wire, reader, bound)
        if self._validate is not None and (broken := self._validate(self._parse(wire))):
            raise bad_request(broken)
        return wire

    def _parse(self, data: bytes) -> Message:
        try:
            return self._input.FromString(data)
        except DecodeError:
            raise bad_request([("", f"is no {self._input.DESCRIPTOR.full_name}")]) from None

    def _from_json(self, body: bytes) -> bytes:
        if not body:
            return b""
        codec = self._codec
        try:
            tree = codec.read_message(self._input.DESCRIPTOR, codec.parse(body))
            _, wire = codec.build(self._input, tree)
            codec.check_depth(self._input, body, wire)
        except BadJson as error:
            raise bad_request([("", str(error))]) from None
        except JsonRefused as error:
            raise bad_request([(error.field, error.description)]) from None
        return wire

    def _with_headers(self, wire: bytes, reader: RequestReader, bound: BoundValues) -> bytes:
        """Add the fields that headers set. Concatenated messages merge, the last value winning: both orders must agree."""
        extra = reader.message(b"", "", bound)
        if self._parse(wire + extra) != self._parse(extra + wire):
            raise bad_request([(path.text, "is given twice, by header and body") for path, _ in bound.headers])
        return wire + extra

    def response(self, data: bytes, form: str) -> bytes:
        """Return a response message in *form*, or raise a 500."""
        if form == PROTO:
            return data
        try:
            return self._codec.encode(self._output.FromString(data))
        except DecodeError:
            reason = "it is no valid message"
        except Unprintable as error:
            reason = f"{error.field} {error.description}"
        raise refusal(INTERNAL, f"the response has no JSON form: {reason}", reason="UNPRINTABLE_RESPONSE")


@dataclass(frozen=True, slots=True)
class Rpc:
    """A method and how it is spoken to."""

    messages: Messages
    face: Face


def may_compress(headers: CIMultiDictProxy[str], options: Options) -> bool:
    """Say whether answers may be compressed: secrets beside reflected input leak by their length (BREACH)."""
    private = "Authorization" in headers or "Cookie" in headers
    return options.compress == "all" or (options.compress == "public" and not private)


def timeout_s(face: Face, headers: CIMultiDictProxy[str], options: Options, *, streaming: bool) -> float:
    """Return the time in seconds that the call may take."""
    return md.timeout_s(headers, options, streaming=streaming, also=face.asked_s(headers))


def whole(face: Face, body: bytes, headers: Pairs = ()) -> web.Response:
    """Return an answer of status 200 in the face's own type."""
    response = web.Response(body=body)
    response.headers["Content-Type"] = face.content_type
    response.headers["X-Content-Type-Options"] = "nosniff"
    for name, value in (*face.headers, *headers):
        response.headers.add(name, value)
    return response
