"""Field paths, resolved against message descriptors once and used for every request."""

from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

Tree = dict[str, Any]
"""Constructor arguments of a message under proto names; sub-messages are trees or messages."""

WRAPPERS = frozenset(
    f"google.protobuf.{kind}Value"
    for kind in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)
TEXT_MESSAGES = WRAPPERS | {
    "google.protobuf.Timestamp",
    "google.protobuf.Duration",
    "google.protobuf.FieldMask",
}
"""Messages whose JSON form is a scalar, so that one path or query value can hold them."""
JSON_MESSAGES = frozenset({"google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue"})
WELL_KNOWN = TEXT_MESSAGES | JSON_MESSAGES | frozenset({"google.protobuf.Any", "google.protobuf.Empty"})

_ID_KINDS = frozenset(
    {
        FieldDescriptor.CPPTYPE_INT32,
        FieldDescriptor.CPPTYPE_INT64,
        FieldDescriptor.CPPTYPE_UINT32,
        FieldDescriptor.CPPTYPE_UINT64,
        FieldDescriptor.CPPTYPE_STRING,
    }
)

HTTP_BODY = "google.api.HttpBody"


class BadFieldPath(ValueError):
    """A field path does not lead to a field that can be bound."""


@dataclass(frozen=True, slots=True)
class FieldPath:
    """A dotted path of proto names with its descriptors; only the leaf may be repeated."""

    text: str
    fields: tuple[FieldDescriptor, ...]

    @property
    def leaf(self) -> FieldDescriptor:
        return self.fields[-1]


def is_map(field: FieldDescriptor) -> bool:
    message = field.message_type
    return message is not None and bool(message.GetOptions().map_entry)


def message_name(field: FieldDescriptor) -> str:
    """Return the full name of the field's message type, ``""`` for other kinds."""
    return field.message_type.full_name if field.message_type is not None else ""


def oneof_of(field: FieldDescriptor) -> str:
    """Return the oneof that holds *field*, ``""`` if none; proto3 ``optional`` is none."""
    oneof = field.containing_oneof
    if oneof is None or (len(oneof.fields) == 1 and oneof.name == "_" + field.name):
        return ""
    return str(oneof.name)


def resolve(message: Descriptor, text: str) -> FieldPath:
    """Resolve *text* by proto names through singular messages, or raise ``BadFieldPath``."""
    fields: list[FieldDescriptor] = []
    inside: Descriptor | None = message
    for name in text.split("."):
        if inside is None or (fields and fields[-1].is_repeated):
            raise BadFieldPath(f"{fields[-1].full_name} is not a singular message")
        field = inside.fields_by_name.get(name)
        if field is None:
            raise BadFieldPath(f"{inside.full_name} has no field {name!r}")
        fields.append(field)
        inside = field.message_type
    return FieldPath(text, tuple(fields))


def holder(tree: Tree, path: FieldPath) -> Tree | None:
    """Return the sub-tree that holds the leaf of *path*, creating messages above it.

    None when something on the way is not a tree.
    """
    for field in path.fields[:-1]:
        inner = tree.setdefault(field.name, {})
        if not isinstance(inner, dict):
            return None
        tree = inner
    return tree


def oneof_rival(tree: Tree, path: FieldPath) -> str:
    """Return another set member of a oneof on *path*, ``""`` if there is none."""
    at: Any = tree
    for field in path.fields:
        if not isinstance(at, dict):
            break
        if oneof_of(field):
            for other in field.containing_oneof.fields:
                if other.name != field.name and other.name in at:
                    return str(other.name)
        at = at.get(field.name)
    return ""


def is_id_field(field: FieldDescriptor | None) -> bool:
    """Return whether *field* can be an event id: a singular string or integer."""
    if field is None or field.is_repeated:
        return False
    return bool(field.cpp_type in _ID_KINDS and field.type != FieldDescriptor.TYPE_BYTES)
