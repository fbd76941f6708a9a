"""Operations: what goes in and comes out of one binding."""

from typing import Any

from services.gateway.transcoder import patch
from services.gateway.transcoder.fields import HTTP_BODY, message_name
from services.gateway.transcoder.negotiation import JSON, NDJSON, SSE
from services.gateway.transcoder.openapi import errors
from services.gateway.transcoder.openapi.comments import Comments, summary
from services.gateway.transcoder.openapi.kinds import Schema
from services.gateway.transcoder.openapi.parameters import Parameters
from services.gateway.transcoder.openapi.schemas import Schemas, is_required
from services.gateway.transcoder.openapi.templates import OpenPath
from services.gateway.transcoder.options import Options
from services.gateway.transcoder.rules import BIDI, CLIENT_STREAM, SERVER_STREAM, Binding

Operation = dict[str, Any]
Content = dict[str, Any]

_BINARY = "*/*"
_STREAM_NOTE = (
    "A stream of messages, framed as the request's Accept asks. An error after the first message is the last record: "
    "in text/event-stream `event: error` with a google.rpc.Status as data, in NDJSON a line with the one member "
    "`error`, in a JSON array an element of this kind, after which the connection breaks off without the closing bracket."
)
_MASK_NOTE = (
    "Changes the fields that the body names, and no others; null clears a field, lists and maps are replaced whole. "
    "The query parameter `{name}` names the fields instead."
)
_TWICE = "What the path gives may be left out here; if it is given too, both must be equal."
_EMPTY = "An absent body is an empty message."


class Operations:
    """Writes the operations of bindings."""

    def __init__(self, comments: Comments, schemas: Schemas, options: Options) -> None:
        self._comments = comments
        self._schemas = schemas
        self._options = options
        self._parameters = Parameters(schemas, options)

    def of(self, binding: Binding, path: OpenPath, names: tuple[str, ...], operation_id: str, tag: str) -> Operation:
        """Return the operation of *binding* at *path*, whose wildcards the document calls *names*."""
        method = binding.method
        operation: Operation = {"operationId": operation_id, "tags": [tag], "x-grpc-method": binding.route.grpc_method}
        text = self._comments.get(method.full_name, "")
        if text:
            operation["summary"] = summary(text)
        mask = patch.mask_field(binding) if self._options.auto_update_mask else None
        if mask is not None:
            name = self._schemas.name(method.input_type.fields_by_name[mask.name])
            text = "\n\n".join(filter(None, [text, _MASK_NOTE.format(name=name)]))
        if text:
            operation["description"] = text
        if method.GetOptions().deprecated or method.containing_service.GetOptions().deprecated:
            operation["deprecated"] = True
        parameters = self._parameters.of(binding, path, names)
        if parameters:
            operation["parameters"] = parameters
        if binding.route.kind == BIDI:
            return {**operation, **self._socket(binding)}
        if binding.route.kind in {CLIENT_STREAM, SERVER_STREAM}:
            operation["x-websocket"] = True
        if binding.route.body:
            operation["requestBody"] = self._request_body(binding)
        if_match = any(one["in"] == "header" and one["name"].lower() == "if-match" for one in parameters)
        failures = errors.responses(binding.route.kind, if_match=if_match)
        operation["responses"] = {"200": self._answer(binding), **failures}
        return operation

    def _request_body(self, binding: Binding) -> Operation:
        schema, binary = self._request(binding)
        body: Operation = {}
        field = binding.body.leaf if binding.body is not None else None
        if binary:
            body["content"] = {_BINARY: {"schema": {}}}
        elif binding.route.kind == CLIENT_STREAM:
            body["content"] = {
                NDJSON: {"schema": schema, "x-stream": True, "x-itemSchema": schema},
                JSON: {"schema": {"type": "array", "items": schema}},
            }
        else:
            body["content"] = {JSON: {"schema": schema}}
            body["description"] = _EMPTY
        texts = [self._comments.get(field.full_name, "") if field is not None else body.get("description", "")]
        if field is not None and any(path.text.startswith(field.name + ".") for _, path in binding.variables):
            texts.append(_TWICE)
        text = "\n\n".join(filter(None, texts))
        if text:
            body["description"] = text
        if field is not None and is_required(field):
            body["required"] = True
        return body

    def _request(self, binding: Binding) -> tuple[Schema, bool]:
        """Return the schema of a request body, and whether it is bytes instead."""
        if binding.body is not None:
            field = binding.body.leaf
            if message_name(field) == HTTP_BODY:
                return {}, True
            return self._schemas.field(field, request=True), False
        message = binding.method.input_type
        if message.full_name == HTTP_BODY:
            return {}, True
        bound = frozenset(path.text for _, path in binding.variables)
        return self._schemas.body(message, bound), False

    def _response(self, binding: Binding) -> tuple[Schema, bool]:
        """Return the schema of an answer, and whether it is bytes instead."""
        field = binding.response_field
        if field is not None:
            binary = message_name(field) == HTTP_BODY
            return ({}, True) if binary else (self._schemas.field(field, request=False), False)
        message = binding.method.output_type
        if message.full_name == HTTP_BODY:
            return {}, True
        return self._schemas.message(message, request=False), False

    def _answer(self, binding: Binding) -> Operation:
        schema, binary = self._response(binding)
        field = binding.response_field
        text = self._comments.get((field or binding.method.output_type).full_name, "") or "OK"
        if binary:
            return {"description": text, "content": {_BINARY: {"schema": {}}}}
        if binding.route.kind != SERVER_STREAM:
            return {"description": text, "content": {JSON: {"schema": schema}}}
        record = {"schema": schema, "x-stream": True, "x-itemSchema": schema}
        content = {
            JSON: {"schema": {"type": "array", "items": schema}, "x-stream": True},
            NDJSON: record,
            SSE: dict(record),
        }
        return {"description": f"{text}\n\n{_STREAM_NOTE}", "content": content}

    def _socket(self, binding: Binding) -> Operation:
        """Return what OpenAPI cannot say of a stream in both directions but by notes."""
        sent, _ = self._request(binding)
        received, _ = self._response(binding)
        refusals = errors.responses(BIDI, if_match=False)
        return {
            "x-websocket": True,
            "x-websocket-send": sent,
            "x-websocket-receive": received,
            "responses": {"101": {"description": "A WebSocket: each text message is one JSON message."}, **refusals},
        }
