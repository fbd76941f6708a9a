"""Nothing that a client sends is more than a refusal (principle 3 of the rules)."""

import functools
import json
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from services.gateway.transcoder import HttpError, Options, Transcoder
from services.gateway.transcoder.metadata import check_headers, request_metadata, timeout_s
from services.gateway.transcoder.negotiation import check_json, stream_type
from tests.support.fuzzing import examples
from tests.support.transcoder_contract import KINDS, compile_protos, message_class

API = """
syntax = "proto3";
package f.v1;
import "google/api/annotations.proto";
import "kinds.proto";
service S {
  rpc Get(kinds.v1.Kinds) returns (kinds.v1.Kinds) { option (google.api.http) = {get: "/k/{text}/{i64}/{inner.label=x/**}"}; }
  rpc Put(kinds.v1.Kinds) returns (kinds.v1.Kinds) { option (google.api.http) = {put: "/k/{text}" body: "*"}; }
  rpc Patch(kinds.v1.Kinds) returns (kinds.v1.Kinds) { option (google.api.http) = {patch: "/k/{text}:do" body: "inner"}; }
  rpc All(kinds.v1.Kinds) returns (kinds.v1.Kinds) { option (google.api.http) = {get: "/all/{data=**}"}; }
}
"""
OPTIONS = Options(query_maps=True, header_fields=(("If-Match", "text"), ("X-Number", "i64")))
TRANSCODER = Transcoder([compile_protos(f=API, kinds=KINDS)], OPTIONS)
NAMES = [field.json_name for field in message_class(TRANSCODER.descriptors, "kinds.v1.Kinds").DESCRIPTOR.fields]

RAW = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters=" ?"), max_size=30)
PIECE = st.sampled_from(
    ["/", "%2F", "%", "%00", "%ff", "..", ".", ":", ":do", "x", "5", "k", "all", "%C3%A9", "+", "\udcff", "\u00e9"]
)
PATHS = st.one_of(
    RAW,
    st.lists(PIECE, max_size=12).map("".join),
    st.builds(lambda text, rest: f"/k/{text}/5/x/{rest}", RAW, RAW),
    st.builds("/k/{}".format, RAW),
    st.builds("/all/{}".format, RAW),
)
QUERIES = st.one_of(
    RAW,
    st.lists(
        st.builds(
            lambda name, tail, value: f"{name}{tail}={value}",
            st.sampled_from(NAMES),
            st.sampled_from(["", ".label", ".deep.deep.count", "[k]", ".", ".x", "["]),
            RAW | PIECE,
        ),
        max_size=4,
    ).map("&".join),
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["NaN", "1s", "@type"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*NAMES, "@type", "value", "label", "deep"]) | st.text(max_size=3), inner, max_size=4
        )
    ),
    max_leaves=12,
)
BODIES = st.one_of(
    st.binary(max_size=40),
    JSON.map(lambda value: json.dumps(value).encode()),
    st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4).map(lambda value: json.dumps(value).encode()),
)
HEADER = st.text(st.characters(min_codepoint=1, max_codepoint=255) | st.just("\udcff"), max_size=12)
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "If-Match",
            "X-Number",
            "Grpc-Timeout",
            "X-Server-Timeout",
            "Grpc-Metadata-A",
            "Grpc-Metadata-B-Bin",
            "traceparent",
        ]
    ),
    HEADER,
    max_size=4,
)


def refusal_of(read: Callable[[], Any]) -> HttpError | None:
    """Return the refusal of *read*; any other error fails the test."""
    try:
        read()
    except HttpError as error:
        return error
    return None


@examples(500)
@given(st.sampled_from(["GET", "PUT", "PATCH", "HEAD", "OPTIONS", "POST", "get"]), PATHS, QUERIES, BODIES, HEADERS)
def test_requests_are_read_or_refused(method: str, path: str, query: str, body: bytes, headers: dict[str, str]) -> None:
    def read() -> Any:
        sent = CIMultiDict(headers)
        match = TRANSCODER.match(method, path)
        check_headers(sent, OPTIONS)  # type: ignore[arg-type]
        timeout_s(sent, OPTIONS, streaming=False)  # type: ignore[arg-type]
        request_metadata(sent, OPTIONS, ())  # type: ignore[arg-type]
        bound = match.plan.reader.bind(match.segments, query, sent)
        return match.plan.reader.message(body, "application/json", bound)

    refused = refusal_of(read)

    if refused is not None:
        assert refused.http_status < 500 or refused.status.code == 4
        assert refused.response().body is not None or refused.http_status == 204


@examples(300)
@given(HEADER)
def test_negotiation_headers_are_read_or_refused(text: str) -> None:
    for negotiate in (stream_type, lambda value: check_json(value, streaming=True)):
        refused = refusal_of(functools.partial(negotiate, text))
        if refused is not None:
            assert refused.http_status in {406, 415}
            assert refused.response().body
