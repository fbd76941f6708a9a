"""Who really called: what proxies say of it is believed only of those that are trusted (RFC 7239 and X-Forwarded-*)."""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aiohttp import web
from multidict import MultiMapping

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 a grammar's name
_PAIR = re.compile(rf'({_TOKEN})=({_TOKEN}|"(?:[^"\\\x00-\x1f]|\\.)*")')
_MAX_HOPS = 32
_MAX_CHARS = 2048
_HOST = re.compile(r"[A-Za-z0-9_.:\[\]-]{1,255}")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request comes from: the addresses from the client to the last proxy, and what the client asked for."""

    addresses: tuple[str, ...]
    client: str
    scheme: str
    host: str

    def metadata(self) -> list[tuple[str, str | bytes]]:
        """Return what a backend may know of it."""
        pairs = (
            ("x-forwarded-for", ", ".join(self.addresses)),
            ("x-forwarded-proto", self.scheme),
            ("x-forwarded-host", self.host),
        )
        return [(name, value) for name, value in pairs if value]


class Proxies:
    """The proxies whose word counts."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self._networks = tuple(networks)

    def origin(self, request: web.BaseRequest) -> Origin:
        """Return where *request* comes from; malformed words of proxies count as none."""
        name = request.transport.get_extra_info("peername") if request.transport else None
        peer = str(name[0]) if isinstance(name, tuple) else ""
        host = request.headers.get("Host", "")
        host = host if _HOST.fullmatch(host) else ""
        if not self._networks or not self._trusts(peer):
            return Origin((peer,), peer, request.scheme, host)
        said = _forwarded(request.headers) or _x_forwarded(request.headers)
        if said is None:
            return Origin((peer,), peer, request.scheme, host)
        addresses = (*said.addresses, peer)
        return Origin(addresses, self._client(addresses), said.scheme or request.scheme, said.host or host)

    def _client(self, addresses: Sequence[str]) -> str:
        """Return the last address that no trusted proxy has; whoever stands before it may have been made up."""
        return next((one for one in reversed(addresses) if not self._trusts(one)), addresses[0])

    def _trusts(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        return any(parsed in network for network in self._networks)


@dataclass(frozen=True, slots=True)
class _Said:
    addresses: tuple[str, ...]
    scheme: str
    host: str


def _forwarded(headers: MultiMapping[str]) -> _Said | None:
    """Return what ``Forwarded`` says, None without it or when any of it is malformed."""
    text = ", ".join(headers.getall("Forwarded", []))
    if len(text) > _MAX_CHARS:
        return None
    hops = []
    for element in _split(text, ","):
        pairs: dict[str, str] = {}
        for item in _split(element, ";"):
            match = _PAIR.fullmatch(item.strip())
            if match is None or match[1].lower() in pairs:
                return None
            pairs[match[1].lower()] = _unquoted(match[2])
        hops.append(pairs)
    if not hops or len(hops) > _MAX_HOPS:
        return None
    addresses = [_node(pairs.get("for", "unknown")) for pairs in hops]
    if None in addresses:
        return None
    return _Said(
        tuple(address for address in addresses if address),
        _scheme(hops[0].get("proto", "")),
        _host(hops[0].get("host", "")),
    )


def _x_forwarded(headers: MultiMapping[str]) -> _Said | None:
    items = [item.strip() for line in headers.getall("X-Forwarded-For", []) for item in line.split(",")]
    addresses = [_node(item) for item in items]
    if len(addresses) > _MAX_HOPS or None in addresses:
        addresses = []
    scheme = _scheme(headers.get("X-Forwarded-Proto", ""))
    host = _host(headers.get("X-Forwarded-Host", ""))
    if not addresses and not scheme and not host:
        return None
    return _Said(tuple(address for address in addresses if address), scheme, host)


def _split(text: str, at: str) -> list[str]:
    """Split at a character outside of quoted strings; empty pieces are dropped."""
    return [piece for piece in re.findall(rf'(?:"(?:[^"\\]|\\.)*"|[^"{at}])+', text) if piece.strip()]


def _node(text: str) -> str | None:
    """Return the address of a node without its port; ``unknown`` and made-up names stay, None for what is no node."""
    match = re.fullmatch(r"\[([0-9A-Fa-f:.]{2,45})\](?::[0-9]{1,5})?|([0-9.]{7,15})(?::[0-9]{1,5})?", text)
    address = (match[1] or match[2]) if match else text
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address if re.fullmatch(r"unknown|_[A-Za-z0-9._-]{1,64}", address) else None


def _scheme(text: str) -> str:
    return text.lower() if text.lower() in {"http", "https"} else ""


def _host(text: str) -> str:
    return text if _HOST.fullmatch(text) else ""


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text
