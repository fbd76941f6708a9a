"""Compiled JSON readers: from parsed JSON to constructor arguments of messages.

One reader per message type, built on first use. A reader gives a tree (dict under proto names), or a
message where the constructor would take a dict for something else (Struct and its kin).
"""

from collections.abc import Callable, Iterator
from typing import Any, NoReturn, Self

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

from services.gateway.transcoder import scalars
from services.gateway.transcoder.compiled import Announce, Compiled
from services.gateway.transcoder.fields import Tree, is_map, message_name, oneof_of

Reader = Callable[[Any], Any]

MAX_MAP_ENTRIES = 100_000  # colliding integer keys cost time quadratic in their number
MAX_SHOWN = 64  # characters of a caller's text that an error repeats
INT32 = (-(2**31), 2**31 - 1)
UINT32 = (0, 2**32 - 1)
INT64 = (-(2**63), 2**63 - 1)
UINT64 = (0, 2**64 - 1)

INTEGERS = {
    FieldDescriptor.TYPE_INT32: INT32,
    FieldDescriptor.TYPE_SINT32: INT32,
    FieldDescriptor.TYPE_SFIXED32: INT32,
    FieldDescriptor.TYPE_UINT32: UINT32,
    FieldDescriptor.TYPE_FIXED32: UINT32,
    FieldDescriptor.TYPE_INT64: INT64,
    FieldDescriptor.TYPE_SINT64: INT64,
    FieldDescriptor.TYPE_SFIXED64: INT64,
    FieldDescriptor.TYPE_UINT64: UINT64,
    FieldDescriptor.TYPE_FIXED64: UINT64,
}


class JsonRefused(ValueError):
    """A JSON value does not fit its field; the path is put together while unwinding."""

    def __init__(self, description: str) -> None:
        super().__init__(description)
        self.description = description
        self._path: list[str] = []

    def within(self, part: str) -> Self:
        self._path.append(part)
        return self

    @property
    def field(self) -> str:
        """Path in proto names, such as ``items[2].attrs["k"]``."""
        joined = ".".join(reversed(self._path))
        return joined.replace(".[", "[")


class _Dropped:
    """An unknown enum name where unknown members are ignored."""


DROPPED = _Dropped()


def json_type(value: Any) -> str:
    """Name the JSON type of *value* for an error; short values are shown."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float():
            return f"number {value}"
        case str():
            return f"string {value!r}" if len(value) <= MAX_SHOWN else "string"
        case list():
            return "array"
        case _:
            return "object"


def refused(expected: str, value: Any) -> JsonRefused:
    return JsonRefused(f"expected {expected}, got {json_type(value)}")


class Readers:
    """Readers of one pool; ``special`` holds those of the well-known types by full name."""

    def __init__(self, pool: DescriptorPool, *, ignore_unknown: bool) -> None:
        self.pool = pool
        self.ignore_unknown = ignore_unknown
        self.special: dict[str, Callable[[Descriptor], Reader]] = {}
        self._compiled: Compiled[Reader] = Compiled(self._compile)

    def message(self, descriptor: Any) -> Reader:
        """Return the reader of a message type."""
        return self._compiled.get(descriptor)

    def _compile(self, descriptor: Descriptor, announce: Announce[Reader]) -> Reader:
        make = self.special.get(descriptor.full_name)
        if make is not None:
            return make(descriptor)
        reader = MessageReader(descriptor, self)
        announce(reader.read)
        for field in descriptor.fields:
            reader.add(field, self.field(field))
        return reader.read

    def field(self, field: FieldDescriptor) -> Reader:
        """Return the reader of the whole value of *field*; null comes only to fields that take it."""
        if is_map(field):
            key, value = field.message_type.fields_by_number[1], field.message_type.fields_by_number[2]
            return _map_reader(key, self.element(value), null_ok=takes_null(value))
        element = self.element(field)
        if field.is_repeated:
            return _list_reader(element, null_ok=takes_null(field))
        return element

    def element(self, field: FieldDescriptor) -> Reader:
        """Return the reader of one value of *field*."""
        kind = field.type
        if kind in INTEGERS:
            return _integer_reader(INTEGERS[kind])
        if kind == FieldDescriptor.TYPE_ENUM:
            return enum_reader(field.enum_type, ignore_unknown=self.ignore_unknown)
        if kind in (FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_GROUP):
            return self.message(field.message_type)
        return _SCALARS[kind]


def takes_null(field: FieldDescriptor) -> bool:
    """Return whether null is a value of *field* rather than its absence."""
    if field.type == FieldDescriptor.TYPE_ENUM:
        return bool(field.enum_type.full_name == "google.protobuf.NullValue")
    return message_name(field) == "google.protobuf.Value"


class _Entry:
    """What a member name of an object means."""

    __slots__ = ("name", "null_ok", "oneof", "read")

    def __init__(self, field: FieldDescriptor, read: Reader) -> None:
        self.name: str = field.name
        self.read = read
        self.oneof = oneof_of(field)
        self.null_ok = takes_null(field) and not field.is_repeated


class MessageReader:
    """Reads the objects of one message type."""

    def __init__(self, descriptor: Descriptor, readers: "Readers") -> None:
        self._descriptor = descriptor
        self._readers = readers
        self._entries: dict[str, _Entry] = {}

    def add(self, field: FieldDescriptor, read: Reader) -> None:
        entry = _Entry(field, read)
        self._entries.setdefault(field.name, entry)
        # A JSON name wins over another field's proto name.
        self._entries[field.json_name] = entry  # type: ignore[attr-defined]

    def read(self, value: Any) -> Tree | Message:
        if type(value) is not dict:
            raise refused("object", value)
        tree: Tree = {}
        oneofs: dict[str, str] = {}
        nulls: list[str] = []
        extensions: list[tuple[FieldDescriptor, Any]] = []
        for key, item in value.items():
            entry = self._entries.get(key)
            if entry is None:
                extensions += self._extension(key, item)
                continue
            name = entry.name
            if name in tree or name in nulls:
                raise JsonRefused("is given under both of its names").within(name)
            if item is None and not entry.null_ok:
                nulls.append(name)
                continue
            if entry.oneof and oneofs.setdefault(entry.oneof, name) != name:
                raise JsonRefused(f"excludes {oneofs[entry.oneof]!r}: same oneof").within(name)
            try:
                read = entry.read(item)
            except JsonRefused as error:
                error.within(name)
                raise
            if read is not DROPPED:
                tree[name] = read
        return self._extended(tree, extensions) if extensions else tree

    def _extension(self, key: str, value: Any) -> Iterator[tuple[FieldDescriptor, Any]]:
        """Yield the proto2 extension that ``[its.full.name]`` sets; refuse any other unknown member."""
        field = self._find_extension(key)
        if field is None:
            if self._readers.ignore_unknown:
                return
            raise JsonRefused(f"{self._descriptor.full_name} has no field {key[:MAX_SHOWN]!r}").within(key[:MAX_SHOWN])
        if value is not None or takes_null(field):
            try:
                yield field, self._readers.field(field)(value)
            except JsonRefused as error:
                error.within(key)
                raise

    def _find_extension(self, key: str) -> FieldDescriptor | None:
        if not (self._descriptor.is_extendable and key.startswith("[") and key.endswith("]")):
            return None
        try:
            field = self._readers.pool.FindExtensionByName(key[1:-1])  # type: ignore[no-untyped-call]
        except KeyError:
            return None
        return field if field.containing_type is self._descriptor else None

    def _extended(self, tree: Tree, extensions: list[tuple[FieldDescriptor, Any]]) -> Message:
        """Return the message itself, as its constructor takes no extensions."""
        message = message_factory.GetMessageClass(self._descriptor)(**tree)
        holder: Any = message.Extensions
        for field, value in extensions:
            if field.is_repeated:
                holder[field].extend(_as_element(field, item) for item in value)
            elif field.message_type is None:
                holder[field] = value
            else:
                holder[field].CopyFrom(_as_element(field, value))
        return message


def _as_element(field: FieldDescriptor, value: Any) -> Any:
    """Return the message of a tree; other values stay."""
    return message_factory.GetMessageClass(field.message_type)(**value) if isinstance(value, dict) else value


def _list_reader(read: Reader, *, null_ok: bool) -> Reader:
    def read_list(value: Any) -> list[Any]:
        if type(value) is not list:
            raise refused("array", value)
        items = []
        for index, item in enumerate(value):
            try:
                items.append(read(item) if item is not None or null_ok else _no_null())
            except JsonRefused as error:
                error.within(f"[{index}]")
                raise
        return [item for item in items if item is not DROPPED]

    return read_list


def _map_reader(key: FieldDescriptor, read: Reader, *, null_ok: bool) -> Reader:
    read_key = map_key_reader(key)

    def read_map(value: Any) -> dict[Any, Any]:
        if type(value) is not dict:
            raise refused("object", value)
        if len(value) > MAX_MAP_ENTRIES:
            raise JsonRefused(f"has more than {MAX_MAP_ENTRIES} entries")
        entries: dict[Any, Any] = {}
        for text, item in value.items():
            try:
                name = read_key(text)
                read_item = read(item) if item is not None or null_ok else _no_null()
            except JsonRefused as error:
                error.within(f'["{text[:MAX_SHOWN]}"]')
                raise
            if read_item is not DROPPED:
                entries[name] = read_item
        return entries

    return read_map


def _no_null() -> NoReturn:
    raise refused("element", None)


def map_key_reader(key: FieldDescriptor) -> Callable[[str], Any]:
    """Return a reader of map keys, which JSON always writes as strings."""
    if key.type == FieldDescriptor.TYPE_STRING:
        return str
    if key.type == FieldDescriptor.TYPE_BOOL:
        return _bool_key
    bounds = INTEGERS[key.type]

    def read(text: str) -> int:
        value = _from_text(lambda item: scalars.integer_from_text(item, bounds), text)
        if str(value) != text:
            raise JsonRefused("expected a key of plain decimal digits")
        return int(value)

    return read


def _bool_key(text: str) -> bool:
    if text not in {"true", "false"}:
        raise JsonRefused("expected the key true or false")
    return text == "true"


def _from_text(convert: Callable[[str], Any], text: str) -> Any:
    try:
        return convert(text)
    except ValueError as error:
        raise JsonRefused(f"{error}, got {json_type(text)}") from None


def from_string(kind: str, convert: Callable[[str], Any]) -> Reader:
    """Return a reader of JSON strings that *convert* (raising ``ValueError``) understands."""

    def read(value: Any) -> Any:
        if type(value) is not str:
            raise refused(kind, value)
        return _from_text(convert, value)

    return read


def _integer_reader(bounds: scalars.Bounds) -> Reader:
    low, high = bounds

    def read(value: Any) -> int:
        kind = type(value)
        if kind is int:
            if low <= value <= high:
                return int(value)
            raise JsonRefused(f"must be {low} to {high}")
        if kind is str:
            return int(_from_text(lambda text: scalars.integer_from_text(text, bounds), value))
        if kind is float:
            try:
                return scalars.integer_from_float(value, bounds)
            except ValueError as error:
                raise JsonRefused(str(error)) from None
        raise refused("integer", value)

    return read


def enum_reader(enum: EnumDescriptor, *, ignore_unknown: bool) -> Reader:
    """Return a reader of names and numbers; a closed enum takes only its own numbers."""
    numbers = {value.name: value.number for value in enum.values}
    known = frozenset(numbers.values())
    closed = enum.is_closed  # type: ignore[attr-defined]
    is_null = enum.full_name == "google.protobuf.NullValue"

    def read_number(number: Any) -> int:
        value = _read_int32(number)
        if closed and value not in known:
            raise JsonRefused(f"{value} is no value of {enum.full_name}")
        return int(value)

    def read(value: Any) -> Any:
        if type(value) is not str:
            if value is None and is_null:
                return 0
            if value is True or value is False or not isinstance(value, (int, float)):
                raise refused(f"name of {enum.full_name}", value)
            return read_number(value)
        found = numbers.get(value)
        if found is not None:
            return found
        try:
            return read_number(value)
        except JsonRefused:
            if ignore_unknown:
                return DROPPED
            raise JsonRefused(f"{value[:MAX_SHOWN]!r} is no value of {enum.full_name}") from None

    return read


def _read_string(value: Any) -> str:
    if type(value) is not str:
        raise refused("string", value)
    return str(value)


def _read_bool(value: Any) -> bool:
    if value is True or value is False:
        return bool(value)
    raise refused("true or false", value)


def _read_double(value: Any) -> float:
    kind = type(value)
    if kind is float or kind is int:
        return float(value)
    if kind is str:
        return float(_from_text(scalars.float_from_text, value))
    raise refused("number", value)


def _read_float(value: Any) -> float:
    number = _read_double(value)
    try:
        return scalars.check_float32(number)
    except ValueError as error:
        raise JsonRefused(str(error)) from None


_read_int32 = _integer_reader(INT32)

_SCALARS: dict[int, Reader] = {
    FieldDescriptor.TYPE_STRING: _read_string,
    FieldDescriptor.TYPE_BOOL: _read_bool,
    FieldDescriptor.TYPE_DOUBLE: _read_double,
    FieldDescriptor.TYPE_FLOAT: _read_float,
    FieldDescriptor.TYPE_BYTES: from_string("base64 string", scalars.bytes_from_text),
}
