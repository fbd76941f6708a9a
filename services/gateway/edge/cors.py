"""Cross-origin calls by pages whose origin is listed; exact origins, never reflected, denied by default."""

from collections.abc import Iterable

from multidict import CIMultiDict

from services.gateway.edge.arrival import Headers

MAX_AGE_S = 7200  # the longest that Chrome keeps a preflight
ALLOWED = frozenset(
    {
        "accept-encoding",
        "authorization",
        "connect-accept-encoding",
        "connect-content-encoding",
        "connect-protocol-version",
        "connect-timeout-ms",
        "content-type",
        "grpc-accept-encoding",
        "grpc-encoding",
        "grpc-timeout",
        "idempotency-key",
        "if-match",
        "last-event-id",
        "traceparent",
        "x-grpc-web",
        "x-memorybox-roles",
        "x-memorybox-user",
        "x-request-id",
        "x-user-agent",
    }
)
_EXPOSED = (
    "Connect-Content-Encoding",
    "Content-Encoding",
    "ETag",
    "Grpc-Encoding",
    "Grpc-Message",
    "Grpc-Status",
    "Grpc-Status-Details-Bin",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "Traceparent",
    "X-Request-Id",
)
# Metadata of backends; exposed by name, as a wildcard means nothing to requests with credentials.
_EXPOSED_PREFIXES = ("grpc-metadata-", "grpc-trailer-", "trailer-")


class Cors:
    """The headers by which browsers let listed origins in."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origins)

    def is_preflight(self, method: str, headers: Headers) -> bool:
        """Say whether a browser asks what a page may send."""
        return method == "OPTIONS" and "Origin" in headers and "Access-Control-Request-Method" in headers

    def allow(self, request: Headers, response: CIMultiDict[str]) -> None:
        """Let the page of a listed origin read the answer."""
        if not self._origins:
            return
        response.add("Vary", "Origin")
        origin = request.get("Origin", "")
        if origin.lower() in self._origins:
            response["Access-Control-Allow-Origin"] = origin
            metadata = [name for name in response if name.lower().startswith(_EXPOSED_PREFIXES)]
            response["Access-Control-Expose-Headers"] = ", ".join([*_EXPOSED, *dict.fromkeys(metadata)])
            # Pages of listed origins may embed answers; `same-origin` would make browsers drop them.
            response["Cross-Origin-Resource-Policy"] = "cross-origin"

    def preflight(self, request: Headers, methods: Iterable[str]) -> CIMultiDict[str]:
        """Return what a page may do at a path that takes *methods*; nothing for an origin that is not listed."""
        headers = CIMultiDict[str]()
        if request.get("Origin", "").lower() not in self._origins:
            return headers
        asked = [name.strip() for name in request.get("Access-Control-Request-Headers", "").split(",")]
        granted = [name for name in asked if name.lower() in ALLOWED or name.lower().startswith("grpc-metadata-")]
        headers["Access-Control-Allow-Methods"] = ", ".join(methods)
        if granted:
            headers["Access-Control-Allow-Headers"] = ", ".join(granted)
        headers["Access-Control-Max-Age"] = str(MAX_AGE_S)
        headers["Vary"] = "Access-Control-Request-Method, Access-Control-Request-Headers"
        return headers
