"""Someone else's services: their descriptors from files and by server reflection, and the channels that lead to them."""

import asyncio
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from services.gateway.transcoder import DescriptorError, Options, Transcoder, reflect
from services.mesh.channels import CHANNEL_OPTIONS

# The edge sets these itself; passing the client's on would name a trace twice.
_TRACE_HEADERS = frozenset({"traceparent", "tracestate", "baggage"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstreams:
    """Where services answer and how they are known.

    ``targets`` maps full service names to gRPC targets. Each target of ``reflected`` is asked for its services, which it
    serves itself unless ``targets`` names another. ``tls`` speaks TLS to all, with the roots in ``ca`` in place of the system's.
    """

    descriptor_sets: Sequence[Path] = ()
    targets: Mapping[str, str] = dataclasses.field(default_factory=dict)
    reflected: Sequence[str] = ()
    tls: bool = False
    ca: Path | None = None


class Channels:
    """One channel for each target, kept for the life of the process."""

    def __init__(self, upstreams: Upstreams, options: Options) -> None:
        self._by_target: dict[str, grpc.aio.Channel] = {}
        self._arguments = [
            *((name, value) for name, value in CHANNEL_OPTIONS if "message_length" not in name),
            ("grpc.max_receive_message_length", options.max_response),
            ("grpc.max_send_message_length", -1),  # what is too long has been refused by max_message
        ]
        self._credentials: grpc.ChannelCredentials | None = None
        if upstreams.tls:
            roots = upstreams.ca.read_bytes() if upstreams.ca is not None else None
            self._credentials = grpc.ssl_channel_credentials(roots)

    def to(self, target: str) -> grpc.aio.Channel:
        """Return the channel that leads to *target*."""
        channel = self._by_target.get(target)
        if channel is None:
            if self._credentials is None:
                channel = grpc.aio.insecure_channel(target, options=self._arguments)
            else:
                channel = grpc.aio.secure_channel(target, self._credentials, options=self._arguments)
            self._by_target[target] = channel
        return channel

    async def close(self) -> None:
        """Close all channels."""
        for channel in self._by_target.values():
            await channel.close()


@dataclass(frozen=True, slots=True)
class Stranger:
    """The routes of someone else's services, and the channel of each service."""

    transcoder: Transcoder
    channels: Mapping[str, grpc.aio.Channel]


async def load(upstreams: Upstreams, options: Options, channels: Channels) -> Stranger:
    """Read files, ask by reflection and compile; raises ``DescriptorError`` and ``OSError``."""
    targets = dict(upstreams.targets)
    reflected = await asyncio.gather(*(reflect(channels.to(target)) for target in upstreams.reflected))
    for target, found in zip(upstreams.reflected, reflected, strict=True):
        for service in found.services:
            other = targets.setdefault(service, target)
            if other != target and service not in upstreams.targets:
                raise DescriptorError(f"{service} is served at {other} and {target}; say which by --upstream")
    sets = [found.descriptor_set for found in reflected]
    transcoder = await asyncio.to_thread(_compile, upstreams.descriptor_sets, sets, options, targets.keys())
    return Stranger(transcoder, {service: channels.to(target) for service, target in targets.items()})


def _compile(files: Sequence[Path], sets: Sequence[bytes], options: Options, services: Collection[str]) -> Transcoder:
    options = dataclasses.replace(
        options, allowed_headers=tuple(name for name in options.allowed_headers if name not in _TRACE_HEADERS)
    )
    return Transcoder([*(path.read_bytes() for path in files), *sets], options, services=services or None)
