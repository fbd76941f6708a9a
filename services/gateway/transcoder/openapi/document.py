"""The whole document: routes to paths, methods to operations."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from google.api import resource_pb2
from google.protobuf.descriptor import Descriptor, ServiceDescriptor

from services.gateway.transcoder.openapi import errors
from services.gateway.transcoder.openapi.comments import Comments, read_comments
from services.gateway.transcoder.openapi.constraints import Constraints
from services.gateway.transcoder.openapi.operations import Operations
from services.gateway.transcoder.openapi.schemas import Schemas, reachable
from services.gateway.transcoder.openapi.templates import (
    OpenPath,
    Resources,
    open_path,
    resource_skeleton,
    specificity,
)
from services.gateway.transcoder.options import Options
from services.gateway.transcoder.router import ANY_METHOD
from services.gateway.transcoder.rules import Binding
from services.gateway.transcoder.transcoder import Transcoder

OPENAPI = "3.1.0"

# What a path item of OpenAPI can hold; other methods go under `x-methods`.
_METHODS = ("GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE")
_OF_ANY_METHOD = ("GET", "PUT", "POST", "DELETE", "PATCH")
"""Methods under which a route for all methods is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What descriptors do not say of an API."""

    title: str
    version: str
    description: str = ""
    servers: Sequence[str] = ("/",)
    """URLs; relative ones count from where the document lies."""
    security_schemes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    security: Sequence[Mapping[str, Sequence[str]]] = ()
    """Alternatives, each the schemes that it needs; an empty one lets anyone in."""


def openapi_json(transcoder: Transcoder, about: About) -> bytes:
    """Return the OpenAPI document of all routes of *transcoder*; equal input gives equal bytes."""
    return orjson.dumps(openapi_document(transcoder, about), option=orjson.OPT_SORT_KEYS)


def openapi_document(transcoder: Transcoder, about: About) -> dict[str, Any]:
    """Return the document as JSON values."""
    return _Writer(transcoder, about).document()


@dataclass(frozen=True, slots=True)
class _Entry:
    """One binding under one HTTP method."""

    http_method: str
    binding: Binding
    path: OpenPath
    operation_id: str


class _Writer:
    def __init__(self, transcoder: Transcoder, about: About) -> None:
        self._about = about
        self._options = transcoder.options
        self._bindings = sorted(transcoder.bindings, key=_order)
        self._comments: Comments = read_comments(transcoder.descriptor_sets)
        answered = reachable(binding.method.output_type for binding in self._bindings)
        constraints = Constraints(transcoder.descriptors.pool, transcoder.options.rules_package)
        self._schemas = Schemas(self._comments, constraints, transcoder.options, answered)
        self._operations = Operations(self._comments, self._schemas, transcoder.options)
        services = {binding.method.containing_service.full_name: binding for binding in self._bindings}
        self._tags = _tags([binding.method.containing_service for binding in services.values()])

    def document(self) -> dict[str, Any]:
        """Return the whole document."""
        about = self._about
        info: dict[str, Any] = {"title": about.title, "version": about.version}
        info["description"] = "\n\n".join(filter(None, [about.description, _limits(self._options)]))
        paths = self._paths()
        components: dict[str, Any] = {"responses": errors.components(), "schemas": self._schemas.components()}
        document: dict[str, Any] = {
            "openapi": OPENAPI,
            "info": info,
            "servers": [{"url": url} for url in about.servers],
            "tags": self._tag_objects(),
            "paths": paths,
            "components": components,
        }
        if about.security_schemes:
            components["securitySchemes"] = dict(about.security_schemes)
            document["security"] = [dict(one) for one in about.security]
        return document

    def _tag_objects(self) -> list[dict[str, str]]:
        found = []
        for service, tag in sorted(self._tags.items(), key=lambda pair: pair[1]):
            text = self._comments.get(service, "")
            found.append({"name": tag, "description": text} if text else {"name": tag})
        return found

    def _paths(self) -> dict[str, Any]:
        by_shape: dict[str, list[_Entry]] = {}
        for entry in self._entries():
            by_shape.setdefault(entry.path.shape, []).append(entry)
        paths: dict[str, Any] = {}
        for _, entries in sorted(by_shape.items()):
            # Paths that differ in the names of their wildcards only are one path to OpenAPI, so they share names.
            names = min((entry.path.names for entry in entries), key=lambda found: (len(".".join(found)), found))
            paths[entries[0].path.text(names)] = self._item(entries, names)
        return paths

    def _item(self, entries: Iterable[_Entry], names: tuple[str, ...]) -> dict[str, Any]:
        item: dict[str, Any] = {}
        for entry in sorted(entries, key=lambda one: specificity(one.binding.template)):
            operation = self._operations.of(
                entry.binding,
                entry.path,
                names,
                entry.operation_id,
                self._tags[entry.binding.method.containing_service.full_name],
            )
            known = entry.http_method in _METHODS
            place = item if known else item.setdefault("x-methods", {})
            key = entry.http_method.lower() if known else entry.http_method
            first = place.setdefault(key, operation)
            if first is not operation:
                route = entry.binding.route
                also = {"template": route.template, "grpcMethod": route.grpc_method, "body": route.body}
                first.setdefault("x-also", []).append(also)
        return item

    def _entries(self) -> Iterable[_Entry]:
        """Yield every binding under every method that the document shows it for."""
        resources = _resources(self._bindings)
        paths = {id(binding): open_path(binding.template, resources) for binding in self._bindings}
        taken = {(paths[id(binding)].shape, binding.route.http_method) for binding in self._bindings}
        ids = _OperationIds(self._tags)
        for binding in self._bindings:
            path = paths[id(binding)]
            method = binding.route.http_method
            methods = [one for one in _OF_ANY_METHOD if (path.shape, one) not in taken]
            for one in methods if method == ANY_METHOD else [method]:
                yield _Entry(one, binding, path, ids.next(binding))


class _OperationIds:
    """Numbers the bindings of a method: ``Service_Method``, then ``Service_Method_2`` and so on."""

    def __init__(self, tags: Mapping[str, str]) -> None:
        self._tags = tags
        self._taken: set[str] = set()

    def next(self, binding: Binding) -> str:
        service = self._tags[binding.method.containing_service.full_name].replace(".", "_")
        name = f"{service}_{binding.method.name}"
        found, number = name, 2
        while found in self._taken:
            found = f"{name}_{number}"
            number += 1
        self._taken.add(found)
        return found


def _order(binding: Binding) -> tuple[str, int]:
    return binding.method.containing_service.full_name, binding.method.index


def _limits(options: Options) -> str:
    return (
        f"Limits: a body of {options.max_body} bytes, a streamed message of {options.max_message} bytes, "
        f"{options.max_params} query parameters, JSON nested {options.max_depth} deep. Deadlines: {options.default_timeout:g} s "
        f"unless a call asks for less or more, at most {options.max_timeout:g} s; streams {options.max_stream_timeout:g} s."
    )


def _tags(services: Sequence[ServiceDescriptor]) -> dict[str, str]:
    """Return the tag of each service by full name: its own name, or the full one where several share that."""
    counts = Counter(service.name for service in services)
    return {service.full_name: service.name if counts[service.name] == 1 else service.full_name for service in services}


def _resources(bindings: Iterable[Binding]) -> Resources:
    """Return the resource name patterns of all messages that come in or go out."""
    found: dict[str, tuple[str, ...]] = {}
    seen: set[str] = set()
    pending: list[Descriptor] = []
    for binding in bindings:
        pending += [binding.method.input_type, binding.method.output_type]
    while pending:
        message = pending.pop()
        if message.full_name in seen:
            continue
        seen.add(message.full_name)
        for pattern in message.GetOptions().Extensions[resource_pb2.resource].pattern:
            skeleton, names = resource_skeleton(pattern)
            found.setdefault(skeleton, names)
        pending += [one.message_type for one in message.fields if one.message_type is not None]
    return found
