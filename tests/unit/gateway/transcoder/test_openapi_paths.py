"""Paths, path parameters and query parameters of OpenAPI documents."""

import re
from typing import Any

import pytest

from services.gateway.transcoder import Options
from tests.support.openapi import contract, document, operation, parameters, rpc


def paths_of(rule: str, messages: str = "", asked: str = "GetItem") -> Any:
    return document(contract(rpc("Get", rule, asked=asked), messages))["paths"]


@pytest.mark.parametrize(
    ("template", "path", "fields"),
    [
        ("/v2/{id}", "/v2/{id}", {"id": None}),
        ("/v2/{id=sets/*/items/*}", "/v2/sets/{set}/items/{item}", {"set": "id", "item": "id"}),
        ("/v2/{id=categories/*/boxes/*}", "/v2/categories/{category}/boxes/{box}", {"category": "id", "box": "id"}),
        ("/v2/{id=*/*}", "/v2/{id}/{id_2}", {"id": None, "id_2": "id"}),
        ("/v2/{id=**}", "/v2/{id}", {"id": None}),
        ("/v2/{id=files/**}:read", "/v2/files/{file}:read", {"file": "id"}),
        ("/v2/{item.name}/x", "/v2/{item.name}/x", {"item.name": None}),
        ("/v2/shelves/*/x", "/v2/shelves/{shelve}/x", {"shelve": None}),
        ("/v2/{id}:play", "/v2/{id}:play", {"id": None}),
        ("/caf%c3%a9/{id}", "/caf%C3%A9/{id}", {"id": None}),
        ("/", "/", {}),
    ],
)
def test_wildcards_become_parameters(template: str, path: str, fields: dict[str, str | None]) -> None:
    found = paths_of(f'get: "{template}"')

    assert list(found) == [path]
    shown = parameters(found[path]["get"], "path")
    assert {name: one.get("x-transcoding-field") for name, one in shown.items()} == fields
    assert set(re.findall(r"\{([^}]*)\}", path)) == set(shown)


def test_resource_patterns_name_the_wildcards() -> None:
    messages = """
message Book {
  option (google.api.resource) = { type: "shop/Book" pattern: "houses/{publisher}/books/{title}" };
  string name = 1; }
message GetBook { string name = 1; Book book = 2; }"""

    assert list(paths_of('get: "/v1/{name=houses/*/books/*}"', messages, "GetBook")) == [
        "/v1/houses/{publisher}/books/{title}"
    ]


def test_rest_of_a_path_may_contain_slashes() -> None:
    found = parameters(paths_of('get: "/v2/{id=**}"')["/v2/{id}"]["get"], "path")["id"]

    assert found["x-wildcard"] is True
    assert "/" in found["description"]


@pytest.mark.parametrize(
    ("text", "one", "rest"),
    [
        ("a", True, True),
        ("a/b", True, True),
        ("..a", True, True),
        ("a.", True, True),
        ("", False, True),
        (".", False, False),
        ("..", False, False),
        ("a/../b", True, False),
        ("a\nb", False, False),
        ("€", True, True),
    ],
)
def test_patterns_of_path_parameters_fit_what_is_served(text: str, *, one: bool, rest: bool) -> None:
    segment = parameters(paths_of('get: "/v2/{id}"')["/v2/{id}"]["get"], "path")["id"]["schema"]["pattern"]
    many = parameters(paths_of('get: "/v2/{id=**}"')["/v2/{id}"]["get"], "path")["id"]["schema"]["pattern"]

    assert bool(re.search(segment, text)) is one
    assert bool(re.search(many, text)) is rest


def test_paths_that_differ_in_names_only_are_one_path() -> None:
    found = document(
        contract(rpc("Get", 'get: "/items/{id}"') + rpc("Update", 'patch: "/items/{item.name}" body: "item"'))
    )

    assert list(found["paths"]) == ["/items/{id}"]
    assert parameters(operation(found, "/items/{id}", "patch"), "path")["id"]["x-transcoding-field"] == "item.name"


def test_less_specific_route_of_one_path_is_listed_beside_the_other() -> None:
    found = document(contract(rpc("Many", 'get: "/v2/{id=**}"') + rpc("One", 'get: "/v2/{note}"')))

    assert len(found["paths"]) == 1
    (item,) = found["paths"].values()
    assert item["get"]["x-grpc-method"] == "/shop.v1.Shop/One"
    assert item["get"]["x-also"] == [{"template": "/v2/{id=**}", "grpcMethod": "/shop.v1.Shop/Many", "body": ""}]


def test_route_for_any_method_is_shown_where_no_other_is() -> None:
    found = document(contract(rpc("Any", 'custom { kind: "*" path: "/a" } body: "*"') + rpc("Get", 'get: "/a"')))

    methods = {method: one["x-grpc-method"] for method, one in found["paths"]["/a"].items()}
    assert methods.pop("get") == "/shop.v1.Shop/Get"
    assert methods == dict.fromkeys(["put", "post", "delete", "patch"], "/shop.v1.Shop/Any")


def test_method_that_openapi_lacks_is_a_note() -> None:
    found = document(contract(rpc("Purge", 'custom { kind: "PURGE" path: "/v2/{id}" }')))

    assert found["paths"]["/v2/{id}"]["x-methods"]["PURGE"]["operationId"] == "Shop_Purge"


def test_query_has_every_leaf_but_those_of_path_and_body() -> None:
    found = parameters(operation(document(contract(rpc("Get", 'get: "/i/{id}"'))), "/i/{id}"), "query")

    assert set(found) == {"item.name", "item.size", "note", "tags"}
    assert found["tags"]["schema"] == {"type": "array", "items": {"type": "string"}}
    assert (found["tags"]["style"], found["tags"]["explode"]) == ("form", True)


def test_query_goes_three_levels_deep() -> None:
    messages = "message A { string a = 1; B b = 2; } message B { string b = 1; C c = 2; } message C { string c = 1; D d = 2; } message D { string d = 1; }"

    found = parameters(paths_of('get: "/a"', messages, "A")["/a"]["get"], "query")

    assert set(found) == {"a", "b.b", "b.c.c"}


def test_query_of_wide_messages_is_cut() -> None:
    wide = "".join(f"string f{number} = {number};" for number in range(1, 800))

    found = parameters(paths_of('get: "/a"', f"message A {{ {wide} }}", "A")["/a"]["get"], "query")

    assert len(found) == 500


def test_query_leaves_out_maps_messages_and_ignored_names() -> None:
    messages = "message A { map<string, string> m = 1; repeated Item items = 2; string key = 3; google.protobuf.Struct doc = 4; }"

    found = document(
        contract(rpc("Get", 'get: "/a"', asked="A"), messages),
        Options(default_routes=False, ignored_query_parameters=("key",)),
    )

    shown = parameters(operation(found, "/a"), "query")
    assert list(shown) == ["doc"]
    assert shown["doc"]["content"] == {"application/json": {"schema": {"type": "object"}}}


def test_query_values_are_never_null() -> None:
    messages = "message A { google.protobuf.Int32Value size = 1; }"

    found = parameters(paths_of('get: "/a"', messages, "A")["/a"]["get"], "query")

    assert found["size"]["schema"] == {"type": "integer", "format": "int32"}


def test_required_fields_are_required_parameters() -> None:
    messages = "message A { string q = 1 [(google.api.field_behavior) = REQUIRED]; string r = 2; }"

    found = parameters(paths_of('get: "/a"', messages, "A")["/a"]["get"], "query")

    assert found["q"]["required"] is True
    assert "required" not in found["r"]


def test_resumable_stream_takes_last_event_id() -> None:
    messages = "message A { string resume_token = 1; }"

    found = document(contract(rpc("Watch", 'get: "/w"', asked="A", answered="stream Item"), messages))

    assert "Last-Event-ID" in parameters(operation(found, "/w"), "header")
