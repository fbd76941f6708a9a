"""HttpRule annotations, checked and compiled to bindings; every doubt is an error at start-up."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor

from services.gateway.transcoder.descriptors import DescriptorError, DescriptorSet
from services.gateway.transcoder.fields import BadFieldPath, FieldPath, resolve
from services.gateway.transcoder.options import Options
from services.gateway.transcoder.template import Template, Variable, parse_template
from services.gateway.transcoder.text import is_path_kind

UNARY = "unary"
SERVER_STREAM = "server_stream"
CLIENT_STREAM = "client_stream"
BIDI = "bidi"

MAX_ROUTES = 10_000

# Their routes would open introspection to the public.
PRIVATE_PACKAGES = ("grpc.reflection.", "grpc.health.", "grpc.channelz.")

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# Methods of llhttp, aiohttp's parser; others get 400 before any handler.
_PARSED_METHODS = frozenset(
    [
        "DELETE",
        "GET",
        "HEAD",
        "POST",
        "PUT",
        "CONNECT",
        "OPTIONS",
        "TRACE",
        "COPY",
        "LOCK",
        "MKCOL",
        "MOVE",
        "PROPFIND",
        "PROPPATCH",
        "SEARCH",
        "UNLOCK",
        "BIND",
        "REBIND",
        "UNBIND",
        "ACL",
        "REPORT",
        "MKACTIVITY",
        "CHECKOUT",
        "MERGE",
        "M-SEARCH",
        "NOTIFY",
        "SUBSCRIBE",
        "UNSUBSCRIBE",
        "PATCH",
        "PURGE",
        "MKCALENDAR",
        "LINK",
        "UNLINK",
        "SOURCE",
        "QUERY",
    ]
)


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the route table. ``kind`` is unary, server_stream, client_stream or bidi."""

    http_method: str
    template: str
    grpc_method: str
    body: str
    response_body: str
    kind: str


@dataclass(frozen=True, slots=True)
class Binding:
    """A route with what it means in descriptors."""

    route: Route
    method: MethodDescriptor
    template: Template
    variables: tuple[tuple[Variable, FieldPath], ...]
    body: FieldPath | None
    response_field: FieldDescriptor | None

    @property
    def whole_body(self) -> bool:
        return self.route.body == "*"


class RuleCompiler:
    """Compiles the rules of all methods; ``warnings`` collects what is legal but doubtful."""

    def __init__(self, options: Options, overrides: Mapping[str, http_pb2.HttpRule]) -> None:
        self._options = options
        self._overrides = dict(overrides)
        self.warnings: list[str] = []

    def compile(self, descriptors: DescriptorSet, services: Collection[str] | None) -> list[Binding]:
        """Return all bindings of *services* (all but introspection when None)."""
        bindings: list[Binding] = []
        used: set[str] = set()
        for name in sorted(_selected(descriptors, services)):
            for method in descriptors.services[name].methods:
                used.add(method.full_name)
                bindings += self._method(method)
                self._check_names(method)
        for selector in self._overrides:
            if selector not in used:
                raise DescriptorError(f"service config: no method {selector!r}")
        if len(bindings) > MAX_ROUTES:
            raise DescriptorError(f"more than {MAX_ROUTES} routes")
        return bindings

    def _method(self, method: MethodDescriptor) -> Iterator[Binding]:
        rule = self._overrides.get(method.full_name) or _annotation(method)
        if rule is not None:
            yield from self._rules(method, rule)
        if self._options.default_routes and (rule is None or stream_kind(method) == UNARY):
            path = default_path(method)
            own = rule is not None and any(pattern(one) == ("POST", path) for one in (rule, *rule.additional_bindings))
            if not own:
                default = http_pb2.HttpRule(post=path, body="*")
                yield self._binding(method, default)

    def _rules(self, method: MethodDescriptor, rule: http_pb2.HttpRule) -> Iterator[Binding]:
        if rule.selector and rule.selector != method.full_name:
            self._warn(method, f"selector {rule.selector!r} in the annotation is ignored")
        yield self._binding(method, rule)
        for additional in rule.additional_bindings:
            if additional.additional_bindings:
                raise _error(method, "additional_bindings may not be nested")
            yield self._binding(method, additional)

    def _binding(self, method: MethodDescriptor, rule: http_pb2.HttpRule) -> Binding:
        http_method, path = pattern(rule)
        if not path or not _TOKEN.fullmatch(http_method):
            raise _error(method, "the rule has no pattern, an empty path or no valid HTTP method")
        try:
            template = parse_template(path)
            variables = tuple(self._variable(method, one) for one in template.variables)
            body = self._body(method, rule.body)
            response_field = self._response_field(method, rule.response_body)
        except (BadFieldPath, DescriptorError) as error:
            raise _error(method, str(error)) from None
        if body is not None and any(path.text == body.text for _, path in variables):
            raise _error(method, f"{body.text!r} is both a path variable and the body")
        self._check_method(method, http_method, rule.body)
        response_body = response_field.name if response_field is not None else ""
        kind = stream_kind(method)
        route = Route(http_method, template.text, grpc_path(method), rule.body, response_body, kind)
        return Binding(route, method, template, variables, body, response_field)

    def _variable(self, method: MethodDescriptor, variable: Variable) -> tuple[Variable, FieldPath]:
        path = resolve(method.input_type, variable.path)
        if not is_path_kind(path.leaf):
            raise BadFieldPath(f"a path cannot hold {path.leaf.full_name}")
        return variable, path

    def _body(self, method: MethodDescriptor, body: str) -> FieldPath | None:
        if not body or body == "*":
            return None
        if "." in body and not self._options.allow_nested_body:
            raise BadFieldPath(f"body {body!r} must be a field of the request itself")
        return resolve(method.input_type, body)

    @staticmethod
    def _response_field(method: MethodDescriptor, name: str) -> FieldDescriptor | None:
        if not name or name == "*":
            return None
        if "." in name:
            raise BadFieldPath(f"response_body {name!r} must be a field of the response itself")
        return resolve(method.output_type, name).leaf

    def _check_method(self, method: MethodDescriptor, http_method: str, body: str) -> None:
        if method.client_streaming and not body:
            raise _error(method, "a client stream needs a body")
        if http_method not in _PARSED_METHODS and http_method != "*":
            self._warn(method, f"method {http_method!r} is unreachable over HTTP/1.1")
        if http_method in {"GET", "DELETE"} and body:
            self._warn(method, f"{http_method} with a body: HTTP clients and proxies often drop such bodies")

    def _check_names(self, method: MethodDescriptor) -> None:
        """Warn of query names that are read otherwise than they look."""
        fields = method.input_type.fields
        for field in fields:
            name = field.json_name
            other = method.input_type.fields_by_name.get(name)
            if other is not None and other.name != field.name:
                self._warn(method, f"{name!r} is read as the JSON name of {field.name!r}, never as the field {name!r}")
        ignored = set(self._options.ignored_query_parameters)
        for name in sorted(ignored.intersection(field.name for field in fields)):
            self._warn(method, f"field {name!r} cannot be set by a query parameter: the name is ignored")

    def _warn(self, method: MethodDescriptor, text: str) -> None:
        self.warnings.append(f"{method.full_name} ({method.containing_service.file.name}): {text}")


def _selected(descriptors: DescriptorSet, services: Collection[str] | None) -> Collection[str]:
    if services is None:
        return [name for name in descriptors.services if not name.startswith(PRIVATE_PACKAGES)]
    for name in services:
        if name not in descriptors.services:
            raise DescriptorError(f"no service {name!r} in the descriptor sets")
    return services


def _annotation(method: MethodDescriptor) -> http_pb2.HttpRule | None:
    options = method.GetOptions()
    if not options.HasExtension(annotations_pb2.http):
        return None
    return options.Extensions[annotations_pb2.http]


def pattern(rule: http_pb2.HttpRule) -> tuple[str, str]:
    """Return HTTP method and path of *rule*, empty where it has none."""
    kind = rule.WhichOneof("pattern")
    if kind is None:
        return "", ""
    if kind == "custom":
        return rule.custom.kind, rule.custom.path
    return kind.upper(), getattr(rule, kind)


def stream_kind(method: MethodDescriptor) -> str:
    if method.client_streaming:
        return BIDI if method.server_streaming else CLIENT_STREAM
    return SERVER_STREAM if method.server_streaming else UNARY


def grpc_path(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


def default_path(method: MethodDescriptor) -> str:
    return grpc_path(method)


def where(binding: Binding) -> str:
    """Name method and file for an error."""
    return f"{binding.method.full_name} ({binding.method.containing_service.file.name})"


def _error(method: MethodDescriptor, reason: str) -> DescriptorError:
    return DescriptorError(f"{method.full_name} ({method.containing_service.file.name}): {reason}")
