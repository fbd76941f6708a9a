"""Templates and routing, rules T-20 to T-54; the fast router against an obvious one."""

import random
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.transcoder import DescriptorError, HttpError, Options, Transcoder
from services.gateway.transcoder.paths import BadPath, decode_variable, split_path, split_verb
from services.gateway.transcoder.router import Router, best
from services.gateway.transcoder.template import Segment, Template, Wildcard, parse_template
from tests.support.transcoder_contract import compile_protos

BAD_TEMPLATES = [
    "",
    "v1",
    "//",
    "/v1//x",
    "/v1/",
    "/x:",
    "/:x",
    "/x/:v",
    "/x{a}",
    "/{a}x",
    "/{a}{b}",
    "/{a",
    "/{}",
    "/a}",
    "/{a={b}}",
    "/{a=/x}",
    "/{a=x:v}",
    "/***",
    "/a?b",
    "/a#b",
    "/a b",
    "/%2",
    "/%zz",
    "/caf\u00e9",
    "/x:a:b",
    "/{a}/{a}",
    "/{1a}",
    "/{a-b}",
    "/{a.}",
    "/{a=}",
    "/{a=x/}",
    "/**/**",
    "/**/*",
    "/**/{a}",
    "/a*",
    "/" + "/".join("a" * 65),
    "/" + "a" * 3000,
]


@pytest.mark.parametrize("text", BAD_TEMPLATES, ids=lambda text: f"T-20 {text[:20]!r}")
def test_bad_templates_are_refused_with_their_column(text: str) -> None:
    with pytest.raises(DescriptorError, match="column"):
        parse_template(text)


GOOD_TEMPLATES = [
    ("/", (), ""),
    ("/v1/items", ("v1", "items"), ""),
    ("/v1/{a}", ("v1", Wildcard.ONE), ""),
    ("/v1/{a.b_c=x/*/y}:do", ("v1", "x", Wildcard.ONE, "y"), "do"),
    ("/v1/**/end", ("v1", Wildcard.MANY, "end"), ""),
    ("/{a=**}:v", (Wildcard.MANY,), "v"),
    ("/x/**/{v=a}", ("x", Wildcard.MANY, "a"), ""),
    ("/caf%C3%A9/a%2Fb", ("caf\u00e9", "a/b"), ""),
    ("/a.b-c_d~!$&'()+,;@", ("a.b-c_d~!$&'()+,;@",), ""),
]


@pytest.mark.parametrize(("text", "segments", "verb"), GOOD_TEMPLATES, ids=[f"T-20 {one[0]}" for one in GOOD_TEMPLATES])
def test_good_templates_are_parsed(text: str, segments: tuple[Segment, ...], verb: str) -> None:
    template = parse_template(text)

    assert template.segments == segments
    assert template.verb == verb


@dataclass
class Table:
    """Routes of one HTTP method, matched as the transcoder does."""

    router: Router[str]

    @classmethod
    def of(cls, *templates: str) -> "Table":
        router: Router[str] = Router()
        for text in templates:
            assert router.add("GET", parse_template(text), text) is None
        return cls(router)

    def match(self, path: str) -> str | None:
        raw, trailing = split_path(path)
        if raw and not trailing:
            head, verb = split_verb(raw[-1])
            if verb:
                fitting = self.router.fitting([*raw[:-1], head], verb)
                if fitting:
                    return best(fitting, "GET")
        return best(self.router.fitting(raw, ""), "GET")


WINNERS = [
    ("T-21", ["/v1/**"], "/v1", "/v1/**"),
    ("T-21", ["/v1/*"], "/v1", None),
    ("T-25", ["/V1"], "/v1", None),
    ("T-27", ["/v1/things"], "/v1/things//", "/v1/things"),
    ("T-28", ["/v1/things"], "/v1//things", None),
    ("T-28", ["/v1/mid/*/x"], "/v1/mid//x", None),
    ("T-28", ["/v1/mid/**/x"], "/v1/mid//x", "/v1/mid/**/x"),
    ("T-35", ["/v2/{a}", "/v2/{a}:play"], "/v2/x:play", "/v2/{a}:play"),
    ("T-35", ["/v2/{a}", "/v2/{a}:play"], "/v2/x:y:play", "/v2/{a}:play"),
    ("T-35", ["/v2/{a}", "/v2/{a}:play"], "/v2/x:stop", "/v2/{a}"),
    ("T-35", ["/v2/{a}", "/v2/{a}:play"], "/v2/x%3Aplay", "/v2/{a}"),
    ("T-35", ["/v2/{a}", "/v2/{a}:play"], "/v2/x:play/", "/v2/{a}"),
    ("T-35", ["/v2/{a}", "/v3/{a}:play"], "/v2/x:play", "/v2/{a}"),
    ("T-34", ["/v2/{a}", "/v2/{a}:play"], "/v2/:play", "/v2/{a}"),
    ("T-36", ["/v2/{a=**}:play"], "/v2/b/c:play", "/v2/{a=**}:play"),
    ("T-38", ["/v2/{a}", "/v2/latest"], "/v2/latest", "/v2/latest"),
    ("T-38", ["/v2/*/x", "/v2/q/{b}"], "/v2/q/x", "/v2/q/{b}"),
    ("T-38", ["/v2/**", "/v2/*"], "/v2/z", "/v2/*"),
    ("T-38", ["/v2/**", "/v2/**/end"], "/v2/a/end", "/v2/**/end"),
    ("T-38", ["/**/tail", "/**/long/tail"], "/a/long/tail", "/**/long/tail"),
    ("T-38", ["/v2", "/v2/**"], "/v2", "/v2"),
    ("T-38", ["/v2/a/x", "/v2/{p}/y"], "/v2/a/y", "/v2/{p}/y"),
    ("T-37", ["/**/tail", "/{a}"], "/tail", "/{a}"),
    ("T-20", ["/"], "/", "/"),
    ("T-50", ["/v1"], "/v2", None),
]


@pytest.mark.parametrize(
    ("rule", "templates", "path", "winner"), WINNERS, ids=[f"{one[0]} {one[2]} of {one[1]}" for one in WINNERS]
)
@pytest.mark.parametrize("order", ["as written", "reversed"])
def test_precedence(rule: str, templates: list[str], path: str, winner: str | None, order: str) -> None:
    ordered = templates if order == "as written" else templates[::-1]

    assert Table.of(*ordered).match(path) == winner


def slow_match(templates: list[Template], path: list[str]) -> str | None:
    """T-37 word by word: all fitting templates, ordered by its four rules."""
    ranked = []
    for template in templates:
        takes = slow_takes(list(template.segments), path)
        if takes is not None:
            kinds, taken = takes
            many = template.segments.index(Wildcard.MANY) if Wildcard.MANY in template.segments else None
            nothing = many is not None and taken == 0
            before_others = nothing and many is not None and many < len(template.segments) - 1
            ranked.append(((before_others, kinds, nothing, -(many if many is not None else 99)), template.text))
    return min(ranked)[1] if ranked else None


def slow_takes(segments: list[Segment], path: list[str]) -> tuple[list[int], int] | None:
    """Return what took each path segment, and how many ``**`` took; None when it does not fit."""
    if not segments:
        return ([], 0) if not path else None
    first, rest = segments[0], segments[1:]
    if first is Wildcard.MANY:
        for count in range(len(path) + 1):
            tail = slow_takes(rest, path[count:])
            if tail is not None:
                return [2] * count + tail[0], count
        return None
    if not path or (first is Wildcard.ONE and not path[0]) or (isinstance(first, str) and first != path[0]):
        return None
    tail = slow_takes(rest, path[1:])
    return None if tail is None else ([int(first is Wildcard.ONE), *tail[0]], tail[1])


SEGMENTS = st.sampled_from(["a", "b", "*"])
TEMPLATES = st.builds(
    lambda head, many, tail: "/" + "/".join([*head, *(["**", *tail] if many else [])]) if head or many else "/",
    st.lists(SEGMENTS, max_size=4),
    st.booleans(),
    st.lists(st.sampled_from(["a", "b"]), max_size=2),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(TEMPLATES, unique=True, max_size=12), st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=6))
def test_router_equals_the_definition(templates: list[str], path: list[str]) -> None:
    while path and not path[-1]:
        path.pop()

    assert best(Table.of(*templates).router.fitting(path, ""), "GET") == slow_match(
        [parse_template(text) for text in templates], path
    )


def test_router_equals_the_definition_on_large_tables() -> None:
    rng = random.Random(7)
    shapes = {random_template(rng) for _ in range(60)}
    table, parsed = Table.of(*shapes), [parse_template(text) for text in shapes]

    for _ in range(3000):
        path = [rng.choice("abc") for _ in range(rng.randint(0, 7))]
        assert best(table.router.fitting(path, ""), "GET") == slow_match(parsed, path)


def random_template(rng: random.Random) -> str:
    head = [rng.choice(["a", "b", "c", "*"]) for _ in range(rng.randint(1, 4))]
    if rng.random() < 0.4:
        head += ["**"] + [rng.choice("abc") for _ in range(rng.randint(0, 2))]
    return "/" + "/".join(head)


def test_matching_stays_linear_on_thousands_of_slashes() -> None:
    table = Table.of("/x/**/y", "/**/y", "/*/**/y/y", "/x/**")
    path = ["x", *[""] * 50_000, "y"]

    found = best(table.router.fitting(path, ""), "GET")  # an exponential walk would meet the time limit of the run

    assert found == "/x/**/y"


def test_concrete_method_beats_any_method_on_one_shape() -> None:
    router: Router[str] = Router()
    router.add("*", parse_template("/a/{x}"), "any")
    router.add("GET", parse_template("/a/*"), "get")

    assert best(router.fitting(["a", "b"], ""), "GET") == "get"
    assert best(router.fitting(["a", "b"], ""), "PURGE") == "any"


BAD_PATHS = [
    "/a/./b",
    "/a/..",
    "/%2e%2E/a",
    "/a/.%2e",
    "/%zz",
    "/%2",
    "/a%00b",
    "/a%1fb",
    "/a\nb",
    "/a#b",
    "a",
    "/" + "a" * 9000,
]


@pytest.mark.parametrize("path", BAD_PATHS, ids=lambda path: f"T-29..31 {path[:12]!r}")
def test_paths_without_one_meaning_are_refused(path: str) -> None:
    with pytest.raises(BadPath):
        split_path(path)


DECODED = [
    ("T-33", "a%2Fb", False, "all_except_slash", "a/b"),
    ("T-33", "a%2Fb/c%20d", True, "all_except_slash", "a%2Fb/c d"),
    ("T-33", "sets/x%2fy", True, "all_except_slash", "sets/x%2fy"),
    ("T-33", "1%2B1+1", False, "all_except_slash", "1+1+1"),
    ("T-33", "%E2%82%AC", False, "all_except_slash", "\u20ac"),
    ("T-33", "%252F", False, "all_except_slash", "%2F"),
    ("T-33", "%252F/a", True, "all_except_slash", "%2F/a"),
    ("T-32", "a%3Ab%20%40", True, "all_except_reserved", "a%3Ab %40"),
    ("T-32", "a%3Ab%2F", True, "all", "a:b/"),
]


@pytest.mark.parametrize(
    ("rule", "raw", "several", "decoding", "expected"), DECODED, ids=[f"{d[0]} {d[1]}" for d in DECODED]
)
def test_variables_are_decoded_once(rule: str, raw: str, several: bool, decoding: str, expected: str) -> None:  # noqa: FBT001
    assert decode_variable(raw, several=several, decoding=decoding).decode() == expected  # type: ignore[arg-type]


METHODS = """
syntax = "proto3";
package m.v1;
import "google/api/annotations.proto";
message R { string a = 1; string b = 2; }
service S {
  rpc Get(R) returns (R) { option (google.api.http) = {get: "/v2/{a}"}; }
  rpc Play(R) returns (R) { option (google.api.http) = {post: "/v2/{a}:play" body: "*"}; }
  rpc Kill(R) returns (R) { option (google.api.http) = {delete: "/v2/{a}"}; }
  rpc Watch(R) returns (stream R) { option (google.api.http) = {get: "/watch/{a=x/*/**}"}; }
  rpc Wipe(R) returns (R) { option (google.api.http) = {custom: {kind: "PURGE" path: "/v2/{a}"}
    additional_bindings {custom: {kind: "*" path: "/any"}} additional_bindings {custom: {kind: "HEAD" path: "/v3"}}}; }
  rpc After(R) returns (R) { option (google.api.http) = {get: "/x/**/{a=k/l}"}; }
}
"""


@pytest.fixture(scope="module")
def transcoder() -> Transcoder:
    return Transcoder([compile_protos(m=METHODS)], Options())


MATCHES = [
    ("T-35", "GET", "/v2/x:play", 405, ""),
    ("T-35", "DELETE", "/v2/x:play", 405, ""),
    ("T-35", "POST", "/v2/x:play", 0, "/m.v1.S/Play"),
    ("T-35", "GET", "/v2/x:stop", 0, "/m.v1.S/Get"),
    ("T-1", "PURGE", "/v2/x", 0, "/m.v1.S/Wipe"),
    ("T-1", "purge", "/v2/x", 405, ""),
    ("T-1", "ANYTHING", "/any", 0, "/m.v1.S/Wipe"),
    ("T-1", "HEAD", "/v3", 0, "/m.v1.S/Wipe"),
    ("T-13", "POST", "/m.v1.S/Get", 0, "/m.v1.S/Get"),
    ("T-13", "POST", "/M.v1.S/Get", 404, ""),
    ("T-13", "POST", "/m.v1.S/Watch", 404, ""),
    ("T-29", "GET", "/v2/%2e%2e", 400, ""),
    ("T-50", "GET", "/nope", 404, ""),
    ("T-53", "HEAD", "/v2/x", 0, "/m.v1.S/Get"),
    ("T-53", "HEAD", "/watch/x/1", 405, ""),
    ("T-54", "OPTIONS", "/v2/x", 204, ""),
    ("T-54", "OPTIONS", "*", 204, ""),
]


@pytest.mark.parametrize(("rule", "method", "path", "status", "rpc"), MATCHES, ids=[" ".join(m[:3]) for m in MATCHES])
def test_match(transcoder: Transcoder, rule: str, method: str, path: str, status: int, rpc: str) -> None:
    if not status:
        assert transcoder.match(method, path).route.grpc_method == rpc
        return
    with pytest.raises(HttpError) as caught:
        transcoder.match(method, path)

    assert caught.value.http_status == status


def test_a_miss_of_the_method_lists_what_every_template_allows(transcoder: Transcoder) -> None:
    with pytest.raises(HttpError) as caught:
        transcoder.match("PUT", "/v2/x")

    assert caught.value.headers == (("Allow", "DELETE, GET, HEAD, OPTIONS, PURGE"),)
    assert caught.value.status.code == 12
    with pytest.raises(HttpError) as streamed:
        transcoder.match("PUT", "/watch/x/1")
    assert streamed.value.headers == (("Allow", "GET, OPTIONS"),)


def test_strict_slash_refuses_trailing_slashes() -> None:
    strict = Transcoder([compile_protos(m=METHODS)], Options(strict_slash=True))

    assert strict.match("GET", "/v2/x").route.template == "/v2/{a}"
    with pytest.raises(HttpError):
        strict.match("GET", "/v2/x/")


def test_variables_after_a_double_star_count_from_the_end() -> None:
    template = parse_template("/x/**/{v=a/b}")

    assert template.span(template.variables[0], 6) == (4, 6)
    assert template.span(template.variables[0], 3) == (1, 3)
    around = parse_template("/x/{v=**/a}/b")
    assert around.span(around.variables[0], 6) == (1, 5)


def test_routes_are_listed_and_introspection_is_not_served(transcoder: Transcoder) -> None:
    listed = [(route.http_method, route.template) for route in transcoder.routes]

    assert ("GET", "/v2/{a}") in listed
    assert len(set(listed)) == len(listed)
    assert {route.kind for route in transcoder.routes} == {"unary", "server_stream"}
