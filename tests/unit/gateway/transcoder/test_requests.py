"""Path, query, body, header and mask binding without a network: rules T-7 to T-16, T-60 to T-77, T-180 to T-191."""

import functools
import json
from typing import Any

import pytest
from google.rpc import error_details_pb2
from multidict import CIMultiDict

from services.gateway.transcoder import HttpError, Options, Transcoder
from tests.support.transcoder_contract import KINDS, compile_protos, message_class

ITEMS = """
syntax = "proto3";
package items.v1;
import "google/api/annotations.proto";
import "google/api/httpbody.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "kinds.proto";
message Size { int32 w = 1; int32 h = 2; Size in = 3; }
message Item {
  string name = 1; string label = 2; Size size = 3; repeated string tags = 4; map<string, string> attrs = 5;
  google.protobuf.Struct doc = 6; google.protobuf.Timestamp seen_at = 7; string etag = 8;
  google.protobuf.StringValue note = 9; oneof kind { string red = 10; int32 blue = 11; }
  string custom = 12 [json_name = "K-1"];
}
message ItemRequest {
  string id = 1; Item item = 2; google.protobuf.FieldMask update_mask = 3; string request_id = 4; string etag = 5;
  int32 number = 6; repeated string names = 7; map<string, int32> counts = 8; google.protobuf.StringValue wrapped = 9;
  oneof choice { string left = 10; Size right = 11; }
  optional int32 rank = 12; string resume_token = 13;
}
message Upload { string id = 1; google.api.HttpBody file = 2; string note = 3; }
message Twice { string id = 1; Item item = 2; google.protobuf.FieldMask one = 3; google.protobuf.FieldMask two = 4; }
service Items {
  rpc Get(ItemRequest) returns (Item) { option (google.api.http) = {get: "/items/{id}"
    additional_bindings {get: "/numbers/{number}"} additional_bindings {get: "/in/{item.size.w}/{id=x/*}"}
    additional_bindings {get: "/left/{left}"} additional_bindings {get: "/wrapped/{wrapped}"}}; }
  rpc Create(ItemRequest) returns (Item) { option (google.api.http) = {post: "/items" body: "item"}; }
  rpc Act(ItemRequest) returns (Item) { option (google.api.http) = {post: "/items/{id}:act" body: "*"}; }
  rpc Update(ItemRequest) returns (Item) { option (google.api.http) = {patch: "/items/{id}" body: "item"
    additional_bindings {patch: "/by-name/{item.name=items/*}" body: "item"}
    additional_bindings {patch: "/whole/{id}" body: "*"} additional_bindings {put: "/items/{id}" body: "item"}}; }
  rpc Twist(Twice) returns (Item) { option (google.api.http) = {patch: "/twice/{id}" body: "item"}; }
  rpc Names(ItemRequest) returns (Item) { option (google.api.http) = {post: "/names" body: "names"
    additional_bindings {post: "/counts" body: "counts"} additional_bindings {post: "/number" body: "number"}
    additional_bindings {post: "/token" body: "request_id"}}; }
  rpc Send(Upload) returns (Item) { option (google.api.http) = {post: "/upload/{id}" body: "file"}; }
  rpc Raw(google.api.HttpBody) returns (Item) { option (google.api.http) = {post: "/raw" body: "*"}; }
  rpc Query(kinds.v1.Kinds) returns (Item) { option (google.api.http) = {get: "/q"}; }
  rpc Watch(ItemRequest) returns (stream Item) { option (google.api.http) = {get: "/watch"}; }
}
"""


@functools.cache
def transcoder(options: Options) -> Transcoder:
    return Transcoder([compile_protos(items=ITEMS, kinds=KINDS)], options)


def read(method: str, target: str, body: Any = b"", options: Options | None = None, **headers: str) -> Any:
    """Return the request message that the backend would get."""
    served = transcoder(options or Options())
    path, _, query = target.partition("?")
    match = served.match(method, path)
    reader = match.plan.reader
    sent = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    bound = reader.bind(match.segments, query, sent)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    message = message_class(transcoder(Options()).descriptors, match.plan.binding.method.input_type.full_name)
    return message.FromString(reader.message(data, sent.get("Content-Type", ""), bound))


def refused(
    method: str, target: str, body: Any = b"", options: Options | None = None, **headers: str
) -> dict[str, str]:
    """Return the violated fields of a refusal with their descriptions."""
    with pytest.raises(HttpError) as caught:
        read(method, target, body, options, **headers)
    assert caught.value.http_status == 400
    info, detail = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    first, second = caught.value.status.details
    assert first.Unpack(detail)
    assert second.Unpack(info)
    assert (info.reason, info.domain) == ("INVALID_INPUT", "transcoder")
    return {violation.field: violation.description for violation in detail.field_violations}


def item(**fields: Any) -> Any:
    return message_class(transcoder(Options()).descriptors, "items.v1.ItemRequest")(**fields)


def item_body(**fields: Any) -> Any:
    return message_class(transcoder(Options()).descriptors, "items.v1.Item")(**fields)


BOUND = [
    ("T-22", "GET", "/in/3/x/7", b"", {"item": {"size": {"w": 3}}, "id": "x/7"}),
    ("T-24", "GET", "/numbers/1e3", b"", {"number": 1000}),
    ("T-24", "GET", "/wrapped/", b"", None),
    ("T-64", "GET", "/wrapped/null", b"", {"wrapped": {"value": "null"}}),
    ("T-8", "POST", "/items?requestId=r", {"name": "n"}, {"item": {"name": "n"}, "request_id": "r"}),
    ("T-8", "POST", "/names", ["a", "b"], {"names": ["a", "b"]}),
    ("T-8", "POST", "/counts", {"a": 1}, {"counts": {"a": 1}}),
    ("T-108", "POST", "/token", "text", {"request_id": "text"}),
    ("T-108", "POST", "/token", None, {}),
    ("T-107", "POST", "/items", b"", {"item": {}}),
    ("T-107", "POST", "/number", b"", {}),
    ("T-107", "POST", "/items/7:act", b"", {"id": "7"}),
    ("T-15", "POST", "/items/7:act", {"id": "7", "number": 5}, {"id": "7", "number": 5}),
    ("T-15", "GET", "/numbers/5?number=5.0", b"", {"number": 5}),
    (
        "T-16",
        "PATCH",
        "/by-name/items/3",
        {"size": None},
        {"item": {"name": "items/3"}, "update_mask": {"paths": ["size"]}},
    ),
    ("T-16", "GET", "/left/", b"", None),
    ("T-16", "GET", "/left/x", b"", {"left": "x"}),
    ("T-62", "GET", "/items/7?item.size.in.w=4", b"", {"id": "7", "item": {"size": {"in": {"w": 4}}}}),
    ("T-60", "GET", "/items/7?requestId=a%26b+c&&etag", b"", {"id": "7", "request_id": "a&b c", "etag": ""}),
    ("T-60", "GET", "/items/7?requestId=a;b=c", b"", {"id": "7", "request_id": "a;b=c"}),
    (
        "T-61",
        "GET",
        "/items/7?item.seen_at=2031-01-01T00:00:00Z",
        b"",
        {"id": "7", "item": {"seen_at": {"seconds": 1924992000}}},
    ),
    ("T-61", "GET", "/items/7?item%2EK-1=x", b"", {"id": "7", "item": {"custom": "x"}}),
    ("T-66", "GET", "/items/7?names=a&etag=x&names=b,c", b"", {"id": "7", "names": ["a", "b,c"], "etag": "x"}),
    ("T-68", "GET", "/items/7?right.w=1&right.h=2", b"", {"id": "7", "right": {"w": 1, "h": 2}}),
    ("T-155", "GET", "/items/7?rank=0", b"", {"id": "7", "rank": 0}),
]


@pytest.mark.parametrize(("rule", "method", "target", "body", "expected"), BOUND, ids=[" ".join(b[:3]) for b in BOUND])
def test_binds(rule: str, method: str, target: str, body: Any, expected: dict[str, Any] | None) -> None:
    data = json.dumps(body).encode() if not isinstance(body, bytes) else body

    if expected is None:
        with pytest.raises(HttpError) as caught:
            read(method, target, data)
        assert caught.value.http_status == 404
    else:
        assert read(method, target, data) == item(**expected)


REFUSED = [
    ("T-24", "GET", "/numbers/x", b"", "number"),
    ("T-30", "GET", "/items/%FF", b"", "id"),
    ("T-7", "POST", "/items/7:act?number=1", b"", "number"),
    ("T-15", "POST", "/items/7:act", {"id": "8"}, "id"),
    ("T-15", "POST", "/items/7:act", {"id": ""}, "id"),
    ("T-15", "GET", "/numbers/5?number=6", b"", "number"),
    ("T-15", "PATCH", "/by-name/items/3", {"name": "items/4"}, "item.name"),
    ("T-16", "GET", "/left/x?right.w=1", b"", "right.w"),
    ("T-60", "GET", "/items/7?etag=%zz", b"", ""),
    ("T-60", "GET", "/items/7?etag=%ff", b"", ""),
    ("T-62", "GET", "/items/7?item.doc.fields=1", b"", "item.doc.fields"),
    ("T-62", "GET", "/items/7?item.seenAt.seconds=1", b"", "item.seenAt.seconds"),
    ("T-62", "GET", "/items/7?names.x=1", b"", "names.x"),
    ("T-62", "GET", "/items/7?item" + ".size" * 32 + "=1", b"", "item" + ".size" * 32),
    ("T-63", "GET", "/items/7?item=x", b"", "item"),
    ("T-67", "GET", "/items/7?requestId=a&request_id=a", b"", "request_id"),
    ("T-68", "GET", "/items/7?left=a&right.w=1", b"", "right.w"),
    ("T-68", "GET", "/items/7?right.w=1&left=a", b"", "left"),
    ("T-69", "POST", "/items?item.name=x", {}, "item.name"),
    ("T-71", "GET", "/items/7?counts[a]=1", b"", "counts[a]"),
    ("T-71", "GET", "/items/7?counts=1", b"", "counts"),
    ("T-72", "GET", "/items/7?Etag=x", b"", "Etag"),
    ("T-73", "GET", "/items/7?$alt=json", b"", "$alt"),
    ("T-103", "POST", "/items", {"size": {"depth": 1}}, "item.size.depth"),
    ("T-107", "POST", "/items", [], "item"),
    ("T-107", "POST", "/items", b" ", ""),
    ("T-106", "POST", "/names", "x", "names"),
    ("T-181", "PATCH", "/items/7", {"label": {"a": 1}}, "item.label"),
]


@pytest.mark.parametrize(
    ("rule", "method", "target", "body", "field"), REFUSED, ids=[" ".join(r[:3])[:60] for r in REFUSED]
)
def test_refuses_and_names_the_field(rule: str, method: str, target: str, body: Any, field: str) -> None:
    assert list(refused(method, target, body)) == [field]


TEXTS = [
    ("i32", ["-5", "5.0", "1e3", "2147483647"], ["", "+1", "01", "0x1", "1_0", " 1", "2147483648", "1.5", "x"]),
    ("u64", ["18446744073709551615", "0"], ["-1", "18446744073709551616", "9" * 30]),
    ("i64", ["-9223372036854775808"], ["9223372036854775808", "9.3e18"]),
    ("doubleValue", ["1.5", "-0", "NaN", "Infinity", "-Infinity"], ["inf", "nan", "1e400", "", "1_0"]),
    ("floatValue", ["0.1"], ["3.5e38"]),
    ("flag", ["true", "True", "TRUE", "1", "false", "False", "FALSE", "0"], ["", "yes", "2", "t", "tRue"]),
    ("text", ["", "null", "a%00b"], []),
    ("data", ["", "YQ", "YQ==", "_-8=", "%2B/8"], ["Y", "Y Q", "*", "YQ="]),
    ("color", ["RED", "ROUGE", "2", "99", "-1"], ["red", "PINK", "2147483648", "1.5", ""]),
    ("time", ["2031-05-06T07:08:09.5Z"], ["null", "", "2031-05-06"]),
    ("span", ["1.5s", "-0.5s"], ["null", "1h2m", ""]),
    ("mask", ["", "fooBar,b", "foo_bar.baz"], ["Foo", "a,,b"]),
    ("wI64", ["5"], ["null", ""]),
    ("wText", ["null", ""], []),
    ("wBool", ["1"], ["null"]),
    ("struct", ["%7B%22k%22%3A1%7D"], ["x", "[1]", "%7B%22k%22%3A1,%22k%22%3A1%7D"]),
    ("value", ["true", "%22x%22", "1", "null"], ["x", ""]),
    ("list", ["[1]"], ["1", "%7B%7D"]),
    ("any", [], ["%7B%7D"]),
    ("empty", [], ["%7B%7D", ""]),
    ("rInner", [], ["%7B%7D"]),
    ("rTime", ["2031-05-06T07:08:09Z"], ["x"]),
    ("rValue", [], ["1"]),
    ("K-1", ["a"], []),
    ("custom", ["a"], []),
    ("from", ["a"], []),
    ("asValue", ["1"], []),
]


@pytest.mark.parametrize(
    ("name", "texts"), [(name, taken) for name, taken, _ in TEXTS], ids=[f"T-64 {t[0]}" for t in TEXTS]
)
def test_query_text_is_taken(name: str, texts: list[str]) -> None:
    for text in texts:
        read("GET", f"/q?{name}={text}")


@pytest.mark.parametrize(
    ("name", "texts"), [(name, bad) for name, _, bad in TEXTS], ids=[f"T-64 {t[0]}" for t in TEXTS]
)
def test_query_text_is_refused(name: str, texts: list[str]) -> None:
    match = transcoder(Options()).match("GET", "/q")
    fields = match.plan.binding.method.input_type.fields_by_camelcase_name
    # T-76: fields are told by their proto names; what cannot be set by a query is told as it was sent.
    told = fields[name].name if name in fields else name
    for text in texts:
        assert list(refused("GET", f"/q?{name}={text}")) in ([told], [name]), text


def test_query_values_mean_what_json_values_mean() -> None:
    query = (
        "i32=1e3&wText=&rI64=5&rI64=6&mask=a_b,cD&struct=%7B%22k%22%3A1%7D&time=2031-01-01T00:00:00Z&wBool=0&data=_-8"
    )
    body = {
        "i32": 1000,
        "wText": "",
        "rI64": ["5", "6"],
        "mask": "aB,cD",
        "struct": {"k": 1},
        "time": "2031-01-01T00:00:00Z",
        "wBool": False,
        "data": "/+8=",
    }

    bound = read("GET", f"/q?{query}")

    assert bound == transcoder(Options()).codec.decode(type(bound), json.dumps(body).encode())


def test_violations_of_path_and_query_are_collected() -> None:
    found = refused("GET", "/numbers/x?nmaes=a&etag=1&etag=2&rank=y")

    assert set(found) == {"number", "nmaes", "etag", "rank"}
    assert "did you mean 'names'" in found["nmaes"]


def test_query_options() -> None:
    assert read("GET", "/items/7?nope=1&etag=a", options=Options(unknown_query="ignore")) == item(id="7", etag="a")
    assert "rank" in refused("GET", "/items/7?rank=x&nope=1", options=Options(unknown_query="ignore"))
    assert read("GET", "/items/7?key=1", options=Options(ignored_query_parameters=("key",))) == item(id="7")
    assert read("GET", "/items/7?etag=a+b", options=Options(plus_as_space=False)) == item(id="7", etag="a+b")
    maps = Options(query_maps=True)
    assert read("GET", "/items/7?counts[a.b]=1&counts[c]=2", options=maps) == item(id="7", counts={"a.b": 1, "c": 2})
    assert "counts[a]" in refused("GET", "/items/7?counts[a]=1&counts[a]=1", options=maps)
    assert "counts[a]" in refused("GET", "/items/7?counts[a]=x", options=maps)


def test_query_limits() -> None:
    assert (
        "more than 3" in refused("GET", "/items/7?names=a&names=b&names=c&names=d", options=Options(max_params=3))[""]
    )
    assert "longer than 512" in refused("GET", f"/items/7?{'n' * 513}=a")[""]
    assert "more than 100" in refused("GET", "/items/7?" + "&".join(["names=a"] * 101))["names"]


def test_body_conflict_may_let_the_path_win() -> None:
    options = Options(body_conflict="path_wins")

    assert read("POST", "/items/7:act", {"id": "8"}, options) == item(id="7")
    assert read("GET", "/numbers/5?number=6", options=options) == item(number=5)


MASKS = [
    ({"label": "x", "size": {"w": 1, "h": None}}, ["label", "size.h", "size.w"]),
    ({"size": {}}, ["size"]),
    ({"size": None}, ["size"]),
    ({"tags": ["a"], "attrs": {"k": "v"}, "doc": {"a": {"b": 1}}}, ["attrs", "doc", "tags"]),
    ({"seenAt": "2031-01-01T00:00:00Z"}, ["seen_at"]),
    ({"note": "n", "red": "x", "K-1": "y"}, ["custom", "note", "red"]),
    ({"size": {"in": {"in": {"w": 1}}}}, ["size.in.in.w"]),
    ({}, []),
]


@pytest.mark.parametrize(("body", "paths"), MASKS, ids=[f"T-181 {json.dumps(m[0])}" for m in MASKS])
def test_a_patch_names_what_it_changes(body: dict[str, Any], paths: list[str]) -> None:
    request = read("PATCH", "/items/7", body)

    assert list(request.update_mask.paths) == paths
    assert request.HasField("update_mask")


def test_a_given_mask_is_kept_and_an_empty_one_is_filled() -> None:
    assert list(read("PATCH", "/items/7?updateMask=name", {"label": "x"}).update_mask.paths) == ["name"]
    assert list(read("PATCH", "/items/7?updateMask=", {"label": "x"}).update_mask.paths) == ["label"]


def test_path_bound_names_are_no_changes() -> None:
    request = read("PATCH", "/by-name/items/3", {"name": "items/3", "label": "x"})

    assert request.item.name == "items/3"
    assert list(request.update_mask.paths) == ["label"]


@pytest.mark.parametrize(("method", "target"), [("PATCH", "/whole/7"), ("PUT", "/items/7")])
def test_other_shapes_get_no_mask(method: str, target: str) -> None:
    assert not read(method, target, {}).HasField("update_mask")
    assert not read("PATCH", "/items/7", {}, Options(auto_update_mask=False)).HasField("update_mask")
    twice = read("PATCH", "/twice/7", {"label": "x"})
    assert not twice.HasField("one")
    assert not twice.HasField("two")


HEADERS = Options(header_fields=(("If-Match", "etag"), ("If-Match", "nope"), ("Idempotency-Key", "request_id")))


def test_headers_set_fields() -> None:
    assert read("GET", "/items/7", options=HEADERS, If_Match='"e"', Idempotency_Key="k") == item(
        id="7", etag="e", request_id="k"
    )
    assert read("GET", "/items/7", options=HEADERS, If_Match="e").etag == "e"
    assert read("GET", "/items/7", options=HEADERS, If_Match="*") == item(id="7")
    assert read("GET", "/items/7?etag=e", options=HEADERS, If_Match='"e"').etag == "e"
    assert "etag" in refused("GET", "/items/7?etag=other", options=HEADERS, If_Match='"e"')
    assert read("GET", "/q", options=HEADERS, If_Match='"e"') is not None


def test_header_fields_given_twice_must_agree() -> None:
    reader = transcoder(HEADERS).match("GET", "/items/7").plan.reader
    key = "Idempotency-Key"

    reader.bind(["items", "7"], "", CIMultiDict([(key, "a"), (key, "a")]))

    with pytest.raises(HttpError, match="given twice"):
        reader.bind(["items", "7"], "", CIMultiDict([(key, "a"), (key, "b")]))


def test_last_event_id_resumes_a_stream_and_outranks_the_query() -> None:
    assert read("GET", "/watch", Last_Event_ID="t").resume_token == "t"
    assert read("GET", "/watch?resumeToken=old", Last_Event_ID="t").resume_token == "t"
    assert read("GET", "/watch?resumeToken=old").resume_token == "old"
    assert read("GET", "/items/7", Last_Event_ID="t").resume_token == ""


def test_http_body_takes_any_bytes() -> None:
    upload = read("POST", "/upload/7?note=n", b"\xff\x00", Content_Type="image/png")
    raw = read("POST", "/raw?data=zz&x=1", b"{", Content_Type="text/x")

    assert (upload.file.data, upload.file.content_type, upload.id, upload.note) == (b"\xff\x00", "image/png", "7", "n")
    assert (raw.data, raw.content_type) == (b"{", "text/x")


def test_a_request_message_beyond_the_limit_is_413() -> None:
    with pytest.raises(HttpError) as caught:
        read("POST", "/names", ["a" * 50], Options(max_message=40))

    assert caught.value.http_status == 413
    assert caught.value.status.code == 8
