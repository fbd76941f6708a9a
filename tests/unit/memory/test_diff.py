"""Diffs of states: nothing lost, nothing made up, bounded in number, size and time."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.memory.domain.diff import MAX_HUNKS, MAX_TEXT_LENGTH, Effort, Hunk, diff, diffs, hunks_between
from services.memory.domain.memory import AccessLevel, Memory

NOW = datetime(2030, 1, 2, tzinfo=UTC)
TEA = Memory("m", "ann", "green tea", NOW, NOW)


def texts(old: str, new: str) -> list[tuple[str, str]]:
    """Return both sides of each hunk."""
    return [(hunk.old_text, hunk.new_text) for hunk in hunks_between(old, new)]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("green tea", "green tea", []),
        ("green tea", "black tea", [("green", "black")]),
        ("green tea", "green tea now", [("", " now")]),
        ("drink green tea", "drink tea", [("green ", "")]),
        ("", "tea", [("", "tea")]),
        ("a b c d e", "a x c y e", [("b", "x"), ("d", "y")]),
        ("tea", "kaffee\n", [("tea", "kaffee\n")]),
    ],
    ids=["equal", "word", "added", "removed", "from nothing", "two places", "all"],
)
def test_hunks_are_the_words_that_differ(old: str, new: str, expected: list[tuple[str, str]]) -> None:
    assert texts(old, new) == expected


@given(st.text("ab \n.", max_size=40), st.text("ab \n.", max_size=40))
def test_hunks_turn_the_old_content_into_the_new(old: str, new: str) -> None:
    made, at = "", 0
    for hunk in hunks_between(old, new):
        made += old[at : hunk.old_start] + new[hunk.new_start : hunk.new_end]
        assert (hunk.old_text, hunk.new_text) == (
            old[hunk.old_start : hunk.old_end],
            new[hunk.new_start : hunk.new_end],
        )
        assert hunk.new_end == len(made)
        at = hunk.old_end

    assert made + old[at:] == new


def test_hunks_are_bounded_and_the_last_one_has_the_rest() -> None:
    old = " ".join(f"same{n} a{n}" for n in range(100))
    new = " ".join(f"same{n} b{n}" for n in range(100))

    hunks = hunks_between(old, new)

    assert len(hunks) == MAX_HUNKS
    assert (hunks[-1].old_end, hunks[-1].new_end) == (len(old), len(new))
    assert len(hunks[-1].new_text) == MAX_TEXT_LENGTH


def test_contents_that_differ_everywhere_are_one_hunk() -> None:
    old, new = " ".join("ab" * 20_000), " ".join("ba" * 20_001) + "c"

    hunks = hunks_between(old, new)

    assert 1 <= len(hunks) <= MAX_HUNKS
    assert hunks[-1].new_end == len(new)


def test_fields_that_changed_are_named() -> None:
    changed = replace(TEA, revision=2, updated_at=NOW, tags=("x",), access_level=AccessLevel.PUBLIC, superseded_by="y")

    assert diff(TEA, changed).fields == ("access_level", "tags", "superseded_by")
    assert diff(TEA, replace(TEA, revision=2, delete_time=NOW)).fields == ("delete_time",)


def test_states_are_compared_with_the_next_older_one() -> None:
    states = [replace(TEA, revision=number, content=f"tea {number}") for number in (5, 3, 2)]

    found = diffs(states, replace(TEA, revision=1, content="tea 1"))
    first = diffs(states[-1:], None)

    assert [(one.revision, one.previous) for one in found] == [(5, 3), (3, 2), (2, 1)]
    assert found[0].hunks == (Hunk(4, 5, 4, 5, "3", "5"),)
    assert [(one.revision, one.previous, one.fields, one.hunks) for one in first] == [(2, 0, (), ())]


def test_texts_end_where_the_room_does_and_ranges_stay() -> None:
    states = [replace(TEA, revision=n, content=f"{n}" * 400 + " same " + f"{n}" * 400) for n in (3, 2, 1)]

    found = diffs(states, None, max_bytes=2000)

    assert [len(one.hunks) for one in found] == [2, 1, 0]
    assert found[1].hunks == (Hunk(0, 806, 0, 806),)


def test_effort_is_bounded_over_all_states_of_an_answer() -> None:
    states = [replace(TEA, revision=n, content=" ".join(f"{n}-{k}" for k in range(2000))) for n in range(60, 0, -1)]
    effort = Effort(1000)

    found = diffs(states, None)

    assert diff(states[1], states[0], effort).hunks[0].old_end > 0
    assert effort.left < 1000
    assert all(len(one.hunks) == 1 for one in found[30:-1])
