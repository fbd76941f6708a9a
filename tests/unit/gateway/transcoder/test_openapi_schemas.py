"""JSON schemas of messages: what they say, and that they agree with what the codec takes and prints."""

from typing import Any

import jsonschema
import orjson
import pytest

from services.gateway.transcoder import Options
from services.gateway.transcoder.codec import JsonCodec
from tests.support.openapi import contract, document, of_sets, operation, rpc
from tests.support.transcoder_contract import CLOSED, KINDS, compile_protos, kinds, message_class

ECHO = """
syntax = "proto3"; package echo.v1; import "kinds.proto"; import "closed.proto";
service Echo { rpc Kinds(kinds.v1.Kinds) returns (kinds.v1.Kinds); rpc Old(closed.v1.Old) returns (closed.v1.Old); }
"""
VALIDATE = """
syntax = "proto2"; package buf.validate;
import "google/protobuf/descriptor.proto";
message StringRules { optional uint64 min_len = 2; optional uint64 max_len = 3; optional string pattern = 6;
  repeated string in = 10; oneof well_known { bool email = 12; bool uuid = 22; } }
message Int32Rules { oneof less { int32 lt = 2; int32 lte = 3; } oneof greater { int32 gt = 4; int32 gte = 5; } }
message RepeatedRules { optional uint64 min_items = 1; optional uint64 max_items = 2; optional FieldRules items = 4; }
message MapRules { optional uint64 max_pairs = 2; }
message FieldRules { oneof type { Int32Rules int32 = 3; StringRules string = 14; RepeatedRules repeated = 18; MapRules map = 19; } }
extend google.protobuf.FieldOptions { optional FieldRules field = 1159; }
"""


def schemas(options: Options | None = None) -> Any:
    sets = [compile_protos(kinds=KINDS, closed=CLOSED, echo=ECHO)]
    return of_sets(sets, options or Options())["components"]["schemas"]


def shop(messages: str, options: Options | None = None, asked: str = "A", answered: str = "Item") -> Any:
    text = contract(rpc("Do", 'post: "/do" body: "*"', asked=asked, answered=answered), messages)
    return document(text, options)["components"]["schemas"]


LONG = {"type": ["string", "integer"], "format": "int64", "pattern": "^-?[0-9]+$"}
FLOATS = {"enum": ["NaN", "Infinity", "-Infinity"]}
CASES: list[tuple[str, Any, Any]] = [
    ("i32", {"type": "integer", "format": "int32"}, ...),
    ("sf32", {"type": "integer", "format": "int32"}, ...),
    ("u32", {"type": "integer", "minimum": 0, "maximum": 4294967295}, ...),
    ("i64", LONG, {"type": "string", "format": "int64"}),
    ("sf64", LONG, {"type": "string", "format": "int64"}),
    (
        "u64",
        {"type": ["string", "integer"], "format": "uint64", "pattern": "^[0-9]+$", "minimum": 0},
        {"type": "string", "format": "uint64"},
    ),
    ("floatValue", {"anyOf": [{"type": "number", "format": "float"}, FLOATS]}, ...),
    ("doubleValue", {"anyOf": [{"type": "number", "format": "double"}, FLOATS]}, ...),
    ("flag", {"type": "boolean"}, ...),
    ("text", {"type": "string"}, ...),
    ("data", {"type": "string", "contentEncoding": "base64"}, ...),
    ("optText", {"type": "string"}, ...),
    ("color", {"$ref": "#/components/schemas/kinds.v1.Color"}, ...),
    ("inner", {"$ref": "#/components/schemas/kinds.v1.Inner-input"}, {"$ref": "#/components/schemas/kinds.v1.Inner"}),
    ("rI64", {"type": "array", "items": LONG}, {"type": "array", "items": {"type": "string", "format": "int64"}}),
    ("mText", {"type": "object", "additionalProperties": {"type": "string"}}, ...),
    (
        "mBool",
        {"type": "object", "additionalProperties": LONG, "propertyNames": {"enum": ["false", "true"]}},
        {
            "type": "object",
            "additionalProperties": {"type": "string", "format": "int64"},
            "propertyNames": {"enum": ["false", "true"]},
        },
    ),
    ("time", {"type": "string", "format": "date-time"}, ...),
    ("span", {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$"}, ...),
    ("struct", {"type": "object"}, ...),
    ("value", {}, ...),
    ("list", {"type": "array", "items": {}}, ...),
    ("null", {"type": "null"}, ...),
    ("wI32", {"type": ["integer", "null"], "format": "int32"}, ...),
    ("wI64", {**LONG, "type": ["string", "integer", "null"]}, {"type": ["string", "null"], "format": "int64"}),
    ("wDouble", {"anyOf": [{"type": "number", "format": "double"}, FLOATS, {"type": "null"}]}, ...),
    ("K-1", {"type": "string"}, ...),
]


@pytest.mark.parametrize(("name", "request_schema", "answer_schema"), CASES, ids=[case[0] for case in CASES])
def test_kinds_have_their_schemas(name: str, request_schema: Any, answer_schema: Any) -> None:
    found = schemas()

    assert found["kinds.v1.Kinds-input"]["properties"][name] == request_schema
    expected = request_schema if answer_schema is ... else answer_schema
    assert found["kinds.v1.Kinds"]["properties"][name] == expected


FULL: dict[str, Any] = {
    "i32": -5,
    "u32": 4294967295,
    "i64": "-9223372036854775808",
    "u64": 7,
    "floatValue": 0.1,
    "doubleValue": "NaN",
    "data": "AAE=",
    "color": "ROUGE",
    "inner": {"label": "x", "deep": {"list": [{}]}},
    "rDouble": [1.5, "Infinity"],
    "mI32": {"-2": {"count": 1}},
    "mBool": {"true": "3"},
    "mValue": {"a": None, "b": [1]},
    "asNumber": "9",
    "time": "2031-05-06T07:08:09.5Z",
    "span": "-1.500s",
    "mask": "a.bC,d",
    "any": {"@type": "type.googleapis.com/google.protobuf.Int64Value", "value": "5"},
    "empty": {},
    "wText": "",
    "rWI64": ["1"],
}


def test_what_the_codec_reads_and_prints_fits_the_schemas() -> None:
    codec = JsonCodec(kinds().pool, Options(emit_defaults=True))
    message = message_class(kinds(), "kinds.v1.Kinds")
    found = schemas(Options(emit_defaults=True))

    def check(key: str, value: Any) -> None:
        root = {"$ref": f"#/components/schemas/{key}", "components": {"schemas": found}}
        jsonschema.Draft202012Validator(root).validate(value)

    printed = orjson.loads(codec.encode(codec.decode(message, orjson.dumps(FULL))))
    check("kinds.v1.Kinds-input", FULL)
    check("kinds.v1.Kinds", printed)
    assert printed["inner"]["label"] == "x"


@pytest.mark.parametrize(
    "value",
    [
        {"nobody": 1},
        {"i32": "x"},
        {"asText": "a", "asNumber": "1"},
        {"mI32": {"x": {}}},
        {"color": "PINK"},
        {"u32": -1},
    ],
    ids=["unknown", "type", "oneof", "key", "enum", "range"],
)
def test_what_the_codec_refuses_does_not_fit(value: Any) -> None:
    root = {"$ref": "#/components/schemas/kinds.v1.Kinds-input", "components": {"schemas": schemas()}}

    assert list(jsonschema.Draft202012Validator(root).iter_errors(value))


def test_recursion_is_by_reference() -> None:
    inner = schemas()["kinds.v1.Inner"]["properties"]

    assert inner["deep"] == {"$ref": "#/components/schemas/kinds.v1.Inner"}
    assert inner["list"]["items"] == {"$ref": "#/components/schemas/kinds.v1.Inner"}


def test_oneof_members_stay_flat_and_exclude_each_other() -> None:
    found = shop(
        "message A { string x = 1; oneof pick { string a = 2; int32 b = 3; bool c = 4; } optional string o = 5; }"
    )["shop.v1.A"]

    assert set(found["properties"]) == {"x", "a", "b", "c", "o"}
    assert found["not"] == {"anyOf": [{"required": ["a", "b"]}, {"required": ["a", "c"]}, {"required": ["b", "c"]}]}
    assert "`pick`: at most one of `a`, `b`, `c`." in found["description"]


def test_wide_oneof_is_only_described() -> None:
    members = "".join(f"string m{number} = {number};" for number in range(1, 10))

    found = shop(f"message A {{ oneof pick {{ {members} }} }}")["shop.v1.A"]

    assert "not" not in found
    assert "`pick`" in found["description"]


def test_field_behavior_and_deprecation_are_told() -> None:
    found = shop(
        """message A {
  string id = 1 [(google.api.field_behavior) = OUTPUT_ONLY]; string key = 2 [(google.api.field_behavior) = INPUT_ONLY];
  string name = 3 [(google.api.field_behavior) = REQUIRED]; string old = 4 [deprecated = true]; string plain = 5; }"""
    )["shop.v1.A"]

    properties = found["properties"]
    assert properties["id"]["readOnly"] is True
    assert properties["key"]["writeOnly"] is True
    assert properties["old"]["deprecated"] is True
    assert found["required"] == ["name"]


def test_required_fields_of_proto2_are_required() -> None:
    assert schemas()["closed.v1.Old"]["required"] == ["name"]


def test_enum_values_have_names_and_comments() -> None:
    found = shop("message A { Size size = 1; } enum Size { UNKNOWN = 0;\n// Fits one.\nSMALL = 1; }")["shop.v1.Size"]

    assert found["type"] == "string"
    assert found["enum"] == ["UNKNOWN", "SMALL"]
    assert "- `SMALL`: Fits one." in found["description"]


def test_only_requests_forbid_unknown_members() -> None:
    found = schemas()

    assert found["kinds.v1.Inner-input"]["additionalProperties"] is False
    assert "additionalProperties" not in found["kinds.v1.Inner"]
    lenient = schemas(Options(unknown_json="ignore"))
    assert "additionalProperties" not in lenient["kinds.v1.Inner-input"]


def test_message_that_only_comes_in_keeps_its_full_name() -> None:
    found = shop("message A { int64 n = 1; }")

    assert found["shop.v1.A"]["properties"]["n"] == LONG
    assert "shop.v1.A-input" not in found


def test_options_of_printing_are_followed() -> None:
    found = schemas(Options(preserve_proto_field_names=True, enums_as_ints=True))

    assert "double_value" in found["kinds.v1.Kinds"]["properties"]
    assert found["kinds.v1.Color"]["type"] == "integer"
    assert found["kinds.v1.Color-input"]["enum"] == ["NONE", "RED", "ROUGE", "BLUE", "MINUS"]


def test_hostile_json_names_are_only_text() -> None:
    found = shop('message A { string a = 1 [json_name = "$ref"]; string b = 2 [json_name = "<script>"]; }')["shop.v1.A"]

    assert found["properties"]["$ref"] == {"type": "string"}
    assert "<script>" in found["properties"]


def test_constraints_of_protovalidate_narrow_the_schemas() -> None:
    text = contract(
        rpc("Do", 'post: "/do" body: "*"', asked="A") + rpc("Find", 'get: "/find"', asked="A"),
        """message A {
  string name = 1 [(buf.validate.field).string = { min_len: 1 max_len: 9 pattern: "^[a-z]+$" }];
  string mail = 2 [(buf.validate.field).string.email = true];
  int32 count = 3 [(buf.validate.field).int32 = { gte: 1 lt: 10 }];
  repeated string tags = 4 [(buf.validate.field).repeated = { max_items: 3 items: { string: { min_len: 2 } } }];
  map<string, string> notes = 5 [(buf.validate.field).map.max_pairs = 4]; string plain = 6; }""",
        'import "validate.proto";',
    )

    found = document(text, validate=VALIDATE)

    properties = found["components"]["schemas"]["shop.v1.A"]["properties"]
    assert properties["name"] == {"type": "string", "minLength": 1, "maxLength": 9, "pattern": "^[a-z]+$"}
    assert properties["mail"]["format"] == "email"
    assert properties["count"] == {"type": "integer", "format": "int32", "minimum": 1, "exclusiveMaximum": 10}
    assert properties["tags"] == {"type": "array", "maxItems": 3, "items": {"type": "string", "minLength": 2}}
    assert properties["notes"]["maxProperties"] == 4
    assert properties["plain"] == {"type": "string"}
    query = {one["name"]: one["schema"] for one in operation(found, "/find")["parameters"]}
    assert query["count"]["minimum"] == 1


@pytest.mark.parametrize(
    "extension",
    [
        "optional int32 field = 1159;",
        "repeated FieldRules field = 1159;",
        "optional FieldRules field = 1159;",
    ],
    ids=["number", "repeated", "no-oneof"],
)
def test_something_else_called_buf_validate_is_no_constraint(extension: str) -> None:
    rules = 'syntax = "proto2"; package buf.validate; import "google/protobuf/descriptor.proto"; message FieldRules {}'
    text = f"{rules} extend google.protobuf.FieldOptions {{ {extension} }}"
    value = "1" if "int32" in extension else "{}"
    messages = f"message A {{ string name = 1 [(buf.validate.field) = {value}]; }}"

    found = document(
        contract(rpc("Do", 'post: "/do" body: "*"', asked="A"), messages, 'import "validate.proto";'), validate=text
    )

    assert found["components"]["schemas"]["shop.v1.A"]["properties"]["name"] == {"type": "string"}
