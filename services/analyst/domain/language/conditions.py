"""The grammar of conditions: values, numbers, dates, flags, missing values, text, averages, and what there is none of."""

from functools import partial

from sqlglot import exp

from services.analyst.domain.language import lexicon
from services.analyst.domain.language.cursor import Cursor
from services.analyst.domain.language.lexemes import GRAIN, NOUN, NUM, PERIOD, QUOTE, UNKNOWN, VALUE, WEEKDAYS, Lexeme
from services.analyst.domain.language.sketch import (
    AverageCond,
    ColumnCond,
    Cond,
    DateCond,
    FlagCond,
    Noun,
    NullCond,
    NumberCond,
    OrCond,
    TextCond,
    ValueCond,
    WeekdayCond,
)
from services.analyst.domain.language.vocabulary import Meaning
from services.analyst.domain.language.words import name_words
from services.analyst.domain.semantic_model.structure import parse_expression

_LINK = (lexicon.FILL, lexicon.AUX)


class Conditions(Cursor):
    """Reads one condition where the cursor stands."""

    compared = False  # a list was joined by "versus"
    role = ""  # the preposition before what is read

    def condition(self) -> Cond | None:
        """Return a condition, with others joined to it by "or"."""
        first: Cond | None = self.attempt(self._one)
        if first is None:
            return None
        conds: list[Cond] = [first]
        following: Cond | None
        while (following := self.attempt(self._alternative)) is not None:
            conds.append(following)
        if len(conds) > 1 and any(getattr(cond, "negated", False) for cond in conds):
            return None  # "not A or B" denies both, or one of them
        return first if len(conds) == 1 else OrCond(tuple(conds))

    def _alternative(self) -> Cond | None:
        self.mark(",")
        if not self.take(lexicon.OR):
            return None
        self.skip(*_LINK, lexicon.REL)
        return self._one()

    def _one(self) -> Cond | None:
        negated = False
        prep = ""
        while True:
            if lexeme := self.take(lexicon.PREP):
                prep = lexeme.key
            elif self.take(lexicon.NEG):
                negated = not negated
            elif self.kind() in _LINK or (self.kind() == lexicon.REL and self.at > 0):
                self.at += 1
            else:
                break
        role = prep or self.role
        rules = (
            self._dates,
            self._weekdays,
            self._between,
            self._compared,
            self._values,
            self._text,
            self._named_first,
            self._flag,
            self._count,
        )
        for rule in rules:
            found: Cond | None = self.attempt(partial(rule, role, negated=negated))
            if found is not None:
                self.role = ""
                return self._quantified(found) if isinstance(found, FlagCond) and not negated else found
        return None

    def _quantified(self, flag: FlagCond) -> Cond:
        """Return "delayed by more than 2 hours" as a comparison of the one number that the filter tests."""
        column = self._tested(flag.noun)
        if column is None:
            return flag
        self_begin = self.at
        self.skip(*_LINK)
        self.take(lexicon.BY)
        found = self.attempt(lambda: self._compared("", negated=False, noun=column))
        if isinstance(found, NumberCond) and found.unit:
            return found
        self.at = self_begin
        return flag

    def _tested(self, noun: Noun) -> Noun | None:
        filters = noun.of("filter")
        if len(filters) != 1:
            return None
        condition = next(each for each in self.schema.table(filters[0].table).filters if each.name == filters[0].name)
        tree = parse_expression(condition.expr)
        if isinstance(tree, str) or not isinstance(tree, exp.GT | exp.GTE) or not isinstance(tree.this, exp.Column):
            return None
        column = self.schema.table(filters[0].table).column(tree.this.name)
        return Noun(noun.text, (Meaning("column", filters[0].table, column.name),)) if column else None

    def _dates(self, role: str, *, negated: bool) -> Cond | None:
        first = self.take(PERIOD)
        if first is None:
            return None
        lexemes = [first]
        while (following := self.attempt(self._another_period)) is not None:
            lexemes.append(following)
        periods = tuple(lexeme.period for lexeme in lexemes if lexeme.period)
        return DateCond(periods, tuple(lexeme.text for lexeme in lexemes), negated=negated)

    def _another_period(self) -> Lexeme | None:
        joined = self.separator(versus=True)
        if not joined:
            return None
        self.compared = self.compared or joined == "versus"
        self.skip(lexicon.FILL, lexicon.PREP)
        return self.take(PERIOD)

    def _weekdays(self, role: str, *, negated: bool) -> Cond | None:
        first = self.take(WEEKDAYS)
        if first is None:
            return None
        days, texts = list(first.days), [first.text]
        while (following := self.attempt(lambda: self.take(WEEKDAYS) if self.separator() else None)) is not None:
            days, texts = [*days, *following.days], [*texts, following.text]
        return WeekdayCond(tuple(dict.fromkeys(days)), " or ".join(texts), negated)

    def _between(self, role: str, *, negated: bool, noun: Noun | None = None) -> Cond | None:
        if not self.take(lexicon.CMP, "between"):
            return None
        low = self.number()
        if low is None or not (self.take(lexicon.AND) or self.take(lexicon.PREP, "to")):
            return None
        high = self.number()
        if high is None:
            return None
        named = noun or self._measured()
        return NumberCond("between", low[0], named, high[1] or low[1], high[0], negated)

    def _compared(self, role: str, *, negated: bool, noun: Noun | None = None) -> Cond | None:
        lexeme = self.take(lexicon.CMP)
        if lexeme is None:
            return None
        op = lexeme.key
        if op == "between":
            return None
        if negated:
            number = self.number()
            named = noun or self._measured()
            return (
                NumberCond(op, number[0], named, number[1], negated=True) if number and (named or number[1]) else None
            )
        compared: Cond | None = self.attempt(lambda: self._average(op, noun))
        compared = compared or self.attempt(lambda: self._other_column(op, noun))
        if compared is not None:
            return compared
        number = self.number()
        if number is None:
            return None
        named = noun or self._measured()
        return NumberCond(op, number[0], named, number[1]) if named or number[1] else None

    def _average(self, op: str, noun: Noun | None) -> Cond | None:
        self.fill()
        if not self.take(lexicon.AGG, "avg"):
            return None
        self.fill()
        if self.kind() == NOUN:
            named = self.noun()
            if noun is not None and named and not (set(noun.meanings) & set(named.meanings)):
                return None
            noun = noun or named
        return AverageCond(op, noun) if noun else None

    def _other_column(self, op: str, noun: Noun | None) -> Cond | None:
        self.fill()
        other = self.noun()
        if noun is None or other is None or not other.of("column") or not noun.of("column"):
            return None
        return ColumnCond(op, noun, other)

    def _measured(self) -> Noun | None:
        """Return the column after a number: "300 seats", "60 minutes of departure delay"."""
        begin = self.at
        self.skip(lexicon.FILL)
        self.take(lexicon.PREP, "of", "at")
        self.fill()
        if self.kind() == lexicon.DISTINCT:
            self.at = begin
            return None
        noun = self.noun()
        if noun is None or not self._is_quantity(noun):
            self.at = begin
            return None
        return noun

    def _may_be_number(self, noun: Noun) -> bool:
        return any(self.schema.is_number(m.table, self.schema.column(m.table, m.name)) for m in noun.of("column"))

    def _is_quantity(self, noun: Noun) -> bool:
        """Tell whether a name may be a number of one row, and not a thing to be counted."""
        columns = noun.of("column")
        counted = any(meaning.cost < 1 for meaning in noun.of("table"))
        return not counted and any(
            self.schema.is_number(meaning.table, self.schema.column(meaning.table, meaning.name)) for meaning in columns
        )

    def _count(self, role: str, *, negated: bool) -> Cond | None:
        """Read "4 engines": exactly so many."""
        if self.kind() != NUM:
            return None
        number = self.number()
        noun = self._measured()
        return NumberCond("eq", number[0], noun, number[1], negated=negated) if number and noun else None

    def _values(self, role: str, *, negated: bool, noun: Noun | None = None) -> Cond | None:
        first = self.take(VALUE)
        if first is None:
            return None
        lexemes = [first]
        while (following := self.attempt(lambda: self._another_value(lexemes[0], negated=negated))) is not None:
            lexemes.append(following)
        if noun is None:
            noun = self.attempt(lambda: self._label_after(first))
        return ValueCond(
            tuple(lexeme.found for lexeme in lexemes), tuple(lexeme.text for lexeme in lexemes), noun, role, negated
        )

    def _another_value(self, first: Lexeme, *, negated: bool) -> Lexeme | None:
        joined = self.separator(versus=True)
        if not joined:
            return None
        self.skip(lexicon.FILL, lexicon.PREP, *((lexicon.NEG,) if negated else ()))
        lexeme = self.take(VALUE)
        if lexeme is None:
            return None
        columns = {(found.table, found.column) for found in first.found}
        if not columns & {(found.table, found.column) for found in lexeme.found}:
            return None
        self.compared = self.compared or joined == "versus"
        return lexeme

    def _label_after(self, value: Lexeme) -> Noun | None:
        """Return the noun after a value when it only says what the value is: "JFK airport"."""
        noun = self.noun()
        if noun is None or noun.loose or self.kind() == lexicon.CMP:
            return None
        fitting = tuple(
            meaning for meaning in noun.meanings if any(self.schema.fits(meaning, found) for found in value.found)
        )
        return Noun(noun.text, fitting) if fitting else None

    def _text(self, role: str, *, negated: bool, noun: Noun | None = None) -> Cond | None:
        lexeme = self.take(lexicon.TEXT)
        if lexeme is None:
            return None
        self.fill()
        if lexeme.key == "named":
            if self.kind() == VALUE:
                return self._values(role, negated=negated, noun=noun)
            word = self.take(QUOTE)
            return TextCond("eq", word.text, noun, negated) if word and noun else None
        while self.kind() in {lexicon.FILL, lexicon.PREP}:
            self.at += 1
        word = self.take(QUOTE) or self.take(UNKNOWN) or self.take(VALUE) or self.take(NUM)
        return TextCond(lexeme.key, word.text, noun, negated) if word else None

    def _named_first(self, role: str, *, negated: bool) -> Cond | None:  # noqa: C901, PLR0911
        """Read a condition that begins with the column: "carrier is UA", "delay over an hour", "tail number is missing"."""
        noun = self.noun()
        if noun is None:
            return None
        strong = not noun.of("column")
        linked = 0
        while True:
            if self.take(lexicon.NEG):
                negated = not negated
            elif self.skip(*_LINK) or (not strong and self.take(lexicon.PREP, "of", "at", "by")):
                linked += 1
            else:
                break
        if self.kind() == VALUE:
            return self._value_of(noun, role, negated=negated)
        numeric = self._may_be_number(noun)
        for rule in (self._between, self._compared, self._text) if numeric else (self._text,):
            found: Cond | None = self.attempt(partial(rule, role, negated=negated, noun=noun))
            if found is not None:
                return found
        if lexeme := self.take(lexicon.NULL):
            return NullCond(noun, negated != (lexeme.key == "known")) if noun.of("column") else None
        if self.kind() == NUM and noun.of("column") and numeric:
            number = self.number()
            return NumberCond("eq", number[0], noun, number[1], negated=negated) if number else None
        if self.kind() == PERIOD and self._is_dated(noun, linked=linked > 0):
            dates = self._dates(role, negated=negated)
            return DateCond(dates.periods, dates.texts, noun, negated) if isinstance(dates, DateCond) else None
        return None

    def _is_dated(self, noun: Noun, *, linked: bool) -> bool:
        """Tell whether a noun names the time that a period bounds: "created in March", "built after 2000"."""
        lowest = min(meaning.cost for meaning in noun.meanings)
        dated = [m for m in noun.of("column") if self._is_time(m) or "year" in name_words(m.name)]
        if not dated or (lowest < min(m.cost for m in dated) and not linked):
            return False
        return not any(meaning.cost < 1 for meaning in noun.of("table"))

    def _is_time(self, meaning: Meaning) -> bool:
        return self.schema.is_time(meaning.table, self.schema.column(meaning.table, meaning.name))

    def _value_of(self, noun: Noun, role: str, *, negated: bool) -> Cond | None:
        value = self.peek()
        if value is None:
            return None
        fitting = tuple(
            meaning for meaning in noun.meanings if any(self.schema.fits(meaning, found) for found in value.found)
        )
        if not fitting:
            return None
        return self._values(role, negated=negated, noun=Noun(noun.text, fitting, noun.owner))

    def _flag(self, role: str, *, negated: bool) -> Cond | None:
        lexeme = self.peek()
        noun = self.noun()
        if noun is None or lexeme is None:
            return None
        filters = noun.of("filter")
        flags = tuple(
            meaning
            for meaning in noun.of("column")
            if meaning.cost < 1 and self.schema.is_flag(meaning.table, meaning.name)
        )
        if not (filters or flags) or (self.kind() == GRAIN and not filters):
            return None
        return FlagCond(Noun(noun.text, filters or flags), negated)

    def null(self) -> Cond | None:
        """Read "without a tail number" and "missing tail number", where a missing value can be told from zero."""
        negated, said = False, self.kind() == lexicon.NULL
        if lexeme := self.take(lexicon.NULL):
            negated = lexeme.key == "known"
        elif not self.take(lexicon.NO):
            return None
        self.fill()
        if inner := self.take(lexicon.NULL):  # "without a known tail number"
            negated, said = negated != (inner.key == "null"), True
        noun = self.noun()
        if noun is None or any(meaning.cost < 1 for meaning in noun.of("table")):
            return None
        columns = noun.of("column")
        if not columns or any(self.schema.is_flag(meaning.table, meaning.name) for meaning in columns):
            return None
        if not said and any(self.schema.column(m.table, m.name).kind.value == "fact" for m in columns):
            return None  # no delay is zero as well as unknown
        return NullCond(Noun(noun.text, columns), negated)
