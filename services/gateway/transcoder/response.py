"""From the protobuf response of one method to what the HTTP answer carries."""

import logging
import re
import time
from dataclasses import dataclass
from typing import Any

from google.protobuf import message_factory
from google.protobuf.message import DecodeError, Message

from services.gateway.transcoder.codec import JsonCodec
from services.gateway.transcoder.errors import INTERNAL, HttpError, refusal
from services.gateway.transcoder.fields import HTTP_BODY, message_name
from services.gateway.transcoder.negotiation import JSON
from services.gateway.transcoder.rules import Binding
from services.gateway.transcoder.writer import Unprintable

log = logging.getLogger(__name__)

OCTETS = "application/octet-stream"
_LOG_EVERY_S = 60.0
_CONTENT_TYPE = re.compile(r"[\x20-\x7e]+")


@dataclass(frozen=True, slots=True)
class Printed:
    """The body of an answer, or of one message of a stream."""

    body: bytes
    content_type: str


class ResponsePrinter:
    """Prints the responses of one binding."""

    def __init__(self, binding: Binding, codec: JsonCodec) -> None:
        self._binding = binding
        self._class: type[Message] = message_factory.GetMessageClass(binding.method.output_type)
        field = binding.response_field
        name = binding.method.output_type.full_name if field is None else message_name(field)
        self.is_http_body = name == HTTP_BODY and not (field is not None and field.is_repeated)
        self.message_type = binding.method.output_type
        self._encode = codec.encode if field is None else codec.field_encoder(field)
        codec.compile(binding.method.output_type)
        self._logged_at = -_LOG_EVERY_S

    def read(self, data: bytes) -> tuple[Message, Printed]:
        """Return the response message of *data* and what is sent of it."""
        message = self.parse(data)
        return message, self.print(message)

    def parse(self, data: bytes) -> Message:
        """Return the response message of *data*."""
        try:
            return self._class.FromString(data)
        except DecodeError:
            raise self._unprintable("the response is no valid message") from None

    def print(self, message: Message) -> Printed:
        """Print *message*, or raise a 500 that names the field without a JSON form."""
        if self.is_http_body:
            return self._http_body(message)
        try:
            return Printed(self._encode(message), JSON)
        except Unprintable as error:
            raise self._unprintable(f"{error.field} {error.description}") from None

    def _http_body(self, message: Message) -> Printed:
        field = self._binding.response_field
        content: Any = message if field is None else getattr(message, field.name)
        content_type = content.content_type or OCTETS
        if not _CONTENT_TYPE.fullmatch(content_type):
            raise self._unprintable("content_type holds control characters")
        return Printed(content.data, content_type)

    def _unprintable(self, reason: str) -> HttpError:
        now = time.monotonic()
        if now - self._logged_at >= _LOG_EVERY_S:
            self._logged_at = now
            log.error("response of %s has no JSON form: %s", self._binding.route.grpc_method, reason)
        return refusal(INTERNAL, f"the response has no JSON form: {reason}", reason="UNPRINTABLE_RESPONSE")
