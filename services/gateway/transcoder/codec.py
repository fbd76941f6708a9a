"""The one seam between JSON and messages; everything else calls only this class."""

from collections.abc import Callable
from typing import Any

import orjson
from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, EncodeError, Message

from services.gateway.transcoder import json_text
from services.gateway.transcoder.fields import WRAPPERS, Tree
from services.gateway.transcoder.options import Options
from services.gateway.transcoder.reader import Readers, takes_null
from services.gateway.transcoder.straight import StraightWriters
from services.gateway.transcoder.validation import Validators
from services.gateway.transcoder.values import JsonRefused
from services.gateway.transcoder.wellknown import add_readers, build, missing_required
from services.gateway.transcoder.writer import Style, Unprintable, Writers, guarded

# Below this many JSON containers no message can be nested deeper than upb reads (three wire levels each).
_SURELY_SHALLOW = 30


class JsonCodec:
    """Reads and prints proto3 JSON for the messages of one pool.

    Raises ``json_text.BadJson`` for bytes that are no JSON, ``JsonRefused`` for JSON that does not fit the
    message, ``Unprintable`` for messages without a JSON form.
    """

    def __init__(self, pool: DescriptorPool, options: Options) -> None:
        self._options = options
        self.validators = Validators(pool, options)
        self._readers = Readers(pool, ignore_unknown=options.unknown_json == "ignore")
        add_readers(self._readers, exact=options.inexact_integers == "reject")
        style = Style(
            emit_defaults=options.emit_defaults,
            preserve_proto_field_names=options.preserve_proto_field_names,
            enums_as_ints=options.enums_as_ints,
        )
        self._writers = Writers(pool, style)
        self._straight = StraightWriters(self._writers)

    @property
    def emits_empty_details(self) -> bool:
        """Whether errors without details say so."""
        return self._options.emit_empty_details

    def decode(self, message_class: type[Message], body: bytes) -> Message:
        """Return the message that *body* writes in JSON."""
        tree = self.read_message(message_class.DESCRIPTOR, self.parse(body))
        message, _ = self.build(message_class, tree)
        return message

    def encode(self, message: Message) -> bytes:
        """Print *message* without whitespace, fields in the order of their numbers."""
        descriptor = type(message).DESCRIPTOR
        try:
            value = self._straight.message(descriptor)(message)
        except Unprintable:
            value = self._writers.message(descriptor)(message)  # fails too, and says where
        return orjson.dumps(value)

    def field_encoder(self, field: FieldDescriptor) -> Callable[[Message], bytes]:
        """Return what prints one field of a message alone, its default when it is unset."""
        write = self._writers.value(field)
        default = self._default(field)
        has = message_factory.GetMessageClass(field.containing_type).HasField

        def encode(message: Message) -> bytes:
            if default is not None and not has(message, field.name):
                return default
            return orjson.dumps(guarded(write, message, field.name))

        return encode

    def _default(self, field: FieldDescriptor) -> bytes | None:
        """Return the printed default of a message field, None for kinds that always have a value."""
        if field.message_type is None or not field.has_presence:
            return None
        if field.message_type.full_name in WRAPPERS or takes_null(field):
            return b"null"
        return self.encode(message_factory.GetMessageClass(field.message_type)())

    def any_value(self, type_url: str, value: bytes) -> dict[str, Any]:
        """Return the JSON object of an Any with these contents."""
        return self._writers.any_value(type_url, value)

    def parse(self, body: bytes) -> Any:
        """Return the strict JSON value of *body*."""
        options = self._options
        return json_text.parse(body, max_depth=options.max_depth, max_keys=options.max_keys)

    def read_message(self, descriptor: Any, value: Any) -> Tree | Message:
        """Return what a JSON *value* means for a message type."""
        return self._readers.message(descriptor)(value)  # type: ignore[no-any-return]

    def field_reader(self, field: FieldDescriptor) -> Callable[[Any], Any]:
        """Return what reads a JSON value as the whole of *field*; null is None (unset)."""
        read = self._readers.field(field)
        null_ok = takes_null(field) and not field.is_repeated

        def read_field(value: Any) -> Any:
            if value is None and not null_ok:
                return None
            try:
                return read(value)
            except JsonRefused as error:
                error.within(field.name)
                raise

        return read_field

    def compile(self, descriptor: Any) -> None:
        """Compile reader and writer of a message type and of all that it holds."""
        self._readers.message(descriptor)
        self._writers.message(descriptor)
        self._straight.message(descriptor)

    def build(self, message_class: type[Message], tree: Tree | Message) -> tuple[Message, bytes]:
        """Return the message of *tree* and its wire form."""
        message = build(message_class, tree)
        try:
            # Through the class: a field may be called like a method.
            data = message_class.SerializeToString(message)
        except EncodeError:
            if message_class.FindInitializationErrors(message):  # type: ignore[attr-defined]
                raise JsonRefused(missing_required(message)) from None
            raise JsonRefused("is nested too deeply for protobuf") from None
        return message, data

    @staticmethod
    def check_depth(message_class: type[Message], body: bytes, data: bytes) -> None:
        """Refuse messages nested deeper than any upb peer would read."""
        if body.count(b"{") + body.count(b"[") > _SURELY_SHALLOW:
            try:
                message_class.FromString(data)
            except DecodeError:
                raise JsonRefused("is nested too deeply for protobuf") from None
