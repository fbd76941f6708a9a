"""The suite's own contract: its descriptor set, compiled on the spot, and messages of its types."""

import functools
import subprocess
import sys
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import google.api
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

PROTOS = Path(__file__).parent / "protos"
PACKAGE = "conformance.v1."
_RULES = annotations_pb2.http  # must be known before a set is parsed, or rules stay unknown bytes


@functools.cache
def descriptor_set() -> bytes:
    """Return the FileDescriptorSet of the whole contract with imports and comments."""
    return compiled(sorted(PROTOS.rglob("*.proto")))


def compiled(files: Iterable[Path], *folders: Path) -> bytes:
    """Return the descriptor set of proto *files*, which may import those of *folders* and of the contract."""
    annotations = Path(next(iter(google.api.__path__))).parent.parent
    bundled = Path(str(resources.files("grpc_tools") / "_proto"))
    with TemporaryDirectory() as folder:
        out = Path(folder) / "set.binpb"
        includes = [f"-I{path}" for path in (*folders, PROTOS, annotations, bundled)]
        words = [*includes, "--include_imports", "--include_source_info", f"-o{out}", *map(str, files)]
        subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *words], check=True)
        return out.read_bytes()


class Contract:
    """Methods and messages of one descriptor set, in a pool of their own."""

    def __init__(self, data: bytes) -> None:
        """Read the set; files must come after what they import, as protoc writes them."""
        self.pool = descriptor_pool.DescriptorPool()
        self.methods: dict[str, MethodDescriptor] = {}
        files = descriptor_pb2.FileDescriptorSet.FromString(data).file
        for file in files:
            self.pool.Add(file)  # type: ignore[no-untyped-call]
        for file in files:
            for service in self.pool.FindFileByName(file.name).services_by_name.values():  # type: ignore[no-untyped-call]
                for method in service.methods:
                    self.methods[f"/{service.full_name}/{method.name}"] = method

    @property
    def services(self) -> list[str]:
        """Full names of the services."""
        return sorted({path.split("/")[1] for path in self.methods})

    def method(self, name: str) -> MethodDescriptor:
        """Return the method of ``Service.Method`` or a full gRPC path."""
        return self.methods[grpc_path(name)]

    def message(self, descriptor: Any, value: Any) -> Message:
        """Return the message that *value* writes in proto3 JSON; ``{"$hex": ...}`` are its bytes."""
        made = message_factory.GetMessageClass(descriptor)()
        if isinstance(value, dict) and "$hex" in value:
            made.MergeFromString(bytes.fromhex(value["$hex"].replace(" ", "")))
        else:
            json_format.ParseDict(value, made, descriptor_pool=self.pool)
        return made

    def wire(self, descriptor: Any, value: Any) -> bytes:
        """Return *value* on the wire; raw ``$hex`` bytes need not be a valid message."""
        if isinstance(value, dict) and "$hex" in value:
            return bytes.fromhex(value["$hex"].replace(" ", ""))
        return self.message(descriptor, value).SerializeToString(deterministic=True)

    def shown(self, descriptor: Any, data: bytes) -> str:
        """Return *data* as JSON where it has a form, else as hex."""
        made = message_factory.GetMessageClass(descriptor).FromString(data)
        try:
            return str(json_format.MessageToJson(made, descriptor_pool=self.pool, indent=None))
        except (TypeError, ValueError, json_format.Error):
            return data.hex()


def grpc_path(name: str) -> str:
    """Return the gRPC path of ``Service.Method``, within the suite's package unless the service is ``Bare``."""
    if name.startswith("/"):
        return name
    service, _, method = name.rpartition(".")
    return f"/{service}/{method}" if service == "Bare" else f"/{PACKAGE}{service}/{method}"
