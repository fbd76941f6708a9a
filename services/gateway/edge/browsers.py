"""Against hostile web pages: a browser on this machine must not act for its user because some page told it to.

Three doors are shut: DNS rebinding (a foreign name that resolves to us) by the Host header, other origins by Origin and
Sec-Fetch-Site, and requests that need no preflight by their Content-Type. Programs that are no browsers send neither
Origin nor Sec-Fetch-Site and pass.
"""

import functools
import ipaddress
import re
from dataclasses import dataclass

from services.gateway.edge.arrival import Arrival, Headers
from services.gateway.edge.refusals import refuse

DEFAULT_PORT = 80
# What a page may send across origins without asking first (Fetch standard, CORS-safelisted request-header).
SIMPLE_TYPES = frozenset({"text/plain", "application/x-www-form-urlencoded", "multipart/form-data"})

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::([0-9]{1,5}))?")
_MEDIA_TYPE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True)
class HostList:
    """The Host names that we answer to. Items of ``extra`` without a port need the port that the request came in by."""

    extra: tuple[str, ...] = ()

    def check(self, arrival: Arrival) -> None:
        """Refuse a request that was meant for another name or port with 403."""
        host = arrival.headers.get("Host", "")
        match = _HOST.fullmatch(host)
        if match is None or not self._is_ours(match[1].lower(), int(match[2] or DEFAULT_PORT), arrival.port):
            raise refuse(
                403,
                f"Host {host!a} is not served; use 127.0.0.1:{arrival.port} or localhost:{arrival.port}, "
                "or list it in MEMORYBOX_GATEWAY_ALLOWED_HOSTS",
                reason="FOREIGN_HOST",
            )

    def _is_ours(self, name: str, port: int, own_port: int) -> bool:
        if f"{name}:{port}" in self.extra:
            return True
        return port == own_port and (name in self.extra or _is_loopback_name(name))


@functools.lru_cache(maxsize=256)
def _is_loopback_name(name: str) -> bool:
    if name in {"localhost", "[::1]"}:
        return True
    try:
        return ipaddress.IPv4Address(name).is_loopback
    except ipaddress.AddressValueError:
        return False


@dataclass(frozen=True, slots=True)
class CrossSiteRule:
    """Which web pages may call: our own, and those whose origin is listed."""

    origins: frozenset[str] = frozenset()

    def check(self, arrival: Arrival) -> None:
        """Refuse what a page of another origin sent with 403."""
        sent = arrival.headers.getall("Origin", [])
        if len(sent) == 1 and sent[0].lower() in self.origins:
            return
        if sent and (len(sent) > 1 or not _is_same_origin(sent[0], arrival.headers)):
            raise refuse(403, f"pages of origin {sent[0]!a} may not call", reason="FOREIGN_ORIGIN")
        for site in arrival.headers.getall("Sec-Fetch-Site", []):
            if site not in {"same-origin", "none"}:
                raise refuse(403, f"requests from another site ({site!a}) are refused", reason="CROSS_SITE")


def _is_same_origin(origin: str, headers: Headers) -> bool:
    host = headers.get("Host", "").lower()
    return bool(host) and origin.lower() in {f"http://{host}", f"https://{host}"}


def is_harmless(arrival: Arrival) -> bool:
    """Return whether a browser itself keeps foreign pages from doing harm with such a request.

    They cannot read the answer of a read, and for a write that needs a preflight they would have been refused by it. No
    browser asks before it opens a WebSocket, nor keeps what comes over it from the page.
    """
    if arrival.opens_socket:
        return False
    if not arrival.writes:
        return True
    sent = arrival.headers.getall("Content-Type", [])
    essence = sent[0].partition(";")[0].strip().lower() if len(sent) == 1 else ""
    asks_first = arrival.method != "POST" or (bool(_MEDIA_TYPE.fullmatch(essence)) and essence not in SIMPLE_TYPES)
    return asks_first and "Cookie" not in arrival.headers


def check_content_type(arrival: Arrival, *, lenient: bool = False) -> None:
    """Refuse a write whose Content-Type needs no preflight, or that is missing while there is a body, with 415.

    *lenient* looks at it only where there is a body, and leaves a missing one to the transcoder.
    """
    if not arrival.writes or arrival.takes_any_type or (lenient and not arrival.has_body):
        return
    sent = arrival.headers.getall("Content-Type", [])
    if not sent and (lenient or not arrival.has_body):
        return
    essence = sent[0].partition(";")[0].strip().lower() if len(sent) == 1 else ""
    if not _MEDIA_TYPE.fullmatch(essence) or essence in SIMPLE_TYPES:
        raise refuse(
            415,
            "writes need a Content-Type that a web page cannot send unasked, such as application/json",
            reason="SIMPLE_CONTENT_TYPE",
            headers=[("Accept", "application/json")],
        )
