"""Wires the gateway: Memory Box's own API in front of its mesh, or anyone's services from their descriptors."""

import asyncio
import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from importlib import resources

import grpc

from services.gateway import strangers
from services.gateway.edge.auth import open_authenticator
from services.gateway.edge.documents import api_pages, own_about, stranger_about
from services.gateway.edge.forwarded import Network
from services.gateway.edge.front import Behind
from services.gateway.edge.pages import own_pages, probe_pages, without_clashes
from services.gateway.edge.rates import classes
from services.gateway.process import Parts, run
from services.gateway.settings import GatewaySettings, networks
from services.gateway.strangers import Channels, Upstreams
from services.gateway.transcoder import Options, Route, Transcoder
from services.gateway.transcoder.rules import UNARY
from services.mesh import logs
from services.mesh.channels import MAX_MESSAGE_BYTES, GatewayCredentials, MeshChannel
from services.mesh.config import BadSettings, MeshSettings, load, require_valid
from services.mesh.identity import SUBJECT_HEADER, HopSigner
from services.mesh.keys import GATEWAY, KeyFolder

log = logging.getLogger(__name__)

# Which process serves what. A service or method that has no HTTP rule is not reachable from outside.
AUDIENCES: Mapping[str, str] = {
    "memorybox.memory.v1.MemoryService": "memory",
    "memorybox.governance.v1.GovernanceService": "memory",
    "memorybox.governance.v1.AuditService": "memory",
    "memorybox.governance.v1.OperationService": "memory",
    "memorybox.embedding.v1.EmbeddingService": "embedding",
    "memorybox.analyst.v1.AnalystService": "analyst",
}
# Reads that are POST in HTTP; like GET they may be repeated when a service was not there.
READS = frozenset(
    {
        "BatchGetMemories",
        "BatchSearchMemories",
        "CountMemories",
        "DraftSemanticModel",
        "EmbedTexts",
        "FacetMemories",
        "FindDuplicateMemories",
        "SearchMemories",
        "ValidateSemanticModel",
    }
)
# What the mesh says of callers, and what Snowflake's ingress says: no client may say it by `Grpc-Metadata-`.
IDENTITY_METADATA = (
    SUBJECT_HEADER,
    "x-memorybox-user",
    "x-memorybox-roles",
    "sf-context-current-user",
    "sf-context-current-user-email",
    "sf-context-current-user-token",
    "tracestate",
    "baggage",
)
_LOOK_AT_UPSTREAMS_S = 2.0


def memorybox_options(settings: GatewaySettings) -> Options:
    """Return how Memory Box's own API is transcoded."""
    return Options(
        default_routes=False,
        rules_package="memorybox.rules.v1",
        emit_defaults=True,
        emit_empty_details=True,
        inexact_integers="reject",
        header_fields=(("If-Match", "etag"), ("Idempotency-Key", "request_id")),
        allowed_headers=("x-request-id", "accept-language"),
        denied_metadata=IDENTITY_METADATA,
        default_timeout=settings.default_timeout_s,
        max_timeout=settings.max_timeout_s,
        max_stream_timeout=settings.max_stream_timeout_s,
        max_body=settings.max_body,
        write_timeout=settings.write_timeout_s,
        max_message=MAX_MESSAGE_BYTES,
        max_response=MAX_MESSAGE_BYTES,
        cors_origins=settings.cors_origins,
        expose_internal_errors=settings.expose_internal_errors,
    )


def memorybox_transcoder(settings: GatewaySettings) -> Transcoder:
    """Return the routes of Memory Box, from the descriptors that ship with the package."""
    descriptors = (resources.files("memorybox") / "descriptors.binpb").read_bytes()
    return Transcoder([descriptors], memorybox_options(settings), services=AUDIENCES.keys())


def route_lines(routes: Sequence[Route]) -> list[str]:
    """Return the route table as text: HTTP method, template, gRPC method, and the kind of a streaming method."""
    wide = max((len(route.http_method) for route in routes), default=0)
    deep = max((len(route.template) for route in routes), default=0)
    return [
        f"{route.http_method:{wide}}  {route.template:{deep}}  {route.grpc_method}"
        f"{'' if route.kind == UNARY else f'  ({route.kind})'}"
        for route in routes
    ]


def retryable(routes: Sequence[Route]) -> dict[str, list[str]]:
    """Return, by audience, the ``package.Service/Method`` names that are safe to repeat."""
    found: dict[str, list[str]] = {}
    for route in routes:
        service, _, method = route.grpc_method.lstrip("/").partition("/")
        if route.kind == UNARY and (route.http_method == "GET" or method in READS):
            found.setdefault(AUDIENCES[service], []).append(f"{service}/{method}")
    return {audience: sorted(set(names)) for audience, names in found.items()}


async def serve(environ: Mapping[str, str] | None = None) -> None:
    """Serve Memory Box until told to stop, then drain. Raises ``BadSettings``, ``PortTaken``, ``KeysMissing``."""
    mesh, settings = _load(environ)
    logs.configure(GATEWAY, mesh.log_level)
    authenticator = open_authenticator(mesh.bind, settings)
    transcoder = memorybox_transcoder(settings)
    signer = HopSigner(KeyFolder(mesh.keys_dir), GATEWAY)
    for audience in sorted(set(AUDIENCES.values())):
        signer.token(audience)  # without a key every call would fail; better not to start
    documents = await asyncio.to_thread(api_pages, transcoder, own_about(settings.auth))

    async def behind(parts: Parts) -> Behind:
        channels = _mesh_channels(transcoder, mesh, signer, parts)
        states = functools.partial(_states, channels)
        watch = asyncio.create_task(_note_upstreams(states, parts))
        parts.stack.callback(watch.cancel)
        return Behind(
            transcoder=transcoder,
            channels=lambda service: channels[AUDIENCES[service]],
            meshed=True,
            max_body=settings.max_body,
            pages={**own_pages(parts.readiness), **documents},
            classes=classes(transcoder.bindings, READS),
        )

    await run(mesh, settings, authenticator, behind, environ)


async def serve_stranger(
    upstreams: Upstreams,
    options: Options,
    *,
    environ: Mapping[str, str] | None = None,
    bind: str | None = None,
    port: int | None = None,
    auth: str | None = None,
) -> None:
    """Front anyone's gRPC services until told to stop: no keys, no data folder, no hop tokens.

    *bind*, *port* and *auth* replace what the environment says. Raises ``DescriptorError``, ``BadSettings``, ``PortTaken``.
    """
    mesh, settings = _load(environ)
    mesh = dataclasses.replace(mesh, bind=bind or mesh.bind, http_port=port or mesh.http_port)
    settings = dataclasses.replace(
        settings,
        auth=auth or settings.auth,
        cors_origins=tuple(origin.lower() for origin in options.cors_origins) or settings.cors_origins,
        write_timeout_s=options.write_timeout,
        trusted_proxies=_networks(options.trusted_proxies),
    )
    logs.configure(GATEWAY, mesh.log_level)
    authenticator = open_authenticator(mesh.bind, settings, lenient=True)
    channels = Channels(upstreams, options)
    known: dict[str, grpc.aio.Channel] = {}

    async def behind(parts: Parts) -> Behind:
        stranger = await strangers.load(upstreams, options, channels)
        transcoder = stranger.transcoder
        for warning in transcoder.warnings:
            log.warning(warning)
        title = ", ".join(sorted(stranger.channels))
        documents = await asyncio.to_thread(api_pages, transcoder, stranger_about(title, settings.auth))
        if not known:
            states = functools.partial(_plain_states, known)
            watch = asyncio.create_task(_note_upstreams(states, parts))
            parts.stack.callback(watch.cancel)
        known.clear()
        known.update(stranger.channels)
        return Behind(
            transcoder=transcoder,
            channels=stranger.channels.__getitem__,
            meshed=False,
            max_body=options.max_body,
            pages=without_clashes({**probe_pages(parts.readiness), **documents}, transcoder.routes),
            forms=options.form_fallback,
            classes=classes(transcoder.bindings),
        )

    try:
        await run(mesh, settings, authenticator, behind, environ, reloads=True)
    finally:
        await channels.close()


def _networks(items: Sequence[str]) -> tuple[Network, ...]:
    try:
        return networks(",".join(items)) if items else ()
    except ValueError as error:
        raise BadSettings(f"trusted_proxies: {error}") from error


async def stranger_routes(upstreams: Upstreams, options: Options) -> Sequence[Route]:
    """Return the routes that `serve_stranger` would serve."""
    channels = Channels(upstreams, options)
    try:
        return (await strangers.load(upstreams, options, channels)).transcoder.routes
    finally:
        await channels.close()


def _mesh_channels(
    transcoder: Transcoder, mesh: MeshSettings, signer: HopSigner, parts: Parts
) -> dict[str, MeshChannel]:
    channels = {}
    for audience, names in retryable(transcoder.routes).items():
        channel = MeshChannel(audience, mesh, parts.telemetry, GatewayCredentials(signer), retryable=names)
        parts.stack.push_async_callback(channel.close)
        channels[audience] = channel
    return channels


async def _note_upstreams(states: Callable[[], Mapping[str, str]], parts: Parts) -> None:
    """Keep the state of each upstream beside the readiness; it informs, and never makes the gateway unready."""
    while True:
        found = states()
        parts.readiness.notes.update(found)
        for name in parts.readiness.notes.keys() - found.keys():
            del parts.readiness.notes[name]
        await asyncio.sleep(_LOOK_AT_UPSTREAMS_S)


def _states(channels: Mapping[str, MeshChannel]) -> dict[str, str]:
    return {name: channel.connectivity() for name, channel in channels.items()}


def _plain_states(channels: Mapping[str, grpc.aio.Channel]) -> dict[str, str]:
    return {name: channel.get_state().name for name, channel in channels.items()}


def _load(environ: Mapping[str, str] | None) -> tuple[MeshSettings, GatewaySettings]:
    """Return both settings, or raise one ``BadSettings`` with the faults of both."""
    require_valid(environ, MeshSettings, GatewaySettings)
    return load(MeshSettings, environ), load(GatewaySettings, environ)
