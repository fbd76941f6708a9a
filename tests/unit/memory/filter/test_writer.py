"""Canonical text: one for each meaning, and read back to the same tree."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.memory.filter import InvalidFilter, parse, unparse
from services.memory.filter.folding import fold

PIECES = st.sampled_from(
    [
        *(
            "a",
            "b",
            "bucket",
            "createdAt",
            "revision",
            "metadata",
            "tags",
            "source",
            "uri",
            "content",
            "access_level",
            "n",
        ),
        *("AND", "OR", "NOT", "-", "(", ")", "=", "!=", "<", "<=", ">", ">=", ":", ".", ",", "*", " ", " ", " ", "\t"),
        *(
            '"x"',
            "'y z'",
            '"*x"',
            "'y*'",
            '""',
            '"',
            "'",
            "\\",
            r'"\n\u00e9"',
            "3",
            "-5",
            "1.5",
            "1e9",
            "true",
            "null",
            "20s",
        ),
        *(
            "2026-03-01T12:00:00Z",
            "PRIVATE",
            "é",
            "🍵",
            "\x00",
            "\ud800",
            "and",
            "!",
            "[",
            " AND ",
            " OR ",
            "NOT ",
            "tags:",
            "a = ",
        ),
    ]
)
SOUP = st.lists(PIECES, max_size=30).map("".join)
CONDITIONS = st.sampled_from(
    [
        *(
            "tea",
            "-tea",
            "bucket = a",
            "bucket != (a OR b)",
            "tags:(x y)",
            "metadata.n > 1.50",
            "metadata.'a.b':null",
            "source:uri",
        ),
        *(
            "created_at < 2026-03-01T12:00:00+01:00",
            "revision = 3",
            "content:x*",
            "expires_at = null",
            "NOT metadata.a:*",
        ),
    ]
)
FILTERS = st.recursive(
    CONDITIONS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([" ", " AND ", " OR "]), inner).map("".join),
        inner.map("({})".format),
        inner.map("NOT ({})".format),
        inner.map("-( {} )".format),
    ),
    max_leaves=20,
)


@given(SOUP)
@settings(max_examples=1000, deadline=None)
def test_any_text_is_understood_or_refused_within_itself(text: str) -> None:
    try:
        meaning = parse(text)
    except InvalidFilter as error:
        position = int(error.context["position"])
    else:
        position = 0
        assert parse(unparse(meaning), max_bytes=None) == meaning

    assert 0 <= position <= len(text)


@given(FILTERS)
@settings(max_examples=300, deadline=None)
def test_canonical_text_means_the_same_and_stays_as_it_is(text: str) -> None:
    meaning = parse(text)

    canonical = unparse(meaning)

    assert parse(canonical, max_bytes=None) == meaning
    assert unparse(parse(canonical, max_bytes=None)) == canonical


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_every_text_can_be_written_as_value_and_as_key(text: str) -> None:
    quoted = '"' + "".join(f"\\{c}" if c in '\\"*' else c for c in text) + '"'

    for filter_text in (f"bucket = {quoted}", f"metadata.{quoted.replace(chr(0), '')} = {quoted}"):
        meaning = parse(filter_text)
        assert parse(unparse(meaning), max_bytes=None) == meaning


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("tea", 'content:"tea"'),
        ("a b OR c", 'content:"a" AND content:"b" OR content:"c"'),
        ("(a AND b) OR c", '(content:"a" AND content:"b") OR content:"c"'),
        ("-(a OR b)", 'NOT (content:"a" OR content:"b")'),
        ("NOT bucket = x", 'bucket != "x"'),
        ("createdAt>2026-03-01T13:00:00.5+01:00", 'created_at > "2026-03-01T12:00:00.500000Z"'),
        ("createdAt = 0001-01-01T00:00:00Z", 'created_at = "0001-01-01T00:00:00Z"'),
        ("metadata.a = 3.0", "metadata.a = 3"),
        ("metadata.a = -1e300", "metadata.a = -1e+300"),
        ("metadata.a = 9.007199254740994e15", "metadata.a = 9007199254740994.0"),
        ("metadata.'a b'.c:null", 'metadata."a b".c:null'),
        ("tags:*", "tags:*"),
        (r"content = '*\*\n\u0007'", r'content = "*\*\n\u0007"'),
        ("content:a*", 'content:"a*"'),
        ("content:*a*", 'content:"a"'),
        ("content = *a*", 'content = "*a*"'),
        ("access_level:ROLE", 'access_level = "ROLE"'),
    ],
)
def test_canonical_text_is(text: str, canonical: str) -> None:
    assert unparse(parse(text)) == canonical


@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_folding_ascii_is_folding(text: str) -> None:
    assert fold(text) == fold(text + "é").removesuffix("é")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Straße", "STRASSE"),
        ("CAFÉ", "cafe\u0301"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("ﬁn", "FIN"),
        ("\uff34\uff45\uff41", "tea"),
    ],
)
def test_folding_makes_equal(one: str, other: str) -> None:
    assert fold(one) == fold(other)
