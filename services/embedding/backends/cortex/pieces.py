"""Stretches of a text that a model of Cortex reads whole.

Cortex tells nobody its tokens and cuts off what is too long, so tokens are counted high: a word piece covers at least one character, and of
a short word of plain letters hardly ever fewer than three.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final

from services.models.tokens import OVERLAP_TOKENS, split_spans

PIECE_TOKENS: Final = 448  # of the 512 that the models read; the rest is for their special tokens and a prefix
_PLAIN_WORD = 16  # letters; longer runs are seldom words, and are counted letter by letter
_LETTERS_A_TOKEN = 3
_UNITS = re.compile(r"[A-Za-z]+|\S")


@dataclass(frozen=True, slots=True)
class Piece:
    """The code points ``[start, end)`` of a text, and the tokens counted for them."""

    start: int
    end: int
    tokens: int


def split(text: str) -> list[Piece]:
    """Return the pieces that together cover all of *text*; at least one. Takes CPU: about 0.3 s for a MiB."""
    tokens = list(_tokens(text))
    if len(tokens) <= PIECE_TOKENS:
        return [Piece(0, len(text), len(tokens))]
    gaps = (two[0] > one[1] for one, two in pairwise(tokens))
    words = list(accumulate(gaps, initial=0))
    return [
        Piece(tokens[first][0], tokens[last - 1][1], last - first)
        for first, last in split_spans(words, PIECE_TOKENS, OVERLAP_TOKENS)
    ]


def _tokens(text: str) -> Iterator[tuple[int, int]]:
    """Yield the code points of each token as counted."""
    for unit in _UNITS.finditer(text):
        start, end = unit.span()
        if end - start > 1:
            step = _LETTERS_A_TOKEN if end - start <= _PLAIN_WORD else 1
            yield from ((place, min(place + step, end)) for place in range(start, end, step))
        else:  # models take composed characters apart, Hangul into three
            yield from ((start, end),) * len(unicodedata.normalize("NFD", unit[0]))
