"""What the edge knows of a request before it reads a byte of its body."""

from dataclasses import dataclass

from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

Headers = CIMultiDict[str] | CIMultiDictProxy[str]

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Arrival:
    """The part of a request that decides who may come in; never its path, query or content.

    ``port`` is the one the request came in by. ``takes_any_type`` says that the route accepts bodies of every
    Content-Type, so that the type cannot tell a form from a client. ``opens_socket`` is set for WebSockets.
    """

    method: str
    headers: Headers
    port: int
    has_body: bool = False
    takes_any_type: bool = False
    opens_socket: bool = False

    @property
    def writes(self) -> bool:
        """Whether it may change something; over a WebSocket a page could call anything, as no CORS holds it back."""
        return self.opens_socket or self.method not in SAFE_METHODS


def arrival(request: web.BaseRequest, *, takes_any_type: bool = False, opens_socket: bool = False) -> Arrival:
    """Return what authentication may see of *request*."""
    name = request.transport.get_extra_info("sockname") if request.transport else None
    port = name[1] if isinstance(name, tuple) else 0
    return Arrival(request.method, request.headers, port, request.body_exists, takes_any_type, opens_socket)
