"""Parameters outside of bodies: path, query and headers, as the transcoder binds them."""

import itertools
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from services.gateway.transcoder.fields import (
    HTTP_BODY,
    JSON_MESSAGES,
    WELL_KNOWN,
    WRAPPERS,
    BadFieldPath,
    is_id_field,
    is_map,
    message_name,
    resolve,
)
from services.gateway.transcoder.negotiation import ALTERNATIVES
from services.gateway.transcoder.openapi import kinds
from services.gateway.transcoder.openapi.kinds import Schema
from services.gateway.transcoder.openapi.schemas import Schemas, is_required
from services.gateway.transcoder.openapi.templates import OpenPath, PathParameter
from services.gateway.transcoder.options import Options
from services.gateway.transcoder.rules import SERVER_STREAM, Binding
from services.gateway.transcoder.text import is_query_kind

Parameter = dict[str, Any]

MAX_QUERY = 500  # query parameters of one operation; hostile descriptors could ask for millions
MAX_DEPTH = 3  # deeper query names would let the document grow without bound
_MASK = "google.protobuf.FieldMask"
# What split_path refuses: control characters, segments that are "." or "..", and an empty segment for `*`.
_PATH_SEGMENT = r"^(?!\.\.?$)[^\u0000-\u001f]+$"
_REST_OF_PATH = r"^(?!(?:.*/)?\.\.?(?:/|$))[^\u0000-\u001f]*$"
_QUERY_MASK = "^[A-Za-z0-9_.,]*$"


class Parameters:
    """Writes the parameters of bindings."""

    def __init__(self, schemas: Schemas, options: Options) -> None:
        self._schemas = schemas
        self._options = options

    def of(self, binding: Binding, path: OpenPath, names: tuple[str, ...]) -> list[Parameter]:
        """Return all parameters of *binding*, whose wildcards are called *names* in the document."""
        return [*self._path(binding, path, names), *self._query(binding), *self._headers(binding)]

    def _path(self, binding: Binding, path: OpenPath, names: tuple[str, ...]) -> Iterator[Parameter]:
        fields = {variable.path: field_path.leaf for variable, field_path in binding.variables}
        for name, parameter in zip(names, path.parameters, strict=True):
            yield self._wildcard(name, parameter, fields.get(parameter.field))

    def _wildcard(self, name: str, parameter: PathParameter, field: FieldDescriptor | None) -> Parameter:
        notes = self._schemas.about(field) if field is not None else {}
        schema = self._text(field) if field is not None and parameter.whole else {"type": "string"}
        if parameter.many:
            notes["x-wildcard"] = True
            notes["description"] = "\n\n".join(filter(None, [notes.get("description"), 'May contain "/".']))
        if schema == {"type": "string"}:
            schema = {"type": "string", "pattern": _REST_OF_PATH if parameter.many else _PATH_SEGMENT}
        if parameter.field and parameter.field != name:
            notes["x-transcoding-field"] = parameter.field
        return {"name": name, "in": "path", "required": True, "schema": schema, **notes}

    def _query(self, binding: Binding) -> Iterator[Parameter]:
        if not binding.whole_body:
            bound = {path.text for _, path in binding.variables}
            if binding.body is not None:
                bound.add(binding.body.text)
            message = binding.method.input_type
            leaves = self._leaves(message, "", "", bound, (message.full_name,))
            yield from itertools.islice(leaves, MAX_QUERY)
        if binding.route.kind == SERVER_STREAM and not _streams_bytes(binding):
            text = "Framing of the answer; it outranks Accept."
            yield {"name": "$alt", "in": "query", "description": text, "schema": {"enum": list(ALTERNATIVES)}}

    def _leaves(
        self, message: Descriptor, prefix: str, path: str, bound: set[str], inside: tuple[str, ...]
    ) -> Iterator[Parameter]:
        for field in message.fields:
            name = prefix + self._schemas.name(field)
            proto = path + field.name
            if proto in bound or name in self._options.ignored_query_parameters or is_map(field):
                continue
            if is_query_kind(field):
                yield self._leaf(field, name, top=not prefix)
            elif self._opens(field, inside):
                deeper = (*inside, field.message_type.full_name)
                yield from self._leaves(field.message_type, name + ".", proto + ".", bound, deeper)

    @staticmethod
    def _opens(field: FieldDescriptor, inside: tuple[str, ...]) -> bool:
        """Return whether query names go on below *field*."""
        if field.is_repeated or field.type == FieldDescriptor.TYPE_GROUP or field.message_type is None:
            return False
        name = field.message_type.full_name
        return name not in WELL_KNOWN and name not in inside and len(inside) < MAX_DEPTH

    def _leaf(self, field: FieldDescriptor, name: str, *, top: bool) -> Parameter:
        parameter: Parameter = {"name": name, "in": "query", **self._schemas.about(field)}
        if top and is_required(field):
            parameter["required"] = True
        if message_name(field) in JSON_MESSAGES:
            schema = self._schemas.field(field, request=True)
            return {**parameter, "content": {"application/json": {"schema": schema}}}
        if field.is_repeated:
            return {**parameter, "style": "form", "explode": True, "schema": self._repeated(field)}
        return {**parameter, "schema": self._text(field)}

    def _repeated(self, field: FieldDescriptor) -> Schema:
        return {**self._schemas.field(field, request=True), "items": self._single(field)}

    def _text(self, field: FieldDescriptor) -> Schema:
        return self._schemas.constrained(field, self._single(field))

    def _single(self, field: FieldDescriptor) -> Schema:
        """Return the schema of one text value; text has no null."""
        name = message_name(field)
        if name in WRAPPERS:
            return kinds.scalar(field.message_type.fields_by_name["value"].type, request=True)
        if name == _MASK:
            return {"type": "string", "pattern": _QUERY_MASK}
        return self._schemas.single(field, request=True)

    def _headers(self, binding: Binding) -> Iterator[Parameter]:
        message = binding.method.input_type
        seen: set[str] = set()
        for header, text in self._options.header_fields:
            if header.lower() in seen:
                continue
            try:
                path = resolve(message, text)
            except BadFieldPath:
                continue
            if not path.leaf.is_repeated:
                seen.add(header.lower())
                name = ".".join(self._schemas.name(field) for field in path.fields)
                note = f"Sets `{name}`, quotes around it dropped; if that is given too, both must be equal."
                yield {"name": header, "in": "header", "description": note, "schema": {"type": "string"}}
        if binding.route.kind == SERVER_STREAM:
            resume = message.fields_by_name.get(self._options.sse_id_field)
            if is_id_field(resume):
                note = f"Sets `{self._schemas.name(resume)}`: where an EventSource that connects again goes on."
                yield {"name": "Last-Event-ID", "in": "header", "description": note, "schema": {"type": "string"}}


def _streams_bytes(binding: Binding) -> bool:
    field = binding.response_field
    return (message_name(field) if field is not None else binding.method.output_type.full_name) == HTTP_BODY
