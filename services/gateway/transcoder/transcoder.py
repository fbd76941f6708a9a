"""The transcoder: HTTP JSON in front, gRPC behind, driven by descriptors alone."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from aiohttp import web
from google.api import http_pb2
from google.protobuf import json_format

from services.gateway.transcoder.codec import JsonCodec
from services.gateway.transcoder.descriptors import DescriptorError, load_descriptor_sets
from services.gateway.transcoder.errors import ENDED, INVALID_ARGUMENT, INVALID_INPUT, OK, HttpError, refusal
from services.gateway.transcoder.options import Options
from services.gateway.transcoder.protocols import Face
from services.gateway.transcoder.rpc import RpcServer
from services.gateway.transcoder.rpc_table import FACE, RpcTable
from services.gateway.transcoder.rules import Binding, Route, RuleCompiler
from services.gateway.transcoder.serving import CallContext, Server
from services.gateway.transcoder.table import Match, RouteTable
from services.gateway.transcoder.websocket import asks_for_websocket

FORM = "application/x-www-form-urlencoded"


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
        self.descriptor_sets = tuple(descriptor_sets)
        self.descriptors = load_descriptor_sets(descriptor_sets)
        self.codec = JsonCodec(self.descriptors.pool, options)
        compiler = RuleCompiler(options, _overrides(service_config))
        bindings = compiler.compile(self.descriptors, services)
        self.bindings: Sequence[Binding] = tuple(bindings)
        self.routes: Sequence[Route] = tuple(binding.route for binding in bindings)
        try:
            self._table = RouteTable(bindings, self.codec, options)
        except RecursionError:
            raise DescriptorError("message types hold each other too deeply") from None
        self.warnings: list[str] = [*compiler.warnings, *self._table.warnings]
        self._rpc_table = RpcTable(bindings, self.codec, options)
        self.warnings += self.codec.validators.warnings
        self._server = Server(self.codec, options)
        self._rpc_server = RpcServer(self._server, options)

    @property
    def options(self) -> Options:
        """How requests are read and answers printed."""
        return self._options

    def match(self, method: str, raw_path: str) -> Match:
        """Return the route of a raw (still encoded) path without its query.

        Raises ``HttpError``: 400 for a path that has no one meaning, 404, 405 with ``Allow``, and 204
        for OPTIONS.
        """
        spoken = self._rpc_table.methods_at(raw_path) if method == "OPTIONS" else set()
        try:
            return self._table.match(method, raw_path)
        except HttpError as error:
            if not spoken:
                raise
            allow = ", ".join(sorted({"OPTIONS", *spoken, *_allowed(error)}))
            raise refusal(OK, "", http_status=204, headers=[("Allow", allow)]) from None

    def match_request(self, request: web.BaseRequest) -> Match:
        """Return the route of *request*, as ``match`` does; with ``form_fallback`` forms may mean other methods."""
        if "#" in request.raw_path:
            raise refusal(INVALID_ARGUMENT, "path contains '#'", reason=INVALID_INPUT)
        found = self._match_socket(request) if asks_for_websocket(request) else self._rpc_table.match(request)
        if found is not None:
            return found
        try:
            return self._match_json(request)
        except HttpError as error:
            return self._rpc_table.otherwise(request, error)

    def _match_socket(self, request: web.BaseRequest) -> Match | None:
        path = request.rel_url.raw_path
        return self._table.match_stream(path) or self._rpc_table.match_stream(path)

    def _match_json(self, request: web.BaseRequest) -> Match:
        path = request.rel_url.raw_path
        if not (self._options.form_fallback and request.method == "POST" and request.content_type == FORM):
            return self.match(request.method, path)
        override = request.headers.get("X-HTTP-Method-Override", "").upper()
        if override:
            return dataclasses.replace(self.match(override, path), form=True)
        try:
            return self.match("POST", path)
        except HttpError as error:
            if error.http_status != HTTPStatus.METHOD_NOT_ALLOWED:
                raise
            return dataclasses.replace(self.match("GET", path), form=True)

    def end_streams(self) -> None:
        """End all server streams with UNAVAILABLE, so that clients reconnect; for a graceful stop."""
        self._server.end_streams()

    def refused(self, request: web.BaseRequest, error: HttpError) -> web.Response:
        """Return *error* as the client of *request* reads it, after ``match_request``: in its protocol or as JSON."""
        face: Face | None = request.get(FACE)
        if face is None:
            return error.response(self.codec)
        request[ENDED] = error.status.code
        response = face.failure(error)
        if error.http_status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or ("Connection", "close") in error.headers:
            response.force_close()  # the rest of the body is not worth reading
        return response

    async def handle(self, request: web.Request, call: CallContext) -> web.StreamResponse:
        """Serve *request*; every failure is an answer, not an exception."""
        response: web.StreamResponse
        try:
            match = call.match or self.match_request(request)
            if match.rpc is not None:
                response = await self._rpc_server.serve(request, call, match, match.rpc)
            else:
                response = await self._server.serve(request, call, match)
        except HttpError as error:
            response = self.refused(request, error)
        if not request.content.is_eof() and not response.prepared:
            response.force_close()  # the answer came before the body ended
        return response


def _allowed(error: HttpError) -> list[str]:
    """Return the methods that the ``Allow`` header of *error* names."""
    return [name for key, value in error.headers if key == "Allow" for name in value.split(", ")]


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
