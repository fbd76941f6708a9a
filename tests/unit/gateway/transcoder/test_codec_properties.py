"""The compiled codec against ``google.protobuf.json_format`` on random messages and random JSON (T-480)."""

import json
import math
from collections.abc import Sequence
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.gateway.transcoder.codec import JsonCodec
from services.gateway.transcoder.json_text import BadJson
from services.gateway.transcoder.options import Options
from services.gateway.transcoder.values import INTEGERS, JsonRefused
from tests.support.transcoder_contract import kinds, message_class

POOL = kinds().pool
CODEC = JsonCodec(POOL, Options())
FULL = JsonCodec(POOL, Options(emit_defaults=True, preserve_proto_field_names=True))
Kinds = message_class(kinds(), "kinds.v1.Kinds")
FIELDS = list(Kinds.DESCRIPTOR.fields)

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
SECONDS = st.integers(-62135596800, 253402300799)
NANOS = st.sampled_from([0, 1, 500_000_000, 123_000, 999_999_999])


def one_nan(value: float) -> float:
    """JSON keeps neither sign nor payload of NaN."""
    return math.nan if math.isnan(value) else value


def json_message(name: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return messages of Struct, Value or ListValue through json_format, which made them from JSON."""
    made = message_class(kinds(), f"google.protobuf.{name}")
    return values.map(lambda value: json_format.Parse(json.dumps(value), made()))


INNERS: st.SearchStrategy[Any] = st.deferred(
    lambda: st.fixed_dictionaries(
        {},
        optional={
            "label": TEXT,
            "count": st.integers(-(2**31), 2**31 - 1),
            "deep": INNERS,
            "list": st.lists(INNERS, max_size=2),
        },
    )
)
MESSAGES: dict[str, st.SearchStrategy[Any]] = {
    "kinds.v1.Inner": INNERS,
    "google.protobuf.Timestamp": st.fixed_dictionaries({"seconds": SECONDS, "nanos": NANOS}),
    "google.protobuf.Duration": st.builds(
        lambda seconds, nanos: {"seconds": seconds, "nanos": nanos if seconds >= 0 else -nanos},
        st.integers(-315576000000 + 1, 315576000000 - 1),
        NANOS,
    ),
    "google.protobuf.FieldMask": st.fixed_dictionaries(
        {"paths": st.lists(st.sampled_from(["a", "a_b", "x.y_z"]), max_size=3)}
    ),
    "google.protobuf.Struct": json_message("Struct", st.dictionaries(TEXT, JSON_VALUES, max_size=3)),
    "google.protobuf.Value": json_message("Value", JSON_VALUES),
    "google.protobuf.ListValue": json_message("ListValue", st.lists(JSON_VALUES, max_size=3)),
    "google.protobuf.Empty": st.just({}),
    "google.protobuf.Any": INNERS.map(
        lambda inner: {
            "type_url": "type.googleapis.com/kinds.v1.Inner",
            "value": message_class(kinds(), "kinds.v1.Inner")(**inner).SerializeToString(),
        }
    ),
}
SCALARS: dict[int, st.SearchStrategy[Any]] = {
    **{kind: st.integers(*bounds) for kind, bounds in INTEGERS.items()},
    FieldDescriptor.TYPE_STRING: TEXT,
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=5),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_DOUBLE: st.floats().map(one_nan),
    FieldDescriptor.TYPE_FLOAT: st.floats(width=32).map(one_nan),
    FieldDescriptor.TYPE_ENUM: st.sampled_from([0, 1, 2, -1]),
}


def element(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.message_type is None:
        if field.enum_type is not None and field.enum_type.name == "NullValue":
            return st.just(0)
        return SCALARS[field.type]
    if field.message_type.full_name in MESSAGES:
        return MESSAGES[field.message_type.full_name]
    return st.fixed_dictionaries({"value": element(field.message_type.fields_by_name["value"])})  # a wrapper


def field_value(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key, value = field.message_type.fields
        return st.dictionaries(element(key), element(value), max_size=3)
    return st.lists(element(field), max_size=3) if field.is_repeated else element(field)


@st.composite
def messages(draw: st.DrawFn) -> Any:
    chosen = draw(st.lists(st.sampled_from(FIELDS), max_size=8, unique_by=lambda field: field.name))
    return Kinds(**{field.name: draw(field_value(field)) for field in chosen})


def plain(value: Any) -> Any:
    """Make JSON values comparable: NaN is text in proto3 JSON, and 5 is 5.0."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, float) and value == 0:
        return ("zero", math.copysign(1, value)) if math.copysign(1, value) < 0 else 0.0
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def canonical(message: Any) -> bytes:
    data: bytes = message.SerializeToString(deterministic=True)
    return data


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(messages())
def test_random_messages_print_and_read_as_json_format_does(message: Any) -> None:
    printed = CODEC.encode(message)
    theirs = json_format.MessageToJson(message, descriptor_pool=POOL)

    assert plain(json.loads(printed)) == plain(json.loads(theirs))
    assert canonical(CODEC.decode(Kinds, printed)) == canonical(message)
    assert canonical(CODEC.decode(Kinds, theirs.encode())) == canonical(message)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(messages())
def test_random_messages_print_their_defaults_as_json_format_does(message: Any) -> None:
    theirs = json_format.MessageToDict(
        message, descriptor_pool=POOL, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )

    printed = FULL.encode(message)

    assert plain(json.loads(printed)) == plain(theirs)
    assert canonical(CODEC.decode(Kinds, printed)) == canonical(message)


ATOMS = [
    *["null", "true", "false", "0", "-0", "1", "-1", "1.0", "1.5", "1e3", "1e40", "2147483648", "4294967296"],
    *["9223372036854775807", "9223372036854775808", "18446744073709551615", "18446744073709551616", "-0.0"],
    *[
        '""',
        '"0"',
        '"-1"',
        '"1.5"',
        '"x"',
        '"RED"',
        '"NONE"',
        '"NaN"',
        '"Infinity"',
        '"true"',
        '"YQ=="',
        '"YQ"',
        '"a-_"',
    ],
    *['"2031-05-06T07:08:09Z"', '"2031-05-06T07:08:09.123+01:00"', '"1s"', '"-1.5s"', '"fooBar,b"', '"foo_bar"'],
    *["[]", "{}", "[null]", "[1]", '["1"]', '["RED"]', "[{}]", "[[]]", '{"label":"x"}', '{"count":"x"}', '{"a":1}'],
    *[
        '{"1":{}}',
        '{"1":2}',
        '{"true":"1"}',
        '{"value":1}',
        '{"@type":"a/kinds.v1.Inner","label":"x"}',
        '{"@type":"a/no.Such"}',
    ],
]
# Where json_format is laxer than ours on purpose (T-150): fields, and the values that only it takes.
NO_NUMBERS = ("true", "false", "1.5", "4294967296", "9223372036854775807")
STRICTER: dict[str, Sequence[str]] = {
    **dict.fromkeys(["color", "optColor", "null", "asNull"], NO_NUMBERS),
    **dict.fromkeys(["floatValue", "doubleValue", "wFloat", "wDouble"], ("true", "false")),
    **dict.fromkeys(["inner", "asInner", "empty"], ("[]", '""')),
    "rInner": ("[[]]",),
    **dict.fromkeys(["data", "wData"], ('"2031-05-06T07:08:09Z"', '"-1.5s"', '"fooBar,b"')),
    "mask": ('"RED"', '"NONE"', '"NaN"', '"Infinity"', '"YQ=="', '"YQ"'),
}
# json_format takes null for every absent field but this one (T-104).
LAXER: dict[str, Sequence[str]] = {"rValue": ("null",)}


def outcome(read: Any) -> Any:
    try:
        return canonical(read())
    except (JsonRefused, BadJson, json_format.ParseError, ValueError):
        return None


def test_every_kind_takes_and_refuses_the_values_that_json_format_does() -> None:
    differences = []
    for field in FIELDS:
        for atom in ATOMS:
            text = f'{{"{field.json_name}":{atom}}}'
            ours = outcome(lambda text=text: CODEC.decode(Kinds, text.encode()))
            theirs = outcome(lambda text=text: json_format.Parse(text, Kinds(), descriptor_pool=POOL))
            known = STRICTER if ours is None else LAXER
            if ours != theirs and atom not in known.get(field.json_name, ()):
                differences.append((text, ours, theirs))

    assert differences == []
