"""The transcoder: HTTP JSON in front, gRPC behind, driven by descriptors alone."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from aiohttp import web
from google.api import http_pb2
from google.protobuf import json_format

from services.gateway.transcoder import body as bodies
from services.gateway.transcoder import metadata as md
from services.gateway.transcoder import negotiation
from services.gateway.transcoder.calls import (
    Channel,
    Multicallables,
    RpcErrors,
    only_call_cancelled,
    unusable,
)
from services.gateway.transcoder.codec import JsonCodec
from services.gateway.transcoder.descriptors import DescriptorError, load_descriptor_sets
from services.gateway.transcoder.errors import (
    CANCELLED,
    DEADLINE_EXCEEDED,
    INVALID_ARGUMENT,
    NOT_FOUND,
    OK,
    UNIMPLEMENTED,
    HttpError,
    bad_request,
    refusal,
)
from services.gateway.transcoder.options import Options
from services.gateway.transcoder.paths import BadPath, split_path, split_verb
from services.gateway.transcoder.request import BoundValues, RequestReader
from services.gateway.transcoder.response import ResponsePrinter
from services.gateway.transcoder.router import Candidate, Router, allowed_methods, best
from services.gateway.transcoder.rules import (
    BIDI,
    UNARY,
    Binding,
    Route,
    RuleCompiler,
    where,
)
from services.gateway.transcoder.template import decode_literal


class Plan:
    """All that serving one binding needs, compiled once."""

    __slots__ = ("binding", "printer", "reader", "route", "service")

    def __init__(self, binding: Binding, codec: JsonCodec, options: Options) -> None:
        self.binding = binding
        self.route = binding.route
        self.service: str = binding.method.containing_service.full_name
        self.reader = RequestReader(binding, codec, options)
        self.printer = ResponsePrinter(binding, codec)


@dataclass(frozen=True, slots=True)
class Match:
    """Where a request goes, known before its body is read."""

    route: Route
    plan: Plan
    segments: Sequence[str]
    """Raw path segments, without the verb."""


@dataclass(slots=True, kw_only=True)
class CallContext:
    """What the edge knows about a request."""

    channels: Callable[[str], Channel]
    """Gives the channel of a full service name. Channels are kept for the life of the process."""
    metadata: Sequence[tuple[str, str | bytes]] = ()
    """Trusted metadata; replaces what the request's own headers say under these names."""
    match: Match | None = None
    """The result of ``Transcoder.match`` for this request, if the edge has it already."""
    request_id: str = ""
    """Shown to callers in place of internal error texts."""


class Transcoder:
    """One route table. Serve it with ``auto_decompress=False`` and ``handler_cancellation=True``.

    Content codings are undone here, within limits; a client that goes away cancels the handler and with it
    the call.
    """

    def __init__(
        self,
        descriptor_sets: Sequence[bytes],
        options: Options,
        *,
        services: Collection[str] | None = None,
        service_config: Mapping[str, Any] | None = None,
    ) -> None:
        """Compile all routes; raises ``DescriptorError`` naming method and file.

        *services* limits what is served; *service_config* is a parsed google.api.Service whose
        ``http.rules`` replace annotations.
        """
        self._options = options
        self.descriptors = load_descriptor_sets(descriptor_sets)
        self.codec = JsonCodec(self.descriptors.pool, options)
        compiler = RuleCompiler(options, _overrides(service_config))
        bindings = compiler.compile(self.descriptors, services)
        self._router: Router[Plan] = Router()
        for binding in bindings:
            self._add(binding)
        self.routes: Sequence[Route] = tuple(binding.route for binding in bindings)
        self.warnings = compiler.warnings
        self._calls = Multicallables()
        self._errors = RpcErrors(options)

    def _add(self, binding: Binding) -> None:
        plan = Plan(binding, self.codec, self._options)
        rival = self._router.add(binding.route.http_method, binding.template, plan)
        if rival is not None:
            raise DescriptorError(
                f"{where(binding)} and {where(rival.binding)}: both are served at "
                f"{binding.route.http_method} {binding.route.template}"
            )

    def match(self, method: str, raw_path: str) -> Match:
        """Return the route of a raw (still encoded) path without its query.

        Raises ``HttpError``: 400 for a path that has no one meaning, 404, 405 with ``Allow``, and 204
        for OPTIONS.
        """
        try:
            raw, trailing = split_path(raw_path)
        except BadPath as error:
            raise refusal(INVALID_ARGUMENT, str(error)) from None
        if trailing and self._options.strict_slash:
            raise refusal(NOT_FOUND, "no such path")
        if method == "OPTIONS" and raw_path == "*":
            raise _no_content([])
        segments, fitting = self._fitting(raw, verb_allowed=not trailing)
        if not fitting:
            raise refusal(NOT_FOUND, "no such path")
        plan = best(fitting, method)
        if plan is None and method == "HEAD":
            plan = best(fitting, "GET")
            if plan is not None and plan.route.kind != UNARY:
                plan = None
        if plan is None:
            allow = _allow(fitting)
            if method == "OPTIONS":
                raise _no_content(allow)
            raise refusal(
                UNIMPLEMENTED,
                f"this path is served for {', '.join(allow)}",
                http_status=405,
                headers=[("Allow", ", ".join(allow))],
            )
        return Match(plan.route, plan, segments)

    def _fitting(self, raw: list[str], *, verb_allowed: bool) -> tuple[list[str], list[Candidate[Plan]]]:
        """Return segments and fitting templates: those with a verb first, under any method."""
        if self._router.has_verbs and raw and verb_allowed:
            head, verb = split_verb(raw[-1])
            if verb:
                cut = [*raw[:-1], head]
                fitting = self._router.fitting([decode_literal(part) for part in cut], verb)
                if fitting:
                    return cut, fitting
        return raw, self._router.fitting([decode_literal(part) for part in raw], "")

    async def handle(self, request: web.Request, call: CallContext) -> web.StreamResponse:
        """Serve *request*; every failure of its own is an answer, not an exception."""
        try:
            return await self._serve(request, call)
        except HttpError as error:
            return error.response(self.codec)

    async def _serve(self, request: web.Request, call: CallContext) -> web.StreamResponse:
        if "#" in request.raw_path:
            raise refusal(INVALID_ARGUMENT, "path contains '#'")
        match = call.match or self.match(request.method, request.rel_url.raw_path)
        md.check_headers(request.headers, self._options)
        bodies.check_framing(request)
        plan = match.plan
        if plan.route.kind == BIDI:
            text = "bidirectional streams are not served over plain HTTP"
            raise refusal(UNIMPLEMENTED, text)
        streaming = plan.route.kind != UNARY
        deadline = time.monotonic() + md.timeout_s(request.headers, self._options, streaming=streaming)
        metadata = md.request_metadata(request.headers, self._options, call.metadata)
        bound = plan.reader.bind(match.segments, request.rel_url.raw_query_string, request.headers)
        return await self._unary(request, call, plan, bound, metadata, deadline)

    async def _message(self, request: web.Request, plan: Plan, bound: BoundValues, deadline: float) -> bytes:
        """Return the wire form of the single request message."""
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                body = await self._body(request, plan)
        except TimeoutError:
            raise refusal(DEADLINE_EXCEEDED, "the deadline passed while reading the body") from None
        return plan.reader.message(body, request.headers.get("Content-Type", ""), bound)

    async def _body(self, request: web.Request, plan: Plan) -> bytes:
        limit = self._options.max_body
        if not request.body_exists:
            return b""
        reader = plan.reader
        if not reader.takes_body:
            body = await bodies.read_body(request, limit)
            if body.strip() and self._options.unexpected_body == "reject":
                raise bad_request([("", "this method takes no body")])
            return b""
        length = request.content_length
        if length and not reader.takes_http_body:
            negotiation.check_json(request.headers.get("Content-Type"), streaming=False)
        body = await bodies.read_body(request, limit)
        if body and length is None and not reader.takes_http_body:
            negotiation.check_json(request.headers.get("Content-Type"), streaming=False)
        return body

    async def _unary(
        self,
        request: web.Request,
        context: CallContext,
        plan: Plan,
        bound: BoundValues,
        metadata: md.Metadata,
        deadline: float,
    ) -> web.StreamResponse:
        data = await self._message(request, plan, bound, deadline)
        start = self._calls.get(context.channels(plan.service), "unary_unary", plan.route.grpc_method)
        call = start(data, timeout=_left(deadline), metadata=metadata)
        try:
            raw = await call
            initial = await call.initial_metadata()
            trailing = await call.trailing_metadata()
        except grpc.aio.AioRpcError as error:
            raise self._errors.translate(error, by_if_match=bound.by_if_match, request_id=context.request_id) from None
        except grpc.aio.BaseError as error:
            raise unusable(error) from error
        except asyncio.CancelledError:
            if only_call_cancelled(call):
                raise refusal(CANCELLED, "the call was cancelled") from None
            raise
        printed = plan.printer.print(plan.printer.parse(raw))
        response = web.Response(body=printed.body)
        response.headers["Content-Type"] = printed.content_type
        response.headers["X-Content-Type-Options"] = "nosniff"
        options = self._options
        for name, value in md.response_headers(initial, options.response_headers):
            response.headers.add(name, value)
        if options.response_trailers:
            sent = md.response_headers(trailing, options.response_trailers, "Grpc-Trailer-")
            for name, value in sent:
                response.headers.add(name, value)
        return response


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise refusal(DEADLINE_EXCEEDED, "the deadline passed before the call began")
    return left


def _allow(fitting: Sequence[Candidate[Plan]]) -> list[str]:
    """Return the methods of all fitting templates, with the automatic HEAD and OPTIONS."""
    methods = allowed_methods(fitting)
    allow = set(methods) | {"OPTIONS"}
    if any(plan.route.kind == UNARY for plan in methods.get("GET", ())):
        allow.add("HEAD")
    return sorted(allow)


def _no_content(allow: Sequence[str]) -> HttpError:
    headers = [("Allow", ", ".join(allow))] if allow else []
    return refusal(OK, "", http_status=204, headers=headers)


def _overrides(config: Mapping[str, Any] | None) -> dict[str, http_pb2.HttpRule]:
    """Return the rules of a service config by selector; of two the last wins."""
    if config is None:
        return {}
    http = http_pb2.Http()
    try:
        json_format.ParseDict(config.get("http", {}), http)
    except json_format.ParseError as error:
        raise DescriptorError(f"service config: {error}") from None
    for rule in http.rules:
        if not rule.selector or "*" in rule.selector:
            raise DescriptorError(f"service config: selector {rule.selector!r} names no method")
    return {rule.selector: rule for rule in http.rules}
