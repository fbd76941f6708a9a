"""Whatever is parsed at the gateway is read or refused; nothing else, and in little time (bounded by the tests' timeout)."""

import json
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st
from multidict import CIMultiDict

from services.gateway.edge.forwarded import _forwarded, _x_forwarded
from services.gateway.edge.rates import limits
from services.gateway.transcoder import DescriptorError, HttpError, Options, Transcoder
from services.gateway.transcoder.json_text import BadJson
from services.gateway.transcoder.template import parse_template
from services.gateway.transcoder.value_rules import safe_pattern
from services.gateway.transcoder.values import JsonRefused
from tests.support.fuzzing import examples
from tests.support.transcoder_contract import KINDS, compile_protos, message_class

API = """
syntax = "proto3";
package f.v1;
import "google/api/annotations.proto";
import "kinds.proto";
service S { rpc Get(kinds.v1.Kinds) returns (kinds.v1.Kinds) { option (google.api.http) = {get: "/k"}; } }
"""
TRANSCODER = Transcoder([compile_protos(f=API, kinds=KINDS)], Options(query_maps=True, max_keys=1000))
KIND = message_class(TRANSCODER.descriptors, "kinds.v1.Kinds")
NAMES = [field.json_name for field in KIND.DESCRIPTOR.fields]


def pieces(*parts: str, most: int = 40) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(parts) | st.text(max_size=3), max_size=most).map("".join)


TEMPLATES = pieces("/", "{", "}", "=", "*", "**", ":", ".", "a", "v1", "%2F", "{a=b/*}", "{a.b}", "%", "?", "#", "é")


@examples(500)
@given(TEMPLATES | TEMPLATES.map("/{}".format))
def test_templates_are_parsed_or_refused(text: str) -> None:
    try:
        template = parse_template(text)
    except DescriptorError:
        return

    assert template.text == text
    assert parse_template(template.text).segments == template.segments


@examples(500)
@given(
    pieces(
        "&",
        "=",
        "[",
        "]",
        ".",
        "%",
        "%zz",
        "%00",
        "%FF",
        "+",
        ";",
        *NAMES,
        "inner",
        "label",
        "deep",
        "1",
        "true",
        "NaN",
    )
)
def test_queries_are_bound_or_refused(query: str) -> None:
    match, status, data = TRANSCODER.match("GET", "/k"), 200, b""
    try:
        bound = match.plan.reader.bind((), query, CIMultiDict())
        data = match.plan.reader.message(b"", "", bound)
    except HttpError as error:
        status = error.http_status

    assert status in {200, 400, 413}
    KIND.FromString(data)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["NaN", "1s", "@type", "a,b"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from([*NAMES, "@type", "value", "label", "deep", "list"]) | st.text(max_size=3),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """Draw JSON that fits more or less, some of it cut, doubled or changed in single bytes."""
    value = draw(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6) | VALUES)
    data = bytearray(json.dumps(value).encode())
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 3))] = draw(
            st.binary(max_size=3) | st.sampled_from([b'"', b"{", b"[", b"\\u", b"e9", b","])
        )
    return bytes(data)


@examples(400)
@given(documents() | st.binary(max_size=60))
def test_json_is_decoded_or_refused(body: bytes) -> None:
    codec = TRANSCODER.codec
    try:
        message = codec.decode(KIND, body)
    except (BadJson, JsonRefused):
        return

    again = KIND.FromString(message.SerializeToString())
    assert again.SerializeToString(deterministic=True) == message.SerializeToString(deterministic=True)


@examples(20)
@given(st.integers(1, 200_000), st.sampled_from([b"[", b'{"deep":', b'{"list":[', b'"\\u', b"-", b'{"a":1,', b"1e"]))
def test_hostile_repetition_is_refused(count: int, unit: bytes) -> None:
    body = unit * (min(count * len(unit), 1_000_000) // len(unit))
    assume(body)
    try:
        TRANSCODER.codec.decode(KIND, body)
    except (BadJson, JsonRefused):
        return
    raise AssertionError("was decoded")


@examples(300)
@given(pieces("for=", "1.2.3.4", '"', "\\", ";", ",", "=", "[::1]", ":80", "proto=https", "host=a", "unknown", "_x"))
def test_forwarding_headers_are_read_or_ignored(text: str) -> None:
    headers = CIMultiDict([("Forwarded", text), ("X-Forwarded-For", text), ("X-Forwarded-Proto", text)])
    for read in (_forwarded, _x_forwarded):
        said: Any = read(headers)
        assert said is None or all(isinstance(address, str) for address in said.addresses)


@examples(300)
@given(
    pieces(
        "(", ")", "*", "+", "?", "{2,}", "[", "]", "|", "\\d", "\\", "$", "^", "a", "(?:", "(?=", "\\z", ".", most=20
    )
)
def test_patterns_that_are_taken_end(pattern: str) -> None:
    expression = safe_pattern(pattern)

    if expression is not None:
        expression.search("a" * 200 + "!")


@examples(200)
@given(pieces("read", "write", "=", "1", "0", "/", "s", "m", ":", ",", "ip", "off"))
def test_limits_are_parsed_or_refused(text: str) -> None:
    try:
        found = limits(text)
    except ValueError:
        return

    assert all(limit.per_second > 0 and limit.burst > 0 for limit in found.values())
