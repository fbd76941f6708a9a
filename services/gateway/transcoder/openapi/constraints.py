"""Constraints that contracts state with protovalidate (buf.validate), as JSON Schema says them."""

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

from services.gateway.transcoder.field_rules import Rules, typed
from services.gateway.transcoder.openapi.kinds import INT64, UINT64, Schema

_JSON = (bool, int, float, str)
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
_NUMBERS = frozenset(
    {
        "float",
        "double",
        "int32",
        "uint32",
        "sint32",
        "fixed32",
        "sfixed32",
        "int64",
        "uint64",
        "sint64",
        "fixed64",
        "sfixed64",
    }
)
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
    """Says the rules of fields; without protovalidate in the loaded set there are none."""

    def __init__(self, pool: DescriptorPool, package: str) -> None:
        self._rules = Rules(pool, package)

    def apply(self, field: FieldDescriptor, schema: Schema) -> Schema:
        """Return *schema* narrowed by the rules of *field*."""
        rules = self._rules.of_field(field)
        return schema if rules is None else _narrowed(schema, rules, field)


def _narrowed(schema: Schema, field_rules: Message, field: FieldDescriptor) -> Schema:
    kind, rules = typed(field_rules)
    if rules is None:
        return schema
    if kind == "repeated":
        items = next((value for one, value in rules.ListFields() if one.name == "items"), None)
        narrowed = {**schema, **_known(rules, _LIST)}
        if isinstance(items, Message) and "items" in schema:
            narrowed["items"] = _narrowed(schema["items"], items, field)
        return narrowed
    if kind == "map":
        return {**schema, **_known(rules, _MAP)}
    if kind == "string":
        return {**schema, **_known(rules, _TEXT), **_format(rules), **_one_of(rules)}
    if kind in _NUMBERS and "$ref" not in schema:
        return {**schema, **_bounds(rules, field), **_one_of(rules)}
    return schema


def _bounds(rules: Any, field: FieldDescriptor) -> Schema:
    # JSON Schema compares numbers only; a 64-bit value is mostly written as text.
    return {} if field.type in INT64 | UINT64 else _known(rules, _NUMBER)


def _known(rules: Any, names: Mapping[str, str]) -> Schema:
    set_fields = {field.name: value for field, value in rules.ListFields() if isinstance(value, _JSON)}
    return {keyword: set_fields[name] for name, keyword in names.items() if name in set_fields}


def _format(rules: Any) -> Schema:
    set_fields = {field.name for field, value in rules.ListFields() if value is True}
    return next(({"format": text} for name, text in _FORMATS.items() if name in set_fields), {})


def _one_of(rules: Any) -> Schema:
    values = [value for field, value in rules.ListFields() if field.name == "in" and field.is_repeated]
    items = [item for item in values[0] if isinstance(item, _JSON)] if values else []
    return {"enum": items} if items else {}
