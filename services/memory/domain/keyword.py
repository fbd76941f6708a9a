"""Keyword search's rules, the same for every store: which terms a text has, how much they weigh, where they stand."""

import math
import re
import unicodedata
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt

TOKENIZER_VERSION = 1  # raise it when `tokenize` changes its output: stores then derive their terms anew
TERM_LIMIT = 64  # code points; longer terms (encoded blobs, mostly) count by their beginning

K1 = 1.2  # how fast repeated terms saturate; Robertson and Zaragoza (2009), as in Lucene
B = 0.75  # how strongly long texts are discounted; the same source

Number = TypeVar("Number", float, npt.NDArray[np.float64])

# Scripts written without spaces between words (Thai, Lao, Myanmar, Khmer, kana, Han) or agglutinated (Hangul):
# overlapping pairs of characters stand in for words.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7af\uf900-\ufaff"
)
_UNSPACED_ASTRAL = "\U00020000-\U0003ffff"  # a class of its own: one that mixes the planes is matched ten times slower
_UNSPACED_CLASS = f"(?:[{_UNSPACED}]|[{_UNSPACED_ASTRAL}])"
_WORD = re.compile(r"\w+(?:[-.']\w+)*(?:\+\+|#(?!\w))?")
_SIBILANT_E = ("sse", "xe", "che", "she", "zze")
_PART = re.compile(r"[-._]")


def tokenize(text: str) -> list[str]:
    """Return *text*'s terms in order, with repetitions.

    Terms are compatibility-normalised (NFKC), case-folded words. Identifiers such as ``MB-1234``, ``foo_bar`` or ``1.2.3`` give
    their whole and their parts; runs in scripts without word spaces give single characters and overlapping pairs; English
    plurals are reduced (the S-stemmer, which leaves other endings and other languages mostly alone).
    """
    return [term for term, _, _ in _terms(_normalized(text))]


def highlights(content: str, query_terms: Collection[str], limit: int) -> list[tuple[int, int]]:
    """Return the first *limit* spans of *content* that hold a query term, as [start, end) in code points, ascending and apart."""
    wanted = frozenset(query_terms)
    folded, origins = _normalized_with_origins(content)
    spans: list[tuple[int, int]] = []
    for term, start, end in _terms(folded):  # starts never descend
        if term not in wanted:
            continue
        first, last = origins[start], origins[end - 1] + 1
        while last < len(content) and _extends(content[last]):
            last += 1
        if spans and first < spans[-1][1]:
            spans[-1] = (spans[-1][0], max(last, spans[-1][1]))
        elif len(spans) == limit:
            break
        else:
            spans.append((first, last))
    return spans


def rarity(documents: int, holders: int) -> float:
    """Return the weight (inverse document frequency) of a term that *holders* of *documents* have; never negative.

    The form of Lucene's BM25Similarity: ln(1 + (N - n + 0.5) / (n + 0.5)).
    """
    return math.log(1.0 + (documents - holders + 0.5) / (holders + 0.5))


def length_norm(length: Number, average_length: float) -> Number:
    """Return BM25's document-length part of the denominator; *length* counts terms with repetitions."""
    return K1 * (1.0 - B + B * (length / average_length))


def term_score(weight: float, frequency: Number, norm: Number) -> Number:
    """Return what a term adds to a document's BM25 score: *weight* by ``rarity``, *norm* by ``length_norm``.

    A document's score is the sum over the query's distinct terms in the query's order, in float64, so that equal inputs give
    equal bits everywhere.
    """
    return weight * (frequency * (K1 + 1.0)) / (frequency + norm)


def _terms(folded: str) -> Iterator[tuple[str, int, int]]:
    pattern = _WORD if folded.isascii() or not any(map(_is_special, set(folded))) else _special_word()
    for match in pattern.finditer(folded):
        word, start, end = match.group(), match.start(), match.end()
        if match.lastgroup == "unspaced":
            yield from _pairs(word, start)
        elif word.isalnum():
            yield _stem(word)[:TERM_LIMIT], start, end
        else:
            yield from _compound(word, start, end)


def _pairs(run: str, start: int) -> Iterator[tuple[str, int, int]]:
    for place in range(len(run)):
        yield run[place], start + place, start + place + 1
        if place + 1 < len(run):
            yield run[place : place + 2], start + place, start + place + 2


def _compound(word: str, start: int, end: int) -> Iterator[tuple[str, int, int]]:
    if "'" in word:
        word = word.removesuffix("'s")
    joined = word.replace("'", "")
    parts = [(part, at) for part, at in _split(word) if part]
    if len(parts) == 1 and parts[0][0] == word:
        yield _stem(joined)[:TERM_LIMIT], start, end
        return
    yield joined[:TERM_LIMIT], start, end
    for part, at in parts:
        yield _stem(part.replace("'", ""))[:TERM_LIMIT], start + at, start + at + len(part)


def _split(word: str) -> Iterator[tuple[str, int]]:
    at = 0
    for part in _PART.split(word):
        yield part.rstrip("+#"), at
        at += len(part) + 1


def _stem(word: str) -> str:
    """Reduce an English plural: Harman (1991), "How effective is suffixing?", the S-stemmer.

    Beyond it, the e after a sibilant goes, so that ``classes`` meets ``class`` and ``caches`` meets ``cache``.
    """
    if len(word) <= 3 or not word.isascii() or not word.isalpha():  # noqa: PLR2004
        return word
    if word.endswith("ies") and not word.endswith(("eies", "aies")):
        return word[:-3] + "y"
    if word[-1] == "s" and not word.endswith(("us", "ss", "aes", "ees", "oes", "eies", "aies")):
        word = word[:-1]
    return word[:-1] if len(word) > 3 and word.endswith(_SIBILANT_E) else word  # noqa: PLR2004


def _normalized(text: str) -> str:
    if text.isascii():
        return text.lower()
    # Folding can undo normalisation (and the reverse), hence the second pass: Unicode 3.13, toNFKC_Casefold.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return folded.replace("\u2019", "'")


def _normalized_with_origins(text: str) -> tuple[str, list[int]]:
    """Return the normalised text and, for each of its characters, the index in *text* it came from."""
    if text.isascii():
        return text.lower(), list(range(len(text)))
    pieces: list[str] = []
    origins: list[int] = []
    start = 0
    for end in range(1, len(text) + 1):
        if end < len(text) and _extends(text[end]):
            continue
        piece = _normalized(text[start:end])
        pieces.append(piece)
        origins.extend([start] * len(piece))
        start = end
    return "".join(pieces), origins


def _extends(character: str) -> bool:
    # Combining marks, and the vowel and final jamo that compose with the letter before them.
    return bool(unicodedata.combining(character)) or "\u1160" <= character <= "\u11ff"


def _is_special(character: str) -> bool:
    return unicodedata.category(character) in {"Mn", "Mc"} or re.match(_UNSPACED_CLASS, character) is not None


@lru_cache(maxsize=1)
def _special_word() -> re.Pattern[str]:
    # `\w` leaves out the vowel signs (categories Mn, Mc) that words of Indic scripts are written with.
    marks = "".join(chr(code) for code in range(0x300, 0x10000) if unicodedata.category(chr(code)) in {"Mn", "Mc"})
    letter = rf"(?!{_UNSPACED_CLASS})[\w{marks}]"
    word = rf"(?:{letter})+(?:[-.'](?:{letter})+)*(?:\+\+|\#(?!\w))?"
    return re.compile(rf"(?P<unspaced>{_UNSPACED_CLASS}+)|(?P<word>{word})")
