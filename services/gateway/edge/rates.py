"""How often one caller may call: token buckets in memory of a fixed size, which several processes may share."""

import hashlib
import ipaddress
import math
import mmap
import re
import secrets
import struct
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from google.protobuf.descriptor_pb2 import MethodOptions

from services.gateway.transcoder.rules import UNARY, Binding

READ, WRITE, SEARCH, STREAM, ADDRESS = "read", "write", "search", "stream", "ip"
CLASSES = (READ, WRITE, SEARCH, STREAM, ADDRESS)

_UNITS_S = {"s": 1, "m": 60, "h": 3600}
_LIMIT = re.compile(rf"({'|'.join(CLASSES)})=([1-9][0-9]{{0,8}})/([smh])(?::([1-9][0-9]{{0,8}}))?")
_ROUNDING_S = 1e-6  # of sums of floats; a clock of years of seconds still tells so much apart
_SALT_BYTES = 16
_WAYS = 8
_ROWS = 8192  # 65,536 buckets in 1 MiB
_ENTRY = struct.Struct("=Qd")
_ROW = struct.Struct("=" + "Qd" * _WAYS)
_IPV6_HOST_BITS = 64  # one customer has all addresses of such a network


@dataclass(frozen=True, slots=True)
class Limit:
    """So many calls a second in the long run, and *burst* at once."""

    name: str
    per_second: float
    burst: int

    @property
    def window_s(self) -> float:
        """Seconds in which an empty bucket is full again."""
        return self.burst / self.per_second


Limits = Mapping[str, Limit]


def limits(text: str) -> Limits:
    """Parse ``read=100/s:200,write=20/s``: calls a second, minute or hour, then the burst (default one second's, at least 1)."""
    if text == "off":
        return {}
    found: dict[str, Limit] = {}
    for item in text.split(","):
        match = _LIMIT.fullmatch(item.strip())
        if match is None or match[1] in found:
            raise ValueError(f"must be off, or items such as read=100/s:200, each of {', '.join(CLASSES)} once")
        per_second = int(match[2]) / _UNITS_S[match[3]]
        found[match[1]] = Limit(match[1], per_second, int(match[4] or max(1, math.ceil(per_second))))
    return found


# Of a public gateway that says nothing; well above what a person does, and one caller cannot fill it.
DEFAULTS = limits("read=100/s:200,write=20/s:100,search=20/s:60,stream=2/s:20")


def classes(bindings: Iterable[Binding], reads: Collection[str] = ()) -> dict[str, str]:
    """Return the class of every method by its gRPC path; *reads* are names of methods that only read, though called by POST."""
    found: dict[str, str] = {}
    for binding in bindings:
        route, method = binding.route, binding.method
        reading = method.name in reads or method.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS
        if route.kind != UNARY:
            kind = STREAM
        elif "Search" in method.name:
            kind = SEARCH
        else:
            kind = READ if reading or route.http_method == "GET" else WRITE
        if found.get(route.grpc_method) != READ:
            found[route.grpc_method] = kind
    return found


@dataclass(frozen=True, slots=True)
class Standing:
    """What a caller has left of a limit. ``wait_s`` is 0 when the call may go on."""

    limit: Limit
    remaining: int
    reset_s: float
    wait_s: float

    def headers(self) -> Iterable[tuple[str, str]]:
        """Return the fields of draft-ietf-httpapi-ratelimit-headers-10."""
        limit = self.limit
        yield "RateLimit-Policy", f'"{limit.name}";q={limit.burst};w={math.ceil(limit.window_s)}'
        yield "RateLimit", f'"{limit.name}";r={self.remaining};t={math.ceil(self.reset_s)}'


class Memory(Protocol):
    """Bytes that can be written in place."""

    def __len__(self) -> int: ...


class Buckets:
    """A table of buckets; each is one number, the time at which it will be full again (GCRA, ITU-T I.371).

    When more callers are active than fit, the fullest bucket of a row gives way, which forgives its caller a little. Processes
    that share the table do not lock it: two calls at the very same moment may count as one.
    """

    def __init__(self, table: mmap.mmap, salt: bytes, clock: Callable[[], float] = time.monotonic) -> None:
        self._table = table
        self._salt = salt  # who does not know it cannot choose names that share a row
        self._clock = clock

    @classmethod
    def private(cls, clock: Callable[[], float] = time.monotonic) -> "Buckets":
        """Return a table of this process alone."""
        return cls(mmap.mmap(-1, _ROWS * _ROW.size), secrets.token_bytes(_SALT_BYTES), clock)

    @classmethod
    def shared(cls, path: Path) -> "Buckets":
        """Return the table in the file that `lay_out` made; the monotonic clock is one for all processes of a machine."""
        with path.open("r+b") as file:
            table = mmap.mmap(file.fileno(), 0)
        return cls(table, bytes(table[-_SALT_BYTES:]))

    def take(self, limit: Limit, who: str) -> Standing:
        """Take one call of *who* from its bucket, if it holds one."""
        digest = hashlib.blake2b(f"{limit.name}\0{who}".encode(), key=self._salt, digest_size=16).digest()
        row = int.from_bytes(digest[:8], "little") % _ROWS * _ROW.size
        tag = int.from_bytes(digest[8:], "little") | 1  # 0 stands in entries never used
        now = self._clock()
        entries = _ROW.unpack_from(self._table, row)
        way = self._way(entries, tag)
        full_at = max(entries[2 * way + 1], now) if entries[2 * way] == tag else now
        step = 1 / limit.per_second
        wait_s = full_at - (limit.burst - 1) * step - now
        if wait_s < _ROUNDING_S:
            wait_s = 0.0
            full_at += step
            _ENTRY.pack_into(self._table, row + way * _ENTRY.size, tag, full_at)
        left = (limit.burst * step - (full_at - now)) / step
        return Standing(limit, max(0, math.floor(left + _ROUNDING_S / step)), full_at - now, wait_s)

    @staticmethod
    def _way(entries: tuple[float, ...], tag: int) -> int:
        tags = entries[::2]
        return tags.index(tag) if tag in tags else min(range(_WAYS), key=lambda way: entries[2 * way + 1])


def lay_out(path: Path) -> None:
    """Make the file of a table that processes share."""
    path.write_bytes(bytes(_ROWS * _ROW.size) + secrets.token_bytes(_SALT_BYTES))


class Rates:
    """The limits of a gateway; without any, everybody may call as often as they like."""

    def __init__(self, limits: Limits, buckets: Buckets) -> None:
        self._limits = limits
        self._buckets = buckets

    def take(self, name: str, who: str) -> Standing | None:
        """Take one call of class *name*, None where it has no limit."""
        limit = self._limits.get(name)
        return None if limit is None else self._buckets.take(limit, who)

    @property
    def count_addresses(self) -> bool:
        """Whether addresses have a limit."""
        return ADDRESS in self._limits

    def take_address(self, address: str) -> Standing | None:
        """Take one call of an address, of a network of 64 bits for IPv6."""
        return self.take(ADDRESS, _network(address))


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Address(int(parsed) >> _IPV6_HOST_BITS << _IPV6_HOST_BITS))
    return str(parsed)
