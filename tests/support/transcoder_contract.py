"""Contracts for the transcoder's tests, compiled when a test asks for them."""

import functools
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from google.protobuf import message_factory
from google.protobuf.message import Message

from services.gateway.transcoder import DescriptorSet, load_descriptor_sets

KINDS = """
syntax = "proto3";
package kinds.v1;
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/empty.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";

enum Color { option allow_alias = true; NONE = 0; RED = 1; ROUGE = 1; BLUE = 2; MINUS = -1; }

message Inner { string label = 1; int32 count = 2; Inner deep = 3; repeated Inner list = 4; }

message Kinds {
  int32 i32 = 1; sint32 s32 = 2; sfixed32 sf32 = 3; uint32 u32 = 4; fixed32 f32 = 5;
  int64 i64 = 6; sint64 s64 = 7; sfixed64 sf64 = 8; uint64 u64 = 9; fixed64 f64 = 10;
  float float_value = 11; double double_value = 12; bool flag = 13; string text = 14; bytes data = 15;
  Color color = 16; Inner inner = 17;
  optional int32 opt_i32 = 18; optional string opt_text = 19; optional Color opt_color = 20;
  repeated int32 r_i32 = 21; repeated int64 r_i64 = 22; repeated string r_text = 23; repeated Color r_color = 24;
  repeated Inner r_inner = 25; repeated double r_double = 26; repeated float r_float = 27; repeated bytes r_data = 28;
  repeated bool r_flag = 29;
  map<string, string> m_text = 31; map<int32, Inner> m_i32 = 32; map<bool, int64> m_bool = 33;
  map<uint64, double> m_u64 = 34; map<string, Color> m_color = 35; map<string, google.protobuf.Value> m_value = 36;
  map<string, google.protobuf.Struct> m_struct = 37;
  oneof choice { string as_text = 41; int64 as_number = 42; Inner as_inner = 43; google.protobuf.NullValue as_null = 44;
    google.protobuf.Value as_value = 45; }
  google.protobuf.Timestamp time = 51; google.protobuf.Duration span = 52; google.protobuf.FieldMask mask = 53;
  google.protobuf.Struct struct = 54; google.protobuf.Value value = 55; google.protobuf.ListValue list = 56;
  google.protobuf.Any any = 57; google.protobuf.Empty empty = 58; google.protobuf.NullValue null = 59;
  google.protobuf.Int64Value w_i64 = 61; google.protobuf.StringValue w_text = 62; google.protobuf.BoolValue w_bool = 63;
  google.protobuf.BytesValue w_data = 64; google.protobuf.DoubleValue w_double = 65; google.protobuf.FloatValue w_float = 66;
  google.protobuf.UInt64Value w_u64 = 67; google.protobuf.Int32Value w_i32 = 68; google.protobuf.UInt32Value w_u32 = 69;
  repeated google.protobuf.Timestamp r_time = 71; repeated google.protobuf.Value r_value = 72;
  repeated google.protobuf.Int64Value r_w_i64 = 73; repeated google.protobuf.Any r_any = 74;
  string custom = 81 [json_name = "K-1"]; string from = 82; string _lead = 83; string a_1b = 84;
}
"""

CLOSED = """
syntax = "proto2";
package closed.v1;
enum Level { LOW = 1; HIGH = 2; }
message Old {
  required string name = 1; optional Level level = 2; repeated Level levels = 3; optional int32 size = 4 [default = 7];
  optional group Extra = 5 { optional string note = 1; }
  extensions 100 to 199;
}
extend Old { optional int64 rating = 100; repeated Old friends = 101; optional Old friend = 102; }
message Plain { optional int32 size = 1; extensions 10; }
"""


def compile_protos(**files: str) -> bytes:
    """Return the descriptor set, with imports, of proto files given as name=text."""
    return _compile(tuple(files.items()))


@functools.cache
def _compile(files: tuple[tuple[str, str], ...]) -> bytes:
    # googleapis-common-protos ships its .proto sources beside its modules.
    packages = sysconfig.get_paths()["purelib"]
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files:
            Path(folder, f"{name}.proto").write_text(text)
        out = Path(folder, "set.pb")
        subprocess.run(
            [
                *(sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", f"-I{packages}"),
                *("--include_imports", f"--descriptor_set_out={out}"),
                *(f"{name}.proto" for name, _ in files),
            ],
            check=True,
        )
        return out.read_bytes()


def message_class(descriptors: DescriptorSet, name: str) -> type[Any]:
    """Return the class of a message by its full name."""
    descriptor = descriptors.pool.FindMessageTypeByName(name)  # type: ignore[no-untyped-call]
    found: type[Message] = message_factory.GetMessageClass(descriptor)
    return found


@functools.cache
def kinds() -> DescriptorSet:
    """Return the loaded contract with a field of every kind."""
    return load_descriptor_sets([compile_protos(kinds=KINDS, closed=CLOSED)])
