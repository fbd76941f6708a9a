"""As much of protovalidate's options as the tests state rules with; numbers and names are those of buf/validate/validate.proto."""

_NUMBERS = "".join(
    f"message {name}Rules {{ optional {kind} const = 1; oneof less {{ {kind} lt = 2; {kind} lte = 3; }} "
    f"oneof greater {{ {kind} gt = 4; {kind} gte = 5; }} repeated {kind} in = 6; repeated {kind} not_in = 7; "
    f"{'optional bool finite = 8;' if kind == 'double' else ''} }}\n"
    for name, kind in (("Int32", "int32"), ("UInt64", "uint64"), ("Double", "double"))
)
VALIDATE = (
    """
syntax = "proto2"; package buf.validate;
import "google/protobuf/descriptor.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/timestamp.proto";
enum Ignore { IGNORE_UNSPECIFIED = 0; IGNORE_IF_ZERO_VALUE = 1; IGNORE_ALWAYS = 3; }
message Rule { optional string id = 1; optional string message = 2; optional string expression = 3; }
message MessageOneofRule { repeated string fields = 1; optional bool required = 2; }
message MessageRules { repeated Rule cel = 3; repeated MessageOneofRule oneof = 4; }
message OneofRules { optional bool required = 1; }
message BoolRules { optional bool const = 1; }
message StringRules { optional string const = 1; optional uint64 min_len = 2; optional uint64 max_len = 3;
  optional uint64 max_bytes = 5; optional string pattern = 6; optional string prefix = 7; optional string suffix = 8;
  optional string contains = 9; repeated string in = 10; repeated string not_in = 11;
  oneof well_known { bool email = 12; bool hostname = 13; bool ip = 14; bool ipv4 = 15; bool ipv6 = 16; bool uri = 17;
    bool uri_ref = 18; bool uuid = 22; bool host_and_port = 32; }
  optional uint64 len = 19; optional string not_contains = 23; }
message BytesRules { optional uint64 min_len = 2; optional uint64 max_len = 3; optional bytes prefix = 5; }
message EnumRules { optional int32 const = 1; optional bool defined_only = 2; repeated int32 in = 3; repeated int32 not_in = 4; }
message RepeatedRules { optional uint64 min_items = 1; optional uint64 max_items = 2; optional bool unique = 3;
  optional FieldRules items = 4; }
message MapRules { optional uint64 min_pairs = 1; optional uint64 max_pairs = 2; optional FieldRules keys = 4;
  optional FieldRules values = 5; }
message DurationRules { optional google.protobuf.Duration lte = 4; optional google.protobuf.Duration gte = 6; }
message TimestampRules { optional google.protobuf.Timestamp lt = 3; optional bool lt_now = 7; optional bool gt_now = 8;
  optional google.protobuf.Duration within = 9; }
message AnyRules { repeated string in = 2; }
"""
    + _NUMBERS
    + """
message FieldRules { repeated Rule cel = 23; optional bool required = 25; optional Ignore ignore = 27;
  oneof type { DoubleRules double = 2; Int32Rules int32 = 3; UInt64Rules uint64 = 6; BoolRules bool = 13; StringRules string = 14;
    BytesRules bytes = 15; EnumRules enum = 16; RepeatedRules repeated = 18; MapRules map = 19; AnyRules any = 20;
    DurationRules duration = 21; TimestampRules timestamp = 22; } }
extend google.protobuf.MessageOptions { optional MessageRules message = 1159; }
extend google.protobuf.OneofOptions { optional OneofRules oneof = 1159; }
extend google.protobuf.FieldOptions { optional FieldRules field = 1159; }
"""
)
