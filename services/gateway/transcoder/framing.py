"""Framings of streamed answers: SSE, NDJSON, JSON array and plain bytes."""

from typing import Protocol

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from services.gateway.transcoder import negotiation
from services.gateway.transcoder.fields import is_id_field
from services.gateway.transcoder.options import Options
from services.gateway.transcoder.response import Printed


class Framing(Protocol):
    """How messages, fillers, errors and the end of a stream are written."""

    heartbeat: bytes
    """Filler for silence, ``b""`` when the framing has none."""
    aborts: bool
    """Whether an error must cut the connection, as the bytes alone could pass for complete."""

    def message(self, printed: Printed, message: Message) -> bytes: ...
    def error(self, status: bytes) -> bytes: ...
    def end(self) -> bytes: ...


class Sse:
    """Server-sent events; the event is named by the set member of a oneof, the id by a field."""

    heartbeat = b": hb\n\n"
    aborts = False

    def __init__(self, message: Descriptor, options: Options) -> None:
        oneof = message.oneofs_by_name.get(options.sse_event_oneof)
        self._oneof = oneof.name if oneof is not None else None
        self._names = {
            field.name: f"event: {field.json_name}\n".encode() for field in (oneof.fields if oneof is not None else ())
        }
        field = message.fields_by_name.get(options.sse_id_field)
        self._id = options.sse_id_field if is_id_field(field) else None
        self._end = b"event: end\ndata: {}\n\n" if options.sse_end_event else b""

    def message(self, printed: Printed, message: Message) -> bytes:
        event = b""
        if self._oneof is not None:
            event = self._names.get(type(message).WhichOneof(message, self._oneof) or "", b"")
        return event + self._id_line(message) + b"data: " + printed.body + b"\n\n"

    def _id_line(self, message: Message) -> bytes:
        if self._id is None:
            return b""
        value = getattr(message, self._id)
        text = str(value) if value else ""
        if not text or any(char in text for char in "\0\r\n"):
            return b""
        return f"id: {text}\n".encode()

    def error(self, status: bytes) -> bytes:
        return b"event: error\ndata: " + status + b"\n\n"

    def end(self) -> bytes:
        return self._end


class Ndjson:
    """One message a line; an error is a last line with only the member ``error``."""

    aborts = False

    def __init__(self, options: Options) -> None:
        self.heartbeat = b"\n" if options.ndjson_heartbeat else b""

    def message(self, printed: Printed, message: Message) -> bytes:
        return printed.body + b"\n"

    def error(self, status: bytes) -> bytes:
        return b'{"error":' + status + b"}\n"

    def end(self) -> bytes:
        return b""


class JsonArray:
    """One JSON array, its bracket left open when the stream fails."""

    heartbeat = b" "
    aborts = True

    def __init__(self) -> None:
        self._lead = b"["

    def message(self, printed: Printed, message: Message) -> bytes:
        lead, self._lead = self._lead, b","
        return lead + printed.body

    def error(self, status: bytes) -> bytes:
        return self._lead + b'{"error":' + status + b"}"

    def end(self) -> bytes:
        return b"]" if self._lead == b"," else b"[]"


class Bytes:
    """The data of HttpBody messages, one after another."""

    heartbeat = b""
    aborts = True

    def message(self, printed: Printed, message: Message) -> bytes:
        return printed.body

    def error(self, status: bytes) -> bytes:
        return b""

    def end(self) -> bytes:
        return b""


def framing_of(content_type: str, message: Descriptor, options: Options) -> Framing:
    """Return the framing for a negotiated stream type."""
    if content_type == negotiation.SSE:
        return Sse(message, options)
    if content_type in negotiation.NDJSON_TYPES:
        return Ndjson(options)
    return JsonArray()
