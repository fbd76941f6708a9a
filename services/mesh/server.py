"""Runs one gRPC service as a process: ops port, server, health, reflection, graceful stop."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.mesh import logs
from services.mesh.access import AccessPolicy, AccessTable
from services.mesh.channels import MAX_MESSAGE_BYTES, MeshChannel, ServiceCredentials
from services.mesh.config import MeshSettings
from services.mesh.errors import NotBuilt
from services.mesh.identity import HopSigner, HopVerifier
from services.mesh.interceptors import Refused, server_interceptors
from services.mesh.keys import KeyFolder
from services.mesh.lifetime import start_again, until_told_to_stop
from services.mesh.ops import PortTaken, Readiness, start_ops
from services.mesh.telemetry import Telemetry

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Registration:
    """One gRPC service of a process: the generated adder, the servicer, the service's descriptor."""

    add: Callable[[Any, grpc.aio.Server], None]
    servicer: Any
    descriptor: ServiceDescriptor

    @classmethod
    def of(cls, messages: ModuleType, stubs: ModuleType, name: str, servicer: Any = None) -> "Registration":
        """Return the registration of service *name* of a generated pair of modules; without *servicer* nothing of it is built."""
        return cls(
            getattr(stubs, f"add_{name}Servicer_to_server"),
            getattr(stubs, f"{name}Servicer")() if servicer is None else servicer,
            messages.DESCRIPTOR.services_by_name[name],
        )


@dataclass(frozen=True, slots=True)
class Service:
    """What a process serves, who may call what, and who is told of calls that may not."""

    registrations: Sequence[Registration]
    access: AccessTable
    refused: Refused | None = None


@dataclass(slots=True)
class Mesh:
    """What ``build`` of a service gets of the mesh. Whatever must be closed goes on ``stack``."""

    name: str
    settings: MeshSettings
    telemetry: Telemetry
    stack: AsyncExitStack
    readiness: Readiness = field(default_factory=Readiness)
    leaving: asyncio.Event = field(default_factory=asyncio.Event)  # set when endless calls must end
    again: asyncio.Event = field(default_factory=asyncio.Event)  # set by a service that must start from its data anew

    def channel(self, service: str, *, retryable: Sequence[str] = ()) -> MeshChannel:
        """Open a channel to *service* as this service; closed with the process."""
        signer = HopSigner(KeyFolder(self.settings.keys_dir), self.name)
        channel = MeshChannel(service, self.settings, self.telemetry, ServiceCredentials(signer), retryable=retryable)
        self.stack.push_async_callback(channel.close)
        return channel


Build = Callable[[Mesh], Awaitable[Service]]


def server_options(settings: MeshSettings) -> Sequence[tuple[str, int]]:
    """Return the server's channel arguments."""
    age_ms = int(settings.connection_age_s * 1000)
    return (
        ("grpc.so_reuseport", 0),  # a stale process on the port is an error, not a silent split
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_connection_age_ms", age_ms),  # without it clients never see new instances
        ("grpc.max_connection_age_grace_ms", 16 * 60 * 1000),  # streams end by themselves after 15 min
        ("grpc.max_connection_idle_ms", 300_000),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 4000),  # below the clients' keepalive time
        ("grpc.server_handshake_timeout_ms", 10_000),
        ("grpc.max_allowed_incoming_connections", 1000),
    )


async def run(name: str, settings: MeshSettings, build: Build) -> None:
    """Serve until told to stop, then drain; returns when everything is closed, unless the service starts again."""
    if await _run(name, settings, build):
        start_again()


async def _run(name: str, settings: MeshSettings, build: Build) -> bool:
    """Serve, drain and close everything; return whether the service is to start again."""
    logs.configure(name, settings.log_level)
    telemetry = Telemetry(name, settings)
    try:
        async with AsyncExitStack() as stack:
            mesh = Mesh(name, settings, telemetry, stack)
            stopped = asyncio.ensure_future(until_told_to_stop())
            stack.callback(stopped.cancel)
            ops = await start_ops(settings.bind, settings.ops_port(name), mesh.readiness, telemetry)
            stack.push_async_callback(ops.cleanup)
            starting = asyncio.ensure_future(start(mesh, build))
            await asyncio.wait({stopped, starting}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():  # told to stop while loading
                starting.cancel()
                await asyncio.wait({starting})
                return False
            server, probe = await starting
            log.info("ready", extra={"port": settings.port(name)})
            again = asyncio.ensure_future(mesh.again.wait())
            stack.callback(again.cancel)
            await asyncio.wait({stopped, again}, return_when=asyncio.FIRST_COMPLETED)
            reason = stopped.result() if stopped.done() else "it starts again"
            await drain(mesh, server, probe, reason)
            return not stopped.done()
    finally:
        await asyncio.to_thread(telemetry.shutdown)


async def start(mesh: Mesh, build: Build) -> tuple[grpc.aio.Server, health.aio.HealthServicer]:
    """Build and start the server of *mesh*; raises ``PortTaken``."""
    service = await build(mesh)
    settings = mesh.settings
    verifier = HopVerifier(KeyFolder(settings.keys_dir), mesh.name)
    policy = AccessPolicy.of(service.access, settings)
    server = grpc.aio.server(
        interceptors=server_interceptors(mesh.telemetry, verifier, policy, service.refused),
        options=server_options(settings),
    )
    for registration in service.registrations:
        refuse_unbuilt(registration.servicer, registration.descriptor)
        registration.add(registration.servicer, server)
    names = [registration.descriptor.full_name for registration in service.registrations]
    probe = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(probe, server)
    reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    port = settings.port(mesh.name)
    host = f"[{settings.bind}]" if ":" in settings.bind else settings.bind  # IPv6
    try:
        server.add_insecure_port(f"{host}:{port}")
    except RuntimeError:
        raise PortTaken(
            f"cannot listen on {settings.bind}:{port}; another process may have it (MEMORYBOX_PORT_BASE moves it)",
            port=str(port),
        ) from None
    await server.start()
    for served in names:
        await probe.set(served, health_pb2.HealthCheckResponse.SERVING)
    mesh.readiness.started = True
    return server, probe


async def drain(mesh: Mesh, server: grpc.aio.Server, probe: health.aio.HealthServicer, reason: str) -> None:
    """Leave the mesh without losing a call: say so, go on serving while clients notice, then stop."""
    log.info("draining", extra={"reason": reason})
    mesh.readiness.draining = True
    await probe.enter_graceful_shutdown()
    await asyncio.sleep(mesh.settings.drain_s)
    mesh.leaving.set()
    await server.stop(mesh.settings.grace_s)
    log.info("stopped")


def unbuilt(servicer: Any, descriptor: ServiceDescriptor) -> list[MethodDescriptor]:
    """Return the methods that *servicer* only inherits from its generated base."""
    wanted = f"{descriptor.name}Servicer"
    base = next(cls for cls in type(servicer).__mro__ if cls.__name__ == wanted and "_pb2_grpc" in cls.__module__)
    return [
        method for method in descriptor.methods if getattr(type(servicer), method.name) is getattr(base, method.name)
    ]


def refuse_unbuilt(servicer: Any, descriptor: ServiceDescriptor) -> None:
    """Answer UNIMPLEMENTED (reason ``NOT_BUILT``) for what the contract declares and *servicer* does not do yet."""
    for method in unbuilt(servicer, descriptor):
        name = method.full_name

        async def refuse(_request: Any, _context: Any, name: str = name) -> Any:
            raise NotBuilt(f"{name} is declared but not built in this version", method=name)

        setattr(servicer, method.name, refuse)
