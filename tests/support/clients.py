"""One deployment in this process: keys, real servers on free ports, clients with tokens, and refusals that can be compared."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health
from grpc_status import rpc_status

from services.mesh.channels import Credentials, MeshChannel, ServiceCredentials
from services.mesh.config import MeshSettings, load
from services.mesh.identity import HopSigner
from services.mesh.keys import Grant, KeyFolder
from services.mesh.server import Mesh, Service, start
from services.mesh.telemetry import Telemetry
from tests.support.mesh import free_ports

Pairs = tuple[tuple[str, str], ...]
CALL_S = 10.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a failed call said, read by grpc's own means."""

    code: str
    message: str
    reason: str = ""
    context: Mapping[str, str] = field(default_factory=dict)
    fields: tuple[str, ...] = ()
    descriptions: tuple[str, ...] = ()
    retry_s: float | None = None


async def refusal(call: Awaitable[object]) -> Refusal:
    """Return how *call* was refused; fail when it was not."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return refusal_of(error)
    raise AssertionError(f"was not refused: {str(answer)[:200]}")


def refusal_of(error: grpc.aio.AioRpcError) -> Refusal:
    """Return *error* as plain values."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    code, message = error.code().name, error.details() or ""
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    quota = error_details_pb2.QuotaFailure()
    found = {
        type(kind)
        for detail in (status.details if status else ())
        for kind in (info, bad, quota, retry)
        if detail.Unpack(kind)
    }
    return Refusal(
        code,
        message,
        info.reason,
        dict(info.metadata),
        (*(item.field for item in bad.field_violations), *(item.subject for item in quota.violations)),
        tuple(item.description for item in (*bad.field_violations, *quota.violations)),
        retry.retry_delay.ToNanoseconds() / 1e9 if type(retry) in found else None,
    )


async def eventually(ready: Callable[[], object], what: str, within_s: float = 10.0) -> None:
    """Return when *ready* says so; fail, naming *what* was waited for, when it does not in time."""
    deadline = time.monotonic() + within_s
    while not ready():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what}")
        await asyncio.sleep(0.01)


@dataclass(slots=True)
class Running:
    """A service that serves in this process."""

    mesh: Mesh
    server: grpc.aio.Server
    probe: health.aio.HealthServicer
    target: str


class Deployment:
    """Keys and settings of one deployment in *folder*; services run where `serving` says."""

    def __init__(self, folder: Path, keys: Iterable[tuple[str, str, Grant]]) -> None:
        self.keys = KeyFolder(folder / "keys")
        self.keys.ensure(keys)
        self.traces = folder / "traces"
        self.environ = {
            "MEMORYBOX_DATA_DIR": str(folder),
            "MEMORYBOX_PORT_BASE": str(free_ports((0, 1, 2, 3))),
            "MEMORYBOX_TRACE_DIR": str(self.traces),
            "MEMORYBOX_DRAIN": "0.1",
        }

    def settings(self, **changes: str) -> MeshSettings:
        """Return the settings with *changes*, by variable."""
        return load(MeshSettings, {**self.environ, **changes})

    def token(self, audience: str, user: str | None = None, roles: Iterable[str] = (), key: str = "gateway") -> str:
        """Return a hop token."""
        return HopSigner(self.keys, key).token(audience, user, roles)

    def bearer(self, audience: str, user: str | None = None, roles: Iterable[str] = (), key: str = "gateway") -> Pairs:
        """Return the metadata of a call for *user*."""
        return (("authorization", f"Bearer {self.token(audience, user, roles, key)}"),)

    @asynccontextmanager
    async def serving(
        self, name: str, build: Callable[[Mesh], Service | Awaitable[Service]], **changes: str
    ) -> AsyncIterator[Running]:
        """Serve what *build* makes as service *name*."""
        settings = self.settings(**changes)
        telemetry = Telemetry(name, settings)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(asyncio.to_thread, telemetry.shutdown)
            mesh = Mesh(name, settings, telemetry, stack)

            async def wire(mesh: Mesh) -> Service:
                made = build(mesh)
                return made if isinstance(made, Service) else await made

            server, probe = await start(mesh, wire)
            stack.push_async_callback(server.stop, None)
            yield Running(mesh, server, probe, f"127.0.0.1:{settings.port(name)}")

    @asynccontextmanager
    async def channel(
        self,
        service: str,
        key: str = "gateway",
        *,
        credentials: Callable[[HopSigner], Credentials] = ServiceCredentials,
        retryable: tuple[str, ...] = (),
        **changes: str,
    ) -> AsyncIterator[MeshChannel]:
        """Open a channel of the mesh to *service* as the holder of *key*."""
        settings = self.settings(**changes)
        telemetry = Telemetry(key, settings)
        made = MeshChannel(service, settings, telemetry, credentials(HopSigner(self.keys, key)), retryable=retryable)
        try:
            yield made
        finally:
            await made.close()
            await asyncio.to_thread(telemetry.shutdown)

    def spans(self) -> list[dict[str, Any]]:
        """Return all spans written so far; those of what still runs come late."""
        return [json.loads(line) for path in self.traces.glob("*.jsonl") for line in path.read_text().splitlines()]


@asynccontextmanager
async def plain_channel(target: str) -> AsyncIterator[grpc.aio.Channel]:
    """Open a channel as a stranger would: no identity, no retries, a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0), ("grpc.enable_http_proxy", 0)]
    channel = grpc.aio.insecure_channel(target, options=options)
    try:
        yield channel
    finally:
        await channel.close()
