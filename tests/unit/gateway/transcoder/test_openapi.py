"""The document as a whole, and its operations. The rules are those of OpenAPI 3.1 and of google/api/http.proto."""

import json
from collections.abc import Callable
from importlib import resources
from typing import Any

import jsonschema
import pytest
from google.protobuf import descriptor_pb2
from openapi_spec_validator import OpenAPIV31SpecValidator

from services.gateway.transcoder import Options
from services.gateway.transcoder.openapi import About, openapi_json
from tests.support.openapi import (
    ABOUT,
    compile_contract,
    contract,
    document,
    of_sets,
    operation,
    parameters,
    rpc,
    transcoder,
)
from tests.support.transcoder_contract import CLOSED, KINDS, compile_protos

STREAMS = contract(
    rpc("Watch", 'get: "/watch"', answered="stream Item")
    + rpc("Load", 'post: "/load" body: "*"', asked="stream Item")
    + rpc("Talk", 'post: "/talk" body: "*"', asked="stream Item", answered="stream Item")
    + rpc("Read", 'get: "/files/{id}"', answered="google.api.HttpBody")
    + rpc("Write", 'post: "/files" body: "*"', asked="google.api.HttpBody")
)
PATCHES = contract(
    rpc("Update", 'patch: "/items/{item.name}" body: "item"', asked="Change"),
    "message Change { Item item = 1; google.protobuf.FieldMask update_mask = 2; string etag = 3; }",
)
WILDCARDS = contract(
    rpc("Play", 'post: "/v2/{id}:play" body: "*"')
    + rpc("Any", 'custom { kind: "*" path: "/any" } body: "*"')
    + rpc("Purge", 'custom { kind: "PURGE" path: "/v2/{id}" }')
    + rpc("Odd", 'get: "/caf%C3%A9/*/x/**"')
)


def memorybox() -> bytes:
    return (resources.files("memorybox") / "descriptors.binpb").read_bytes()


def kinds() -> bytes:
    echo = """
syntax = "proto3"; package echo.v1; import "kinds.proto"; import "closed.proto";
service Echo { rpc Kinds(kinds.v1.Kinds) returns (kinds.v1.Kinds); rpc Old(closed.v1.Old) returns (closed.v1.Old); }
"""
    return compile_protos(kinds=KINDS, closed=CLOSED, echo=echo)


SETS: dict[str, Callable[[], bytes]] = {
    "memorybox": memorybox,
    "every-kind": kinds,
    "streams": lambda: compile_contract(STREAMS),
    "patches": lambda: compile_contract(PATCHES),
    "wildcards": lambda: compile_contract(WILDCARDS),
}


@pytest.mark.parametrize("name", SETS)
def test_document_is_valid_openapi_3_1(name: str) -> None:
    found = of_sets([SETS[name]()], Options(header_fields=(("If-Match", "etag"),)))

    assert found["openapi"].startswith("3.1.")
    assert found["paths"]
    assert [error.message for error in OpenAPIV31SpecValidator(found).iter_errors()] == []


@pytest.mark.parametrize("name", SETS)
def test_every_schema_is_valid_json_schema_2020_12(name: str) -> None:
    schemas = of_sets([SETS[name]()])["components"]["schemas"]

    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("name", SETS)
def test_every_reference_leads_somewhere(name: str) -> None:
    found = of_sets([SETS[name]()])

    for reference in references(found):
        at = found
        for part in reference.removeprefix("#/").split("/"):
            at = at[part]


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [reference for value in node.values() for reference in references(value)]
    return [reference for value in node for reference in references(value)] if isinstance(node, list) else []


def test_equal_descriptors_give_equal_bytes() -> None:
    first, second = (openapi_json(transcoder([memorybox()], Options()), ABOUT) for _ in range(2))

    assert first == second
    assert list(json.loads(first)) == sorted(json.loads(first))


def test_every_route_is_in_the_document() -> None:
    served = transcoder([memorybox()], Options())

    found = json.loads(openapi_json(served, ABOUT))

    shown = {(one["x-grpc-method"], method.upper()) for item in found["paths"].values() for method, one in item.items()}
    assert shown == {(route.grpc_method, route.http_method) for route in served.routes}


def test_comments_become_descriptions_and_summaries() -> None:
    text = contract("""
// Finds an item. Safe to retry.
//
// (-- for our own people --) Fails when there is none.
// buf:lint:ignore SOME_RULE
rpc Get(GetItem) returns (Item) { option (google.api.http) = { get: "/items/{id}" }; }
""").replace("service Shop", "// Sells things.\nservice Shop")

    found = document(text)

    get = operation(found, "/items/{id}")
    assert get["summary"] == "Finds an item."
    assert get["description"] == "Finds an item. Safe to retry.\n\n Fails when there is none."
    assert found["tags"] == [{"name": "Shop", "description": "Sells things."}]


def test_operation_ids_name_service_and_method_and_number_further_bindings() -> None:
    found = document(
        contract(
            rpc("Get", 'get: "/b/{id}" additional_bindings { get: "/a" } additional_bindings { post: "/c" body: "*" }')
        )
    )

    assert operation(found, "/b/{id}")["operationId"] == "Shop_Get"
    assert operation(found, "/a")["operationId"] == "Shop_Get_2"
    assert operation(found, "/c", "post")["operationId"] == "Shop_Get_3"


def test_services_of_one_name_are_told_apart_by_package() -> None:
    other = 'syntax = "proto3"; package other.v1; message M {} service Shop { rpc Get(M) returns (M); }'
    found = of_sets(
        [compile_contract(contract("rpc Get(GetItem) returns (Item);")), compile_protos(other=other)], Options()
    )

    ids = {one["operationId"] for item in found["paths"].values() for one in item.values()}
    assert ids == {"shop_v1_Shop_Get", "other_v1_Shop_Get"}


def test_default_routes_are_shown() -> None:
    found = document(contract("rpc Get(GetItem) returns (Item);"), Options())

    body = operation(found, "/shop.v1.Shop/Get", "post")["requestBody"]
    assert body["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/shop.v1.GetItem"}


def test_whole_body_leaves_out_what_the_path_binds_and_has_no_query() -> None:
    play = operation(document(WILDCARDS), "/v2/{id}:play", "post")

    schema = play["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["properties"]) == {"item", "note", "tags"}
    assert [one["in"] for one in play["parameters"]] == ["path"]


def test_body_and_response_fields_stand_alone() -> None:
    found = document(contract(rpc("Put", 'put: "/i/{id}" body: "tags" response_body: "size"')))

    put = operation(found, "/i/{id}", "put")
    assert put["requestBody"]["content"]["application/json"]["schema"] == {"type": "array", "items": {"type": "string"}}
    assert put["responses"]["200"]["content"]["application/json"]["schema"] == {"type": "string", "format": "int64"}
    assert "tags" not in parameters(put, "query")


def test_rule_without_body_has_none() -> None:
    assert "requestBody" not in operation(document(STREAMS), "/watch")


def test_server_stream_has_three_media_types() -> None:
    watch = operation(document(STREAMS), "/watch")

    item = {"$ref": "#/components/schemas/shop.v1.Item"}
    content = watch["responses"]["200"]["content"]
    assert content["application/json"]["schema"] == {"type": "array", "items": item}
    for kind in ("application/x-ndjson", "text/event-stream"):
        assert content[kind] == {"schema": item, "x-stream": True, "x-itemSchema": item}
    assert "event: error" in watch["responses"]["200"]["description"]
    assert parameters(watch, "query")["$alt"]["schema"] == {"enum": ["sse", "ndjson", "json"]}


def test_client_stream_takes_lines_or_an_array() -> None:
    content = operation(document(STREAMS), "/load", "post")["requestBody"]["content"]

    item = {"$ref": "#/components/schemas/shop.v1.Item-input"}
    assert content["application/x-ndjson"]["schema"] == item
    assert content["application/json"]["schema"] == {"type": "array", "items": item}


def test_stream_in_both_directions_is_noted_as_a_websocket() -> None:
    talk = operation(document(STREAMS), "/talk", "post")

    assert talk["x-websocket"] is True
    assert talk["x-websocket-receive"] == {"$ref": "#/components/schemas/shop.v1.Item"}
    assert "426" in talk["responses"]


def test_http_bodies_are_bytes_of_any_type() -> None:
    found = document(STREAMS)

    assert operation(found, "/files/{id}")["responses"]["200"]["content"] == {"*/*": {"schema": {}}}
    assert operation(found, "/files", "post")["requestBody"]["content"] == {"*/*": {"schema": {}}}


def test_patch_says_that_its_mask_is_automatic() -> None:
    patch = operation(document(PATCHES), "/items/{item.name}", "patch")
    by_hand = operation(
        document(PATCHES, Options(default_routes=False, auto_update_mask=False)), "/items/{item.name}", "patch"
    )

    assert "`updateMask`" in patch["description"]
    assert "description" not in by_hand
    assert "updateMask" in parameters(patch, "query")
    assert "both must be equal" in patch["requestBody"]["description"]


def test_header_fields_are_header_parameters_where_the_request_has_them() -> None:
    options = Options(default_routes=False, header_fields=(("If-Match", "etag"), ("Idempotency-Key", "request_id")))

    patch = operation(document(PATCHES, options), "/items/{item.name}", "patch")
    read = operation(document(STREAMS, options), "/files/{id}")

    assert set(parameters(patch, "header")) == {"If-Match"}
    assert "412" in patch["responses"]
    assert parameters(read, "header") == {}
    assert "412" not in read["responses"]


@pytest.mark.parametrize(
    ("path", "method", "only_streams"), [("/watch", "get", True), ("/files", "post", False)], ids=["stream", "unary"]
)
def test_errors_are_statuses_with_their_codes(path: str, method: str, only_streams: bool) -> None:  # noqa: FBT001
    found = document(STREAMS)

    answers = operation(found, path, method)["responses"]

    expected = {"400", "401", "403", "404", "408", "409", "413", "415", "429", "431", "499", "500", "501", "503", "504"}
    assert expected | {"200", "default"} <= set(answers)
    assert ({"406", "426"} <= set(answers)) is only_streams
    for status in set(answers) - {"200"}:
        response = found["components"]["responses"][answers[status]["$ref"].rpartition("/")[2]]
        schema = response["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/google.rpc.Status"}


def test_security_and_servers_are_what_the_edge_says() -> None:
    about = About(
        title="T",
        version="2",
        servers=("https://api.example",),
        security_schemes={"bearer": {"type": "http", "scheme": "bearer"}},
        security=({"bearer": ()},),
    )

    found = document(STREAMS, about=about)

    assert found["servers"] == [{"url": "https://api.example"}]
    assert found["components"]["securitySchemes"] == {"bearer": {"type": "http", "scheme": "bearer"}}
    assert found["security"] == [{"bearer": []}]


def test_deprecated_methods_are_marked() -> None:
    text = contract(rpc("Get", 'get: "/g"').replace("};", "}; option deprecated = true;"))

    assert operation(document(text), "/g")["deprecated"] is True


def test_limits_are_told() -> None:
    description = document(STREAMS, Options(default_routes=False, max_body=1234))["info"]["description"]

    assert "a body of 1234 bytes" in description


def test_source_info_about_nothing_is_passed_over() -> None:
    found = descriptor_pb2.FileDescriptorSet.FromString(compile_contract(STREAMS))
    for path in ([4, 99], [4, 0, 2, 99], [6, 0, 2, 0, 7, 1], [4, 0, 77, 1], [4], []):
        found.file[-1].source_code_info.location.add(path=path, leading_comments="nothing")

    assert "nothing" not in json.dumps(of_sets([found.SerializeToString()]))
