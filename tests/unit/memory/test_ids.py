"""Ids: their form by RFC 9562, their order, and what a derived one depends on."""

import uuid
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.memory.domain.ids import derived_memory_id, new_memory_id

KEY = bytes(range(32))
START = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
Names = st.text(max_size=20)


def test_new_id_is_a_uuid_of_version_7_in_canonical_form() -> None:
    made = new_memory_id(START)

    assert made == str(uuid.UUID(made))
    assert uuid.UUID(made).version == 7
    assert uuid.UUID(made).variant == uuid.RFC_4122


def test_new_id_begins_with_the_millisecond() -> None:
    assert uuid.UUID(new_memory_id(START)).int >> 80 == int(START.timestamp() * 1000)


def test_new_ids_sort_by_time() -> None:
    made = [new_memory_id(START + timedelta(milliseconds=step)) for step in range(200)]

    assert made == sorted(made)


def test_new_ids_of_one_moment_differ() -> None:
    assert len({new_memory_id(START) for _ in range(10_000)}) == 10_000


def test_derived_id_is_a_uuid_of_version_8_in_canonical_form() -> None:
    made = derived_memory_id(KEY, "ann", "r1")

    assert made == str(uuid.UUID(made))
    assert uuid.UUID(made).version == 8
    assert uuid.UUID(made).variant == uuid.RFC_4122


def test_derived_id_never_changes() -> None:
    """Stored ids depend on it: another answer here would make every repeated create a new memory."""
    assert derived_memory_id(KEY, "ann", "r1") == "de8ebe1a-fc35-85fc-8721-93ffba50c8b3"


@given(Names, Names, Names, Names)
def test_derived_ids_are_equal_only_for_the_same_owner_and_request(a: str, b: str, c: str, d: str) -> None:
    same = derived_memory_id(KEY, a, b) == derived_memory_id(KEY, c, d)

    assert same == ((a, b) == (c, d))


def test_derived_id_does_not_mix_owner_and_request_id() -> None:
    pairs = [
        ("ann", "1x"),
        ("ann1", "x"),
        ("an", "n1x"),
        ("", "ann1x"),
        ("3:ann", "1x"),
        ("\N{LATIN SMALL LETTER E WITH ACUTE}", "x"),
    ]

    assert len({derived_memory_id(KEY, *pair) for pair in pairs}) == len(pairs)


def test_derived_id_depends_on_the_stores_key() -> None:
    assert derived_memory_id(KEY, "ann", "r1") != derived_memory_id(bytes(32), "ann", "r1")
