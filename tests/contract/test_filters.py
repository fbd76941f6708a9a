"""Every store's compilation of a filter finds what the slow interpreter finds; canonical text means what it was made from."""

import re
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import apsw
import pytest

from services.memory.domain.memory import Memory, Source
from services.memory.filter import EVERYTHING, Filter, InvalidFilter, parse, unparse
from services.memory.filter.sql import register, to_sql
from services.memory.stores.embedded.database import migrate
from services.memory.stores.embedded.rows import memory_to_row
from tests.support.filter_samples import TEXTS, random_filter, random_memory
from tests.support.filters import interpret

MEMORIES_A_DATABASE = 40
FILTERS_A_DATABASE = 50


class Rows:
    """Memories in a table of the embedded store."""

    def __init__(self, memories: Sequence[Memory]) -> None:
        self.connection = apsw.Connection(":memory:")
        self.memories = memories
        migrate(self.connection)
        register(self.connection)
        self.connection.execute("DROP INDEX memories_claimed")  # random external ids may repeat
        for doc, memory in enumerate(memories):
            row = (doc, *memory_to_row(memory, 0, 1, None))
            self.connection.execute(f"INSERT INTO memories VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608

    def answers(self, meaning: Filter) -> list[object]:
        """Return what the condition is for each memory: 1 or 0."""
        condition, bindings = to_sql(meaning)
        statement = f"SELECT {condition} FROM memories m ORDER BY doc"  # noqa: S608  # what is tested
        return [row[0] for row in self.connection.execute(statement, bindings)]


@contextmanager
def table(memories: Sequence[Memory]) -> Iterator[Rows]:
    """Give a table of *memories*, closed afterwards."""
    made = Rows(memories)
    with closing(made.connection):
        yield made


def compare_random_filters(seed: int) -> int:
    """Compare the answers to random filters over random memories; return how many filters told memories apart."""
    random = Random(seed)
    memories = [random_memory(random, memory_id) for memory_id in random.sample(TEXTS, MEMORIES_A_DATABASE)]
    telling = 0
    with table(memories) as rows:
        for _ in range(FILTERS_A_DATABASE):
            meaning = random_filter(random)
            expected = [int(interpret(meaning, memory)) for memory in memories]
            assert rows.answers(meaning) == expected, f"seed {seed}: {unparse(meaning)}"
            assert parse(unparse(meaning), max_bytes=None) == meaning
            telling += 0 < sum(expected) < len(expected)
    return telling


def test_store_finds_what_the_interpreter_finds_for_1_500_random_filters() -> None:
    telling = sum(compare_random_filters(seed) for seed in range(30))

    assert telling > 700  # the others are true or false of all memories, and would prove little


@pytest.mark.slow
def test_store_finds_what_the_interpreter_finds_for_10_000_random_filters() -> None:
    telling = sum(compare_random_filters(seed) for seed in range(200))

    assert telling > 4_500


TEA = Memory(
    memory_id="tea",
    owner_user="ann",
    content="Grüner Tee, STRASSE 5, caf\u00e9",
    created_at=datetime(2026, 3, 1, 12, tzinfo=UTC),
    updated_at=datetime(2026, 3, 2, 12, tzinfo=UTC),
    bucket="work",
    tags=("drink", "proj-7"),
    source=Source(uri="https://example.com/tea.pdf"),
    metadata={
        "n": 3,
        "half": 0.5,
        "done": False,
        "none": None,
        "text": "3",
        "empty": {},
        "list": ["x", 3, True, None, {"k": 1}],
        "a": {"b": {"c": "deep"}},
        "people": [{"name": "Ann"}, {"name": "Bob", "age": 5}, "Eve", [{"name": "Tom"}]],
    },
    revision=4,
)
TRUE_OF_TEA = [
    *(
        "",
        "tee",
        "TEE",
        "straße",
        "CAFE\u0301",
        '"tee, strasse"',
        "-coffee",
        "tee 5",
        "coffee OR tee",
        "NOT (coffee OR milk)",
    ),
    *(
        "content:TEE",
        "content:grüner*",
        'content:"*CAFÉ"',
        'content = "Grü*"',
        'content != "grü*"',
        "content > A",
        "content < H",
    ),
    *(
        "bucket = work",
        "bucket != home",
        'bucket = "w*"',
        'bucket = "*or*"',
        "bucket:ORK",
        "bucket = (home OR work)",
        "bucket:*",
    ),
    *(
        "external_id = null",
        'external_id = ""',
        "NOT external_id:*",
        "access_level = PRIVATE",
        "access_level != (ROLE OR PUBLIC)",
    ),
    *("revision = 4", "revision > 3", "revision <= 4", "revision != 5", "revision = (1 OR 4)", "revision:*"),
    *(
        "created_at = 2026-03-01T13:00:00+01:00",
        "createdAt < 2026-03-01T12:00:00.000001Z",
        "updated_at > 2026-03-01T12:00:00Z",
    ),
    *(
        "expires_at = null",
        "NOT expires_at:*",
        "NOT expires_at < 9999-01-01T00:00:00Z",
        "expires_at != 2026-03-01T12:00:00Z",
    ),
    *(
        "tags:drink",
        "tags:(drink AND proj-7)",
        "tags:(food OR drink)",
        'tags:"proj-*"',
        "NOT tags:DRINK",
        "tags:*",
        "-tags:food",
    ),
    *(
        "source:*",
        "source:uri",
        "-source:kind",
        'source.uri = "https://*"',
        "source.uri:EXAMPLE",
        "NOT source.parent_memory_ids:x",
    ),
    *(
        "metadata:*",
        "metadata:n",
        "-metadata:m",
        "metadata:(n AND a)",
        'metadata:"peo*"',
        "metadata.n:*",
        "metadata.none:*",
    ),
    *(
        "metadata.n = 3",
        "metadata.n = 3.0",
        'metadata.n != "3"',
        "metadata.n > 2.5",
        "metadata.n:3",
        "metadata.n = (1 OR 3)",
    ),
    *(
        'metadata.text = "3"',
        "metadata.text != 3",
        "NOT metadata.text < 9",
        'metadata.text = "3*"',
        "metadata.half < 1",
    ),
    *(
        "metadata.done = false",
        "metadata.done != true",
        "metadata.done != 0",
        "metadata.done:false",
        "metadata.none = null",
    ),
    *(
        "metadata.missing = null",
        "metadata.n != null",
        "metadata.none:null",
        "NOT metadata.missing:null",
        "metadata.missing != 3",
    ),
    *(
        "NOT metadata.missing > 3",
        "NOT metadata.missing:*",
        "metadata.empty:*",
        "metadata.empty != null",
        "-metadata.empty:a",
    ),
    *(
        "metadata.list:x",
        "metadata.list:3",
        "metadata.list:true",
        "metadata.list:null",
        "NOT metadata.list:1",
        "metadata.list != x",
    ),
    *(
        "metadata.a:b",
        "metadata.a.b:c",
        "metadata.a.b.c = deep",
        'metadata.a.b.c:"de*"',
        "metadata.a.b.c:*",
        "-metadata.a:c",
    ),
    *("metadata.people.name:Bob", "metadata.people.age:5", "metadata.people.name:*", "metadata.people.name != Bob"),
    *("NOT metadata.people.name:Tom", "metadata.people.name = null", "metadata.list.k:1", "metadata.people:Eve"),
]


@pytest.fixture(scope="module")
def tea() -> Iterator[Rows]:
    with table([TEA]) as rows:
        yield rows


@pytest.mark.parametrize("text", TRUE_OF_TEA)
def test_what_the_documentation_says_holds_in_the_store(tea: Rows, text: str) -> None:
    meaning = parse(text)

    assert interpret(meaning, TEA)
    assert tea.answers(meaning) == [1]


@pytest.mark.parametrize("text", [text for text in TRUE_OF_TEA if text])
def test_not_turns_every_answer_around(tea: Rows, text: str) -> None:
    meaning = parse(f"NOT ({text})")

    assert not interpret(meaning, TEA)
    assert tea.answers(meaning) == [0]


DOCUMENTATION = (Path(__file__).parents[2] / "docs" / "filter.md").read_text()
NUMBERED: tuple[dict[str, Any], ...] = ({}, {"n": None}, {"n": "3"}, {"n": 3}, {"n": [3]})
ANSWERS = re.findall(
    r"^\| `(.+)` \| (yes|no) \| (yes|no) \| (yes|no) \| (yes|no) \| (yes|no) \|$", DOCUMENTATION, re.MULTILINE
)


def test_documented_answers_about_missing_and_mistyped_values_are_the_real_ones() -> None:
    memories = [replace(TEA, memory_id=str(number), metadata=metadata) for number, metadata in enumerate(NUMBERED)]
    assert len(ANSWERS) == 8

    with table(memories) as rows:
        for text, *answers in ANSWERS:
            meaning = parse(text)
            assert [interpret(meaning, memory) for memory in memories] == [answer == "yes" for answer in answers], text
            assert rows.answers(meaning) == [int(answer == "yes") for answer in answers], text


def test_documented_examples_are_filters_and_documented_errors_are_errors() -> None:
    examples, errors = re.findall(r"^```\n(.*?)^```$", DOCUMENTATION, re.MULTILINE | re.DOTALL)

    for text in examples.splitlines():
        assert parse(text) != EVERYTHING
    for wrong, message in zip(("creatd_at > 5", "access_level = private"), errors.splitlines(), strict=True):
        with pytest.raises(InvalidFilter) as caught:
            parse(wrong)
        assert caught.value.message == message


INJECTIONS = [
    *(
        "' OR 1=1 --",
        "') OR 1=1 --",
        '" OR ""="',
        "x'; DROP TABLE memories; --",
        ":filter_0",
        "?1",
        "$",
        "@a",
        "\x01' OR 1=1",
    ),
    *(
        '"), 1) OR (1',
        "\\",
        "\\'",
        "%",
        "_",
        "/*",
        "*/",
        "]",
        "[",
        "\u2019 OR 1=1",
        "m.content",
        "$.a",
        '$."a"',
        "a') -- ",
        "\n;",
    ),
]


@pytest.mark.parametrize("attack", INJECTIONS)
@pytest.mark.parametrize(
    "form",
    [
        *(
            "{}",
            "bucket = {}",
            "bucket != {}",
            "content:{}",
            "tags:{}",
            "source.uri = {}",
            "bucket < {}",
            "metadata:{}",
        ),
        *(
            "metadata.a = {}",
            "metadata.a:{}",
            "metadata.{} = 1",
            "metadata.a.{}:*",
            "metadata.{}.a:1",
            "metadata.{}.b:{}",
        ),
    ],
)
def test_no_value_or_key_is_ever_part_of_the_statement(form: str, attack: str) -> None:
    escaped = re.sub(r"[^A-Za-z0-9 ]", lambda found: f"\\u{ord(found[0]):04x}", attack)

    condition, bindings = to_sql(parse(form.replace("{}", f"'{escaped}'")))

    harmless, _ = to_sql(parse(form.replace("{}", "'harmless'")))
    assert condition == harmless
    assert set(re.findall(r":(\w+)", condition)) == bindings.keys()


def test_two_filters_in_one_statement_have_bindings_of_their_own(tea: Rows) -> None:
    first, first_bindings = to_sql(parse("bucket = work"), "first_")
    second, second_bindings = to_sql(parse("bucket = home"), "second_")

    assert first_bindings.keys().isdisjoint(second_bindings)
    statement = f"SELECT {first}, {second} FROM memories m"  # noqa: S608  # what is tested
    assert tea.connection.execute(statement, first_bindings | second_bindings).fetchall() == [(1, 0)]


def test_filter_at_the_limits_compiles_and_runs(tea: Rows) -> None:
    deepest = "NOT (" * 16 + "tee" + ")" * 16
    farthest = "metadata.a.b.c.d.e.f.g.h:*"
    texts = [deepest, " OR ".join([farthest] * 64), " ".join(["metadata.people.name:Bob"] * 64)]

    assert [tea.answers(parse(text)) for text in texts] == [[1], [0], [1]]
