"""JSON forms of the google.protobuf types, by full name (classes differ from pool to pool)."""

import struct
from collections.abc import Callable
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, EncodeError, Message

from services.gateway.transcoder import scalars
from services.gateway.transcoder.fields import JSON_MESSAGES, TEXT_MESSAGES, WRAPPERS
from services.gateway.transcoder.reader import Readers
from services.gateway.transcoder.values import JsonRefused, Reader, from_string, refused

ANY = "google.protobuf.Any"
EMPTY = "google.protobuf.Empty"
SPECIAL_IN_ANY = TEXT_MESSAGES | JSON_MESSAGES | {ANY}
"""Types that an Any carries under ``value`` instead of inline."""


MAX_EXACT_INTEGER = 2**53
"""Beyond it a double is no longer exact."""


def add_readers(readers: Readers, *, exact: bool = False) -> None:
    """Teach *readers* every well-known type; *exact* ones refuse whole numbers that a double would round."""
    special = readers.special
    special["google.protobuf.Timestamp"] = lambda _: from_string("time string", scalars.timestamp_from_text)
    special["google.protobuf.Duration"] = lambda _: from_string("duration string", scalars.duration_from_text)
    special["google.protobuf.FieldMask"] = lambda _: from_string(
        "field mask string", lambda text: {"paths": scalars.mask_from_json(text)}
    )
    for name in WRAPPERS:
        special[name] = lambda descriptor: _wrapper_reader(readers, descriptor)
    special["google.protobuf.Struct"] = lambda descriptor: _json_reader(descriptor, _struct_bytes, exact=exact)
    special["google.protobuf.ListValue"] = lambda descriptor: _json_reader(descriptor, _list_bytes, exact=exact)
    special["google.protobuf.Value"] = lambda descriptor: _json_reader(descriptor, value_bytes, exact=exact)
    special[ANY] = lambda _: AnyReader(readers).read


def _wrapper_reader(readers: Readers, descriptor: Descriptor) -> Reader:
    read = readers.element(descriptor.fields_by_name["value"])
    return lambda value: {"value": read(value)}


def _json_reader(descriptor: Descriptor, encode: Callable[[Any], bytes], *, exact: bool) -> Reader:
    message_class = message_factory.GetMessageClass(descriptor)

    def read(value: Any) -> Message:
        if exact:
            _check_exact(value)
        try:
            return message_class.FromString(encode(value))
        except DecodeError:
            # Each JSON level is three messages, and upb reads at most 100 deep.
            raise JsonRefused("is nested too deeply for protobuf") from None

    return read


def _check_exact(value: Any) -> None:
    kind = type(value)
    if kind is int and abs(value) > MAX_EXACT_INTEGER:
        raise JsonRefused("must not hold whole numbers beyond 2^53, which a double would round; send them as text")
    if kind is dict or kind is list:
        for item in value.values() if kind is dict else value:
            _check_exact(item)


# A varint byte that has a next one carries this bit, and seven bits of the number.
_CONTINUED = 0x80


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= _CONTINUED:
        out.append(value % _CONTINUED | _CONTINUED)
        value //= _CONTINUED
    out.append(value)
    return bytes(out)


def _delimited(tag: bytes, payload: bytes) -> bytes:
    size = len(payload)
    return tag + (bytes((size,)) if size < _CONTINUED else _varint(size)) + payload


# Wire tags of google/protobuf/struct.proto: (field number << 3) | wire type.
def value_bytes(value: Any) -> bytes:
    """Return the wire form of google.protobuf.Value for any JSON *value*."""
    kind = type(value)
    if kind is str:
        return _delimited(b"\x1a", value.encode())
    if kind is bool:
        return b"\x20\x01" if value else b"\x20\x00"
    if kind is int or kind is float:
        return b"\x11" + struct.pack("<d", value)
    if kind is dict:
        return _delimited(b"\x2a", _struct_bytes(value))
    if kind is list:
        return _delimited(b"\x32", _list_bytes(value))
    return b"\x08\x00"


def _struct_bytes(value: Any) -> bytes:
    if type(value) is not dict:
        raise refused("object", value)
    return b"".join(
        _delimited(b"\x0a", _delimited(b"\x0a", key.encode()) + _delimited(b"\x12", value_bytes(item)))
        for key, item in value.items()
    )


def _list_bytes(value: Any) -> bytes:
    if type(value) is not list:
        raise refused("array", value)
    return b"".join(_delimited(b"\x0a", value_bytes(item)) for item in value)


class AnyReader:
    """Reads an Any by the type that its ``@type`` names."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers

    def read(self, value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise refused("object", value)
        if not value:
            return {}
        url = value.get("@type")
        if type(url) is not str:
            raise JsonRefused("needs a string member '@type'").within("@type")
        descriptor = find_type(self._readers.pool, url)
        if descriptor is None:
            raise JsonRefused(f"type {url[:128]!r} is unknown").within("@type")
        inner = self._readers.message(descriptor)(self._content(descriptor.full_name, value))
        message = build(message_factory.GetMessageClass(descriptor), inner)
        try:
            return {"type_url": url, "value": type(message).SerializeToString(message)}
        except EncodeError:
            raise JsonRefused(missing_required(message)) from None

    def _content(self, name: str, value: dict[str, Any]) -> Any:
        rest = {key: item for key, item in value.items() if key != "@type"}
        if name in SPECIAL_IN_ANY:
            if "value" not in rest or (len(rest) > 1 and not self._readers.ignore_unknown):
                raise JsonRefused(f"{name} takes exactly one member 'value' beside '@type'")
            return rest["value"]
        if name == EMPTY and rest == {"value": {}}:
            return {}
        return rest


def find_type(pool: DescriptorPool, url: str) -> Descriptor | None:
    """Return the message type that a type URL names, None if the pool lacks it."""
    _, slash, name = url.rpartition("/")
    if not slash or not name:
        return None
    try:
        return pool.FindMessageTypeByName(name)  # type: ignore[no-untyped-call,no-any-return]
    except KeyError:
        return None


def build(message_class: type[Message], tree: Any) -> Message:
    """Return the message of a reader's result."""
    return message_class(**tree) if isinstance(tree, dict) else tree


def missing_required(message: Message) -> str:
    """Describe the unset proto2 required fields of *message*."""
    return "missing required " + ", ".join(type(message).FindInitializationErrors(message))  # type: ignore[attr-defined]
