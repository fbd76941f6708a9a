"""Random memories and random filters that often meet, with the values that trip engines up."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from services.memory.domain.memory import AccessLevel, Memory, Source
from services.memory.filter.schema import FIELDS, FieldKind
from services.memory.filter.tree import (
    Boolean,
    Comparator,
    Compare,
    Condition,
    Expression,
    Filter,
    Has,
    Integer,
    Match,
    Null,
    Number,
    Path,
    Pattern,
    Present,
    Text,
    Time,
    conjunction,
    disjunction,
    negation,
)

TEXTS = (
    *(
        "",
        "tea",
        "Tea",
        "green tea with TEA leaves",
        "work",
        "work/home",
        "3",
        "3.0",
        "true",
        "null",
        "NULL",
        "0",
        "-1",
    ),
    *(
        "straße",
        "STRASSE",
        "é",
        "e\u0301",
        "İstanbul",
        "istanbul",
        "ὈΔΥΣΣΕΎΣ",
        "ὀδυσσεύς",
        "ﬁn",
        "K",
        "東京都",
        "🍵",
        "👩\u200d🔬",
    ),
    *(
        "%",
        "_",
        "*",
        "a*b",
        "?",
        "[a]",
        "\\",
        "\\\\",
        "'",
        "''",
        '"',
        '""',
        "`",
        "' OR 1=1 --",
        '"; DROP TABLE memories; --',
    ),
    *(
        "a\x00b",
        "\x00",
        "\x01\x1f\x7f",
        "\n",
        "\r\n\t",
        "\u2028",
        "\ufeff",
        "\uffff",
        "\U0010ffff",
        "{}",
        "[]",
        "$.a",
        ":filter_0",
    ),
    *("2026-03-01T12:00:00Z", "x" * 300, "AND", "NOT", "abab", "ab", "b"),
)
KEYS = (
    *(
        "a",
        "b",
        "c",
        "a",
        "b",
        "a b",
        "a.b",
        '"',
        '\\"',
        "\\",
        "'",
        "",
        "$",
        "[0]",
        "0",
        "#-1",
        "é",
        "🍵",
        "AND",
        "*",
        "\n",
    ),
    *("\u2028", "x" * 100, "a'b", "]", "\\u0061", "\x7f"),
)
NUMBERS = (
    *(0.0, 1.0, -1.0, 3.0, 3.5, 0.1, 0.1 + 0.2, 0.3, 2.0**53, -(2.0**53), 2.0**53 - 1, 1e300, -1e300, 5e-324, 1e-300),
    *(1.7976931348623157e308, 2.2250738585072014e-308, 123456.789, 1e15, 1e16, 1 / 3),
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)
TIMES = (
    *(datetime(1, 1, 1, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC) + _TICK, datetime.max.replace(tzinfo=UTC)),
    *(datetime.max.replace(tzinfo=UTC) - _TICK, _EPOCH, _EPOCH - _TICK, _EPOCH + _TICK),
    *(
        datetime(2026, 3, 1, 12, tzinfo=UTC),
        datetime(2026, 3, 1, 12, 0, 0, 1, tzinfo=UTC),
        datetime(2262, 4, 12, tzinfo=UTC),
    ),
)
REVISIONS = (1, 2, 3, 2**31, 2**53, 2**53 + 1, 2**63 - 1)
_TEXT_FIELDS = [name for name, kind in FIELDS.items() if kind is FieldKind.TEXT]
_TIME_FIELDS = [name for name, kind in FIELDS.items() if kind is FieldKind.TIME]
_LIST_FIELDS = [name for name, kind in FIELDS.items() if kind is FieldKind.TEXTS]


def random_memory(random: Random, memory_id: str) -> Memory:
    """Return a memory of odd values; some are beyond what a caller may write, so that a store is not trusted to have refused them."""
    text, time = _pick(random, TEXTS), _pick(random, TIMES)
    memory = Memory(
        memory_id=memory_id,
        owner_user=text(),
        content=text(),
        created_at=time(),
        updated_at=time(),
        external_id=text(),
        content_type=text(),
        bucket=text(),
        access_level=random.choice(list(AccessLevel)),
        reader_roles=_texts(random),
        superseded_by=text(),
        metadata={key: _json(random, 3) for key in _keys(random, random.randint(0, 6))},
        tags=_texts(random),
        source=random.choice([None, Source(), Source(text(), text(), _texts(random))]),
        embedding_space=text(),
        revision=random.choice(REVISIONS),
    )
    return replace(
        memory,
        **{name: random.choice([None, time()]) for name in ("event_time", "valid_from", "valid_until", "expires_at")},
    )


def random_filter(random: Random) -> Filter:
    """Return a filter as ``parse`` could have made it, of one to ten conditions."""
    return Filter(_expression(random, random.choice((1, 1, 2, 3, 5, 10)), depth=0))


def _pick(random: Random, pool: tuple[Any, ...]) -> Callable[[], Any]:
    return lambda: random.choice(pool)


def _keys(random: Random, count: int) -> list[str]:
    """Return keys, most of them so common that memories and filters meet."""
    return [random.choice(("a", "b") if random.random() < 0.7 else KEYS) for _ in range(count)]


def _number(random: Random) -> float:
    return random.choice((0.0, 1.0, 3.0) if random.random() < 0.5 else NUMBERS)


def _texts(random: Random) -> tuple[str, ...]:
    return tuple(random.sample(TEXTS, random.randint(0, 4)))


def _json(random: Random, depth: int) -> Any:  # noqa: PLR0911  # one for each kind of value
    match random.randrange(8 if depth else 6):
        case 0 | 1:
            return random.choice(TEXTS)
        case 2:
            number = _number(random)
            return int(number) if number.is_integer() and abs(number) <= 2**53 and random.random() < 0.5 else number
        case 3:
            return random.choice((True, False))
        case 4:
            return None
        case 5:
            return random.choice(({}, [], "a", 3, [3, "3", None, True, [3]], [True, False, "a"], [1, 0, "AND"]))
        case 6:
            return {key: _json(random, depth - 1) for key in _keys(random, random.randint(0, 4))}
        case _:
            return [_json(random, depth - 1) for _ in range(random.randint(0, 4))]


def _expression(random: Random, size: int, depth: int) -> Expression:
    if depth < 6 and random.random() < 0.15:
        return negation(_expression(random, size, depth + 1))
    if size == 1 or depth == 6:
        return _condition(random)
    cut = random.randint(1, size - 1)
    parts = [_expression(random, cut, depth + 1), _expression(random, size - cut, depth + 1)]
    return random.choice((conjunction, disjunction))(parts)


def _condition(random: Random) -> Condition:
    makers = (_of_text, _of_text, _of_time, _of_list, _of_metadata, _of_metadata, _of_metadata, _of_the_rest)
    return random.choice(makers)(random)


def _of_text(random: Random) -> Condition:
    path = Path(random.choice(_TEXT_FIELDS))
    match random.randrange(4):
        case 0:
            return Present(path)
        case 1:
            return Compare(path, random.choice(list(Comparator)), Text(random.choice(TEXTS)))
        case _:
            return Match(path, _pattern(random), ignore_case=random.random() < 0.6)


def _of_time(random: Random) -> Condition:
    path = Path(random.choice(_TIME_FIELDS))
    if random.random() < 0.2:
        return Present(path)
    return Compare(path, random.choice(list(Comparator)), Time(random.choice(TIMES)))


def _of_list(random: Random) -> Condition:
    path = Path(random.choice(_LIST_FIELDS))
    return random.choice((Present(path), Has(path, Text(random.choice(TEXTS))), Has(path, _pattern(random))))


def _of_metadata(random: Random) -> Condition:
    length = random.choice((1, 1, 1, 2, 2, 3, 8))
    path = Path("metadata", tuple(_keys(random, length)))
    literals = (Text(random.choice(TEXTS)), Number(_number(random)), Boolean(random.random() < 0.5), Null())
    match random.randrange(6):
        case 0:
            return Present(random.choice((path, Path("metadata"))))
        case 1:
            return Has(Path("metadata"), random.choice((Text(random.choice(KEYS)), _pattern(random))))
        case 2:
            return Has(path, random.choice((*literals, _pattern(random))))
        case 3:
            return Match(path, _pattern(random))
        case 4:
            return Compare(path, random.choice(list(Comparator)), random.choice(literals[:2]))
        case _:
            return Compare(path, Comparator.EQUAL, random.choice(literals))


def _of_the_rest(random: Random) -> Condition:
    match random.randrange(3):
        case 0:
            return Compare(Path("access_level"), Comparator.EQUAL, Text(random.choice(list(AccessLevel)).value))
        case 1:
            number = random.choice((*REVISIONS, 0, -(2**63)))
            return Compare(Path("revision"), random.choice(list(Comparator)), Integer(number))
        case _:
            return Present(Path(random.choice(("source", "revision", "access_level"))))


def _pattern(random: Random) -> Pattern:
    text = random.choice([text for text in TEXTS if text])
    start = random.randrange(len(text))
    end = random.randint(start + 1, len(text))
    open_start, open_end = random.choice(((True, True), (True, False), (False, True)))
    return Pattern(text[start:end], open_start, open_end)
