"""Settings of the gateway: who may come in, and how much of everything."""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from services.gateway.edge.forwarded import Network
from services.gateway.edge.rates import Limits, limits
from services.mesh.config import integer, one_of, path, setting, switch

KIB = 1024
MIB = 1024 * KIB
_SIZES = {"": 1, "KiB": KIB, "MiB": MIB, "GiB": 1 << 30}
_SPANS_S = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0}


def size(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of sizes such as ``4096``, ``64KiB`` or ``4MiB``, from *low* to *high* bytes inclusive."""

    def parse(text: str) -> int:
        match = re.fullmatch(r"([0-9]{1,15})(KiB|MiB|GiB)?", text)
        if match is None or not low <= int(match[1]) * _SIZES[match[2] or ""] <= high:
            raise ValueError(f"must be a size from {low} to {high} bytes, such as 64KiB or 4MiB")
        return int(match[1]) * _SIZES[match[2] or ""]

    return parse


def span(low: float, high: float) -> Callable[[str], float]:
    """Return a parser of spans such as ``30``, ``1.5s``, ``250ms`` or ``5m``, from *low* to *high* seconds inclusive."""

    def parse(text: str) -> float:
        match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m)?", text)
        if match is None or not low <= float(match[1]) * _SPANS_S[match[2] or ""] <= high:
            raise ValueError(f"must be a span from {low:g} to {high:g} seconds, such as 30s or 5m")
        return float(match[1]) * _SPANS_S[match[2] or ""]

    return parse


def names(text: str) -> tuple[str, ...]:
    """Parse a comma-separated list; spaces around items are dropped."""
    items = tuple(item.strip() for item in text.split(","))
    if not all(items):
        raise ValueError("must be a comma-separated list without empty items")
    return items


def origins(text: str) -> tuple[str, ...]:
    """Parse a comma-separated list of origins such as ``https://app.example``; no wildcard."""
    items = names(text)
    for item in items:
        parts = urlsplit(item)
        if parts.scheme not in {"http", "https"} or not parts.netloc or item != f"{parts.scheme}://{parts.netloc}":
            raise ValueError(f"must list origins such as https://app.example, got {item!r}")
    return tuple(item.lower() for item in items)


def networks(text: str) -> tuple[Network, ...]:
    """Parse a comma-separated list of IP networks or addresses."""
    return tuple(ipaddress.ip_network(item) for item in names(text))


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """What the gateway alone knows."""

    auth: str = setting(
        "MEMORYBOX_AUTH",
        default="dev",
        parse=one_of("dev", "oidc", "spcs"),
        doc="Who says who calls: `dev` (headers, this machine only), `oidc` (bearer tokens), `spcs` (Snowflake's ingress).",
    )
    allowed_hosts: tuple[str, ...] = setting(
        "MEMORYBOX_GATEWAY_ALLOWED_HOSTS",
        default=(),
        parse=names,
        doc="Host names, with or without port, that `dev` answers to beside localhost, 127.0.0.0/8 and [::1].",
    )
    cors_origins: tuple[str, ...] = setting(
        "MEMORYBOX_GATEWAY_CORS_ORIGINS",
        default=(),
        parse=origins,
        doc="Origins of web pages that may call the API from browsers; none by default.",
    )
    default_timeout_s: float = setting(
        "MEMORYBOX_GATEWAY_DEFAULT_TIMEOUT",
        default=60.0,  # embedding a content of 1 MiB takes about half of it on two busy cores
        parse=span(0.1, 3600),
        doc="Deadline in seconds of a call that names none.",
    )
    max_timeout_s: float = setting(
        "MEMORYBOX_GATEWAY_MAX_TIMEOUT",
        default=300.0,
        parse=span(0.1, 3600),
        doc="Longest deadline in seconds that a caller may ask for.",
    )
    max_stream_timeout_s: float = setting(
        "MEMORYBOX_GATEWAY_MAX_STREAM_TIMEOUT",
        default=900.0,
        parse=span(1, 3600),
        doc="Longest life of a stream in seconds; a resume token continues it.",
    )
    max_body: int = setting(
        "MEMORYBOX_GATEWAY_MAX_BODY",
        default=4 * MIB,
        parse=size(KIB, 64 * MIB),
        doc="Longest request body in bytes after decompression; streamed uploads are bounded by message.",
    )
    header_timeout_s: float = setting(
        "MEMORYBOX_GATEWAY_HEADER_TIMEOUT",
        default=10.0,
        parse=span(0.1, 600),
        doc="Seconds that a client has for the request line and all headers.",
    )
    body_timeout_s: float = setting(
        "MEMORYBOX_GATEWAY_BODY_TIMEOUT",
        default=10.0,
        parse=span(0.1, 600),
        doc="Longest pause in seconds while a body is sent; afterwards the request is refused with 408.",
    )
    body_grace_s: float = setting(
        "MEMORYBOX_GATEWAY_BODY_GRACE",
        default=30.0,
        parse=span(0.1, 600),
        doc="Seconds after which a body must have come in at MEMORYBOX_GATEWAY_MIN_BODY_RATE on average.",
    )
    min_body_rate: int = setting(
        "MEMORYBOX_GATEWAY_MIN_BODY_RATE",
        default=KIB,
        parse=size(0, MIB),
        doc="Lowest average rate of a body in bytes a second; a streamed upload may come slower but not pause for the grace.",
    )
    write_timeout_s: float = setting(
        "MEMORYBOX_GATEWAY_WRITE_TIMEOUT",
        default=30.0,
        parse=span(0.1, 600),
        doc="Seconds in which a client must take some of an answer that waits for it; afterwards the connection is cut.",
    )
    idle_timeout_s: float = setting(
        "MEMORYBOX_GATEWAY_IDLE_TIMEOUT",
        default=120.0,
        parse=span(1, 3600),
        doc="Seconds that a connection may stay open between two requests.",
    )
    max_connections: int = setting(
        "MEMORYBOX_GATEWAY_MAX_CONNECTIONS",
        default=1024,
        parse=integer(1, 65535),
        doc="Most client connections at once; further ones are answered 503 and closed.",
    )
    workers: int = setting(
        "MEMORYBOX_GATEWAY_WORKERS",
        default=1,
        parse=integer(1, 64),
        doc="Processes that share the public port, for machines of several cores; one ops port tells of all.",
    )
    max_concurrent: int = setting(
        "MEMORYBOX_GATEWAY_MAX_CONCURRENT",
        default=128,
        parse=integer(1, 65535),
        doc="Most unary calls that run at once; further ones wait for a moment, and are answered 503 when none ends.",
    )
    rate_limits: Limits | None = setting(
        "MEMORYBOX_GATEWAY_RATE_LIMITS",
        default=None,
        parse=limits,
        doc="Calls of one user by class, as `read=100/s:200,write=20/s` (a second, minute or hour, then the burst), of `read`, "
        "`write`, `search`, `stream`, and `ip` for one address before it is known who calls; or `off`. Default off under `dev`.",
    )
    trusted_proxies: tuple[Network, ...] = setting(
        "MEMORYBOX_GATEWAY_TRUSTED_PROXIES",
        default=(),
        parse=networks,
        doc="Networks of proxies whose `Forwarded` and `X-Forwarded-*` headers are believed, such as `10.0.0.0/8`.",
    )
    max_in_flight: int = setting(
        "MEMORYBOX_GATEWAY_MAX_IN_FLIGHT",
        default=512,
        parse=integer(1, 65535),
        doc="Most requests under way at once; further ones are answered 503 with Retry-After.",
    )
    tls_cert: Path | None = setting(
        "MEMORYBOX_GATEWAY_TLS_CERT",
        default=None,
        parse=path,
        doc="PEM file of the certificate chain that the public port shows; read again when it changes. Default plain HTTP.",
    )
    tls_key: Path | None = setting(
        "MEMORYBOX_GATEWAY_TLS_KEY", default=None, parse=path, doc="PEM file of the certificate's private key."
    )
    tls_client_ca: Path | None = setting(
        "MEMORYBOX_GATEWAY_TLS_CLIENT_CA",
        default=None,
        parse=path,
        doc="PEM file of the authorities whose certificates clients must show; default none needed.",
    )
    expose_internal_errors: bool = setting(
        "MEMORYBOX_GATEWAY_EXPOSE_INTERNAL_ERRORS",
        default=False,
        parse=switch,
        doc="Whether callers see the text of internal errors: `on` or `off`. For debugging.",
    )
    spcs_token_file: Path = setting(
        "MEMORYBOX_SPCS_TOKEN_FILE",
        default=Path("/snowflake/session/token"),
        parse=path,
        doc="File that Snowpark Container Services puts into every container; `spcs` refuses to start without it.",
    )
    snowflake_host: str = setting(
        "SNOWFLAKE_HOST", default="", doc="Host of the account's API; set by Snowflake inside a container."
    )
    snowflake_account: str = setting(
        "SNOWFLAKE_ACCOUNT", default="", doc="Account; set by Snowflake inside a container."
    )
    snowflake_service: str = setting("SNOWFLAKE_SERVICE_NAME", default="", doc="Set by Snowpark Container Services.")
    oidc_issuer: str = setting(
        "MEMORYBOX_OIDC_ISSUER", default="", doc="Issuer whose tokens `oidc` accepts, exactly as in their `iss`."
    )
    oidc_audience: str = setting(
        "MEMORYBOX_OIDC_AUDIENCE", default="", doc="Audience that `oidc` tokens must be made for (`aud`)."
    )
    oidc_jwks_url: str = setting(
        "MEMORYBOX_OIDC_JWKS_URL", default="", doc="Where the issuer publishes its signing keys (JWKS)."
    )
    oidc_user_claim: str = setting(
        "MEMORYBOX_OIDC_USER_CLAIM", default="sub", doc="Claim of an `oidc` token that names the user."
    )
    oidc_roles_claim: str = setting(
        "MEMORYBOX_OIDC_ROLES_CLAIM", default="roles", doc="Claim of an `oidc` token that lists the user's roles."
    )


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a gateway of several processes tells each of them."""

    folder: Path | None = setting(
        "MEMORYBOX_GATEWAY_WORKER_DIR",
        default=None,
        parse=path,
        doc="Set by a gateway of several processes: folder of what they share.",
    )
    index: int = setting(
        "MEMORYBOX_GATEWAY_WORKER",
        default=0,
        parse=integer(0, 63),
        doc="Set by a gateway of several processes: number of the process, from 0.",
    )

    @staticmethod
    def rates_of(folder: Path) -> Path:
        """Return where the limits of callers are counted for all."""
        return folder / "rates"

    @staticmethod
    def socket_of(folder: Path, index: int) -> Path:
        """Return where a worker serves its ops pages."""
        return folder / f"{index}.sock"
