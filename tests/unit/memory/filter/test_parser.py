"""What filters mean: precedence, literals, fields and wildcards, as trees."""

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest

from services.memory.domain.draft import MAX_METADATA_DEPTH
from services.memory.domain.memory import AccessLevel, Memory
from services.memory.filter import EVERYTHING, InvalidFilter, parse, unparse
from services.memory.filter.parser import MAX_BYTES
from services.memory.filter.schema import ACCESS_LEVELS, FIELDS, MAX_KEYS
from services.memory.filter.tree import (
    Boolean,
    Comparator,
    Compare,
    Expression,
    Has,
    Integer,
    Literal,
    Match,
    Not,
    Null,
    Number,
    Path,
    Pattern,
    Present,
    Text,
    Time,
)

LEAST_TIME = datetime(1, 1, 1, tzinfo=UTC)
LAST_TIME = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def meaning(text: str) -> Expression | None:
    return parse(text).expression


def equal(field: str, literal: Literal) -> Compare:
    return Compare(Path(field), Comparator.EQUAL, literal)


def metadata(comparator: Comparator, literal: Literal, *keys: str) -> Compare:
    return Compare(Path("metadata", keys or ("a",)), comparator, literal)


@pytest.mark.parametrize(
    ("text", "with_parentheses"),
    [
        ("a b AND c AND d", "(a b) AND c AND d"),  # this and the next from AIP-160's grammar
        ("New York Giants OR Yankees", "New York (Giants OR Yankees)"),
        ("a AND b OR c", "a AND (b OR c)"),  # this and the next from its text
        ("Victor Hugo", "Victor AND Hugo"),
        ("a OR b AND c OR d", "(a OR b) AND (c OR d)"),
        ("a OR b c", "(a OR b) AND c"),
        ("a b OR c d", "a AND (b OR c) AND d"),
        ("NOT a b", "(NOT a) AND b"),
        ("NOT a OR b", "(NOT a) OR b"),
        ("-a OR -b", "(NOT a) OR (NOT b)"),
        ("-(a b)", "NOT (a AND b)"),
        ('-content:".java"', 'NOT content:".java"'),
        ("-30", 'NOT "30"'),
        ("((a))", "a"),
        ("NOT (NOT a)", "a"),
        ("a AND (b AND (c AND d))", "a AND b AND c AND d"),
        ("a OR (b OR c)", "a OR b OR c"),
        ("bucket = (a OR b)", "bucket = a OR bucket = b"),
        ("bucket != (a OR b)", "NOT (bucket = a OR bucket = b)"),
        ("bucket != a", "NOT bucket = a"),
        ("tags:(a b)", "tags:a AND tags:b"),
        ("tags:(a OR b c)", "(tags:a OR tags:b) AND tags:c"),
        ("tags:(a -b)", "tags:a AND NOT tags:b"),
        ("tags:(a AND NOT (b OR c))", "tags:a AND NOT (tags:b OR tags:c)"),
        ("metadata.a = (-5 OR 5)", "metadata.a = -5 OR metadata.a = 5"),
        ("expires_at != null", "expires_at:*"),
        ("superseded_by = null", "NOT superseded_by:*"),
        ("source:kind", "source.kind:*"),
        ("source:parentMemoryIds", "source.parent_memory_ids:*"),
        ("tea", "content:tea"),
        ("com.example", 'content:"com.example"'),
        ("bucket", 'content:"bucket"'),
        ("true", 'content:"true"'),
        (r"'\u0041\'\"\\\*\n\r\t\ud83c\udf75'", '"A\'\\"\\\\\\*\n\r\t🍵"'),
        (" \t\r\n a \n ", "a"),
        ("bucket=a", "bucket  =\ta"),
        ("metadata:2026", 'metadata:"2026"'),
    ],
)
def test_two_spellings_mean_the_same(text: str, with_parentheses: str) -> None:
    assert meaning(text) == meaning(with_parentheses)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bucket = work", equal("bucket", Text("work"))),
        ("bucket = 42", equal("bucket", Text("42"))),
        ("bucket = true", equal("bucket", Text("true"))),
        ('bucket = "null"', equal("bucket", Text("null"))),
        ("bucket = -x", equal("bucket", Text("-x"))),
        ("content_type = text/plain", equal("content_type", Text("text/plain"))),
        ("source.uri = https://x.y/z?a:b&c", equal("source.uri", Text("https://x.y/z?a:b&c"))),
        ("bucket < b", Compare(Path("bucket"), Comparator.LESS, Text("b"))),
        ("access_level = ROLE", equal("access_level", Text("ROLE"))),
        ('access_level:"ROLE"', equal("access_level", Text("ROLE"))),
        ("revision >= 2", Compare(Path("revision"), Comparator.GREATER_EQUAL, Integer(2))),
        ('revision:"-9223372036854775808"', equal("revision", Integer(-(2**63)))),
        ("created_at > 2026-03-01T12:00:00Z", Compare(Path("created_at"), Comparator.GREATER, Time(NOON))),
        ("created_at = '2026-03-01t14:30:00.000000000+02:30'", equal("created_at", Time(NOON))),
        ("created_at:2026-03-01T12:00:00-00:00", equal("created_at", Time(NOON))),
        ("event_time = 2026-03-01T12:00:00.000001Z", equal("event_time", Time(NOON + timedelta(microseconds=1)))),
        ("valid_from = 0001-01-01T00:00:00Z", equal("valid_from", Time(LEAST_TIME))),
        ("valid_until = 9999-12-31T23:59:59.999999Z", equal("valid_until", Time(LAST_TIME))),
        ("tags:x", Has(Path("tags"), Text("x"))),
        ("tags:null", Has(Path("tags"), Text("null"))),
        ("tags:*", Present(Path("tags"))),
        ('tags:"proj-*"', Has(Path("tags"), Pattern("proj-", open_start=False, open_end=True))),
        ("content:Tea", Match(Path("content"), Pattern("Tea", open_start=True, open_end=True), ignore_case=True)),
        ("content:Tea*", Match(Path("content"), Pattern("Tea", open_start=False, open_end=True), ignore_case=True)),
        ("content = *tea", Match(Path("content"), Pattern("tea", open_start=True, open_end=False))),
        ("content = '*a\\*b*'", Match(Path("content"), Pattern("a*b", open_start=True, open_end=True))),
        (r"content = '\*'", equal("content", Text("*"))),
        ("metadata.a = 3", metadata(Comparator.EQUAL, Number(3.0))),
        ("metadata.a = -0", metadata(Comparator.EQUAL, Number(0.0))),
        ("metadata.a <= 2.997e9", metadata(Comparator.LESS_EQUAL, Number(2.997e9))),
        ("metadata.a > -1E+300", metadata(Comparator.GREATER, Number(-1e300))),
        ("metadata.a = 9007199254740992", metadata(Comparator.EQUAL, Number(2.0**53))),
        ('metadata.a = "3"', metadata(Comparator.EQUAL, Text("3"))),
        ("metadata.a = 007", metadata(Comparator.EQUAL, Text("007"))),
        ("metadata.a = 2026-03-01", metadata(Comparator.EQUAL, Text("2026-03-01"))),
        ("metadata.a = true", metadata(Comparator.EQUAL, Boolean(value=True))),
        ("metadata.a != false", Not(metadata(Comparator.EQUAL, Boolean(value=False)))),
        ("metadata.a = null", metadata(Comparator.EQUAL, Null())),
        ("metadata.a = True", metadata(Comparator.EQUAL, Text("True"))),
        ("metadata.a = '20s'", metadata(Comparator.EQUAL, Text("20s"))),
        ("metadata.a.b:x", Has(Path("metadata", ("a", "b")), Text("x"))),
        ("metadata.a:null", Has(Path("metadata", ("a",)), Null())),
        ("metadata.a:*", Present(Path("metadata", ("a",)))),
        ("metadata:*", Present(Path("metadata"))),
        ("metadata:key", Has(Path("metadata"), Text("key"))),
        ("metadata.AND = 1", metadata(Comparator.EQUAL, Number(1.0), "AND")),
        ("metadata.0.-x = 1", metadata(Comparator.EQUAL, Number(1.0), "0", "-x")),
        ('metadata."a.b".\'c "*\'.é = 1', metadata(Comparator.EQUAL, Number(1.0), "a.b", 'c "*', "é")),
        ('metadata."" = 1', metadata(Comparator.EQUAL, Number(1.0), "")),
        ("metadata.createdAt = 1", metadata(Comparator.EQUAL, Number(1.0), "createdAt")),
    ],
)
def test_condition_means(text: str, expected: Expression) -> None:
    assert meaning(text) == expected


@pytest.mark.parametrize("text", ["", " ", "\t\r\n"])
def test_filter_of_blanks_lets_everything_through(text: str) -> None:
    assert parse(text) == EVERYTHING
    assert unparse(EVERYTHING) == ""


@pytest.mark.parametrize(
    ("camel", "snake"),
    [
        ("createdAt:*", "created_at:*"),
        ("memoryId = a", "memory_id = a"),
        ("source.parentMemoryIds:a", "source.parent_memory_ids:a"),
    ],
)
def test_fields_have_two_spellings(camel: str, snake: str) -> None:
    assert parse(camel) == parse(snake)


def test_true_and_one_are_different_trees() -> None:
    assert parse("metadata.a = true") != parse("metadata.a = 1")
    assert parse("metadata.a = 1") == parse("metadata.a = 1.0")


def test_trees_can_be_keys() -> None:
    assert len({parse("a OR tags:x"), parse("(a) OR tags : 'x'"), parse("a")}) == 2


def test_filter_at_every_limit_is_understood() -> None:
    deepest = "(" * 16 + "a" + ")" * 16
    most = " ".join([deepest, *["NOT revision = 1"] * 60, "tags:(a OR b OR c)"])
    longest = f'"{"é" * ((MAX_BYTES - 2) // 2)}"'

    assert unparse(parse(most)).count("content:") == 1
    assert len(longest.encode()) == MAX_BYTES
    assert parse(longest) != EVERYTHING
    assert parse("metadata.a.b.c.d.e.f.g.h = 1") != EVERYTHING


@pytest.mark.parametrize(
    "text", ["(" * 8000, "NOT (" * 1600, "-(" * 4000, "tags:(" * 1300, '"' * 8000, "." * 8000, "a." * 4000]
)
def test_hostile_text_is_refused_without_deep_recursion(text: str) -> None:
    with pytest.raises(InvalidFilter):
        parse(text)


def test_schema_is_that_of_memories() -> None:
    fields = {field.name for field in dataclasses.fields(Memory)}

    assert fields - {name.split(".")[0] for name in FIELDS} == {"delete_time"}  # deleted ones are never shown
    assert {name.split(".")[0] for name in FIELDS} <= fields
    assert tuple(AccessLevel) == ACCESS_LEVELS
    assert MAX_KEYS == MAX_METADATA_DEPTH
