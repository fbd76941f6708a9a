"""Which terms a text has, where they stand, and what they weigh."""
# ruff: noqa: RUF001  # letters that look alike are what is tested

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.memory.domain import keyword
from services.memory.domain.keyword import TERM_LIMIT, highlights, length_norm, rarity, term_score, tokenize

TEXTS = st.text(st.characters(codec="utf-8") | st.sampled_from("aA1 _-.'éß東京ねกे\u0301ſİﬁ①"), max_size=60)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        pytest.param("Green TEA, green\ttea!", ["green", "tea", "green", "tea"], id="words fold and repeat"),
        pytest.param("Straße STRASSE", ["strass", "strass"], id="sharp s meets double s"),
        pytest.param("ＦＵＬＬ ﬁne ①", ["full", "fine", "1"], id="compatibility forms"),
        pytest.param("e\u0301te\u0301 été", ["été", "été"], id="composed and decomposed"),
        pytest.param("MB-1234", ["mb-1234", "mb", "1234"], id="ticket: whole and parts"),
        pytest.param("foo_bar", ["foo_bar", "foo", "bar"], id="snake case: whole and parts"),
        pytest.param("v1.20.3.", ["v1.20.3", "v1", "20", "3"], id="version: whole and parts, no full stop"),
        pytest.param("__init__", ["__init__", "init"], id="underscores around"),
        pytest.param("C++ c# f#m", ["c++", "c", "c#", "c", "f", "m"], id="languages with signs"),
        pytest.param("don't Ann’s", ["dont", "ann"], id="apostrophes"),
        pytest.param("東京都", ["東", "東京", "京", "京都", "都"], id="Han: characters and pairs"),
        pytest.param("ABC東京x", ["abc", "東", "東京", "京", "x"], id="scripts meet without a space"),
        pytest.param("한국", ["한", "한국", "국"], id="Hangul"),
        pytest.param("हिन्दी", ["हिन्दी"], id="vowel signs stay in the word"),
        pytest.param("", [], id="nothing"),
        pytest.param(" .,!? \U0001f375 ", [], id="no word"),
    ],
)
def test_tokenize_gives_the_terms(text: str, terms: list[str]) -> None:
    assert tokenize(text) == terms


@pytest.mark.parametrize(
    ("singular", "plural"),
    [
        ("memory", "memories"),
        ("note", "notes"),
        ("class", "classes"),
        ("box", "boxes"),
        ("cache", "caches"),
        ("match", "matches"),
        ("house", "houses"),
    ],
)
def test_plural_meets_its_singular(singular: str, plural: str) -> None:
    assert tokenize(plural) == tokenize(singular)


@pytest.mark.parametrize("word", ["bus", "glass", "is", "das", "status", "s3s"])
def test_word_that_only_looks_plural_stays(word: str) -> None:
    assert tokenize(word) == [word]


def test_long_terms_count_by_their_beginning() -> None:
    blob = "QUJD" * 1000

    assert tokenize(blob) == [blob[:TERM_LIMIT].lower()]


@given(TEXTS)
def test_terms_are_short_and_hold_no_space(text: str) -> None:
    for term in tokenize(text):
        assert 1 <= len(term) <= TERM_LIMIT
        assert not any(character.isspace() for character in term)


@given(TEXTS)
def test_tokenize_is_the_same_for_every_normal_form(text: str) -> None:
    assert tokenize(unicodedata.normalize("NFD", text)) == tokenize(unicodedata.normalize("NFC", text))


@given(TEXTS, st.integers(1, 5))
def test_highlights_lie_in_the_content_and_apart(content: str, limit: int) -> None:
    spans = highlights(content, tokenize(content), limit)

    assert len(spans) <= limit
    assert all(0 <= start < end <= len(content) for start, end in spans)
    assert all(first[1] <= second[0] for first, second in pairwise(spans))


@given(TEXTS)
def test_text_with_terms_has_a_highlight(content: str) -> None:
    assert bool(highlights(content, tokenize(content), 1)) == bool(tokenize(content))


@pytest.mark.parametrize(
    ("content", "query", "found"),
    [
        pytest.param("Teas and tea", "tea", ["Teas", "tea"], id="other forms of the word"),
        pytest.param("Die Straße führt", "STRASSE", ["Straße"], id="folding that lengthens"),
        pytest.param("the ﬁnest cafe\u0301", "finest café", ["ﬁnest", "cafe\u0301"], id="ligature and combining mark"),
        pytest.param("see MB-1234.", "mb-1234", ["MB-1234"], id="identifier whole"),
        pytest.param("see MB-1234.", "1234", ["1234"], id="identifier by a part"),
        pytest.param("in 東京都 now", "京都", ["京都"], id="pair of characters"),
        pytest.param("coffee", "tea", [], id="nothing"),
    ],
)
def test_highlights_are_in_code_points_of_the_content(content: str, query: str, found: list[str]) -> None:
    assert [content[start:end] for start, end in highlights(content, tokenize(query), 5)] == found


def test_highlights_stop_at_their_limit() -> None:
    assert highlights("tea tea tea", ["tea"], 2) == [(0, 3), (4, 7)]


def test_rarity_falls_with_the_holders_and_is_never_negative() -> None:
    weights = [rarity(1000, holders) for holders in (0, 1, 10, 500, 1000)]

    assert weights == sorted(weights, reverse=True)
    assert weights[-1] > 0


def test_term_score_saturates_and_favours_short_texts() -> None:
    norm = length_norm(10.0, 10.0)

    scores = [term_score(1.0, frequency, norm) for frequency in (1.0, 2.0, 1e9)]

    assert norm == keyword.K1
    assert scores == sorted(scores)
    assert scores[-1] < keyword.K1 + 1.0
    assert term_score(1.0, 1.0, length_norm(5.0, 10.0)) > term_score(1.0, 1.0, norm)
