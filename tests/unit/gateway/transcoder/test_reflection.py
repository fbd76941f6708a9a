"""Descriptors from a running server, by either version of reflection."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2 as pb
from grpc_reflection.v1alpha.reflection import ReflectionServicer

from services.gateway.transcoder import DescriptorError, Options, Transcoder, reflect
from tests.support.mesh import free_ports
from tests.support.transcoder_contract import compile_protos

BASE = 'syntax = "proto3"; package zoo.v1; message Animal { string name = 1; }'
ZOO = """
syntax = "proto3";
package zoo.v1;
import "google/api/annotations.proto";
import "base.proto";
service Zoo { rpc Get(Animal) returns (Animal) { option (google.api.http) = {get: "/animals/{name}"}; } }
service Other { rpc Feed(Animal) returns (Animal); }
"""
ALL = ("zoo.v1.Zoo", "zoo.v1.Other", "grpc.reflection.v1.ServerReflection", "grpc.health.v1.Health")


class Alone:
    """Sends each file without its imports, as some servers do."""

    def __init__(self, files: Mapping[str, descriptor_pb2.FileDescriptorProto]) -> None:
        self._files = files

    async def ServerReflectionInfo(self, requests: AsyncIterator[Any], _context: Any) -> AsyncIterator[Any]:  # noqa: N802
        async for request in requests:
            if request.HasField("list_services"):
                services = [pb.ServiceResponse(name=name) for name in ALL]
                yield pb.ServerReflectionResponse(list_services_response=pb.ListServiceResponse(service=services))
                continue
            name = "zoo.proto" if request.file_containing_symbol else request.file_by_filename
            if name not in self._files:
                yield pb.ServerReflectionResponse(error_response=pb.ErrorResponse(error_code=5, error_message=name))
                continue
            files = [self._files[name].SerializeToString()]
            yield pb.ServerReflectionResponse(
                file_descriptor_response=pb.FileDescriptorResponse(file_descriptor_proto=files)
            )


def zoo_files() -> dict[str, descriptor_pb2.FileDescriptorProto]:
    whole = descriptor_pb2.FileDescriptorSet.FromString(compile_protos(zoo=ZOO, base=BASE))
    return {file.name: file for file in whole.file}


@asynccontextmanager
async def reflecting(servicer: Any, *versions: str) -> AsyncIterator[grpc.aio.Channel]:
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=pb.ServerReflectionRequest.FromString,
        response_serializer=pb.ServerReflectionResponse.SerializeToString,
    )
    server = grpc.aio.server()
    for version in versions:
        service = f"grpc.reflection.{version}.ServerReflection"
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {"ServerReflectionInfo": handler}),)
        )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(None)


@pytest.mark.parametrize("versions", [["v1"], ["v1alpha"], ["v1", "v1alpha"]], ids="+".join)
async def test_services_of_a_server_are_served_without_descriptor_sets(versions: list[str]) -> None:
    async with reflecting(Alone(zoo_files()), *versions) as channel:
        found = await reflect(channel)

    routes = Transcoder([found.descriptor_set], Options(), services=found.services).routes
    assert found.services == {"zoo.v1.Zoo", "zoo.v1.Other"}
    assert {route.template for route in routes} == {"/animals/{name}", "/zoo.v1.Zoo/Get", "/zoo.v1.Other/Feed"}


async def test_server_of_grpcio_is_understood() -> None:
    pool = DescriptorPool()
    for name in ("base.proto", "zoo.proto"):
        file = zoo_files()[name]
        file.ClearField("options")
        if "google/api/annotations.proto" in file.dependency:
            file.dependency.remove("google/api/annotations.proto")
            file.service[0].method[0].ClearField("options")
        pool.AddSerializedFile(file.SerializeToString())  # type: ignore[no-untyped-call]
    servicer = ReflectionServicer(["zoo.v1.Zoo"], pool=pool)

    async with reflecting(_Asynchronous(servicer), "v1alpha") as channel:
        found = await reflect(channel)

    assert Transcoder([found.descriptor_set], Options(), services=found.services).routes


class _Asynchronous:
    """Lets grpcio's servicer, which takes plain iterators, serve an asynchronous server."""

    def __init__(self, servicer: Any) -> None:
        self._servicer = servicer

    async def ServerReflectionInfo(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:  # noqa: N802
        async for request in requests:
            for answer in self._servicer.ServerReflectionInfo(iter([request]), context):
                yield answer


async def test_chosen_services_alone_are_asked_for() -> None:
    async with reflecting(Alone(zoo_files()), "v1") as channel:
        found = await reflect(channel, ["zoo.v1.Zoo"])
        with pytest.raises(DescriptorError, match=r"zoo\.v1\.Zoo"):
            await reflect(channel, ["zoo.v1.Aquarium"])

    assert found.services == {"zoo.v1.Zoo"}


async def test_missing_import_is_named() -> None:
    files = zoo_files()
    del files["base.proto"]

    async with reflecting(Alone(files), "v1") as channel:
        with pytest.raises(DescriptorError, match=r"base\.proto"):
            await reflect(channel)


async def test_server_without_reflection_is_told_so() -> None:
    async with reflecting(Alone({}), "v0") as channel:
        with pytest.raises(DescriptorError, match="no reflection"):
            await reflect(channel)


async def test_server_that_is_not_there_is_not_waited_for_long() -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{free_ports((0,))}") as channel:
        with pytest.raises(DescriptorError, match="within"):
            await reflect(channel, within_s=0.2)
