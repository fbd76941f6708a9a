"""Tokens and windows: every word is read, and no text reaches the model as something else."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.models.files import VOCABULARY
from services.models.tokens import WINDOW_TOKENS, WordPieceTokenizer, split_spans

CLS, SEP, UNK = 101, 102, 100


@pytest.fixture(scope="module")
def tokenizer() -> WordPieceTokenizer:
    return WordPieceTokenizer(VOCABULARY.read())


def test_window_has_the_ids_of_the_original_tokenizer(tokenizer: WordPieceTokenizer) -> None:
    (window,) = tokenizer.windows("Hello, Wörld!")

    assert window.token_ids.tolist() == [CLS, 7592, 1010, 2088, 999, SEP]  # as published for bert-base-uncased
    assert window.token_count == 4


def test_special_token_in_a_text_is_read_as_characters(tokenizer: WordPieceTokenizer) -> None:
    (window,) = tokenizer.windows("[SEP][CLS]")

    assert not {CLS, SEP} & set(window.token_ids[1:-1].tolist())


def test_text_without_words_is_one_empty_window(tokenizer: WordPieceTokenizer) -> None:
    (window,) = tokenizer.windows(" \n\t")

    assert (window.token_ids.tolist(), window.token_count) == ([CLS, SEP], 0)


def test_text_that_just_fits_is_one_window(tokenizer: WordPieceTokenizer) -> None:
    assert [window.token_count for window in tokenizer.windows("tea " * 254)] == [254]
    assert len(tokenizer.windows("tea " * 255)) == 2


def test_every_word_of_a_long_text_is_in_some_window(tokenizer: WordPieceTokenizer) -> None:
    text = " ".join(f"w{number}" for number in range(2000))

    windows = tokenizer.windows(text)

    pieces = [tuple(window.token_ids[1:-1].tolist()) for window in windows]
    assert all(len(window.token_ids) <= WINDOW_TOKENS for window in windows)
    for number in range(2000):
        (word,) = tokenizer.windows(f"w{number}")
        wanted = tuple(word.token_ids[1:-1].tolist())
        assert any(_contains(run, wanted) for run in pieces), number


def test_window_is_read_from_its_own_code_points(tokenizer: WordPieceTokenizer) -> None:
    text = " ".join(f"Wörld {number}, 東京 🙂 e\u0301té\n" for number in range(100))

    windows = tokenizer.windows(text)

    assert len(windows) > 2
    assert (windows[0].start, windows[-1].end) == (0, len(text.rstrip()))
    for window in windows:
        (again,) = tokenizer.windows(text[window.start : window.end])
        assert again.token_ids.tolist() == window.token_ids.tolist()


def test_word_beyond_the_models_limit_is_unknown_not_dropped(tokenizer: WordPieceTokenizer) -> None:
    (window,) = tokenizer.windows("x" * 5000)

    assert window.token_ids.tolist() == [CLS, UNK, SEP]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=80), st.integers(6, 20), st.integers(0, 5))
def test_spans_cover_all_and_break_between_words(lengths: list[int], limit: int, overlap: int) -> None:
    words = [number for number, length in enumerate(lengths) for _ in range(length)]

    spans = split_spans(words, limit, overlap)

    assert spans[0][0] == 0
    assert spans[-1][1] == len(words)
    assert all(0 < end - start <= limit for start, end in spans)
    assert all(max(0, before_end - overlap) <= start <= before_end for (_, before_end), (start, _) in pairwise(spans))
    assert all(start == 0 or words[start] != words[start - 1] for start, _ in spans)


@given(st.integers(1, 60), st.integers(1, 9), st.integers(0, 3))
def test_word_longer_than_a_window_is_broken_inside(length: int, limit: int, overlap: int) -> None:
    spans = split_spans([0] * length, limit, overlap)

    covered = {position for start, end in spans for position in range(start, end)}
    assert covered == set(range(length))
    assert all(end - start <= limit for start, end in spans)


def _contains(run: tuple[int, ...], part: tuple[int, ...]) -> bool:
    return any(run[start : start + len(part)] == part for start in range(len(run) - len(part) + 1))
