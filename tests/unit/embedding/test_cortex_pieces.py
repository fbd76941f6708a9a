"""How texts are split for models whose tokens nobody tells us."""

import pytest

from services.embedding.backends.cortex.pieces import PIECE_TOKENS, split
from services.models.files import VOCABULARY
from services.models.tokens import OVERLAP_TOKENS, WordPieceTokenizer


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


@pytest.mark.parametrize(
    "text",
    [
        "The tide tables hang beside the door of the harbour office; nobody reads them. " * 60,
        "Die Gezeitentafel haengt neben der Tuer des Hafenbueros, und niemand beachtet Wasserstandsmeldungen. " * 60,
        "Vuorovesitaulukko riippuu satamatoimiston oven vieressa eika kukaan lue sita. " * 60,
        "065665c041c42a5938ed220bdcd7230f22527fbec085e1853d2402c8a3615d9d " * 40,
        "def split_spans(word_ids: Sequence[int | None], limit: int) -> list[tuple[int, int]]: ...\n" * 40,
        "漢字仮名交じり文 한국어 문장 русский текст ελληνικά " * 60,
    ],
    ids=["english", "german", "finnish", "hex", "code", "scripts"],
)
def test_a_piece_fits_into_what_models_with_this_vocabulary_read(text: str) -> None:
    tokenizer = WordPieceTokenizer(VOCABULARY.read())  # that of BERT, as Cortex's models of this width have it

    for piece in split(text):
        windows = tokenizer.windows(text[piece.start : piece.end])
        distinct = sum(window.token_count for window in windows) - OVERLAP_TOKENS * (len(windows) - 1)
        assert distinct <= 480
