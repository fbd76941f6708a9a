"""HttpRule and descriptor checks at start-up, rules T-1 to T-19 and T-23, T-39."""

import pytest
from google.protobuf import descriptor_pb2

from services.gateway.transcoder import DescriptorError, Options, Transcoder, load_descriptor_sets
from tests.support.transcoder_contract import compile_protos

HEAD = """
syntax = "proto3";
package r.v1;
import "google/api/annotations.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
message Inner { string x = 1; }
message R {
  string a = 1; Inner inner = 2; repeated string rs = 3; map<string, string> m = 4; google.protobuf.Struct st = 5;
  google.protobuf.Timestamp ts = 6; repeated Inner rm = 7; string snake_name = 8;
  oneof o { Inner one = 9; }
}
"""


def transcoder(rule: str, options: Options | None = None, rpc: str = "rpc Do(R) returns (R)") -> Transcoder:
    text = f"{HEAD} service S {{ {rpc} {{ {rule} }} }}"
    return Transcoder([compile_protos(r=text)], options or Options())


def http(rule: str) -> str:
    return f"option (google.api.http) = {{{rule}}};"


REFUSED = [
    ("T-1", 'custom: {kind: "" path: "/a"}'),
    ("T-1", 'custom: {kind: "GET" path: ""}'),
    ("T-1", 'custom: {kind: "G T" path: "/a"}'),
    ("T-3", 'body: "*"'),
    ("T-4", 'get: "/a" additional_bindings {get: "/b" additional_bindings {get: "/c"}}'),
    ("T-9", 'post: "/a" body: "inner.x"'),
    ("T-9", 'post: "/a" body: "snakeName"'),
    ("T-9", 'post: "/a" body: "nope"'),
    ("T-12", 'get: "/a" response_body: "inner.x"'),
    ("T-12", 'get: "/a" response_body: "nope"'),
    ("T-14", 'post: "/{a}" body: "a"'),
    ("T-20", 'get: "/a//b"'),
    ("T-23", 'get: "/{nope}"'),
    ("T-23", 'get: "/{rs}"'),
    ("T-23", 'get: "/{m}"'),
    ("T-23", 'get: "/{inner}"'),
    ("T-23", 'get: "/{st}"'),
    ("T-23", 'get: "/{rm.x}"'),
    ("T-23", 'get: "/{a.x}"'),
    ("T-23", 'get: "/{m.key}"'),
    ("T-39", 'get: "/x/{a}" additional_bindings {get: "/x/*"}'),
]


@pytest.mark.parametrize(("rule", "text"), REFUSED, ids=[f"{one[0]} {one[1]}" for one in REFUSED])
def test_a_doubtful_rule_stops_the_start_naming_method_and_file(rule: str, text: str) -> None:
    with pytest.raises(DescriptorError, match=r"r\.v1\.S\.Do \(r\.proto\)"):
        transcoder(http(text))


TAKEN = [
    ("T-8", 'post: "/a" body: "rs"'),
    ("T-8", 'post: "/a" body: "m"'),
    ("T-12", 'get: "/a" response_body: "*"'),
    ("T-14", 'patch: "/{inner.x=items/*}" body: "inner"'),
    ("T-23", 'get: "/{ts}"'),
    ("T-23", 'get: "/{one.x}"'),
    ("T-4", 'get: "/a" additional_bindings {put: "/b" body: "*"} additional_bindings {delete: "/a"}'),
    ("T-1", 'custom: {kind: "*" path: "/a"}'),
]


@pytest.mark.parametrize(("rule", "text"), TAKEN, ids=[f"{one[0]} {one[1]}" for one in TAKEN])
def test_a_legal_rule_is_served_without_warnings(rule: str, text: str) -> None:
    assert transcoder(http(text)).warnings == []


WARNED = [
    ("T-2", 'custom: {kind: "FOO" path: "/a"}', "unreachable"),
    ("T-5", 'selector: "other.Method" get: "/a"', "selector"),
    ("T-11", 'get: "/a" body: "*"', "drop such bodies"),
    ("T-11", 'delete: "/a" body: "inner"', "drop such bodies"),
]


@pytest.mark.parametrize(("rule", "text", "warning"), WARNED, ids=[f"{one[0]} {one[1]}" for one in WARNED])
def test_a_legal_but_doubtful_rule_is_warned_of(rule: str, text: str, warning: str) -> None:
    (only,) = transcoder(http(text)).warnings

    assert warning in only


def test_nested_bodies_need_their_option() -> None:
    rule = http('post: "/a" body: "inner.x"')

    assert transcoder(rule, Options(allow_nested_body=True)).routes[0].body == "inner.x"


def test_client_streams_need_a_body() -> None:
    with pytest.raises(DescriptorError, match="needs a body"):
        transcoder(http('get: "/a"'), rpc="rpc Do(stream R) returns (R)")


def test_default_routes_serve_methods_without_a_rule() -> None:
    (route,) = transcoder("").routes

    assert (route.http_method, route.template, route.body) == ("POST", "/r.v1.S/Do", "*")
    assert not transcoder("", Options(default_routes=False)).routes


def test_a_rule_may_be_the_default_route_itself() -> None:
    (route,) = transcoder(http('post: "/r.v1.S/Do" body: "inner"')).routes

    assert route.body == "inner"


def test_two_methods_at_one_place_are_both_named() -> None:
    one, other = http('get: "/x/{a}:v"'), http('get: "/x/*:v"')
    text = f"{HEAD} service S {{ rpc Do(R) returns (R) {{ {one} }} rpc Undo(R) returns (R) {{ {other} }} }}"

    with pytest.raises(DescriptorError, match=r"(?s)r\.v1\.S\.Undo.*r\.v1\.S\.Do.*GET"):
        Transcoder([compile_protos(r=text)], Options())


def test_a_service_config_replaces_annotations() -> None:
    annotation = http('get: "/a"')
    data = compile_protos(r=f"{HEAD} service S {{ rpc Do(R) returns (R) {{ {annotation} }} }}")

    def with_rules(*rules: dict[str, object]) -> Transcoder:
        return Transcoder([data], Options(default_routes=False), service_config={"http": {"rules": list(rules)}})

    served = with_rules({"selector": "r.v1.S.Do", "get": "/b"}, {"selector": "r.v1.S.Do", "get": "/c"})
    assert [route.template for route in served.routes] == ["/c"]
    for selector in ("r.v1.S.Nope", "r.v1.*", ""):
        with pytest.raises(DescriptorError, match="service config"):
            with_rules({"selector": selector, "get": "/b"})
    with pytest.raises(DescriptorError, match="service config"):
        Transcoder([data], Options(), service_config={"http": {"rules": "no"}})


def test_only_named_services_are_served() -> None:
    text = f"{HEAD} service S {{ rpc Do(R) returns (R); }} service T {{ rpc Do(R) returns (R); }}"
    data = compile_protos(r=text)

    served = Transcoder([data], Options(), services=["r.v1.T"])

    assert [route.grpc_method for route in served.routes] == ["/r.v1.T/Do"]
    with pytest.raises(DescriptorError, match="no service"):
        Transcoder([data], Options(), services=["r.v1.Nope"])


def file_set(*files: descriptor_pb2.FileDescriptorProto) -> bytes:
    return descriptor_pb2.FileDescriptorSet(file=files).SerializeToString()


def proto(name: str, *imports: str, package: str = "p") -> descriptor_pb2.FileDescriptorProto:
    return descriptor_pb2.FileDescriptorProto(name=name, package=package, dependency=imports, syntax="proto3")


def test_descriptor_sets_may_share_equal_files_only() -> None:
    commented = proto("a.proto")
    commented.source_code_info.location.add(leading_comments="hello")
    load_descriptor_sets([file_set(proto("a.proto")), file_set(commented)])

    with pytest.raises(DescriptorError, match=r"a\.proto: given twice"):
        load_descriptor_sets([file_set(proto("a.proto")), file_set(proto("a.proto", package="q"))])


def test_missing_imports_are_named_and_google_files_are_supplied() -> None:
    load_descriptor_sets([file_set(proto("a.proto", "google/api/annotations.proto", "google/rpc/status.proto"))])

    with pytest.raises(DescriptorError, match=r"a\.proto: import b\.proto is missing"):
        load_descriptor_sets([file_set(proto("a.proto", "b.proto"))])
    with pytest.raises(DescriptorError, match=r"import google/rpc/nope\.proto is missing"):
        load_descriptor_sets([file_set(proto("a.proto", "google/rpc/nope.proto"))])


def test_broken_sets_are_refused() -> None:
    with pytest.raises(DescriptorError, match="not a FileDescriptorSet"):
        load_descriptor_sets([b"\xff"])
    with pytest.raises(DescriptorError, match="import cycle"):
        load_descriptor_sets([file_set(proto("a.proto", "b.proto"), proto("b.proto", "a.proto"))])
    bad = proto("a.proto")
    bad.message_type.add(name="M").field.add(name="f", number=1, type=11, label=1, type_name=".no.Such")
    with pytest.raises(DescriptorError, match=r"a\.proto"):
        load_descriptor_sets([file_set(bad)])


def test_long_import_chains_need_no_recursion() -> None:
    files = [proto(f"f{index}.proto", f"f{index + 1}.proto") for index in range(3000)]

    load_descriptor_sets([file_set(*files, proto("f3000.proto"))])


def test_a_template_that_never_wins_is_warned_of() -> None:
    rules = [http(f'get: "{path}"') for path in ("/x/**", "/x", "/x/*", "/x/*/**", "/y/**", "/y/*")]
    methods = " ".join(f"rpc M{index}(R) returns (R) {{ {rule} }}" for index, rule in enumerate(rules))
    data = compile_protos(r=f"{HEAD} service S {{ {methods} }}")

    (warning,) = Transcoder([data], Options()).warnings

    assert warning == "r.v1.S.M0 (r.proto): GET /x/** is never reached"


def test_names_that_mean_another_field_or_are_ignored_are_warned_of() -> None:
    text = """syntax = "proto2"; package n.v1; message R { optional string a = 1; optional string b = 2 [json_name = "a"]; }
    service S { rpc Do(R) returns (R); }"""
    data = compile_protos(n=text.replace('json_name = "a"', 'json_name = "key"'))

    (warning,) = Transcoder([data], Options(ignored_query_parameters=("a", "other"))).warnings

    assert "field 'a' cannot be set" in warning


def test_hostile_sets_are_refused() -> None:
    chain = proto("a.proto", package="p")
    for index in range(3000):
        field = chain.message_type.add(name=f"M{index}").field.add(name="f", number=1, type=11, label=1)
        field.type_name = f".p.M{min(index + 1, 2999)}"
    chain.service.add(name="S").method.add(name="Do", input_type=".p.M0", output_type=".p.M0")
    with pytest.raises(DescriptorError, match="too deeply"):
        Transcoder([file_set(chain)], Options())

    many = proto("b.proto")
    outer = many.message_type.add(name="Outer")
    for index in range(20_001):
        outer.nested_type.add(name=f"N{index}")
    with pytest.raises(DescriptorError, match="more than 20000 messages"):
        load_descriptor_sets([file_set(many)])
