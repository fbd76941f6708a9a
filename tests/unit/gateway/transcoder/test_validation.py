"""Rules that a contract states are the gateway's first answer: all that is wrong at once, before any call."""

from typing import Any

import orjson
import pytest
from multidict import CIMultiDict

from services.gateway.transcoder import HttpError, Options, Transcoder
from services.gateway.transcoder.protocols import JSON, PROTO, Messages
from services.gateway.transcoder.value_rules import safe_pattern
from tests.support.transcoder_contract import compile_protos, message_class
from tests.support.validate_proto import VALIDATE

SHOP = """
syntax = "proto3";
package shop.v1;
import "google/api/annotations.proto";
import "google/api/field_behavior.proto";
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "validate.proto";
enum Size { SIZE_UNSPECIFIED = 0; SMALL = 1; LARGE = 2; }
message Line {
  string sku = 1 [(buf.validate.field).string = { pattern: "^[A-Z]{2}-[0-9]+$" max_len: 8 }];
  int32 count = 2 [(buf.validate.field).int32 = { gte: 1 lte: 99 }];
  repeated Line parts = 3;
}
message Order {
  option (buf.validate.message).oneof = { fields: ["phone", "mail"] required: true };
  string buyer = 1 [(buf.validate.field).required = true];
  optional string note = 2 [(buf.validate.field).string = { min_len: 2 not_contains: "<" }];
  repeated Line lines = 3 [(buf.validate.field).repeated = { min_items: 1 max_items: 3 }];
  map<string, int32> stock = 4 [(buf.validate.field).map = { max_pairs: 2 keys: { string: { min_len: 2 } }
    values: { int32: { gt: 0 } } }];
  repeated string tags = 5 [(buf.validate.field).repeated = { unique: true items: { string: { in: ["a", "b"] } } }];
  Size size = 6 [(buf.validate.field).enum = { defined_only: true not_in: [2] }];
  string mail = 7 [(buf.validate.field).string.email = true];
  string phone = 8 [(buf.validate.field).string.min_len = 4];
  double price = 9 [(buf.validate.field).double = { finite: true gte: 0 }, (buf.validate.field).ignore = IGNORE_IF_ZERO_VALUE];
  uint64 odd = 10 [(buf.validate.field).uint64 = { lt: 10 gt: 20 }, (buf.validate.field).ignore = IGNORE_IF_ZERO_VALUE];
  google.protobuf.Duration wait = 11 [(buf.validate.field).duration = { gte: { seconds: 1 } lte: { seconds: 60 } }];
  google.protobuf.Timestamp born = 12 [(buf.validate.field).timestamp.lt_now = true];
  google.protobuf.StringValue nick = 13 [(buf.validate.field).string.max_len = 3];
  oneof pay { option (buf.validate.oneof).required = true; string card = 14; bool cash = 15; }
  bytes seal = 16 [(buf.validate.field).bytes = { max_len: 2 }];
  string host = 17 [(buf.validate.field).string.host_and_port = true];
  string code = 18 [(buf.validate.field).cel = { id: "x" expression: "true" }];
  string later = 19 [(google.api.field_behavior) = REQUIRED];
  map<string, Line> by_name = 20;
  string secret = 21 [(buf.validate.field).ignore = IGNORE_ALWAYS, (buf.validate.field).string.min_len = 9];
}
service Shop {
  rpc Buy(Order) returns (Line) { option (google.api.http) = {post: "/orders" body: "*"}; }
  rpc Look(Line) returns (Line) { option (google.api.http) = {get: "/lines/{sku}"}; }
  rpc Plain(google.protobuf.StringValue) returns (Line) { option (google.api.http) = {post: "/plain" body: "*"}; }
}
"""
SETS = [compile_protos(shop=SHOP, validate=VALIDATE)]
TRANSCODER = Transcoder(SETS, Options())
GOOD: dict[str, Any] = {
    "buyer": "ann",
    "lines": [{"sku": "AB-1", "count": 1}],
    "phone": "12345",
    "cash": True,
}


def broken_by(order: dict[str, Any], transcoder: Transcoder = TRANSCODER) -> dict[str, str]:
    """Return the violations of an order by field."""
    match = transcoder.match("POST", "/orders")
    bound = match.plan.reader.bind(match.segments, "", CIMultiDict())
    try:
        match.plan.reader.message(orjson.dumps(order), "application/json", bound)
    except HttpError as error:
        detail = orjson.loads(error.response(transcoder.codec).body)["details"][0]  # type: ignore[arg-type]
        return {one.get("field", ""): one["description"] for one in detail["fieldViolations"]}
    return {}


def test_good_order_is_taken() -> None:
    assert broken_by(GOOD) == {}


@pytest.mark.parametrize(
    ("change", "field", "text"),
    [
        ({"buyer": ""}, "buyer", "is required"),
        ({"note": "x"}, "note", "at least 2 characters"),
        ({"note": "a<b"}, "note", "not contain '<'"),
        ({"lines": []}, "lines", "at least 1 items"),
        ({"lines": GOOD["lines"] * 4}, "lines", "at most 3 items"),
        ({"lines": [{"sku": "x", "count": 1}]}, "lines[0].sku", "pattern"),
        ({"lines": [{"sku": "AB-1\n", "count": 1}]}, "lines[0].sku", "pattern"),
        ({"lines": [{"sku": "AB-123456", "count": 1}]}, "lines[0].sku", "at most 8"),
        ({"lines": [{"sku": "AB-1", "count": 100}]}, "lines[0].count", "at least 1 and at most 99"),
        ({"lines": [{"sku": "AB-1", "count": 1, "parts": [{"sku": "AB-1"}]}]}, "lines[0].parts[0].count", "at least 1"),
        ({"stock": {"ab": 0}}, 'stock["ab"]', "greater than 0"),
        ({"stock": {"x": 1}}, 'stock["x"]', "at least 2"),
        ({"stock": {"aa": 1, "bb": 1, "cc": 1}}, "stock", "at most 2 pairs"),
        ({"tags": ["a", "a"]}, "tags", "twice"),
        ({"tags": ["a", "c"]}, "tags[1]", "one of a, b"),
        ({"size": 7}, "size", "value of the enum"),
        ({"size": "LARGE"}, "size", "none of 2"),
        ({"phone": "", "mail": "no mail"}, "mail", "email"),
        ({"mail": "a@b.test"}, "mail", "only one of phone, mail"),
        ({"phone": ""}, "phone", "one of phone, mail is required"),
        ({"phone": "123"}, "phone", "at least 4"),
        ({"price": "NaN"}, "price", ""),
        ({"price": -1}, "price", "at least 0"),
        ({"odd": "15"}, "odd", "greater than 20 or less than 10"),
        ({"wait": "0.5s"}, "wait", "at least 1s and at most 60s"),
        ({"born": "2999-01-01T00:00:00Z"}, "born", "past"),
        ({"nick": "long"}, "nick", "at most 3"),
        ({"cash": None}, "pay", "one of card, cash is required"),
        ({"seal": "AAAA"}, "seal", "at most 2 bytes"),
        ({"byName": {"k": {"sku": "no", "count": 1}}}, 'by_name["k"].sku', "pattern"),
    ],
    ids=lambda value: value if isinstance(value, str) and value else "",
)  # fmt: skip
def test_broken_rule_names_the_field(change: dict[str, Any], field: str, text: str) -> None:
    found = broken_by({**GOOD, **change})

    assert list(found) == [field]
    assert text in found[field]


def test_everything_wrong_is_told_at_once() -> None:
    found = broken_by({"note": "x", "lines": [{"sku": "x"}], "tags": ["c"], "cash": False})

    assert set(found) == {"buyer", "note", "lines[0].sku", "lines[0].count", "tags[0]", "phone"}


def test_rules_that_are_not_checked_are_told_at_the_start() -> None:
    warnings = [text for text in TRANSCODER.warnings if "buf.validate" in text]

    assert [text.split(":")[0] for text in warnings] == ["shop.v1.Order.host", "shop.v1.Order.code"]
    assert "string.host_and_port" in warnings[0]
    assert "cel" in warnings[1]


def test_rules_hold_for_path_variables_too() -> None:
    match = TRANSCODER.match("GET", "/lines/zz")
    bound = match.plan.reader.bind(match.segments, "count=5", CIMultiDict())

    with pytest.raises(HttpError, match="sku: must match the pattern"):
        match.plan.reader.message(b"", "", bound)


@pytest.mark.parametrize("form", [JSON, PROTO])
def test_rules_hold_for_rpc_clients_too(form: str) -> None:
    method = TRANSCODER.descriptors.services["shop.v1.Shop"].methods_by_name["Look"]
    messages = Messages(method, TRANSCODER.codec, TRANSCODER.options)
    line = message_class(TRANSCODER.descriptors, "shop.v1.Line")(sku="zz", count=1)
    data = TRANSCODER.codec.encode(line) if form == JSON else line.SerializeToString()
    match = TRANSCODER.match("GET", "/lines/zz")

    with pytest.raises(HttpError, match="pattern"):
        messages.request(data, form, match.plan.reader, match.plan.reader.bind(match.segments, "", CIMultiDict()))


def test_validation_can_be_left_to_the_services() -> None:
    assert broken_by({}, Transcoder(SETS, Options(validation=False))) == {}


def test_required_behaviour_is_demanded_where_so_set() -> None:
    strict = Transcoder(SETS, Options(required_fields=True))

    assert broken_by(GOOD, strict) == {"later": "is required"}
    assert broken_by({**GOOD, "later": "x"}, strict) == {}


def test_contracts_without_rules_cost_nothing() -> None:
    assert (
        TRANSCODER.codec.validators.of(message_class(TRANSCODER.descriptors, "google.protobuf.StringValue").DESCRIPTOR)
        is None
    )


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*b", "((a*)b)*", r"(a)\1", "a(?=b)", "[", "(?:a{1,}b?){2,}"])
def test_patterns_that_may_take_for_ever_are_not_tried(pattern: str) -> None:
    assert safe_pattern(pattern) is None


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("^[a-z]+$", "abc\n", False),
        (r"^\$[$]$", "$$", True),
        ("^(?:ab)+$", "abab", True),
        (r"^(\d{4})-(\d{2})$", "2026-11", True),
        ("[)]+x", "))x", True),
        (r"a\z", "ba", True),
    ],
)
def test_safe_patterns_mean_what_re2_means(pattern: str, text: str, fits: bool) -> None:  # noqa: FBT001
    expression = safe_pattern(pattern)

    assert expression is not None
    assert (expression.search(text) is not None) is fits


def test_hostile_text_is_checked_quickly() -> None:
    found = broken_by(
        {**GOOD, "lines": [{"sku": "A" * 1_000_000, "count": 1}], "mail": "a@" + "b." * 400_000, "phone": ""}
    )

    assert set(found) == {"lines[0].sku", "mail"}
