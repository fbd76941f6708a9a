"""Phrases of a question: nouns with what stands before and behind them; and the sketch that rules write to."""

from collections.abc import Callable, Sequence

from services.analyst.domain.language import lexicon
from services.analyst.domain.language.conditions import Conditions
from services.analyst.domain.language.cursor import T
from services.analyst.domain.language.lexemes import MARK, NOUN, NUM, UNIT, VALUE, Lexeme
from services.analyst.domain.language.schema import Schema
from services.analyst.domain.language.sketch import (
    AverageCond,
    Cond,
    Noun,
    Sketch,
)

_MAX_COUNT = 10_000  # of "top n"


class Phrases(Conditions):
    """Reads phrases, and takes back what a rule wrote to the sketch when it fails."""

    def __init__(self, lexemes: Sequence[Lexeme], schema: Schema) -> None:
        super().__init__(lexemes, schema)
        self.sketch = Sketch()
        self.predicate = False  # past the verb: what follows is what the question asks about its subject
        self.wanted: int | None = None  # "which five": how many a later ranking keeps

    def attempt(self, rule: Callable[[], T | None]) -> T | None:
        """Return what *rule* reads; when it reads nothing, the cursor and the sketch are as before."""
        saved = (self.sketch.copy(), self.predicate, self.compared, self.role, self.wanted)
        found = super().attempt(rule)
        if found is None or found is False:
            self.sketch, self.predicate, self.compared, self.role, self.wanted = saved
        return found

    def _adjectives(self) -> list[Cond]:
        """Read conditions that stand before their noun: "cancelled", "Delta", "non-stop"."""
        conds: list[Cond] = []
        while self.kind() in {VALUE, NOUN, lexicon.NEG, lexicon.NULL, lexicon.CMP}:
            cond: Cond | None = self.attempt(self._adjective)
            if cond is None:
                break
            conds.append(cond)
            self.separator()
        return conds

    def _adjective(self) -> Cond | None:
        if self.kind() == NOUN and not self._is_flag_ahead():
            return None
        if self.kind() == lexicon.CMP:
            cond = self._one()
            return cond if isinstance(cond, AverageCond) and self.kind() == NOUN else None
        if self.kind() == lexicon.NULL:
            return self.null()
        cond = self.condition()
        return (
            cond
            if self.kind() in {NOUN, VALUE, UNIT, lexicon.DISTINCT, lexicon.FILL, lexicon.AND, lexicon.NEG}
            else None
        )

    def _is_flag_ahead(self) -> bool:
        lexeme = self.peek()
        return lexeme is not None and any(
            meaning.kind == "filter"
            or (meaning.kind == "column" and meaning.cost < 1 and self.schema.is_flag(meaning.table, meaning.name))
            for meaning in lexeme.meanings
        )

    def _plain_noun(self) -> Noun | None:
        """Return a noun that no condition hangs on, whose owner may follow: "altitude of the airport"."""
        noun = self.attempt(self.noun)
        if noun is None or not noun.of("table", "column", "metric"):
            return None
        owner = self.attempt(lambda: self._owner(noun))
        return owner or noun

    def _owner(self, noun: Noun) -> Noun | None:
        if not self.take(lexicon.PREP, "of", "for"):
            return None
        self.fill()
        if self.kind() in {lexicon.EACH, VALUE} or self.is_valued():
            return None
        owner = self.noun()
        if owner is None or (owner.plural and not owner.of("table")):
            return None
        return self.owned(noun, owner)

    def is_valued(self) -> bool:
        """Tell whether the noun here is followed by its value: "airline Delta"."""
        return (self.kind() == NOUN and self.kind(1) in {VALUE, NUM}) or (
            self.kind() == NOUN and self.kind(1) == lexicon.TEXT
        )

    def _is_counted(self, noun: Noun) -> bool:
        """Tell whether a name is of a thing, and not of a number that is called the same."""
        things = [meaning.cost for meaning in noun.of("table") if meaning.cost < 1]
        numbers = [meaning.cost for meaning in noun.of("metric")]
        numbers += [m.cost for m in noun.of("column") if self.schema.column(m.table, m.name).kind.value == "fact"]
        return bool(things) and not (numbers and min(numbers) <= min(things))

    def _hold(self, cond: Cond) -> None:
        shared = any(measure.share == "part" for measure in self.sketch.measures)
        (self.sketch.parts if shared and self.predicate else self.sketch.conds).append(cond)

    def _whole(self) -> int | None:
        lexeme = self.take(NUM)
        if lexeme is None or lexeme.number != int(lexeme.number) or not 0 < lexeme.number <= _MAX_COUNT:
            return None
        return int(lexeme.number)

    def _subjects(self) -> list[Noun]:
        return [*self.sketch.targets, *(measure.noun for measure in self.sketch.measures if measure.noun)]

    def is_last(self) -> bool:
        """Tell whether nothing but marks follows."""
        return all(lexeme.kind == MARK for lexeme in self.lexemes[self.at + 1 :])
