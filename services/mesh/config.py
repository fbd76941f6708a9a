"""Settings: environment to frozen dataclasses, every error reported at once. The only reader of ``os.environ``."""

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from services.mesh.errors import FailedPrecondition

T = TypeVar("T")

# Port of each gRPC service, counted from MEMORYBOX_PORT_BASE; its ops HTTP port lies OPS_OFFSET above.
SERVICE_OFFSETS: Mapping[str, int] = {"memory": 0, "embedding": 1, "analyst": 2, "chat": 3}
OPS_OFFSET = 100
BUILT_SERVICES = ("embedding", "memory", "analyst", "gateway")  # in the order in which `up` starts them


class BadSettings(FailedPrecondition):
    """Some settings are missing or malformed; the message has one line for each."""

    reason = "BAD_SETTINGS"


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that must not be printed."""

    value: str

    def __repr__(self) -> str:
        return "Secret(***)"


def setting(variable: str, *, default: Any = MISSING, parse: Callable[[str], Any] = str, doc: str) -> Any:
    """Declare a dataclass field that is read from *variable*; *doc* is the line of the configuration table."""
    metadata = {"variable": variable, "parse": parse, "doc": doc}
    if default is MISSING:
        return field(metadata=metadata)
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def load(cls: type[T], environ: Mapping[str, str] | None = None) -> T:
    """Return *cls* filled from *environ* (the process's own when None), or raise ``BadSettings`` naming every fault at once.

    An empty variable counts as unset.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    faults: list[str] = []
    for item in fields(cls):  # type: ignore[arg-type]
        variable = item.metadata["variable"]
        text = environ.get(variable, "")
        if text:
            try:
                values[item.name] = item.metadata["parse"](text)
            except ValueError as error:
                faults.append(f"{variable}={text!r}: {error}")
        elif item.default is MISSING and item.default_factory is MISSING:
            faults.append(f"{variable} is not set: {item.metadata['doc']}")
    if faults:
        raise BadSettings("\n".join(faults))
    return cls(**values)


def require_valid(environ: Mapping[str, str] | None, *classes: type[Any]) -> None:
    """Raise one ``BadSettings`` naming every fault that *environ* has for any of *classes*."""
    faults: list[str] = []
    for cls in classes:
        try:
            load(cls, environ)
        except BadSettings as error:
            faults.append(error.message)
    if faults:
        raise BadSettings("\n".join(faults))


def one_of(*choices: str) -> Callable[[str], str]:
    """Return a parser that accepts just *choices*."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return text

    return parse


def some_of(*choices: str) -> Callable[[str], tuple[str, ...]]:
    """Return a parser of comma separated words, each one of *choices*."""

    def parse(text: str) -> tuple[str, ...]:
        words = tuple(word.strip() for word in text.split(",") if word.strip())
        if set(words) - set(choices):
            raise ValueError(f"must be some of {', '.join(choices)}, comma separated")
        return words

    return parse


def integer(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of whole numbers from *low* to *high* inclusive."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]+", text) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return parse


def seconds(low: float, high: float) -> Callable[[str], float]:
    """Return a parser of spans in seconds, such as ``30`` or ``1.5`` or ``1.5s``, from *low* to *high* inclusive."""

    def parse(text: str) -> float:
        if not re.fullmatch(r"[0-9]+(\.[0-9]+)?s?", text) or not low <= float(text.rstrip("s")) <= high:
            raise ValueError(f"must be a number of seconds from {low} to {high}")
        return float(text.rstrip("s"))

    return parse


def switch(text: str) -> bool:
    """Parse ``on`` or ``off``."""
    if text not in {"on", "off"}:
        raise ValueError("must be on or off")
    return text == "on"


def path(text: str) -> Path:
    """Parse a path; ``~`` is the home folder."""
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:  # ~nobody
        raise ValueError(str(error)) from None


def default_data_dir() -> Path:
    """Return where data lie when nothing is said: the user's data folder of the XDG base directory specification."""
    base = os.environ.get("XDG_DATA_HOME", "")
    return (Path(base) if base else Path("~/.local/share").expanduser()) / "memorybox"


@dataclass(frozen=True, slots=True)
class MeshSettings:
    """What every process of the mesh knows."""

    profile: str = setting(
        "MEMORYBOX_PROFILE",
        default="local",
        parse=one_of("local", "snowflake"),
        doc="Which backends run: `local` or `snowflake`.",
    )
    data_dir: Path = setting(
        "MEMORYBOX_DATA_DIR",
        default=default_data_dir,
        parse=path,
        doc="Folder of everything that is kept, keys included.",
    )
    keys_dir_setting: Path | None = setting(
        "MEMORYBOX_KEYS_DIR",
        default=None,
        parse=path,
        doc="Folder of all keys, those of backups too; default `keys` in the data folder.",
    )
    bind: str = setting("MEMORYBOX_BIND", default="127.0.0.1", doc="Address that every port listens on.")
    port_base: int = setting(
        "MEMORYBOX_PORT_BASE",
        default=15051,
        parse=integer(1024, 65000),
        doc="gRPC port of memory; embedding, analyst and chat follow; ops ports lie 100 above each.",
    )
    http_port: int = setting(
        "MEMORYBOX_HTTP_PORT",
        default=8080,
        parse=integer(1, 65435),
        doc="The gateway's public port; its ops port lies 100 above.",
    )
    memory_target: str = setting(
        "MEMORYBOX_MEMORY_TARGET", default="", doc="gRPC target of memory; default its port on 127.0.0.1."
    )
    embedding_target: str = setting(
        "MEMORYBOX_EMBEDDING_TARGET", default="", doc="gRPC target of embedding; default its port on 127.0.0.1."
    )
    analyst_target: str = setting(
        "MEMORYBOX_ANALYST_TARGET", default="", doc="gRPC target of analyst; default its port on 127.0.0.1."
    )
    chat_target: str = setting(
        "MEMORYBOX_CHAT_TARGET", default="", doc="gRPC target of chat; default its port on 127.0.0.1."
    )
    governor_role: str = setting(
        "MEMORYBOX_GOVERNOR_ROLE", default="MEMORYBOX_GOVERNOR", doc="Name of the governors' role."
    )
    operator_role: str = setting(
        "MEMORYBOX_OPERATOR_ROLE", default="MEMORYBOX_OPERATOR", doc="Name of the operators' role."
    )
    log_level: str = setting(
        "MEMORYBOX_LOG_LEVEL",
        default="INFO",
        parse=one_of("DEBUG", "INFO", "WARNING", "ERROR"),
        doc="Lowest level that is logged.",
    )
    trace_dir: Path | None = setting(
        "MEMORYBOX_TRACE_DIR", default=None, parse=path, doc="Folder for spans as JSON lines, one file a process."
    )
    trace_inbound_setting: str = setting(
        "MEMORYBOX_TRACE_INBOUND",
        default="",
        parse=one_of("continue", "link"),
        doc="Whether the gateway continues a caller's trace or starts its own and links to it; default `continue`, in the "
        "snowflake profile `link`.",
    )
    otlp_endpoint: str = setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        default="",
        doc="OTLP/HTTP collector for spans and metrics, by OpenTelemetry's own rules.",
    )
    otlp_traces_endpoint: str = setting(
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        default="",
        doc="OTLP/HTTP collector for spans alone; goes before the common one.",
    )
    otlp_metrics_endpoint: str = setting(
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
        default="",
        doc="OTLP/HTTP collector for metrics alone; goes before the common one.",
    )
    drain_s: float = setting(
        "MEMORYBOX_DRAIN",
        default=1.0,
        parse=seconds(0, 60),
        doc="Seconds to go on serving after SIGTERM, so that clients notice; `memorybox up` sets 0.3.",
    )
    grace_s: float = setting(
        "MEMORYBOX_GRACE",
        default=10.0,
        parse=seconds(0, 300),
        doc="Seconds that calls under way get to end after the drain.",
    )
    connection_age_s: float = setting(
        "MEMORYBOX_CONNECTION_AGE",
        default=60.0,
        parse=seconds(1, 3600),
        doc="Age at which a server ends a connection, so that clients look for new instances.",
    )

    @property
    def keys_dir(self) -> Path:
        """Folder of all keys."""
        return self.keys_dir_setting or self.data_dir / "keys"

    @property
    def trace_inbound(self) -> str:
        """``continue`` or ``link``: what becomes of a caller's trace."""
        return self.trace_inbound_setting or ("link" if self.profile == "snowflake" else "continue")

    def port(self, service: str) -> int:
        """Return the gRPC port of *service*; for ``gateway`` its public HTTP port."""
        return self.http_port if service == "gateway" else self.port_base + SERVICE_OFFSETS[service]

    def ops_port(self, service: str) -> int:
        """Return the ops HTTP port of *service*."""
        return self.port(service) + OPS_OFFSET

    def target(self, service: str) -> str:
        """Return the gRPC target that finds *service*."""
        explicit: str = getattr(self, f"{service}_target")
        return explicit or f"dns:///127.0.0.1:{self.port(service)}"


@dataclass(frozen=True, slots=True)
class LifetimeSettings:
    """What binds a process to the supervisor that started it."""

    supervisor_fd: int | None = setting(
        "MEMORYBOX_SUPERVISOR_FD",
        default=None,
        parse=integer(3, 1 << 20),
        doc="Set by `memorybox up`: descriptor of a pipe whose end of file tells a service to stop.",
    )


def process_environment() -> dict[str, str]:
    """Return a copy of this process's environment."""
    return dict(os.environ)


def is_loopback(address: str) -> bool:
    """Say whether *address* can be reached from this machine only."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:  # a name, which may lead anywhere
        return False
