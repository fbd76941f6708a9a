"""Reads a filter: the grammar of AIP-160 by recursive descent, with bounds on length, depth and number of terms.

    filter      = [ expression ]
    expression  = factor { [ "AND" ] factor }
    factor      = term { "OR" term }
    term        = [ "NOT" | "-" ] ( restriction | "(" expression ")" )
    restriction = text | member comparator value
    member      = word { "." ( word | quoted ) }
    value       = text | "(" expression over values ")"

So OR binds tighter than AND, and blanks between conditions mean AND.
"""

from collections.abc import Callable, Iterator
from typing import Final

from services.memory.filter.fault import InvalidFilter, shown
from services.memory.filter.lexer import COMPARATORS, Token, TokenKind, tokenize
from services.memory.filter.restriction import Comparison, Member, Value, anywhere
from services.memory.filter.schema import MEMORIES, Schema
from services.memory.filter.tree import EVERYTHING, Expression, Filter, Path, conjunction, disjunction, negation

MAX_TERMS: Final = 64
MAX_DEPTH: Final = 16  # parentheses inside each other; it bounds the recursion too
MAX_BYTES: Final = 8192
_KEYWORDS = frozenset(("AND", "OR", "NOT"))
# Words of other languages that would otherwise be looked for in the content.
_FOREIGN = {
    **dict.fromkeys(("and", "And", "&&", "&"), "write AND"),
    **dict.fromkeys(("or", "Or", "||", "|"), "write OR"),
    **dict.fromkeys(("not", "Not"), "write NOT"),
    "IN": 'write = ("a" OR "b")',
    "LIKE": 'write = with a wildcard, as in "begin*"',
    "IS": "write =",
    "BETWEEN": "write >= and <=",
}
_JOINED = frozenset(
    (TokenKind.DOT, TokenKind.HAS)
)  # a value without quotes may have them inside, as times and addresses do

Leaf = Callable[[], Expression]


def parse(text: str, max_bytes: int | None = MAX_BYTES, schema: Schema = MEMORIES) -> Filter:
    """Return what *text* means of things of *schema*; text of nothing but blanks lets everything through. Raises ``InvalidFilter``.

    *max_bytes* bounds the UTF-8; None is for ``unparse``'s canonical text, which may be longer than what it was made from.
    """
    if max_bytes is not None:
        _check_size(text, max_bytes)
    return _Parser(tokenize(text), schema).filter()


def parse_path(text: str) -> Path:
    """Return the field that *text* names, as in a condition. Raises ``InvalidFilter``."""
    _check_size(text, MAX_BYTES)
    return _Parser(tokenize(text), MEMORIES).path()


def _check_size(text: str, max_bytes: int) -> None:
    encoded = text.encode("utf-8", "surrogatepass")
    if len(encoded) > max_bytes:
        fitting = len(encoded[:max_bytes].decode("utf-8", "ignore"))
        raise InvalidFilter(
            fitting, "filter too long", f"it may have {max_bytes} bytes of UTF-8, this has {len(encoded)}"
        )


class _Parser:
    def __init__(self, tokens: Iterator[Token], schema: Schema) -> None:
        self._schema = schema
        self._rest = tokens  # cut only as far as the text makes sense, so that hostile ones cost little
        self._next = next(tokens)
        self._after: Token | None = None  # what follows the next one, where that was asked for
        self._depth = 0
        self._terms = 0

    def filter(self) -> Filter:
        if self._next.kind is TokenKind.END:
            return EVERYTHING
        expression = self._expression(self._restriction)
        if self._next.kind is TokenKind.CLOSE:
            raise InvalidFilter(self._next.start, 'unexpected ")"', 'there is no "(" that it closes')
        return Filter(expression)

    def path(self) -> Path:
        first = self._next
        if first.kind is not TokenKind.WORD:
            raise InvalidFilter(first.start, f"unexpected {first.kind.value}", "a field belongs here")
        path = self._member().path()
        if self._next.kind is not TokenKind.END:
            raise InvalidFilter(self._next.start, f"unexpected {self._next.kind.value}", "name one field alone")
        return path

    def _advance(self) -> Token:
        """Step over the next token, which is not END, and return it."""
        token = self._next
        self._next, self._after = self._following(), None
        return token

    def _following(self) -> Token:
        if self._after is None:
            self._after = next(self._rest)
        return self._after

    def _is_keyword(self, *keywords: str) -> bool:
        return self._next.kind is TokenKind.WORD and self._next.text in keywords

    def _expression(self, leaf: Leaf) -> Expression:
        parts = [self._factor(leaf)]
        while self._next.kind not in (TokenKind.END, TokenKind.CLOSE):
            self._check_continues()
            self._require_blank()
            if self._is_keyword("AND"):
                self._operator()
            parts.append(self._factor(leaf))
        return conjunction(parts)

    def _factor(self, leaf: Leaf) -> Expression:
        parts = [self._term(leaf)]
        while self._is_keyword("OR"):
            self._require_blank()
            self._operator()
            parts.append(self._term(leaf))
        return disjunction(parts)

    def _term(self, leaf: Leaf) -> Expression:
        if self._is_keyword("NOT"):
            self._operator()
            self._check_single_negation()
            return negation(self._simple(leaf))
        if self._next.kind is TokenKind.MINUS and not self._is_negative_value(leaf):
            minus = self._advance()
            negated = self._next
            if negated.spaced or negated.kind is TokenKind.END:
                raise InvalidFilter(minus.start, '"-" before a blank', "what it negates follows at once, or write NOT")
            self._check_single_negation()
            return negation(self._simple(leaf))
        return self._simple(leaf)

    def _simple(self, leaf: Leaf) -> Expression:
        if self._next.kind is TokenKind.OPEN:
            return self._composite(leaf)
        return leaf()

    def _composite(self, leaf: Leaf) -> Expression:
        opened = self._advance()
        if self._depth == MAX_DEPTH:
            raise InvalidFilter(opened.start, "too deep", f"at most {MAX_DEPTH} parentheses may be open at once")
        self._depth += 1
        if self._next.kind is TokenKind.CLOSE:
            raise InvalidFilter(self._next.start, "nothing in parentheses", "put a condition in or take them away")
        expression = self._expression(leaf)
        if self._next.kind is TokenKind.END:
            raise InvalidFilter(opened.start, '"(" that is never closed', 'end what it opens with ")"')
        self._advance()
        self._depth -= 1
        return expression

    def _restriction(self) -> Expression:
        first = self._start_of_leaf()
        if first.kind is TokenKind.QUOTED:
            return self._quoted_text(self._advance())
        if first.kind is not TokenKind.WORD:
            raise InvalidFilter(first.start, f"unexpected {first.kind.value}", "a field or a text belongs here")
        member = self._member()
        if self._next.kind not in COMPARATORS:
            if member.text in _FOREIGN:
                remedy = f"{_FOREIGN[member.text]}, or put it in quotes to find it in the content"
                raise InvalidFilter(first.start, f"{shown(member.text)} is no operator", remedy)
            self._check_searchable(first)
            return anywhere(member)
        comparator = self._advance()
        return self._argument(Comparison.of(member, comparator), comparator)

    def _quoted_text(self, token: Token) -> Expression:
        if self._next.kind in COMPARATORS or (self._next.kind is TokenKind.DOT and not self._next.spaced):
            raise InvalidFilter(token.start, "a quoted text where a field belongs", "write the field without quotes")
        self._check_searchable(token)
        return anywhere(Value(token.text, token.start, token.stars, quoted=True))

    def _member(self) -> Member:
        first = self._advance()
        segments = [first]
        while self._next.kind is TokenKind.DOT and not self._next.spaced:
            dot = self._advance()
            if self._next.spaced or self._next.kind not in (TokenKind.WORD, TokenKind.QUOTED):
                raise InvalidFilter(
                    dot.start, '"." without a name after it', "a name follows at once, in quotes if need be"
                )
            segments.append(self._advance())
        self._refuse_call(first.start)
        return Member(tuple(segments), self._schema)

    def _argument(self, comparison: Comparison, comparator: Token) -> Expression:
        if self._next.kind is not TokenKind.OPEN:
            expression = comparison.condition(self._value())
        elif comparator.kind in (TokenKind.EQUAL, TokenKind.NOT_EQUAL, TokenKind.HAS):
            self._terms -= 1  # the field is no term of its own here: each value is
            expression = self._composite(lambda: comparison.condition(self._counted_value()))
        else:
            raise InvalidFilter(
                self._next.start, f"parentheses after {comparator.kind.value}", "it compares with one value"
            )
        return negation(expression) if comparison.negated else expression

    def _counted_value(self) -> Value:
        self._start_of_leaf()
        return self._value()

    def _value(self) -> Value:
        if self._next.kind not in (TokenKind.QUOTED, TokenKind.WORD, TokenKind.MINUS):
            raise InvalidFilter(self._next.start, f"unexpected {self._next.kind.value}", "a value belongs here")
        first = self._advance()
        if first.kind is TokenKind.QUOTED:
            if self._next.kind in _JOINED and not self._next.spaced:
                raise InvalidFilter(
                    self._next.start, f"{self._next.kind.value} after a quoted text", "quote all of the value"
                )
            return Value(first.text, first.start, first.stars, quoted=True)
        if first.text in _KEYWORDS:
            raise InvalidFilter(first.start, f"{first.text} where a value belongs", "put it in quotes to mean the word")
        pieces = [first]
        if first.kind is TokenKind.MINUS:
            pieces.append(self._advance())
        while self._next.kind in _JOINED and not self._next.spaced:
            joint = self._advance()
            if self._next.spaced or self._next.kind is not TokenKind.WORD:
                raise InvalidFilter(joint.start, f"{joint.kind.value} at the end of a value", "put the value in quotes")
            pieces += [joint, self._advance()]
        self._refuse_call(first.start)
        return Value.joined(pieces)

    def _is_negative_value(self, leaf: Leaf) -> bool:
        """Among values a "-" before a digit is a sign; among conditions it negates."""
        following = self._following()
        return leaf != self._restriction and not following.spaced and following.text[:1].isdigit()

    def _start_of_leaf(self) -> Token:
        """Return the token that a condition or value starts with, having counted it."""
        token = self._next
        if token.kind is TokenKind.END:
            raise InvalidFilter(token.start, "unexpected end", "a condition belongs here")
        if self._is_keyword(*_KEYWORDS):
            raise InvalidFilter(
                token.start, f"unexpected {token.text}", "it stands between conditions; quote it to mean the word"
            )
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise InvalidFilter(token.start, "too many terms", f"a filter may have {MAX_TERMS} conditions")
        return token

    def _check_searchable(self, token: Token) -> None:
        if not self._schema.searchable:
            remedy = f"compare a field with it: {', '.join(self._schema.fields)}"
            raise InvalidFilter(token.start, "text that stands alone", remedy)

    def _check_continues(self) -> None:
        token = self._next
        if token.kind in COMPARATORS or token.kind is TokenKind.DOT:
            raise InvalidFilter(
                token.start, f"unexpected {token.kind.value}", "a condition compares one field with one value"
            )
        if token.kind is TokenKind.COMMA:
            raise InvalidFilter(token.start, 'unexpected ","', "write OR between alternatives")

    def _check_single_negation(self) -> None:
        if self._next.kind is TokenKind.MINUS or self._is_keyword("NOT"):
            raise InvalidFilter(self._next.start, "second negation", "put what is negated twice in parentheses")

    def _require_blank(self) -> None:
        if not self._next.spaced:
            raise InvalidFilter(self._next.start, "missing space", "put one between conditions and operators")

    def _operator(self) -> None:
        """Step over AND, OR or NOT, which a blank must follow: otherwise it would be the name of a function."""
        self._advance()
        if self._next.kind is not TokenKind.END:
            self._require_blank()

    def _refuse_call(self, start: int) -> None:
        if self._next.kind is TokenKind.OPEN and not self._next.spaced:
            raise InvalidFilter(start, "call of a function", "there are none; put text that has parentheses in quotes")
