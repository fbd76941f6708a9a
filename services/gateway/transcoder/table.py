"""The route table: bindings compiled into plans, found by method and raw path."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.gateway.transcoder.codec import JsonCodec
from services.gateway.transcoder.descriptors import DescriptorError
from services.gateway.transcoder.errors import (
    INVALID_ARGUMENT,
    INVALID_INPUT,
    NOT_FOUND,
    OK,
    UNIMPLEMENTED,
    HttpError,
    refusal,
)
from services.gateway.transcoder.options import Options
from services.gateway.transcoder.paths import BadPath, split_path, split_verb
from services.gateway.transcoder.protocols import Rpc
from services.gateway.transcoder.request import RequestReader
from services.gateway.transcoder.response import ResponsePrinter
from services.gateway.transcoder.router import Candidate, Router, allowed_methods, best
from services.gateway.transcoder.rules import UNARY, Binding, Route, where
from services.gateway.transcoder.template import Wildcard, decode_literal

_UNWRITTEN = "\0"  # no path holds it, so no literal is it


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
    form: bool = False
    """Whether the body is a form that holds query parameters."""
    rpc: Rpc | None = None
    """Set when the request is gRPC-Web or Connect."""
    socket: bool = False
    """Whether the request opens a WebSocket."""


class RouteTable:
    """All plans of one transcoder; two at one place are a ``DescriptorError``."""

    def __init__(self, bindings: Sequence[Binding], codec: JsonCodec, options: Options) -> None:
        self._strict_slash = options.strict_slash
        self._router: Router[Plan] = Router()
        plans = [Plan(binding, codec, options) for binding in bindings]
        for plan in plans:
            binding = plan.binding
            rival = self._router.add(binding.route.http_method, binding.template, plan)
            if rival is not None:
                raise DescriptorError(
                    f"{where(binding)} and {where(rival.binding)}: both are served at "
                    f"{binding.route.http_method} {binding.route.template}"
                )

        longest = max((len(plan.binding.template.segments) for plan in plans), default=0)
        self.warnings = [
            f"{where(plan.binding)}: {plan.route.http_method} {plan.route.template} is never reached"
            for plan in plans
            if not self._is_reachable(plan, longest)
        ]

    def _is_reachable(self, plan: Plan, longest: int) -> bool:
        """Return whether precedence picks *plan* for some path.

        Only wildcards take a segment that no template writes, so paths of those show all rivals; a
        ``**`` that takes more than the longest template has no more of them.
        """
        template = plan.binding.template
        counts = range(longest + 2) if Wildcard.MANY in template.segments else [0]
        for count in counts:
            path: list[str] = []
            for segment in template.segments:
                if segment is Wildcard.MANY:
                    path += [_UNWRITTEN] * count
                else:
                    path.append(_UNWRITTEN if segment is Wildcard.ONE else str(segment))
            if best(self._router.fitting(path, template.verb), plan.route.http_method) is plan:
                return True
        return False

    def match(self, method: str, raw_path: str) -> Match:
        """Return the match of a request; see ``Transcoder.match``."""
        if method == "OPTIONS" and raw_path == "*":
            raise _no_content([])
        segments, fitting = self._at(raw_path)
        if not fitting:
            raise refusal(NOT_FOUND, "no such path")
        plan = best(fitting, method) or _automatic_head(fitting, method)
        if plan is None:
            raise _wrong_method(fitting, method)
        return Match(plan.route, plan, segments)

    def match_stream(self, raw_path: str) -> Match | None:
        """Return the streaming method at a path for a WebSocket, whatever HTTP method its rule names; None without one."""
        segments, fitting = self._at(raw_path)
        methods = allowed_methods(fitting)
        for method in sorted(methods, key=lambda name: (name != "GET", name != "POST", name)):
            plan = best(fitting, method)
            if plan is not None and plan.route.kind != UNARY:
                return Match(plan.route, plan, segments, socket=True)
        return None

    def _at(self, raw_path: str) -> tuple[list[str], list[Candidate[Plan]]]:
        """Return the segments of a path and the templates that fit it."""
        try:
            raw, trailing = split_path(raw_path)
        except BadPath as error:
            raise refusal(INVALID_ARGUMENT, str(error), reason=INVALID_INPUT) from None
        if trailing and self._strict_slash:
            raise refusal(NOT_FOUND, "no such path")
        return self._fitting(raw, verb_allowed=not trailing)

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


def _automatic_head(fitting: Sequence[Candidate[Plan]], method: str) -> Plan | None:
    plan = best(fitting, "GET") if method == "HEAD" else None
    return plan if plan is not None and plan.route.kind == UNARY else None


def _wrong_method(fitting: Sequence[Candidate[Plan]], method: str) -> HttpError:
    methods = allowed_methods(fitting)
    allow = set(methods) | {"OPTIONS"}
    if any(plan.route.kind == UNARY for plan in methods.get("GET", ())):
        allow.add("HEAD")
    if method == "OPTIONS":
        return _no_content(sorted(allow))
    listed = ", ".join(sorted(allow))
    return refusal(UNIMPLEMENTED, f"this path is served for {listed}", http_status=405, headers=[("Allow", listed)])


def _no_content(allow: Sequence[str]) -> HttpError:
    headers = [("Allow", ", ".join(allow))] if allow else []
    return refusal(OK, "", http_status=204, headers=headers)
