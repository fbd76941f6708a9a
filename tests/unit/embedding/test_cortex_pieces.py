"""How texts are split for models whose tokens nobody tells us."""

import pytest

from services.embedding.backends.cortex.pieces import PIECE_TOKENS, split


@pytest.mark.parametrize("text", ["a", "  ", "The tide tables hang beside the door."])
def test_a_short_text_is_one_piece(text: str) -> None:
    (piece,) = split(text)

    assert (piece.start, piece.end) == (0, len(text))


@pytest.mark.parametrize(
    "text",
    [
        "The tide tables hang beside the door of the harbour office. " * 80,
        "漢字仮名交じり文" * 400,
        "한국어 문장입니다. " * 200,
        "x" * 5000,
        "0123456789abcdef" * 300,
        "word" + " " * 5000 + "word" * 600,
    ],
    ids=["english", "han", "hangul", "one long word", "digits", "spaces"],
)
def test_pieces_cover_a_text_and_none_is_too_long(text: str) -> None:
    pieces = split(text)

    assert len(pieces) > 1
    assert all(0 < piece.tokens <= PIECE_TOKENS for piece in pieces)
    covered = {place for piece in pieces for place in range(piece.start, piece.end)}
    assert {place for place, letter in enumerate(text) if not letter.isspace()} <= covered


def test_pieces_overlap_and_break_between_words() -> None:
    text = "alpha beta gamma delta " * 200

    one, two, *_ = split(text)

    assert two.start < one.end
    assert text[one.end] == " "
    assert text[two.start - 1] == " "


@pytest.mark.parametrize("text", ["한" * 448, "q" * 448, "1" * 448, "é" * 448])
def test_no_character_is_counted_for_less_than_it_may_cost(text: str) -> None:
    assert sum(piece.tokens for piece in split(text)) >= 448
