"""A place in the lexemes of a question, and the small things that stand in every rule: nouns, numbers, values, lists."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from services.analyst.domain.language import lexicon
from services.analyst.domain.language.lexemes import (
    GRAIN,
    MARK,
    NOUN,
    NUM,
    PERIOD,
    QUOTE,
    UNIT,
    VALUE,
    WEEKDAYS,
    Lexeme,
)
from services.analyst.domain.language.schema import Schema
from services.analyst.domain.language.sketch import Noun

T = TypeVar("T")
SKIPPED = (lexicon.FILL,)


class NotUnderstood(Exception):
    """No rule reads the question past this word."""

    def __init__(self, at: int, words: str) -> None:
        super().__init__(words)
        self.at = at
        self.words = words


class Cursor:
    """Moves over lexemes; a rule that fails puts it back."""

    def __init__(self, lexemes: Sequence[Lexeme], schema: Schema) -> None:
        self.lexemes = lexemes
        self.schema = schema
        self.at = 0

    @property
    def is_done(self) -> bool:
        return self.at >= len(self.lexemes)

    def peek(self, ahead: int = 0) -> Lexeme | None:
        at = self.at + ahead
        return self.lexemes[at] if 0 <= at < len(self.lexemes) else None

    def kind(self, ahead: int = 0) -> str:
        lexeme = self.peek(ahead)
        return lexeme.kind if lexeme else ""

    def take(self, kind: str, *keys: str) -> Lexeme | None:
        """Return the lexeme here and move on when it is of this kind, and of one of these keys if any are given."""
        lexeme = self.peek()
        if lexeme and lexeme.kind == kind and (not keys or lexeme.key in keys):
            self.at += 1
            return lexeme
        return None

    def skip(self, *kinds: str) -> int:
        """Move over lexemes of these kinds and return how many there were."""
        begin = self.at
        while self.kind() in kinds:
            self.at += 1
        return self.at - begin

    def fill(self) -> None:
        """Move over words without a meaning of their own."""
        self.skip(*SKIPPED)

    def mark(self, *signs: str) -> bool:
        return self.take(MARK, *signs) is not None

    def attempt(self, rule: Callable[[], T | None]) -> T | None:
        """Return what *rule* reads, the cursor put back when it reads nothing."""
        begin = self.at
        found = rule()
        if found is None:
            self.at = begin
        return found

    def noun(self) -> Noun | None:
        """Return the name here with whose it is: "airline name", "destination airport's name"."""
        lexeme = self.take(NOUN)
        if lexeme is None:
            return None
        noun = Noun(lexeme.text, lexeme.meanings, plural=lexeme.plural, loose=lexeme.loose)
        begin = self.at
        possessive = self._possessive()
        following = self.peek()
        if (
            following
            and following.kind == NOUN
            and not following.loose
            and (owned := self.owned(_noun(following), noun))
        ):
            self.at += 1
            return owned
        if possessive:
            self.at = begin
        return noun

    def _possessive(self) -> bool:
        lexeme = self.peek()
        if lexeme and lexeme.kind == lexicon.FILL and lexeme.text.endswith("'s"):
            self.at += 1
            return True
        return False

    def owned(self, noun: Noun, owner: Noun) -> Noun | None:
        """Return *noun* as a column of what *owner* names, if it is one."""
        tables = {meaning.table for meaning in owner.of("table")}
        for meaning in owner.of("column"):
            tables |= {relation.right_table for relation in self.schema.foreign(meaning.table, meaning.name)}
        kept = tuple(
            meaning for meaning in noun.meanings if meaning.kind in {"column", "metric"} and meaning.table in tables
        )
        if not kept or any(meaning.cost == 0 for meaning in noun.of("table")):
            return None
        return Noun(f"{owner.text} {noun.text}", kept, owner=owner, plural=noun.plural)

    def unit(self) -> str:
        lexeme = self.take(UNIT)
        return lexeme.key if lexeme else ""

    def number(self) -> tuple[float, str] | None:
        """Return a number and its unit, '' when none follows."""
        self.fill()
        lexeme = self.take(NUM)
        if lexeme is None:
            return None
        if lexeme.key == "%":
            return lexeme.number, "percent"
        if self.kind() == GRAIN and not self._is_adverb():  # "30 days": here a grain is a unit
            grain = self.peek()
            self.at += 1
            return lexeme.number, f"{grain.key}s" if grain else ""
        return lexeme.number, self.unit()

    def _is_adverb(self) -> bool:
        lexeme = self.peek()
        return lexeme is not None and lexeme.adverb

    def separator(self, *, versus: bool = False) -> str:
        """Move over what stands between the members of a list and return it: and, or, versus, '' for none."""
        begin = self.at
        comma = self.mark(",")
        for kind, name in ((lexicon.AND, "and"), (lexicon.OR, "or"), (lexicon.VERSUS, "versus")):
            if (kind != lexicon.VERSUS or versus) and self.take(kind):
                return name
        if comma:
            return "and"
        self.at = begin
        return ""

    def is_condition_ahead(self) -> bool:
        """Tell whether what follows the words of linking begins a value, a number or a comparison."""
        ahead = 0
        while self.kind(ahead) in {lexicon.FILL, lexicon.AUX, lexicon.NEG}:
            ahead += 1
        return self.kind(ahead) in {VALUE, NUM, lexicon.CMP, QUOTE, PERIOD, WEEKDAYS, lexicon.TEXT, lexicon.NULL}


def _noun(lexeme: Lexeme) -> Noun:
    return Noun(lexeme.text, lexeme.meanings, plural=lexeme.plural, loose=lexeme.loose)
