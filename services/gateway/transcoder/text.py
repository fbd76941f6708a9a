"""Readers of path and query text, one per field kind."""

from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from services.gateway.transcoder import scalars
from services.gateway.transcoder.codec import JsonCodec
from services.gateway.transcoder.fields import JSON_MESSAGES, TEXT_MESSAGES, WRAPPERS, message_name
from services.gateway.transcoder.json_text import BadJson
from services.gateway.transcoder.values import INTEGERS, JsonRefused, enum_reader

TextReader = Callable[[str], Any]
"""Gives a constructor value, or raises ``ValueError`` saying what would be right."""

# Python and Go clients send the capitalised forms and the digits.
_BOOLS = {
    "true": True,
    "True": True,
    "TRUE": True,
    "1": True,
    "false": False,
    "False": False,
    "FALSE": False,
    "0": False,
}


def is_path_kind(field: FieldDescriptor) -> bool:
    """Return whether one path variable can hold *field*."""
    if field.is_repeated or field.type == FieldDescriptor.TYPE_GROUP:
        return False
    return field.message_type is None or message_name(field) in TEXT_MESSAGES


def is_query_kind(field: FieldDescriptor) -> bool:
    """Return whether query parameters can hold *field*; repeated ones by repetition."""
    if field.type == FieldDescriptor.TYPE_GROUP:
        return False
    name = message_name(field)
    if name in JSON_MESSAGES:
        return not field.is_repeated
    return not name or name in TEXT_MESSAGES


def text_reader(field: FieldDescriptor, codec: JsonCodec) -> TextReader:
    """Return the reader of one text value of *field*."""
    name = message_name(field)
    if name in WRAPPERS:
        read = text_reader(field.message_type.fields_by_name["value"], codec)
        return lambda text: {"value": read(text)}
    if name == "google.protobuf.FieldMask":
        return lambda text: {"paths": scalars.mask_from_query(text)}
    if name in JSON_MESSAGES:
        return lambda text: _read_json(codec, field, text)
    if name:
        convert = {
            "google.protobuf.Timestamp": scalars.timestamp_from_text,
            "google.protobuf.Duration": scalars.duration_from_text,
        }
        return convert[name]
    return _scalar_reader(field)


def _scalar_reader(field: FieldDescriptor) -> TextReader:
    kind = field.type
    if kind in INTEGERS:
        return lambda text: scalars.integer_from_text(text, INTEGERS[kind])
    if kind == FieldDescriptor.TYPE_ENUM:
        return enum_reader(field.enum_type, ignore_unknown=False)
    return _SCALARS[kind]


def _read_json(codec: JsonCodec, field: FieldDescriptor, text: str) -> Any:
    try:
        return codec.read_message(field.message_type, codec.parse(text.encode()))
    except BadJson as error:
        raise JsonRefused(f"must be JSON text: {error}") from None


def _read_bool(text: str) -> bool:
    if text not in _BOOLS:
        raise ValueError("must be true or false")
    return _BOOLS[text]


_SCALARS: dict[int, TextReader] = {
    FieldDescriptor.TYPE_STRING: str,
    FieldDescriptor.TYPE_BOOL: _read_bool,
    FieldDescriptor.TYPE_BYTES: scalars.bytes_from_text,
    FieldDescriptor.TYPE_DOUBLE: scalars.float_from_text,
    FieldDescriptor.TYPE_FLOAT: lambda text: scalars.check_float32(scalars.float_from_text(text)),
}
