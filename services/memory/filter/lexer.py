"""Cuts a filter's text into tokens, each with its place."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from services.memory.filter.fault import InvalidFilter, shown


class TokenKind(Enum):
    """What a token is; the value is how messages call it."""

    WORD = "a word"
    QUOTED = "a quoted text"
    DOT = '"."'
    COMMA = '","'
    OPEN = '"("'
    CLOSE = '")"'
    MINUS = '"-"'
    EQUAL = '"="'
    NOT_EQUAL = '"!="'
    LESS = '"<"'
    LESS_EQUAL = '"<="'
    GREATER = '">"'
    GREATER_EQUAL = '">="'
    HAS = '":"'
    END = "end"


COMPARATORS = frozenset(
    (
        TokenKind.EQUAL,
        TokenKind.NOT_EQUAL,
        TokenKind.LESS,
        TokenKind.LESS_EQUAL,
        TokenKind.GREATER,
        TokenKind.GREATER_EQUAL,
        TokenKind.HAS,
    )
)

_SYMBOLS = {
    kind.value[1:-1]: kind for kind in (TokenKind.DOT, TokenKind.COMMA, TokenKind.OPEN, TokenKind.CLOSE, *COMPARATORS)
}
_SYMBOL = re.compile(r"[<>!]=|[.,():=<>]")
_BLANKS = re.compile(r"[ \t\r\n]*")
# Outside quotes stands neither what has a meaning of its own, nor brackets and backslashes (kept free), nor what one cannot see or
# tell from a plain quote or space: controls, other blanks, typographic quotes, zero-width space, byte order mark, surrogates.
_WORD = re.compile(r"""[^\s.,():=<>!"'\\\[\]{}\x00-\x1f\x7f-\x9f\u2018-\u201f\u200b\ufeff\ud800-\udfff]+""")
_PLAIN = {'"': re.compile(r'[^"\\*\ud800-\udfff]+'), "'": re.compile(r"[^'\\*\ud800-\udfff]+")}
_ESCAPES = {"\\": "\\", '"': '"', "'": "'", "*": "*", "n": "\n", "r": "\r", "t": "\t"}
_UNICODE = re.compile(r"u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u(?![dD][89a-fA-F])[0-9a-fA-F]{4}")


@dataclass(frozen=True, slots=True)
class Star:
    """A wildcard: its index in the token's text, and its position in the filter."""

    index: int
    position: int


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a filter; *start* and *end* are code point offsets, *text* is without quotes and escapes."""

    kind: TokenKind
    start: int
    end: int
    spaced: bool  # blanks stand before it
    text: str = ""
    stars: tuple[Star, ...] = ()


def tokenize(filter_text: str) -> Iterator[Token]:
    """Give the tokens of *filter_text* as they are asked for, the last one END. Raises ``InvalidFilter``."""
    token: Token | None = None
    position = 0
    while token is None or token.kind is not TokenKind.END:
        start = position
        position = _BLANKS.match(filter_text, start).end()  # type: ignore[union-attr]  # matches the empty text too
        token = _token(filter_text, position, spaced=position > start, previous=token)
        yield token
        position = token.end


def _token(filter_text: str, start: int, *, spaced: bool, previous: Token | None) -> Token:
    if start == len(filter_text):
        return Token(TokenKind.END, start, start, spaced)
    if filter_text[start] in _PLAIN:
        return _quoted(filter_text, start, spaced=spaced)
    if found := _SYMBOL.match(filter_text, start):
        return Token(_SYMBOLS[found.group()], start, found.end(), spaced)
    within_value = previous is not None and (previous.kind in COMPARATORS or previous.kind is TokenKind.DOT)
    if filter_text[start] == "-" and not within_value:
        return Token(TokenKind.MINUS, start, start + 1, spaced, "-")
    if found := _WORD.match(filter_text, start):
        word = found.group()
        stars = tuple(Star(i, start + i) for i, character in enumerate(word) if character == "*")
        return Token(TokenKind.WORD, start, found.end(), spaced, word, stars)
    raise _stray(filter_text[start], start)


def _stray(character: str, position: int) -> InvalidFilter:
    if character == "!":
        return InvalidFilter(position, '"!" alone', "write != to compare, and NOT or - to negate")
    if 0xD800 <= ord(character) <= 0xDFFF:  # noqa: PLR2004  # the surrogates, in Unicode's own numbers
        return InvalidFilter(position, f"half a character (U+{ord(character):04X})", "send the filter as valid UTF-8")
    if 0x2018 <= ord(character) <= 0x201F:  # noqa: PLR2004  # the typographic quotes
        return InvalidFilter(position, "typographic quote", "use the straight quotes \" or '")
    name = shown(character) if character.isprintable() else f"character U+{ord(character):04X}"
    return InvalidFilter(position, f"unexpected {name}", "put the text that has it in quotes")


def _quoted(filter_text: str, start: int, *, spaced: bool) -> Token:
    quote = filter_text[start]
    pieces: list[str] = []
    stars: list[Star] = []
    position, length = start + 1, 0
    while position < len(filter_text) and filter_text[position] != quote:
        if found := _PLAIN[quote].match(filter_text, position):
            piece, end = found.group(), found.end()
        elif filter_text[position] == "\\":
            piece, end = _escape(filter_text, position, start)
        elif filter_text[position] == "*":
            stars.append(Star(length, position))
            piece, end = "*", position + 1
        else:
            raise _stray(filter_text[position], position)
        pieces.append(piece)
        position, length = end, length + len(piece)
    if position >= len(filter_text):
        raise _unclosed(quote, start)
    return Token(TokenKind.QUOTED, start, position + 1, spaced, "".join(pieces), tuple(stars))


def _unclosed(quote: str, start: int) -> InvalidFilter:
    return InvalidFilter(
        start, "quote that is never closed", f"end the text with {quote}, and write \\{quote} inside it"
    )


def _escape(filter_text: str, start: int, opened: int) -> tuple[str, int]:
    """Return what the escape at *start* means, and where it ends."""
    if start + 1 == len(filter_text):
        raise _unclosed(filter_text[opened], opened)
    if found := _UNICODE.match(filter_text, start + 1):
        units = bytes.fromhex(found.group().replace("u", "").replace("\\", ""))
        return units.decode("utf-16-be"), found.end()
    meaning = _ESCAPES.get(filter_text[start + 1])
    if meaning is None:
        escapes = r"\\ \" \' \* \n \r \t and \uXXXX (a character, or both halves of a pair)"
        raise InvalidFilter(start, "unknown escape", f"the escapes are {escapes}")
    return meaning, start + 2
