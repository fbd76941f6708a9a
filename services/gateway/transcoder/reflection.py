"""Descriptors by server reflection: what a gRPC server says of itself, v1 first, then v1alpha."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import descriptor_pb2
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha import reflection_pb2 as pb  # v1 has the same messages under another package

from services.gateway.transcoder.descriptors import MAX_SET_BYTES, DescriptorError, is_installed
from services.gateway.transcoder.rules import PRIVATE_PACKAGES

WITHIN_S = 10.0
MAX_FILES = 5_000
_METHODS = tuple(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo" for version in ("v1", "v1alpha"))


@dataclass(frozen=True, slots=True)
class Reflected:
    """A serialised FileDescriptorSet with all imports but google's own, and the services that the server has."""

    descriptor_set: bytes
    services: frozenset[str]


async def reflect(
    channel: grpc.aio.Channel, services: Collection[str] | None = None, *, within_s: float = WITHIN_S
) -> Reflected:
    """Return the descriptors of *services* at *channel*; of all but introspection and health when None.

    Raises ``DescriptorError`` when the server does not answer in time, has no reflection, or lacks a service.
    """
    try:
        async with asyncio.timeout(within_s):
            return await _Conversation(channel).descriptors(services)
    except TimeoutError:
        raise DescriptorError(f"server reflection did not answer within {within_s:g} s") from None
    except grpc.aio.AioRpcError as error:
        raise DescriptorError(f"server reflection failed: {error.code().name}: {error.details()}") from None


class _Conversation:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._call: Any = None
        self._files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
        self._bytes = 0

    async def descriptors(self, services: Collection[str] | None) -> Reflected:
        listed = await self._listed()
        wanted = frozenset(services) if services is not None else _public(listed)
        try:
            for name in sorted(wanted):
                if name not in listed:
                    raise DescriptorError(f"the server has no service {name!r}; it lists {', '.join(sorted(listed))}")
                await self._take(pb.ServerReflectionRequest(file_containing_symbol=name))
            await self._imports()
        finally:
            self._call.cancel()
        return Reflected(
            descriptor_pb2.FileDescriptorSet(file=self._files.values()).SerializeToString(deterministic=True), wanted
        )

    async def _listed(self) -> frozenset[str]:
        """Return the names of all services, by the newest version that the server speaks."""
        for method in _METHODS:
            make = self._channel.stream_stream(
                method,
                request_serializer=pb.ServerReflectionRequest.SerializeToString,
                response_deserializer=pb.ServerReflectionResponse.FromString,
            )
            self._call = make(wait_for_ready=True)
            try:
                answer = await self._ask(pb.ServerReflectionRequest(list_services="*"))
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                    raise
                continue
            return frozenset(service.name for service in answer.list_services_response.service)
        raise DescriptorError("the server has no reflection; give its descriptor set instead")

    async def _ask(self, request: Any) -> Any:
        await self._call.write(request)
        answer = await self._call.read()
        if answer is grpc.aio.EOF:
            raise DescriptorError("the server ended reflection without an answer")
        if answer.HasField("error_response"):
            error = answer.error_response
            raise DescriptorError(f"server reflection refused: {error.error_code}: {error.error_message[:200]}")
        return answer

    async def _take(self, request: Any) -> None:
        answer = await self._ask(request)
        for data in answer.file_descriptor_response.file_descriptor_proto:
            self._bytes += len(data)
            if self._bytes > MAX_SET_BYTES or len(self._files) >= MAX_FILES:
                raise DescriptorError(f"the server reflects more than {MAX_SET_BYTES} bytes or {MAX_FILES} files")
            try:
                file = descriptor_pb2.FileDescriptorProto.FromString(data)
            except DecodeError:
                raise DescriptorError("the server reflects bytes that are no file descriptor") from None
            self._files.setdefault(file.name, file)

    async def _imports(self) -> None:
        """Ask for imports until none is missing; servers may send them with a file, or not."""
        asked: set[str] = set()
        while missing := {name for file in self._files.values() for name in file.dependency} - set(self._files) - asked:
            for name in sorted(missing):
                asked.add(name)
                if not is_installed(name):
                    await self._take(pb.ServerReflectionRequest(file_by_filename=name))


def _public(services: Collection[str]) -> frozenset[str]:
    return frozenset(name for name in services if not name.startswith(PRIVATE_PACKAGES))
