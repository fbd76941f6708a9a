"""Which requests are gRPC-Web or Connect: exact paths ``/package.Service/Method``, told apart by their headers."""

from collections.abc import Sequence
from http import HTTPStatus

from aiohttp import web

from services.gateway.transcoder.codec import JsonCodec
from services.gateway.transcoder.connect import ConnectGet, connect_post
from services.gateway.transcoder.connect_stream import ConnectStream
from services.gateway.transcoder.envelopes import Coding
from services.gateway.transcoder.errors import UNIMPLEMENTED, HttpError, refusal
from services.gateway.transcoder.grpcweb import GrpcWeb, grpc_web
from services.gateway.transcoder.options import Options
from services.gateway.transcoder.protocols import Face, Messages, Rpc, may_compress
from services.gateway.transcoder.rules import UNARY, Binding, Route, grpc_path, stream_kind
from services.gateway.transcoder.table import Match, Plan
from services.gateway.transcoder.template import parse_template

FACE = web.RequestKey("face", Face)
"""How a request is answered that reached a method by gRPC-Web or Connect; absent for all others."""

_GET_NAMES = ("message=", "encoding=", "connect=")


class RpcTable:
    """The methods of *bindings*; a method without any route is not reachable here either."""

    def __init__(self, bindings: Sequence[Binding], codec: JsonCodec, options: Options) -> None:
        self._codec = codec
        self._options = options
        self._methods: dict[str, tuple[Plan, Messages]] = {}
        for method in {binding.method.full_name: binding.method for binding in bindings}.values():
            path = grpc_path(method)
            route = Route("POST", path, path, "*", "", stream_kind(method))
            plan = Plan(Binding(route, method, parse_template(path), (), None, None), codec, options)
            self._methods[path] = plan, Messages(method, codec, options)

    def match(self, request: web.BaseRequest) -> Match | None:
        """Return the method of a gRPC-Web or Connect request, None for all others; raises 405 for a GET of a method that may write."""
        known = self._methods.get(request.rel_url.raw_path)
        if known is None:
            return None
        plan, messages = known
        face = self._get(request, messages) if request.method == "GET" else self._post(request)
        return None if face is None else self._spoken(request, plan, messages, face)

    def _spoken(self, request: web.BaseRequest, plan: Plan, messages: Messages, face: Face) -> Match:
        request[FACE] = face
        return Match(plan.route, plan, (), rpc=Rpc(messages, face))

    def _post(self, request: web.BaseRequest) -> Face | None:
        if request.method != "POST":
            return None
        kind = _media_type(request)
        packs = may_compress(request.headers, self._options)
        return grpc_web(request.headers, kind, may_compress=packs) or connect_post(
            request.headers, kind, self._codec, self._options, may_compress=packs
        )

    def _get(self, request: web.BaseRequest, messages: Messages) -> Face | None:
        query = request.rel_url.raw_query_string
        if not any(piece.startswith(_GET_NAMES) for piece in query.split("&")):
            return None
        if not messages.has_no_side_effects:
            text = "methods that may have side effects are called by POST"
            raise refusal(UNIMPLEMENTED, text, http_status=405, headers=[("Allow", "POST")])
        return ConnectGet(query, self._codec, self._options, request.headers)

    def otherwise(self, request: web.BaseRequest, error: HttpError) -> Match:
        """Return what a request means that no HTTP rule takes, or raise *error*.

        JSON without the header of Connect is a call all the same, for curl. A gRPC-Web client that asks for an unknown
        method hears UNIMPLEMENTED, as from any gRPC server.
        """
        if request.method != "POST" or error.http_status not in {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}:
            raise error
        known = self._methods.get(request.rel_url.raw_path)
        if known is None:
            face = self._post(request)
            if error.http_status == HTTPStatus.NOT_FOUND and isinstance(face, GrpcWeb):
                request[FACE] = face
                raise refusal(UNIMPLEMENTED, "no such method")
            raise error
        kind = _media_type(request)
        if kind != "application/json" and kind.partition("+")[0] != "application/grpc":
            raise error
        plan, messages = known
        if plan.route.kind == UNARY:
            return Match(plan.route, plan, ())
        return self._spoken(request, plan, messages, self._no_stream(request))

    def _no_stream(self, request: web.BaseRequest) -> Face:
        """Return the face that refuses a type by which no stream can be called."""
        return ConnectStream("", self._codec, self._options, request.headers, Coding())

    def match_stream(self, raw_path: str) -> Match | None:
        """Return the streaming method at its default path for a WebSocket, None without one."""
        known = self._methods.get(raw_path)
        if known is None or known[0].route.kind == UNARY:
            return None
        return Match(known[0].route, known[0], (), socket=True)

    def methods_at(self, raw_path: str) -> set[str]:
        """Return the HTTP methods that gRPC-Web and Connect take at a path."""
        known = self._methods.get(raw_path)
        if known is None:
            return set()
        return {"GET", "POST"} if known[1].has_no_side_effects else {"POST"}


def _media_type(request: web.BaseRequest) -> str:
    """Return the one media type of the body in lower case, without parameters."""
    sent = request.headers.getall("Content-Type", [])
    return sent[0].partition(";")[0].strip().lower() if len(sent) == 1 else ""
