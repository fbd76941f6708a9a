"""Compiled JSON writers: from messages to values that orjson prints as proto3 JSON."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message

from services.gateway.transcoder import scalars
from services.gateway.transcoder.compiled import Announce, Compiled
from services.gateway.transcoder.fields import WRAPPERS, is_map
from services.gateway.transcoder.values import INTEGERS, JsonRefused
from services.gateway.transcoder.wellknown import ANY, SPECIAL_IN_ANY, find_type

Writer = Callable[[Any], Any]
FieldWriter = Callable[[Message, dict[str, Any]], None]

FLOATS = (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE)
_MAX_EXACT = 2.0**53  # doubles beyond are not all integers; they print as doubles
_WIDE = {kind for kind, bounds in INTEGERS.items() if bounds[1] >= 2**32}


class Unprintable(JsonRefused):
    """A message has no JSON form; carries the path of the field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """Choices of printing that proto3 JSON leaves open."""

    emit_defaults: bool = False
    preserve_proto_field_names: bool = False
    enums_as_ints: bool = False


class Writers:
    """Writers of one pool, built on first use."""

    def __init__(self, pool: DescriptorPool, style: Style) -> None:
        self._pool = pool
        self._style = style
        self._compiled: Compiled[Writer] = Compiled(self._compile)
        self._special: dict[str, Writer] = {
            "google.protobuf.Timestamp": _write_timestamp,
            "google.protobuf.Duration": _write_duration,
            "google.protobuf.FieldMask": _write_mask,
            "google.protobuf.Struct": write_struct,
            "google.protobuf.ListValue": write_list,
            "google.protobuf.Value": write_value,
            ANY: self._write_any,
        }

    def message(self, descriptor: Any) -> Writer:
        """Return the writer of a message type."""
        return self._compiled.get(descriptor)

    @property
    def emits_defaults(self) -> bool:
        """Whether fields without presence print always."""
        return self._style.emit_defaults

    def is_special(self, name: str) -> bool:
        """Return whether the type of this full name has a form of its own."""
        return name in self._special

    def key(self, field: FieldDescriptor) -> str:
        """Return the member name of *field*."""
        return str(field.name if self._style.preserve_proto_field_names else field.json_name)  # type: ignore[attr-defined]

    def _compile(self, descriptor: Descriptor, announce: Announce[Writer]) -> Writer:
        name = descriptor.full_name
        if name in self._special:
            return self._special[name]
        if name in WRAPPERS:
            value = self.element(descriptor.fields_by_name["value"])
            return lambda message: value(message.value)
        fields: list[FieldWriter] = []

        def write(message: Message) -> dict[str, Any]:
            out: dict[str, Any] = {}
            for put in fields:
                put(message, out)
            return out

        announce(write)
        if descriptor.is_extendable:
            fields.append(self._put_extensions)
        fields += [self._field(field) for field in sorted(descriptor.fields, key=lambda item: item.number)]
        return write

    def _put_extensions(self, message: Message, out: dict[str, Any]) -> None:
        for field, value in type(message).ListFields(message):
            if field.is_extension:
                key = f"[{field.full_name}]"
                try:
                    out[key] = self.value(field)(value)
                except Unprintable as error:
                    error.within(key)
                    raise

    def _field(self, field: FieldDescriptor) -> FieldWriter:
        name = field.name
        key = self.key(field)
        write = self.value(field)
        emit = self._style.emit_defaults
        if field.has_presence:
            return _put_present(field, key, write)
        if write is identity:
            return _put_plain(name, key, emit=emit)
        is_set = is_set_float if field.type in FLOATS and not field.is_repeated else bool
        return _put_unless_default(name, key, write, (lambda _: True) if emit else is_set)

    def value(self, field: FieldDescriptor) -> Writer:
        """Return the writer of the whole value of *field*."""
        if is_map(field):
            return self._map(field)
        element = self.element(field)
        if field.is_repeated:
            if element is identity:
                return list
            return lambda items: _each(element, items)
        return element

    def _map(self, field: FieldDescriptor) -> Writer:
        key, value = field.message_type.fields_by_number[1], field.message_type.fields_by_number[2]
        write_key = _MAP_KEYS.get(key.type, str)
        write = self.element(value)

        def write_map(entries: Any) -> dict[str, Any]:
            out = {}
            for name, item in entries.items():
                try:
                    out[write_key(name)] = write(item)
                except Unprintable as error:
                    error.within(f'["{name}"]')
                    raise
            return out

        return write_map

    def element(self, field: FieldDescriptor) -> Writer:
        """Return the writer of one value of *field*."""
        kind = field.type
        if kind in (FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_GROUP):
            return self.message(field.message_type)
        if kind == FieldDescriptor.TYPE_ENUM:
            return _enum_writer(field.enum_type, as_ints=self._style.enums_as_ints)
        return str if kind in _WIDE else _ELEMENTS.get(kind, identity)

    def _write_any(self, message: Any) -> dict[str, Any]:
        return self.any_value(message.type_url, message.value)

    def any_value(self, url: str, value: bytes) -> dict[str, Any]:
        """Print the contents of an Any."""
        if not url and not value:
            return {}
        descriptor = find_type(self._pool, url)
        if descriptor is None:
            raise Unprintable(f"holds the unknown type {url[:128]!r}")
        try:
            inner = message_factory.GetMessageClass(descriptor).FromString(value)
        except DecodeError:
            raise Unprintable(f"holds bytes that are no {descriptor.full_name}") from None
        printed = self.message(descriptor)(inner)
        if descriptor.full_name in SPECIAL_IN_ANY:
            return {"@type": url, "value": printed}
        return {"@type": url, **printed}


def _put_present(field: FieldDescriptor, key: str, write: Writer) -> FieldWriter:
    name = field.name
    has = message_factory.GetMessageClass(field.containing_type).HasField

    def put(message: Message, out: dict[str, Any]) -> None:
        if has(message, name):
            out[key] = guarded(write, message, name)

    return put


def _put_plain(name: str, key: str, *, emit: bool) -> FieldWriter:
    """Print integers and booleans, which cannot fail."""

    def put(message: Message, out: dict[str, Any]) -> None:
        value = getattr(message, name)
        if value or emit:
            out[key] = value

    return put


def _put_unless_default(name: str, key: str, write: Writer, is_set: Callable[[Any], bool]) -> FieldWriter:
    def put(message: Message, out: dict[str, Any]) -> None:
        try:
            value = getattr(message, name)
            if is_set(value):
                out[key] = write(value)
        except Unprintable as error:
            error.within(name)
            raise

    return put


def guarded(write: Writer, message: Message, name: str) -> Any:
    """Print one field; errors name it."""
    try:
        return write(getattr(message, name))
    except Unprintable as error:
        error.within(name)
        raise


def _each(write: Writer, items: Any) -> list[Any]:
    out = []
    for index, item in enumerate(items):
        try:
            out.append(write(item))
        except Unprintable as error:
            error.within(f"[{index}]")
            raise
    return out


def identity(value: Any) -> Any:
    return value


def write_text(value: Any) -> str:
    """Print a string; protobuf gives proto2 text that is no UTF-8 as bytes."""
    if type(value) is not str:
        raise Unprintable("holds text that is not UTF-8")
    return value


def _is_negative_zero(value: float) -> bool:
    return value == 0 and math.copysign(1.0, value) < 0


def is_set_float(value: float) -> bool:
    return bool(value) or _is_negative_zero(value)


def _bool_key(value: bool) -> str:  # noqa: FBT001
    return "true" if value else "false"


def write_double(value: float) -> Any:
    """Print integral doubles as integers and what JSON lacks as strings."""
    if math.isfinite(value):
        exact = value.is_integer() and abs(value) <= _MAX_EXACT
        return int(value) if exact and not _is_negative_zero(value) else value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _write_float(value: float) -> Any:
    return write_double(scalars.shortest_float32(value))


def _enum_writer(enum: EnumDescriptor, *, as_ints: bool) -> Writer:
    if enum.full_name == "google.protobuf.NullValue":
        return lambda _: None
    if as_ints:
        return identity
    names: dict[int, str] = {}
    for value in enum.values:
        names.setdefault(value.number, value.name)  # of aliases the first declared
    return lambda number: names.get(number, number)


def _text(convert: Callable[[], str]) -> str:
    try:
        return convert()
    except ValueError as error:
        raise Unprintable(str(error)) from None


def _write_timestamp(message: Any) -> str:
    try:
        return scalars.timestamp_to_text(message.seconds, message.nanos)
    except ValueError as error:
        raise Unprintable(str(error)) from None


def _write_duration(message: Any) -> str:
    return _text(lambda: scalars.duration_to_text(message.seconds, message.nanos))


def _write_mask(message: Any) -> str:
    return _text(lambda: scalars.mask_to_json(list(message.paths)))


def write_struct(message: Any) -> dict[str, Any]:
    out = {}
    for key, value in message.fields.items():
        try:
            out[key] = write_value(value)
        except Unprintable as error:
            error.within(f'["{key[:64]}"]')
            raise
    return out


def write_list(message: Any) -> list[Any]:
    return _each(write_value, message.values)


def write_value(message: Any) -> Any:
    match message.WhichOneof("kind"):
        case "string_value":
            return message.string_value
        case "number_value":
            if not math.isfinite(message.number_value):
                raise Unprintable("holds NaN or an infinity")
            return write_double(message.number_value)
        case "bool_value":
            return message.bool_value
        case "struct_value":
            return write_struct(message.struct_value)
        case "list_value":
            return write_list(message.list_value)
        case _:
            return None


_MAP_KEYS: dict[int, Callable[[Any], str]] = {
    FieldDescriptor.TYPE_BOOL: _bool_key,
    FieldDescriptor.TYPE_STRING: write_text,
}
_ELEMENTS: dict[int, Writer] = {
    FieldDescriptor.TYPE_DOUBLE: write_double,
    FieldDescriptor.TYPE_FLOAT: _write_float,
    FieldDescriptor.TYPE_BYTES: scalars.bytes_to_text,
    FieldDescriptor.TYPE_STRING: write_text,
}
