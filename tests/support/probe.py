"""A service with a method of every kind, compiled when a test asks for it, whose methods each test writes itself."""

import functools
import importlib
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from services.mesh.access import AccessTable, Who, allow
from services.mesh.keys import ANY, Grant
from services.mesh.server import Registration, Service

CONTRACT = """
syntax = "proto3";
package probe.v1;

message Text { string text = 1; }

service ProbeService {
  rpc Say(Text) returns (Text);
  rpc Repeat(Text) returns (Text);
  rpc Tell(Text) returns (stream Text);
  rpc Hear(stream Text) returns (Text);
  rpc Talk(stream Text) returns (stream Text);
  rpc Closed(Text) returns (Text);
}
"""
PREFIX = "/probe.v1.ProbeService/"
ACCESS: AccessTable = {
    PREFIX + name: allow(Who.USER, Who.SERVICE) for name in ("Say", "Repeat", "Tell", "Hear", "Talk")
}
_RPCS = (PREFIX + "*",)
_AUDIENCES = ("memory", "embedding", "analyst")
KEYS = (
    ("gateway", "gateway", Grant((ANY,), (ANY,), _AUDIENCES, _RPCS)),
    ("memory", "service", Grant(audiences=_AUDIENCES, rpcs=_RPCS)),
    ("embedding", "service", Grant(audiences=_AUDIENCES, rpcs=_RPCS)),
    ("analyst", "service", Grant(audiences=_AUDIENCES, rpcs=_RPCS)),
)


@functools.cache
def modules() -> tuple[ModuleType, ModuleType]:
    """Return the generated modules of messages and stubs."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "probe.proto").write_text(CONTRACT)
        protoc = (sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}")
        subprocess.run(
            [*protoc, f"--python_out={folder}", f"--grpc_python_out={folder}", "probe.proto"], check=True, cwd=folder
        )
        sys.path.insert(0, folder)
        try:
            return importlib.import_module("probe_pb2"), importlib.import_module("probe_pb2_grpc")
        finally:
            sys.path.remove(folder)


def text(value: str = "") -> Any:
    """Return a message."""
    return modules()[0].Text(text=value)


def stub(channel: Any) -> Any:
    """Return the client's side."""
    return modules()[1].ProbeServiceStub(channel)


def service(**methods: Any) -> Service:
    """Return the service with just *methods*, each ``async def method(self, request, context)``."""
    messages, stubs = modules()
    servicer = type("Probe", (stubs.ProbeServiceServicer,), methods)()
    return Service((Registration.of(messages, stubs, "ProbeService", servicer),), ACCESS)


async def echo(_self: object, request: Any, _context: object) -> Any:
    """Answer with what was said."""
    return request
