"""Compiled JSON readers: from parsed JSON to constructor arguments of messages.

One reader per message type, built on first use. A reader gives a tree (dict under proto names), or a
message where the constructor would take a dict for something else (Struct and its kin).
"""

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

from services.gateway.transcoder.compiled import Announce, Compiled
from services.gateway.transcoder.fields import Tree, is_map, message_name, oneof_of
from services.gateway.transcoder.values import (
    DROPPED,
    INTEGERS,
    MAX_SHOWN,
    SCALARS,
    JsonRefused,
    Reader,
    enum_reader,
    integer_reader,
    map_key_reader,
    refused,
)

MAX_MAP_ENTRIES = 100_000  # colliding integer keys cost time quadratic in their number


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
            return integer_reader(INTEGERS[kind])
        if kind == FieldDescriptor.TYPE_ENUM:
            return enum_reader(field.enum_type, ignore_unknown=self.ignore_unknown)
        if kind in (FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_GROUP):
            return self.message(field.message_type)
        return SCALARS[kind]


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
        holder: Any = type(message).Extensions.__get__(message)
        for field, value in extensions:
            if field.is_repeated:
                holder[field].extend(_as_element(field, item) for item in value)
            elif field.message_type is None:
                holder[field] = value
            else:
                inner = holder[field]
                type(inner).CopyFrom(inner, _as_element(field, value))
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
