"""Documents of small contracts, compiled with their comments."""

import functools
import json
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from services.gateway.transcoder import Options, Transcoder, load_descriptor_sets
from services.gateway.transcoder.openapi import About, openapi_json

ABOUT = About(title="Test", version="1")


@functools.cache
def compile_contract(text: str, **others: str) -> bytes:
    """Return the descriptor set of one proto file, with imports and comments; *others* are files that it may import."""
    packages = sysconfig.get_paths()["purelib"]
    with tempfile.TemporaryDirectory() as folder:
        for name, content in {"contract": text, **others}.items():
            Path(folder, f"{name}.proto").write_text(content)
        out = Path(folder, "set.pb")
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", f"-I{packages}"]
        command += ["--include_imports", "--include_source_info", f"--descriptor_set_out={out}", "contract.proto"]
        subprocess.run(command, check=True)
        return out.read_bytes()


def document(text: str, options: Options | None = None, about: About = ABOUT, **others: str) -> Any:
    """Return the OpenAPI document of a contract; routes are only those of its rules unless *options* says otherwise."""
    return of_sets([compile_contract(text, **others)], options, about)


def of_sets(sets: list[bytes], options: Options | None = None, about: About = ABOUT) -> Any:
    """Return the OpenAPI document of descriptor sets."""
    return json.loads(openapi_json(transcoder(sets, options or Options(default_routes=False)), about))


def transcoder(sets: list[bytes], options: Options) -> Transcoder:
    """Return a transcoder for the sets' own services; imported ones may clash with them."""
    services = [name for name in load_descriptor_sets(sets).services if not name.startswith("google.")]
    return Transcoder(sets, options, services=services)


def contract(methods: str, messages: str = "", imports: str = "") -> str:
    """Return a proto file with one service ``Shop`` of *methods* and an item message."""
    return f"""
syntax = "proto3";
package shop.v1;
import "google/api/annotations.proto";
import "google/api/field_behavior.proto";
import "google/api/httpbody.proto";
import "google/api/resource.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
{imports}
service Shop {{ {methods} }}
message Item {{ string name = 1; int64 size = 2; Item inner = 3; }}
message GetItem {{ string id = 1; Item item = 2; string note = 3; repeated string tags = 4; }}
{messages}
"""


def rpc(name: str, rule: str, asked: str = "GetItem", answered: str = "Item") -> str:
    """Return a method with its HTTP rule."""
    return f"rpc {name}({asked}) returns ({answered}) {{ option (google.api.http) = {{ {rule} }}; }}\n"


def operation(document: Any, path: str, method: str = "get") -> Any:
    """Return one operation of *document*."""
    return document["paths"][path][method]


def parameters(found: Any, place: str) -> dict[str, Any]:
    """Return the parameters of an operation that lie in *place*, by name."""
    return {one["name"]: one for one in found.get("parameters", []) if one["in"] == place}
