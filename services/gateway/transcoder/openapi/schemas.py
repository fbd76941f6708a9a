"""JSON schemas of messages and enums, kept once each under their full names."""

from collections import deque
from collections.abc import Iterable

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from services.gateway.transcoder.fields import WRAPPERS, is_map, oneof_of
from services.gateway.transcoder.openapi import kinds
from services.gateway.transcoder.openapi.comments import Comments
from services.gateway.transcoder.openapi.constraints import Constraints
from services.gateway.transcoder.openapi.kinds import Schema
from services.gateway.transcoder.options import Options

STATUS = "google.rpc.Status"
_NULL = "google.protobuf.NullValue"
_MAX_EXCLUSIVE = 8  # members of a oneof whose exclusion is written out: the pairs grow with the square
_INPUT_SUFFIX = "-input"  # no full name has a hyphen

_STATUS_SCHEMA: Schema = {
    "type": "object",
    "description": "An error: every answer that is no success has this form.",
    "required": ["code", "message"],
    "properties": {
        "code": {"type": "integer", "format": "int32", "description": "A code of google.rpc.Code."},
        "message": {"type": "string", "description": "What is wrong, for people who develop."},
        "details": {
            "type": "array",
            "description": "For programs: ErrorInfo with the reason, BadRequest with the faulty fields, RetryInfo and others.",
            "items": kinds.well_known("google.protobuf.Any"),
        },
    },
}


class Schemas:
    """Gives schemas of fields and messages; what they refer to gathers in ``components``.

    A message that both comes in and goes out has two: what comes in may write 64 bits as numbers and must not have
    unknown members. *answered* names all types that go out.
    """

    def __init__(
        self, comments: Comments, constraints: Constraints, options: Options, answered: frozenset[str]
    ) -> None:
        self._answered = answered
        self._comments = comments
        self._constraints = constraints
        self._options = options
        self._wanted: deque[tuple[Descriptor | EnumDescriptor, bool]] = deque()
        self._built: dict[str, Schema] = {}

    def components(self) -> dict[str, Schema]:
        """Return all schemas referred to so far, by key."""
        while self._wanted:
            what, request = self._wanted.popleft()
            key = self._key(what.full_name, request=request)
            if isinstance(what, EnumDescriptor):
                self._built[key] = self._enum(what, request=request)
            else:
                self._built[key] = self._object(what, request=request)
        return {**self._built, STATUS: _STATUS_SCHEMA}

    def message(self, message: Descriptor, *, request: bool) -> Schema:
        """Return the schema of *message*, usually a reference."""
        name = message.full_name
        if name in WRAPPERS:
            return kinds.nullable(kinds.scalar(message.fields_by_name["value"].type, request=request))
        special = kinds.well_known(name)
        if special is not None:
            return special
        return _reference(STATUS) if name == STATUS else self._refer(message, request=request)

    def body(self, message: Descriptor, without: frozenset[str]) -> Schema:
        """Return the schema of a request *message* whose fields *without* come from elsewhere."""
        bound = [field for field in message.fields if field.name in without]
        if not bound:
            return self.message(message, request=True)
        schema = self._object(message, request=True)
        for name in map(self.name, bound):
            schema["properties"].pop(name)
            schema["required"] = [other for other in schema.get("required", []) if other != name]
        if not schema.get("required"):
            schema.pop("required", None)
        if any(oneof_of(field) for field in bound):
            schema.pop("not", None)  # the pairs speak of members that are not here
        return schema

    def field(self, field: FieldDescriptor, *, request: bool) -> Schema:
        """Return the schema of what *field* holds, with its constraints but without what is said about it."""
        if is_map(field):
            schema = self._map(field, request=request)
        elif field.is_repeated:
            schema = {"type": "array", "items": self.single(field, request=request)}
        else:
            schema = self.single(field, request=request)
        return self.constrained(field, schema)

    def constrained(self, field: FieldDescriptor, schema: Schema) -> Schema:
        """Return *schema* narrowed by the constraints of *field*."""
        return self._constraints.apply(field, schema)

    def single(self, field: FieldDescriptor, *, request: bool) -> Schema:
        """Return the schema of one element of *field*."""
        if field.type == FieldDescriptor.TYPE_ENUM:
            if field.enum_type.full_name == _NULL:
                return {"type": "null"}
            return self._refer(field.enum_type, request=request)
        if field.message_type is not None:
            return self.message(field.message_type, request=request)
        return kinds.scalar(field.type, request=request)

    def about(self, field: FieldDescriptor) -> Schema:
        """Return what is said about *field* beside its type."""
        notes: Schema = {}
        text = self._comments.get(field.full_name, "")
        if text:
            notes["description"] = text
        if field.GetOptions().deprecated:
            notes["deprecated"] = True
        return notes

    def name(self, field: FieldDescriptor) -> str:
        """Return the name of *field* in JSON."""
        return str(field.name if self._options.preserve_proto_field_names else field.json_name)  # type: ignore[attr-defined]

    def _refer(self, what: Descriptor | EnumDescriptor, *, request: bool) -> Schema:
        if isinstance(what, EnumDescriptor):
            request = request and self._options.enums_as_ints  # else both directions write names
        key = self._key(what.full_name, request=request)
        if key not in self._built:
            self._built[key] = {}
            self._wanted.append((what, request))
        return _reference(key)

    def _key(self, name: str, *, request: bool) -> str:
        return name + _INPUT_SUFFIX if request and name in self._answered else name

    def _map(self, field: FieldDescriptor, *, request: bool) -> Schema:
        entry = field.message_type.fields_by_name
        schema: Schema = {"type": "object", "additionalProperties": self.single(entry["value"], request=request)}
        names = kinds.map_key(entry["key"].type)
        return schema if names is None else {**schema, "propertyNames": names}

    def _object(self, message: Descriptor, *, request: bool) -> Schema:
        properties = {self.name(field): self._property(field, request=request) for field in message.fields}
        schema: Schema = {"type": "object", "properties": properties}
        required = [self.name(field) for field in message.fields if is_required(field)]
        if required:
            schema["required"] = required
        if request and self._options.unknown_json == "reject":
            schema["additionalProperties"] = False
        texts = [self._comments.get(message.full_name, "")]
        self._exclude(message, schema, texts)
        text = "\n\n".join(filter(None, texts))
        if text:
            schema["description"] = text
        if message.GetOptions().deprecated:
            schema["deprecated"] = True
        return schema

    def _property(self, field: FieldDescriptor, *, request: bool) -> Schema:
        schema = {**self.field(field, request=request), **self.about(field)}
        behaviors = behaviors_of(field)
        if field_behavior_pb2.OUTPUT_ONLY in behaviors:
            schema["readOnly"] = True
        if field_behavior_pb2.INPUT_ONLY in behaviors:
            schema["writeOnly"] = True
        return schema

    def _exclude(self, message: Descriptor, schema: Schema, texts: list[str]) -> None:
        """Say that at most one member of each oneof may be there."""
        pairs: list[Schema] = []
        for oneof in message.oneofs:
            names = [self.name(field) for field in oneof.fields if oneof_of(field)]
            if len(names) < 2:  # noqa: PLR2004
                continue
            comment = self._comments.get(oneof.full_name, "")
            listed = ", ".join(f"`{name}`" for name in names)
            texts.append(f"`{oneof.name}`: at most one of {listed}." + (f" {comment}" if comment else ""))
            if len(names) <= _MAX_EXCLUSIVE:
                pairs += [{"required": [a, b]} for at, a in enumerate(names) for b in names[at + 1 :]]
        if pairs:
            schema["not"] = {"anyOf": pairs}

    def _enum(self, enum: EnumDescriptor, *, request: bool) -> Schema:
        comments = {value.name: self._comments.get(f"{enum.full_name}.{value.name}", "") for value in enum.values}
        lines = [f"- `{name}`: {' '.join(text.split())}" for name, text in comments.items() if text]
        texts = [self._comments.get(enum.full_name, ""), "\n".join(lines)]
        if self._options.enums_as_ints and not request:
            schema: Schema = {"type": "integer", "format": "int32"}
            texts.append(", ".join(f"{value.number} = `{value.name}`" for value in enum.values))
        else:
            schema = {"type": "string", "enum": [value.name for value in enum.values]}
            texts.append("Requests may also give the number of a value.")
        schema["description"] = "\n\n".join(filter(None, texts))
        return schema


def behaviors_of(field: FieldDescriptor) -> list[int]:
    """Return the values of google.api.field_behavior at *field*."""
    return list(field.GetOptions().Extensions[field_behavior_pb2.field_behavior])


def is_required(field: FieldDescriptor) -> bool:
    """Return whether *field* must be there by its contract, not just by usage."""
    return bool(field.is_required) or field_behavior_pb2.REQUIRED in behaviors_of(field)


def _reference(key: str) -> Schema:
    return {"$ref": f"#/components/schemas/{key}"}


def reachable(messages: Iterable[Descriptor]) -> frozenset[str]:
    """Return the full names of all messages and enums that *messages* are made of, themselves included."""
    found: set[str] = set()
    pending = list(messages)
    while pending:
        message = pending.pop()
        if message.full_name in found:
            continue
        found.add(message.full_name)
        for field in message.fields:
            if field.message_type is not None:
                pending.append(field.message_type)
            elif field.enum_type is not None:
                found.add(field.enum_type.full_name)
    return frozenset(found)
