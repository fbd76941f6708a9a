"""`memorybox gateway` as a tool: services by reflection, descriptors read again at SIGHUP, a certificate of its own."""

import asyncio
import os
import signal
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2, wrappers_pb2
from grpc_reflection.v1alpha import reflection_pb2

from services.cli.entry import run
from services.gateway.app import serve_stranger
from services.gateway.edge.tls import LOOK_EVERY_S
from services.gateway.strangers import Upstreams
from services.gateway.transcoder import DescriptorError, Options
from tests.support.gateway import WITHIN_S, FakeUpstream
from tests.support.mesh import free_ports

OPS = 100


def zoo(*paths: str, file: str = "zoo.proto", service: str = "Zoo") -> bytes:
    """Return the descriptors of a service with one method for each path."""
    proto = descriptor_pb2.FileDescriptorProto(name=file, package="zoo.v1", syntax="proto3")
    proto.dependency.extend(["google/api/annotations.proto", "google/protobuf/wrappers.proto"])
    declared = proto.service.add(name=service)
    for number, path in enumerate(paths):
        method = declared.method.add(name=f"Get{number}")
        method.input_type = method.output_type = ".google.protobuf.StringValue"
        method.options.Extensions[annotations_pb2.http].CopyFrom(http_pb2.HttpRule(get=path))
    return descriptor_pb2.FileDescriptorSet(file=[proto]).SerializeToString()


class Reflecting(FakeUpstream):
    """A server that answers any method, and tells by reflection what it is told to."""

    def __init__(self, descriptors: bytes) -> None:
        super().__init__()
        self.descriptors = descriptors

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        if handler_call_details.method == "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo":
            return grpc.stream_stream_rpc_method_handler(self._reflect)
        return super().service(handler_call_details)

    async def _reflect(self, requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
        pb = reflection_pb2
        async for data in requests:
            file = descriptor_pb2.FileDescriptorSet.FromString(self.descriptors).file[0]
            answer = pb.ServerReflectionResponse()
            if pb.ServerReflectionRequest.FromString(data).HasField("list_services"):
                for service in file.service:
                    answer.list_services_response.service.add(name=f"{file.package}.{service.name}")
            else:
                answer.file_descriptor_response.file_descriptor_proto.append(file.SerializeToString())
            yield answer.SerializeToString()


async def status(url: str, context: ssl.SSLContext | None = None) -> int:
    async with aiohttp.ClientSession() as session, session.get(url, ssl=context or True) as answer:
        return answer.status


async def until(holds: Callable[[], Any]) -> None:
    """Wait until *holds* returns something true."""
    async with asyncio.timeout(WITHIN_S):
        while not await holds():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def tool(upstreams: Upstreams, **environ: str) -> AsyncIterator[int]:
    port = free_ports((0, OPS))
    serving = asyncio.create_task(
        serve_stranger(upstreams, Options(), environ={"MEMORYBOX_DRAIN": "0", **environ}, port=port)
    )

    async def ready() -> bool:
        if serving.done():
            await serving
        try:
            return await status(f"http://127.0.0.1:{port + OPS}/readyz") == 200
        except aiohttp.ClientConnectionError:
            return False

    try:
        await until(ready)
        yield port
    finally:
        if not serving.done():
            os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(WITHIN_S):
            await serving


async def test_server_is_fronted_by_what_it_tells_of_itself() -> None:
    upstream = Reflecting(zoo("/first"))

    async with upstream.serving() as target, tool(Upstreams(reflected=[f"127.0.0.1:{target}"])) as port:
        assert await status(f"http://127.0.0.1:{port}/first") == 200

    assert upstream.seen[0].method == "/zoo.v1.Zoo/Get0"


async def test_reflection_is_asked_again_at_sighup() -> None:
    upstream = Reflecting(zoo("/first"))

    async with upstream.serving() as target, tool(Upstreams(reflected=[f"127.0.0.1:{target}"])) as port:
        upstream.descriptors = zoo("/first", "/second")
        os.kill(os.getpid(), signal.SIGHUP)

        async def is_new() -> bool:
            return await status(f"http://127.0.0.1:{port}/second") == 200

        await until(is_new)


async def test_readiness_of_one_service_is_told_at_the_ops_port() -> None:
    upstream = Reflecting(zoo("/first"))

    async with upstream.serving() as target, tool(Upstreams(reflected=[f"127.0.0.1:{target}"])) as port:
        ops = f"http://127.0.0.1:{port + OPS}/readyz"

        async def is_known() -> bool:
            return await status(f"{ops}?service=zoo.v1.Zoo") == 200

        await until(is_known)
        unknown = await status(f"{ops}?service=zoo.v1.Aquarium")
    assert unknown == 404


async def test_one_service_at_two_servers_is_a_doubt() -> None:
    one, other = Reflecting(zoo("/first")), Reflecting(zoo("/first"))

    async with one.serving() as first, other.serving() as second:
        targets = [f"127.0.0.1:{first}", f"127.0.0.1:{second}"]
        with pytest.raises(DescriptorError, match="--upstream"):
            await serve_stranger(Upstreams(reflected=targets), Options(), environ={})
        async with tool(Upstreams(reflected=targets, targets={"zoo.v1.Zoo": targets[1]})) as port:
            await status(f"http://127.0.0.1:{port}/first")

    assert (len(one.seen), len(other.seen)) == (0, 1)


async def test_several_sets_are_swapped_at_once_while_requests_end_on_the_old(tmp_path: Path) -> None:
    upstream, go_on = FakeUpstream(), asyncio.Event()
    one, other = tmp_path / "one.binpb", tmp_path / "other.binpb"
    one.write_bytes(zoo("/old"))
    other.write_bytes(zoo("/kept", file="other.proto", service="Other"))

    async def slow(_request: bytes, _context: Any) -> bytes:
        await go_on.wait()
        return wrappers_pb2.StringValue(value="late").SerializeToString()

    upstream.answers["Get0"] = slow
    async with upstream.serving() as target:
        targets = dict.fromkeys(("zoo.v1.Zoo", "zoo.v1.Other"), f"127.0.0.1:{target}")
        async with tool(Upstreams(descriptor_sets=[one, other], targets=targets)) as port:
            url = f"http://127.0.0.1:{port}"
            under_way = asyncio.create_task(status(f"{url}/old"))
            await upstream.reached.wait()
            one.write_bytes(zoo("/new"))
            os.kill(os.getpid(), signal.SIGHUP)

            async def is_described() -> bool:
                async with aiohttp.ClientSession() as session, session.get(f"{url}/openapi.json") as answer:
                    paths = set((await answer.json())["paths"])
                return "/new" in paths and "/kept" in paths and "/old" not in paths

            await until(is_described)
            gone = await status(f"{url}/old")
            go_on.set()

            assert gone == 404
            assert await under_way == 200
            assert [await status(f"{url}{path}") for path in ("/new", "/kept")] == [200, 200]


async def test_new_set_that_cannot_be_served_changes_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    upstream = FakeUpstream()
    path = tmp_path / "zoo.binpb"
    path.write_bytes(zoo("/old"))

    async with upstream.serving() as target:
        upstreams = Upstreams(descriptor_sets=[path], targets={"zoo.v1.Zoo": f"127.0.0.1:{target}"})
        async with tool(upstreams) as port:
            path.write_bytes(zoo("/new", "/new"))
            os.kill(os.getpid(), signal.SIGHUP)
            logged = ""

            async def is_told() -> bool:
                nonlocal logged
                logged += capfd.readouterr().err
                return "the old go on" in logged

            await until(is_told)
            found = [await status(f"http://127.0.0.1:{port}{one}") for one in ("/old", "/new")]

    assert found == [200, 404]
    assert "both are served at GET /new" in logged


def make_certificate(folder: Path, name: str) -> Path:
    """Write a certificate for 127.0.0.1 and its key; return the certificate's path."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "tls.key").write_bytes(key.private_bytes(*form))
    (folder / "tls.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return folder / "tls.crt"


def shown_by(port: int) -> Any:
    """Return the certificate that the port shows, as a future of its common name."""

    async def ask() -> str:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        names = x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(names[0].value)

    return ask()


def tls(tmp_path: Path) -> dict[str, str]:
    return {
        "MEMORYBOX_GATEWAY_TLS_CERT": str(tmp_path / "tls.crt"),
        "MEMORYBOX_GATEWAY_TLS_KEY": str(tmp_path / "tls.key"),
    }


async def test_certificate_is_renewed_at_sighup_and_a_bad_one_is_not(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    upstream = Reflecting(zoo("/first"))
    make_certificate(tmp_path, "one")

    async with (
        upstream.serving() as target,
        tool(Upstreams(reflected=[f"127.0.0.1:{target}"]), **tls(tmp_path)) as port,
    ):
        before = await shown_by(port)
        make_certificate(tmp_path, "two")
        os.kill(os.getpid(), signal.SIGHUP)

        async def is_new() -> bool:
            return bool(await shown_by(port) == "two")

        await until(is_new)
        (tmp_path / "tls.crt").write_text("no certificate")
        os.kill(os.getpid(), signal.SIGHUP)
        logged = ""

        async def is_told() -> bool:
            nonlocal logged
            logged += capfd.readouterr().err
            return "the old goes on" in logged

        await until(is_told)
        after = await shown_by(port)

    assert (before, after) == ("one", "two")


async def test_old_tls_and_clients_without_a_certificate_are_refused(tmp_path: Path) -> None:
    upstream = Reflecting(zoo("/first"))
    authority = make_certificate(tmp_path, "127.0.0.1")
    environ = {**tls(tmp_path), "MEMORYBOX_GATEWAY_TLS_CLIENT_CA": str(authority)}

    async with upstream.serving() as target, tool(Upstreams(reflected=[f"127.0.0.1:{target}"]), **environ) as port:
        bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        bare.check_hostname = False
        bare.verify_mode = ssl.CERT_NONE
        with pytest.raises(aiohttp.ClientError):
            await status(f"https://127.0.0.1:{port}/first", bare)
        bare.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
        known = await status(f"https://127.0.0.1:{port}/first", bare)
        bare.maximum_version = ssl.TLSVersion.TLSv1_2
        still = await status(f"https://127.0.0.1:{port}/first", bare)

    assert (known, still) == (200, 200)


@pytest.mark.slow
async def test_certificate_is_renewed_when_its_file_changes(tmp_path: Path) -> None:
    upstream = Reflecting(zoo("/first"))
    make_certificate(tmp_path, "one")

    async with (
        upstream.serving() as target,
        tool(Upstreams(reflected=[f"127.0.0.1:{target}"]), **tls(tmp_path)) as port,
    ):
        before = await shown_by(port)
        make_certificate(tmp_path, "two")

        async def is_new() -> bool:
            return bool(await shown_by(port) == "two")

        async with asyncio.timeout(3 * LOOK_EVERY_S):
            while not await is_new():
                await asyncio.sleep(0.2)

    assert before == "one"


async def test_servers_that_speak_tls_are_reached_and_impostors_are_not(tmp_path: Path) -> None:
    authority = make_certificate(tmp_path, "one")
    (tmp_path / "other").mkdir()
    other = make_certificate(tmp_path / "other", "two")
    key, chain = (tmp_path / "tls.key").read_bytes(), authority.read_bytes()
    upstream = Reflecting(zoo("/first"))
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((upstream,))
    target = f"localhost:{server.add_secure_port('localhost:0', grpc.ssl_server_credentials([(key, chain)]))}"
    await server.start()
    try:
        async with tool(Upstreams(reflected=[target], tls=True, ca=authority)) as port:
            known = await status(f"http://127.0.0.1:{port}/first")
        impostor = Upstreams(targets={"zoo.v1.Zoo": target}, descriptor_sets=[tmp_path / "zoo"], tls=True, ca=other)
        (tmp_path / "zoo").write_bytes(zoo("/first"))
        async with tool(impostor) as port:
            refused = await status(f"http://127.0.0.1:{port}/first")
    finally:
        await server.stop(None)

    assert (known, refused) == (200, 503)


def test_half_a_certificate_is_told_at_the_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "zoo.binpb").write_bytes(zoo("/first"))
    words = ["gateway", "--descriptor-set", str(tmp_path / "zoo.binpb"), "--upstream", "zoo.v1.Zoo=127.0.0.1:1"]

    code = run(words, {"MEMORYBOX_GATEWAY_TLS_CERT": str(tmp_path / "tls.crt")})

    assert code == 1
    assert "MEMORYBOX_GATEWAY_TLS_KEY" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--upstream", "a.B=h:1"], ["--descriptor-set", "f"]], ids=" ".join)
def test_gateway_of_nothing_is_wrongly_asked(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["gateway", *words], {}) == 2
    assert "--reflect" in capsys.readouterr().err
