"""Constraints that contracts state with protovalidate (buf.validate), as JSON Schema says them."""

from collections.abc import Mapping
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

from services.gateway.transcoder.openapi.kinds import INT64, UINT64, Schema

_EXTENSION = "buf.validate.field"
_OPTIONS = "google.protobuf.FieldOptions"

_TEXT = {"min_len": "minLength", "max_len": "maxLength", "pattern": "pattern", "const": "const"}
_NUMBER = {
    "gt": "exclusiveMinimum",
    "gte": "minimum",
    "lt": "exclusiveMaximum",
    "lte": "maximum",
    "const": "const",
}
_LIST = {"min_items": "minItems", "max_items": "maxItems", "unique": "uniqueItems"}
_MAP = {"min_pairs": "minProperties", "max_pairs": "maxProperties"}
_FORMATS = {
    "email": "email",
    "hostname": "hostname",
    "ipv4": "ipv4",
    "ipv6": "ipv6",
    "uri": "uri",
    "uri_ref": "uri-reference",
    "uuid": "uuid",
}


class Constraints:
    """Reads the rules of fields; without protovalidate in the loaded set there are none."""

    def __init__(self, pool: DescriptorPool) -> None:
        # The extension is known only to the loaded set, so options are parsed with that set's own classes.
        self._options: type[Message] | None = None
        try:
            self._extension = pool.FindExtensionByName(_EXTENSION)  # type: ignore[no-untyped-call]
            options = pool.FindMessageTypeByName(_OPTIONS)  # type: ignore[no-untyped-call]
        except KeyError:
            return
        self._options = message_factory.GetMessageClass(options)

    def apply(self, field: FieldDescriptor, schema: Schema) -> Schema:
        """Return *schema* narrowed by the rules of *field*."""
        rules = self._rules(field)
        if rules is None:
            return schema
        kind = rules.WhichOneof("type")
        if kind is None:
            return schema
        return _narrowed(schema, kind, getattr(rules, kind), field)

    def _rules(self, field: FieldDescriptor) -> Any:
        if self._options is None:
            return None
        options: Any = self._options.FromString(field.GetOptions().SerializeToString())
        return options.Extensions[self._extension] if options.HasExtension(self._extension) else None


def _narrowed(schema: Schema, kind: str, rules: Any, field: FieldDescriptor) -> Schema:
    if kind == "repeated":
        narrowed = {**schema, **_known(rules, _LIST)}
        return _items(narrowed, rules, field)
    if kind == "map":
        return {**schema, **_known(rules, _MAP)}
    if kind == "string":
        return {**schema, **_known(rules, _TEXT), **_format(rules), **_one_of(rules)}
    if kind in {"bytes", "bool", "enum", "any", "duration", "timestamp", "field_mask"}:
        return schema
    return {**schema, **_bounds(rules, field), **_one_of(rules)} if "$ref" not in schema else schema


def _items(schema: Schema, rules: Any, field: FieldDescriptor) -> Schema:
    items = getattr(rules, "items", None)
    kind = items.WhichOneof("type") if items is not None and rules.HasField("items") else None
    if kind is None or "items" not in schema:
        return schema
    return {**schema, "items": _narrowed(schema["items"], kind, getattr(items, kind), field)}


def _bounds(rules: Any, field: FieldDescriptor) -> Schema:
    # JSON Schema compares numbers only; a 64-bit value is mostly written as text.
    return {} if field.type in INT64 | UINT64 else _known(rules, _NUMBER)


def _known(rules: Any, names: Mapping[str, str]) -> Schema:
    set_fields = {field.name: value for field, value in rules.ListFields()}
    return {keyword: set_fields[name] for name, keyword in names.items() if name in set_fields}


def _format(rules: Any) -> Schema:
    set_fields = {field.name for field, value in rules.ListFields() if value is True}
    return next(({"format": text} for name, text in _FORMATS.items() if name in set_fields), {})


def _one_of(rules: Any) -> Schema:
    values = [value for field, value in rules.ListFields() if field.name == "in"]
    return {"enum": list(values[0])} if values else {}
