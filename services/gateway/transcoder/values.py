"""Readers of single JSON values that are no messages, and the error that all readers raise."""

from collections.abc import Callable
from typing import Any, Self

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

from services.gateway.transcoder import scalars

Reader = Callable[[Any], Any]
"""Gives a constructor value for a JSON value, or raises ``JsonRefused``."""

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


def integer_reader(bounds: scalars.Bounds) -> Reader:
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


_read_int32 = integer_reader(INT32)

SCALARS: dict[int, Reader] = {
    FieldDescriptor.TYPE_STRING: _read_string,
    FieldDescriptor.TYPE_BOOL: _read_bool,
    FieldDescriptor.TYPE_DOUBLE: _read_double,
    FieldDescriptor.TYPE_FLOAT: _read_float,
    FieldDescriptor.TYPE_BYTES: from_string("base64 string", scalars.bytes_from_text),
}
