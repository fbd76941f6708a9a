"""WordPiece tokens, and windows of them that the model can read at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

# Word pieces with [CLS] and [SEP]; what all-MiniLM-L6-v2 was trained on (`max_seq_length` of its configuration).
WINDOW_TOKENS = 256
# Pieces that a window repeats of the one before, so that a sentence cut by the edge is read whole once.
OVERLAP_TOKENS = 32
_UNKNOWN, _FIRST, _LAST = "[UNK]", "[CLS]", "[SEP]"
_SPECIAL_TOKENS = 2


@dataclass(frozen=True, slots=True)
class Window:
    """One run of the model: ``token_ids`` with [CLS] and [SEP] around them; ``token_count`` counts neither.

    Its words are the code points ``[start, end)`` of the text.
    """

    token_ids: NDArray[np.int64]
    token_count: int
    start: int
    end: int


class WordPieceTokenizer:
    """Splits texts as the model was trained: uncased, accents stripped, punctuation and CJK characters apart.

    Built from the vocabulary alone, so that a text which says "[SEP]" is read as these characters and cannot inject the
    special token.
    """

    def __init__(self, vocabulary: bytes) -> None:
        pieces = vocabulary.decode("utf-8").splitlines()
        ids = {piece: number for number, piece in enumerate(pieces)}
        # Words beyond 100 characters are one [UNK], as in the original BERT tokenizer.
        self._tokenizer = Tokenizer(WordPiece(ids, unk_token=_UNKNOWN, max_input_chars_per_word=100))
        self._tokenizer.normalizer = BertNormalizer(lowercase=True)
        self._tokenizer.pre_tokenizer = BertPreTokenizer()
        self._first, self._last = ids[_FIRST], ids[_LAST]

    def windows(self, text: str) -> list[Window]:
        """Return the windows that together cover all of *text*; at least one."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        ids = np.asarray(encoding.ids, dtype=np.int64)
        spans = [(0, len(ids))]
        if len(ids) > WINDOW_TOKENS - _SPECIAL_TOKENS:
            spans = split_spans(encoding.word_ids, WINDOW_TOKENS - _SPECIAL_TOKENS, OVERLAP_TOKENS)
        places = encoding.offsets or [(0, 0)]  # each token's code points
        return [self._window(ids[first:end], places[first][0], places[end - 1][1]) for first, end in spans]

    def _window(self, ids: NDArray[np.int64], start: int, end: int) -> Window:
        token_ids = np.concatenate(([self._first], ids, [self._last])).astype(np.int64)
        return Window(token_ids, len(ids), start, end)


def split_spans(word_ids: Sequence[int | None], limit: int, overlap: int) -> list[tuple[int, int]]:
    """Cut tokens into spans ``[start, end)`` of at most *limit* that cover them all and break between words.

    ``word_ids`` names the word of each token. A span begins at most *overlap* tokens before the end of the one before.
    Only a word longer than *limit* is broken inside.
    """
    total = len(word_ids)
    spans = []
    start = 0
    while total - start > limit:
        end = start + limit
        while end > start and word_ids[end] == word_ids[end - 1]:
            end -= 1
        if end == start:
            end = start + limit
        spans.append((start, end))
        start = _next_start(word_ids, after=start, end=end, overlap=overlap)
    spans.append((start, total))
    return spans


def _next_start(word_ids: Sequence[int | None], after: int, end: int, overlap: int) -> int:
    start = max(after + 1, end - overlap)
    while start < end and word_ids[start] == word_ids[start - 1]:
        start += 1
    return start
