"""The JSON mapping by rules T-100 to T-161, in table form; test ids carry the rule."""

import json
import math
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message

from services.gateway.transcoder.codec import JsonCodec
from services.gateway.transcoder.json_text import BadJson
from services.gateway.transcoder.options import Options
from services.gateway.transcoder.values import JsonRefused
from services.gateway.transcoder.writer import Unprintable
from tests.support.transcoder_contract import kinds, message_class

CODEC = JsonCodec(kinds().pool, Options())
Kinds = message_class(kinds(), "kinds.v1.Kinds")
Old = message_class(kinds(), "closed.v1.Old")
MAX_FLOAT = 3.4028234663852886e38


def case(rule: str, body: str | bytes, *rest: Any) -> Any:
    return pytest.param(body, *rest, id=f"{rule} {body!r}"[:70])


def read(body: str | bytes, message: type[Any] = Kinds) -> Any:
    return CODEC.decode(message, body.encode() if isinstance(body, str) else body)


def oracle(body: str) -> Any:
    return json_format.Parse(body, Kinds(), descriptor_pool=kinds().pool)


TAKEN = [
    case("T-100", '{"K-1":"a","from":"b","Lead":"c"}'),
    case("T-100", '{"custom":"a","_lead":"b","a_1b":"c"}'),
    case("T-101", '{"Lead":"x","a1b":"y"}'),
    case("T-104", '{"i32":null,"rI32":null,"mText":null,"inner":null,"asText":null,"wI64":null,"time":null}'),
    case("T-104", '{"value":null}'),
    case("T-104", '{"null":null}'),
    case("T-104", '{"asNull":null}'),
    case("T-104", '{"rValue":[null,1]}'),
    case("T-104", '{"mValue":{"a":null}}'),
    case("T-104", '{"struct":{"a":null},"list":[null]}'),
    case("T-105", '{"asText":"a","asNumber":null}'),
    case("T-111", '{"text":"\\ud83d\\ude00\\u0000"}'),
    case("T-112", ' \t\r\n{"i32":1}\n'),
    case("T-120", '{"i32":-2147483648,"u32":4294967295,"i64":-9223372036854775808,"u64":18446744073709551615}'),
    case("T-120", '{"i64":"9223372036854775807","u64":"18446744073709551615","s64":"-9223372036854775808"}'),
    case("T-120", '{"i32":5.0,"s32":1e3,"u32":-0,"i64":5e0}'),
    case("T-120", '{"i32":"5"}'),
    case("T-121", '{"color":"RED","rColor":["ROUGE",2,-1,99,1.0,"2"]}'),
    case("T-122", '{"floatValue":0.1,"doubleValue":-0.0,"rDouble":["NaN","Infinity","-Infinity","1.5",1e308]}'),
    case("T-122", '{"floatValue":3.4028234663852886e38,"rFloat":[1e-60,16777217,0.1]}'),
    case("T-123", '{"flag":true,"rFlag":[false,true],"mBool":{"true":1,"false":"2"}}'),
    case("T-125", '{"data":"-_8=","rData":["+/8","","YQ","YQ=="]}'),
    case("T-130", '{"mI32":{"-2":{"label":"x"}},"mU64":{"18446744073709551615":1}}'),
    case("T-131", '{"rI32":[],"rInner":[{},{"count":1}]}'),
    case("T-140", '{"time":"2031-05-06T07:08:09.5Z"}'),
    case(
        "T-140",
        '{"time":"0001-01-01T00:00:00Z","rTime":["9999-12-31T23:59:59.999999999Z","2024-02-29T00:00:00+14:00"]}',
    ),
    case("T-141", '{"span":"-0.5s"}'),
    case("T-141", '{"span":"315576000000s"}'),
    case("T-142", '{"mask":"fooBar.bazQux,a"}'),
    case("T-142", '{"mask":""}'),
    case(
        "T-143",
        '{"wI64":"0","wText":"","wBool":false,"wData":"YQ==","wDouble":"NaN","wFloat":1.5,"wU64":1,"wI32":1,"wU32":1}',
    ),
    case("T-144", '{"struct":{"a":[1,"x",{"b":null,"c":true}]},"value":[1,[2]],"list":[{},[]]}'),
    case("T-144", '{"value":"x","mStruct":{"k":{"a":1},"l":{}}}'),
    case("T-145", '{"any":{"label":"x","@type":"type.googleapis.com/kinds.v1.Inner","count":2}}'),
    case("T-145", '{"any":{"@type":"a/google.protobuf.Duration","value":"1.5s"}}'),
    case("T-145", '{"any":{"@type":"a/google.protobuf.Any","value":{"@type":"a/kinds.v1.Inner","label":"z"}}}'),
    case("T-145", '{"any":{}}'),
    case("T-147", '{"empty":{},"null":"NULL_VALUE"}'),
    case("T-155", '{"optI32":0,"optText":"","optColor":"NONE","inner":{},"asText":""}'),
]


@pytest.mark.parametrize("body", TAKEN)
def test_reads_what_json_format_reads_to_the_same_message(body: str) -> None:
    assert read(body).SerializeToString(deterministic=True) == oracle(body).SerializeToString(deterministic=True)


@pytest.mark.parametrize("body", TAKEN)
def test_prints_what_json_format_prints(body: str) -> None:
    message = oracle(body)

    expected = json_format.MessageToDict(message, descriptor_pool=kinds().pool)

    assert same(json.loads(CODEC.encode(message)), expected)


def same(one: Any, other: Any) -> bool:
    """Compare JSON values; integral doubles may be printed without a fraction."""
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


READ_OTHERWISE = [
    case("T-120", '{"i64":"1e3"}', {"i64": 1000}),
    case("T-120", '{"i32":"5.0"}', {"i32": 5}),
    case("T-120", '{"u64":9.223372036854775807e18}', {"u64": 2**63}),
    case("T-120", '{"u64":1e19}', {"u64": 10**19}),
    case(
        "T-145",
        '{"any":{"@type":"a/google.protobuf.Empty","value":{}}}',
        {"any": {"type_url": "a/google.protobuf.Empty"}},
    ),
    case("T-145", '{"any":{"@type":"a/google.protobuf.Empty"}}', {"any": {"type_url": "a/google.protobuf.Empty"}}),
]


@pytest.mark.parametrize(("body", "expected"), READ_OTHERWISE)
def test_reads(body: str, expected: dict[str, Any]) -> None:
    assert read(body) == Kinds(**expected)


REFUSED = [
    case("T-100", '{"keyOne":1}', "keyOne"),
    case("T-100", '{"optI32":1,"opt_i32":1}', "opt_i32"),
    case("T-100", '{"optI32":null,"opt_i32":1}', "opt_i32"),
    case("T-100", '{"optI32":1,"opt_i32":null}', "opt_i32"),
    case("T-103", '{"inner":{"deep":{"nope":1}}}', "inner.deep.nope"),
    case("T-103", '{"@type":"x"}', "@type"),
    case("T-104", '{"rI32":[1,null]}', "r_i32[1]"),
    case("T-104", '{"rInner":[null]}', "r_inner[0]"),
    case("T-104", '{"mText":{"k":null}}', 'm_text["k"]'),
    case("T-104", '{"rWI64":[null]}', "r_w_i64[0]"),
    case("T-105", '{"asText":"a","asNumber":1}', "as_number"),
    case("T-105", '{"asText":"a","asValue":null}', "as_value"),
    case("T-105", '{"asText":"a","asNull":null}', "as_null"),
    case("T-106", '{"inner":"x"}', "inner"),
    case("T-106", '{"rInner":[{},{"list":[{"count":"x"}]}]}', "r_inner[1].list[0].count"),
    case("T-107", "[]", ""),
    case("T-107", "5", ""),
    case("T-107", "null", ""),
    case("T-107", '"x"', ""),
    case("T-120", '{"i32":2147483648}', "i32"),
    case("T-120", '{"i32":1.5}', "i32"),
    case("T-120", '{"i32":true}', "i32"),
    case("T-120", '{"i32":""}', "i32"),
    case("T-120", '{"i32":" 5"}', "i32"),
    case("T-120", '{"i32":"+5"}', "i32"),
    case("T-120", '{"i32":"05"}', "i32"),
    case("T-120", '{"i32":"1_0"}', "i32"),
    case("T-120", '{"i32":"0x1"}', "i32"),
    case("T-120", '{"i32":"1e400"}', "i32"),
    case("T-120", '{"u32":-1}', "u32"),
    case("T-120", '{"u64":-1}', "u64"),
    case("T-120", '{"u64":18446744073709551616}', "u64"),
    case("T-120", '{"i64":9223372036854775808}', "i64"),
    case("T-120", '{"i64":"9223372036854775808"}', "i64"),
    case("T-120", '{"i64":-9223372036854775809}', "i64"),
    case("T-120", '{"i64":9.223372036854775807e18}', "i64"),
    case("T-114", '{"i64":"' + "9" * 5000 + '"}', "i64"),
    case("T-121", '{"color":"red"}', "color"),
    case("T-121", '{"color":true}', "color"),
    case("T-121", '{"color":1.5}', "color"),
    case("T-121", '{"color":2147483648}', "color"),
    case("T-122", '{"floatValue":3.5e38}', "float_value"),
    case("T-122", '{"floatValue":"3.5e38"}', "float_value"),
    case("T-122", '{"doubleValue":true}', "double_value"),
    case("T-122", '{"doubleValue":"inf"}', "double_value"),
    case("T-122", '{"doubleValue":"nan"}', "double_value"),
    case("T-122", '{"doubleValue":"1e400"}', "double_value"),
    case("T-123", '{"flag":"true"}', "flag"),
    case("T-123", '{"flag":1}', "flag"),
    case("T-124", '{"text":5}', "text"),
    case("T-125", '{"data":"Y Q=="}', "data"),
    case("T-125", '{"data":"Y"}', "data"),
    case("T-125", '{"data":"YQ="}', "data"),
    case("T-125", '{"data":"Y*=="}', "data"),
    case("T-130", '{"mI32":{"01":{}}}', 'm_i32["01"]'),
    case("T-130", '{"mI32":{"+1":{}}}', 'm_i32["+1"]'),
    case("T-130", '{"mI32":{"1.0":{}}}', 'm_i32["1.0"]'),
    case("T-130", '{"mBool":{"1":1}}', 'm_bool["1"]'),
    case("T-130", '{"mText":[]}', "m_text"),
    case("T-131", '{"rI32":1}', "r_i32"),
    case("T-131", '{"rI32":[[1]]}', "r_i32[0]"),
    case("T-140", '{"time":"2031-05-06T07:08:60Z"}', "time"),
    case("T-140", '{"time":"2031-05-06T24:00:00Z"}', "time"),
    case("T-140", '{"time":"2031-02-30T00:00:00Z"}', "time"),
    case("T-140", '{"time":"2031-05-06T07:08:09.Z"}', "time"),
    case("T-140", '{"time":"2031-05-06T07:08:09"}', "time"),
    case("T-140", '{"time":"2031-05-06t07:08:09z"}', "time"),
    case("T-140", '{"time":"2031-05-06T07:08:09.1234567890Z"}', "time"),
    case("T-140", '{"time":"0000-05-06T07:08:09Z"}', "time"),
    case("T-140", '{"time":"0001-01-01T00:00:00+00:01"}', "time"),
    case("T-140", '{"time":"9999-12-31T23:59:59-00:01"}', "time"),
    case("T-140", '{"time":{}}', "time"),
    case("T-141", '{"span":"1"}', "span"),
    case("T-141", '{"span":".5s"}', "span"),
    case("T-141", '{"span":"1.s"}', "span"),
    case("T-141", '{"span":"+1s"}', "span"),
    case("T-141", '{"span":" 1s"}', "span"),
    case("T-141", '{"span":"1e3s"}', "span"),
    case("T-141", '{"span":"1.1234567890s"}', "span"),
    case("T-141", '{"span":"315576000001s"}', "span"),
    case("T-142", '{"mask":"foo_bar"}', "mask"),
    case("T-142", '{"mask":"a,,b"}', "mask"),
    case("T-142", '{"mask":"FooBar"}', "mask"),
    case("T-142", '{"mask":["a"]}', "mask"),
    case("T-143", '{"wI64":{"value":5}}', "w_i64"),
    case("T-145", '{"any":{"label":"x"}}', "any.@type"),
    case("T-145", '{"any":{"@type":"a/no.Such"}}', "any.@type"),
    case("T-145", '{"any":{"@type":5}}', "any.@type"),
    case("T-145", '{"any":{"@type":"a/google.protobuf.Duration","value":"1s","x":1}}', "any"),
    case("T-145", '{"any":{"@type":"a/kinds.v1.Inner","value":{}}}', "any.value"),
    case("T-147", '{"empty":{"x":1}}', "empty.x"),
    case("T-113", '{"value":' + "[" * 60 + "]" * 60 + "}", "value"),
]


@pytest.mark.parametrize(("body", "field"), REFUSED)
def test_refuses_and_names_the_field(body: str, field: str) -> None:
    with pytest.raises(JsonRefused) as caught:
        read(body)

    assert caught.value.field == field
    assert caught.value.description


NOT_JSON = [
    case("T-114", '{"i64":' + "9" * 5000 + "}"),
    case("T-102", '{"i32":1,"i32":1}'),
    case("T-102", '{"struct":{"a":{"k":1,"k":2}}}'),
    case("T-102", '{"any":{"@type":"a/kinds.v1.Inner","label":"a","label":"b"}}'),
    case("T-102", '{"mText":{"\\u0061":"x:\\\\","a":"\\":"}}'),
    case("T-107", "  "),
    case("T-110", b"\xef\xbb\xbf{}"),
    case("T-110", '{"text":"a"}'.encode("utf-16")),
    case("T-110", b'{"text":"\xff"}'),
    case("T-110", b'{"text":"\xc0\xaf"}'),
    case("T-110", b'{"text":"\xed\xa0\x80"}'),
    case("T-111", '{"text":"\\ud800"}'),
    case("T-111", '{"mText":{"\\udc00x":"a"}}'),
    case("T-112", '{"i32":1,}'),
    case("T-112", "{'i32':1}"),
    case("T-112", '{"i32":01}'),
    case("T-112", '{"i32":+1}'),
    case("T-112", '{"doubleValue":.5}'),
    case("T-112", '{"doubleValue":1.}'),
    case("T-112", '{"doubleValue":NaN}'),
    case("T-112", '{"value":-Infinity}'),
    case("T-112", '{"text":"a\tb"}'),
    case("T-112", '{"i32":1} x'),
    case("T-112", '{"i32":1}\x0c'),
    case("T-112", '{"i32":1 /* one */}'),
    case("T-113", '{"list":' + "[" * 101 + "]" * 101 + "}"),
    case("T-113", "[" * 5000 + "]" * 5000),
    case("T-144", '{"value":1e400}'),
    case("T-122", '{"doubleValue":1e400}'),
]


@pytest.mark.parametrize("body", NOT_JSON)
def test_refuses_text_that_is_not_one_strict_value(body: str | bytes) -> None:
    with pytest.raises(BadJson):
        read(body)


LAXER_IN_JSON_FORMAT = [
    case("T-150", '{"color":true}'),
    case("T-150", '{"doubleValue":true}'),
    case("T-150", '{"i32":"1_0"}'),
    case("T-150", '{"i32":"+5"}'),
    case("T-150", '{"i32":"05"}'),
    case("T-150", '{"doubleValue":"inf"}'),
    case("T-150", '{"doubleValue":"1e400"}'),
    case("T-150", '{"span":"+1s"}'),
    case("T-150", '{"span":" 1s"}'),
    case("T-150", '{"data":"Y Q=="}'),
    case("T-150", "[]"),
    case("T-150", '{"inner":[]}'),
    case("T-150", '{"doubleValue":1,"double_value":2}'),
    case("T-150", '{"mI32":{"1":{},"+1":{}}}'),
    case("T-150", '{"struct":{"a":NaN}}'),
    case("T-150", '{"value":1e400}'),
]


@pytest.mark.parametrize("body", LAXER_IN_JSON_FORMAT)
def test_is_stricter_than_json_format(body: str) -> None:
    oracle(body)

    with pytest.raises((JsonRefused, BadJson)):
        read(body)


def test_keys_are_counted_against_the_limit() -> None:
    codec = JsonCodec(kinds().pool, Options(max_keys=3))

    codec.decode(Kinds, b'{"mText":{"a":"1","b":"2"}}')

    with pytest.raises(BadJson, match="members"):
        codec.decode(Kinds, b'{"mText":{"a":"1","b":"2","c":"3"}}')


@pytest.mark.parametrize("number", ["9007199254740993", "-9007199254740993"])
@pytest.mark.parametrize("body", ['{{"struct":{{"a":[{{"n":{0}}}]}}}}', '{{"value":{0}}}', '{{"list":[[{0}]]}}'])
def test_whole_numbers_that_a_double_would_round_are_refused_if_so_set(body: str, number: str) -> None:
    codec = JsonCodec(kinds().pool, Options(inexact_integers="reject"))

    with pytest.raises(JsonRefused, match="2\\^53"):
        codec.decode(Kinds, body.format(number).encode())

    CODEC.decode(Kinds, body.format(number).encode())
    codec.decode(Kinds, body.format(number.replace("3", "2")).encode())


def test_colons_and_escapes_in_strings_are_no_duplicates() -> None:
    body = json.dumps({"mText": {'a"b:\\': ':"\\\\', "c\\": "\\", "": "::"}})

    assert dict(read(body).m_text) == {'a"b:\\': ':"\\\\', "c\\": "\\", "": "::"}


def test_ignoring_unknown_members_drops_names_only() -> None:
    codec = JsonCodec(kinds().pool, Options(unknown_json="ignore"))

    read = codec.decode(
        Kinds, b'{"x":{"y":[1]},"color":"PINK","rColor":["RED","PINK"],"mColor":{"a":"PINK","b":"RED"}}'
    )

    assert read == Kinds(r_color=[1], m_color={"b": 1})
    for body in (b'{"x":{"k":1,"k":1}}', b'{"x":' + b"[" * 101 + b"]" * 101 + b"}"):
        with pytest.raises(BadJson):
            codec.decode(Kinds, body)
    with pytest.raises(JsonRefused):
        codec.decode(Kinds, b'{"i32":"x"}')


PRINTED = [
    pytest.param({"float_value": 0.1}, b'{"floatValue":0.1}', id="T-122 float"),
    pytest.param({"float_value": 16777216.0}, b'{"floatValue":16777216}', id="T-122 integral float"),
    pytest.param({"r_double": [5.0, -0.0, 1e300]}, b'{"rDouble":[5,-0.0,1e+300]}', id="T-122 doubles"),
    pytest.param({"double_value": -0.0}, b'{"doubleValue":-0.0}', id="T-122 negative zero"),
    pytest.param({"double_value": math.nan}, b'{"doubleValue":"NaN"}', id="T-122 NaN"),
    pytest.param({"r_float": [math.inf, -math.inf]}, b'{"rFloat":["Infinity","-Infinity"]}', id="T-122 infinities"),
    pytest.param({"i64": -5, "i32": -5, "w_i64": {"value": 0}}, b'{"i32":-5,"i64":"-5","wI64":"0"}', id="T-126, T-157"),
    pytest.param({"m_u64": {7: 1.5}, "m_bool": {True: 3}}, b'{"mBool":{"true":"3"},"mU64":{"7":1.5}}', id="T-130"),
    pytest.param({"color": 1, "r_color": [99]}, b'{"color":"RED","rColor":[99]}', id="T-121 alias, unknown number"),
    pytest.param({"data": b"\xfb\xff"}, b'{"data":"+/8="}', id="T-125"),
    pytest.param({"text": "\u00e9\u2028"}, '{"text":"\u00e9\u2028"}'.encode(), id="T-157 UTF-8"),
    pytest.param({"time": {"seconds": -1, "nanos": 1000}}, b'{"time":"1969-12-31T23:59:59.000001Z"}', id="T-140"),
    pytest.param({"time": {"seconds": -62135596800}}, b'{"time":"0001-01-01T00:00:00Z"}', id="T-140 year 1"),
    pytest.param({"span": {"nanos": -1}}, b'{"span":"-0.000000001s"}', id="T-141"),
    pytest.param({"mask": {"paths": ["a_b.c_d", "e"]}}, b'{"mask":"aB.cD,e"}', id="T-142"),
    pytest.param({"value": {}}, b'{"value":null}', id="T-144 empty value"),
    pytest.param({"as_null": 0, "null": 0}, b'{"asNull":null}', id="T-147"),
    pytest.param({"custom": "x", "from": "y", "_lead": "z"}, b'{"K-1":"x","from":"y","Lead":"z"}', id="T-101"),
]


@pytest.mark.parametrize(("fields", "expected"), PRINTED)
def test_prints(fields: dict[str, Any], expected: bytes) -> None:
    assert CODEC.encode(Kinds(**fields)) == expected


def test_prints_options() -> None:
    fields = {"opt_i32": 0, "color": 2, "r_color": [1]}

    def printed(options: Options) -> Any:
        return json.loads(JsonCodec(kinds().pool, options).encode(Kinds(**fields)))

    assert printed(Options(enums_as_ints=True)) == {"optI32": 0, "color": 2, "rColor": [1]}
    assert printed(Options(preserve_proto_field_names=True)) == {"opt_i32": 0, "color": "BLUE", "r_color": ["RED"]}
    everything = printed(Options(emit_defaults=True))
    assert everything["i64"] == "0"
    assert everything["doubleValue"] == 0
    assert everything["color"] == "BLUE"
    assert everything["rText"] == []
    assert everything["mText"] == {}
    assert everything["data"] == ""
    assert everything["null"] is None
    assert not {"inner", "asText", "optText", "wI64", "time", "any"} & everything.keys()


UNPRINTABLE = [
    pytest.param({"time": {"seconds": 253402300800}}, "time", id="T-140 year 10000"),
    pytest.param({"inner": {}, "r_time": [{}, {"nanos": -1}]}, "r_time[1]", id="T-140 nanos"),
    pytest.param({"span": {"seconds": 1, "nanos": -1}}, "span", id="T-141 signs"),
    pytest.param({"mask": {"paths": ["aB"]}}, "mask", id="T-142 camel"),
    pytest.param({"mask": {"paths": ["a__b"]}}, "mask", id="T-142 double underscore"),
    pytest.param({"mask": {"paths": ["a_1"]}}, "mask", id="T-142 digit"),
    pytest.param({"value": {"number_value": math.nan}}, "value", id="T-144 NaN"),
    pytest.param({"m_value": {"k": {"number_value": math.inf}}}, 'm_value["k"]', id="T-144 infinity"),
    pytest.param({"any": {"type_url": "a/no.Such", "value": b"x"}}, "any", id="T-146 unknown"),
    pytest.param({"any": {"type_url": "a/kinds.v1.Inner", "value": b"\x0a\xff"}}, "any", id="T-146 broken"),
]


@pytest.mark.parametrize(("fields", "field"), UNPRINTABLE)
def test_refuses_to_print_what_has_no_json_form(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(Unprintable) as caught:
        CODEC.encode(Kinds(**fields))

    assert caught.value.field == field


def test_closed_enums_groups_and_required_fields_of_proto2() -> None:
    old = read('{"name":"x","level":"HIGH","levels":[1],"extra":{"note":"n"}}', Old)

    assert json.loads(CODEC.encode(old)) == {"name": "x", "level": "HIGH", "levels": ["LOW"], "extra": {"note": "n"}}
    with pytest.raises(JsonRefused, match="no value"):
        read('{"name":"x","level":9}', Old)
    with pytest.raises(JsonRefused, match="missing required name"):
        read("{}", Old)


def test_depth_is_limited_where_wire_readers_stop() -> None:
    def nested(depth: int) -> str:
        return '{"inner":' + '{"deep":' * depth + "{}" + "}" * depth + "}"

    assert isinstance(read(nested(97)), Message)
    with pytest.raises((JsonRefused, BadJson)):
        read(nested(99))


def test_default_of_a_response_field_keeps_its_shape() -> None:
    empty = Kinds()

    def printed(name: str) -> bytes:
        return CODEC.field_encoder(Kinds.DESCRIPTOR.fields_by_name[name])(empty)

    assert printed("inner") == b"{}"
    assert printed("r_inner") == b"[]"
    assert printed("m_text") == b"{}"
    assert printed("i32") == b"0"
    assert printed("i64") == b'"0"'
    assert printed("text") == b'""'
    assert printed("flag") == b"false"
    assert printed("color") == b'"NONE"'
    assert printed("w_i64") == b"null"
    assert printed("value") == b"null"
    assert printed("struct") == b"{}"
    assert printed("list") == b"[]"


TOP_LEVEL = [
    ("google.protobuf.Struct", '{"a":1}', "[1]"),
    ("google.protobuf.Value", "null", ""),
    ("google.protobuf.ListValue", "[1]", "{}"),
    ("google.protobuf.Timestamp", '"2031-01-01T00:00:00Z"', "{}"),
    ("google.protobuf.StringValue", '"x"', "null"),
    ("google.protobuf.Any", '{"@type":"a/kinds.v1.Inner","label":"x"}', '"x"'),
    ("google.protobuf.Empty", "{}", '{"x":1}'),
]


@pytest.mark.parametrize(("name", "good", "bad"), TOP_LEVEL, ids=[f"T-107 {one[0]}" for one in TOP_LEVEL])
def test_well_known_types_may_be_the_whole_body(name: str, good: str, bad: str) -> None:
    message = message_class(kinds(), name)

    assert json.loads(CODEC.encode(read(good, message))) == json.loads(good)
    with pytest.raises((JsonRefused, BadJson)):
        read(bad, message)


def test_text_that_is_no_utf8_cannot_be_printed() -> None:
    old = Old.FromString(b"\x0a\x01\xff")

    with pytest.raises(Unprintable) as caught:
        CODEC.encode(old)

    assert caught.value.field == "name"


def test_proto2_extensions_are_named_in_brackets() -> None:
    body = """{"name":"x","[closed.v1.rating]":"5","[closed.v1.friends]":[{"name":"y"}],
        "[closed.v1.friend]":{"name":"z","[closed.v1.rating]":"7"}}"""

    assert json.loads(CODEC.encode(read(body, Old))) == json.loads(body)
    for refused in ('{"name":"x","[closed.v1.nope]":1}', '{"name":"x","[closed.v1.rating]":"x"}', '{"name":"x","[":1}'):
        with pytest.raises(JsonRefused):
            read(refused, Old)
    with pytest.raises(JsonRefused, match="has no field"):
        read('{"[closed.v1.rating]":"5"}', message_class(kinds(), "closed.v1.Plain"))
