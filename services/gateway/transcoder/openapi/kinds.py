"""JSON schemas of single values: scalars and the well-known types that JSON writes as such."""

import copy
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

Schema = dict[str, Any]

_INT64 = "^-?[0-9]+$"
_UINT64 = "^[0-9]+$"
_MAX_UINT32 = 2**32 - 1
_NOT_FINITE = ["NaN", "Infinity", "-Infinity"]
_MASK_PATH = r"[A-Za-z][A-Za-z0-9]*(?:\.[A-Za-z][A-Za-z0-9]*)*"

_F = FieldDescriptor
INT32 = frozenset({_F.TYPE_INT32, _F.TYPE_SINT32, _F.TYPE_SFIXED32})
UINT32 = frozenset({_F.TYPE_UINT32, _F.TYPE_FIXED32})
INT64 = frozenset({_F.TYPE_INT64, _F.TYPE_SINT64, _F.TYPE_SFIXED64})
UINT64 = frozenset({_F.TYPE_UINT64, _F.TYPE_FIXED64})
INTEGERS = INT32 | UINT32 | INT64 | UINT64


_INT32: Schema = {"type": "integer", "format": "int32"}
_UINT32: Schema = {"type": "integer", "minimum": 0, "maximum": _MAX_UINT32}
_SCALARS: dict[int, Schema] = {
    **dict.fromkeys(INT32, _INT32),
    **dict.fromkeys(UINT32, _UINT32),
    _F.TYPE_DOUBLE: {"anyOf": [{"type": "number", "format": "double"}, {"enum": _NOT_FINITE}]},
    _F.TYPE_FLOAT: {"anyOf": [{"type": "number", "format": "float"}, {"enum": _NOT_FINITE}]},
    _F.TYPE_BOOL: {"type": "boolean"},
    _F.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    _F.TYPE_STRING: {"type": "string"},
}


def scalar(kind: int, *, request: bool) -> Schema:
    """Return the schema of a scalar of field type *kind*; requests may write 64 bits as numbers too."""
    if kind in INT64:
        return _long("int64", _INT64, request=request)
    if kind in UINT64:
        return _long("uint64", _UINT64, request=request)
    return copy.deepcopy(_SCALARS[kind])


def _long(name: str, pattern: str, *, request: bool) -> Schema:
    if not request:
        return {"type": "string", "format": name}
    schema: Schema = {"type": ["string", "integer"], "format": name, "pattern": pattern}
    return {**schema, "minimum": 0} if name == "uint64" else schema


def nullable(schema: Schema) -> Schema:
    """Return *schema* with ``null`` allowed."""
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return {**schema, "type": [*kinds, "null"]}


def well_known(name: str) -> Schema | None:
    """Return the schema of a google.protobuf type that JSON writes in its own way; wrappers are not among them."""
    build = _WELL_KNOWN.get(name)
    return None if build is None else copy.deepcopy(build)


_WELL_KNOWN: dict[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$"},
    "google.protobuf.FieldMask": {"type": "string", "pattern": f"^(?:{_MASK_PATH}(?:,{_MASK_PATH})*)?$"},
    "google.protobuf.Struct": {"type": "object"},
    "google.protobuf.Value": {},
    "google.protobuf.ListValue": {"type": "array", "items": {}},
    "google.protobuf.Any": {
        "type": "object",
        "required": ["@type"],
        "properties": {"@type": {"type": "string"}},
        "additionalProperties": True,
    },
    "google.protobuf.Empty": {"type": "object"},
}


def map_key(kind: int) -> Schema | None:
    """Return the schema of the names of a map's members, None for text keys."""
    if kind == _F.TYPE_BOOL:
        return {"enum": ["false", "true"]}
    if kind in INT32 | INT64:
        return {"pattern": "^(?:0|-?[1-9][0-9]*)$"}
    return {"pattern": "^(?:0|[1-9][0-9]*)$"} if kind in INTEGERS else None
