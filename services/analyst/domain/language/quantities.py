"""The grammar of numbers asked for: counts, sums, averages of groups, shares, differences, and conditions on them."""

from dataclasses import replace

from services.analyst.domain.language import lexicon
from services.analyst.domain.language.lexemes import GRAIN, NOUN, NUM, PERIOD, VALUE
from services.analyst.domain.language.phrases import Phrases
from services.analyst.domain.language.sketch import (
    Group,
    HavingSketch,
    MeasureSketch,
    ValueCond,
)

_NESTING = ("avg", "max", "min", "median")


class Quantities(Phrases):
    """Reads what a question counts, adds up or compares."""

    def _count_target(self) -> bool | None:
        """Read what "how many" counts; a quantity column is summed or looked up, not counted."""
        self.fill()
        distinct = self.take(lexicon.DISTINCT) is not None
        self.fill()
        for cond in self._adjectives():
            self._hold(cond)
        if self.kind() == lexicon.EVENT:
            return None
        noun = self._plain_noun()
        if noun is None:
            unit = self.unit()
            if unit:
                self.sketch.measures.append(MeasureSketch("", unit=unit))
                return True
            lexeme = self.peek()
            if lexeme and lexeme.kind == GRAIN and not lexeme.adverb:
                self.at += 1
                self.sketch.measures.append(MeasureSketch("count_grain", over=Group(grain=lexeme.key)))
                return True
            return None
        self.sketch.measures.append(MeasureSketch("count", noun, distinct))
        return True

    def _sum_target(self) -> bool | None:
        self.fill()
        noun = self._plain_noun()
        if noun is None:
            unit = self.unit()
            if not unit:
                return None
            self.sketch.measures.append(MeasureSketch("sum", unit=unit))
            return True
        self.sketch.measures.append(MeasureSketch("", noun))
        return True

    def _aggregate(self) -> bool | None:
        measure = self._measure()
        if measure is None:
            return None
        if having := self.attempt(lambda: self._compared_measure(measure)):
            self.sketch.havings.append(having)
            return True
        self.sketch.measures.append(measure)
        while (following := self.attempt(lambda: self._another_measure(measure))) is not None:
            self.sketch.measures.append(following)
        return True

    def _another_measure(self, before: MeasureSketch) -> MeasureSketch | None:
        if self.separator() != "and":
            return None
        self.fill()
        if self.kind() == lexicon.AGG:
            return self._measure()
        noun = self._plain_noun()
        if noun is None or self.is_condition_ahead() or before.outer or before.func == "count":
            return None
        return replace(before, noun=noun) if noun.of("column", "metric") and not noun.of("table") else None

    def _measure(self) -> MeasureSketch | None:
        """Read an aggregate: "average departure delay", "number of distinct carriers", "average daily number of flights"."""
        lexeme = self.take(lexicon.AGG)
        if lexeme is None:
            return None
        func = lexeme.key
        self.take(lexicon.PREP, "of")
        if func in _NESTING and (nested := self.attempt(lambda: self._nested(func))):
            return nested
        funcs = [func]
        while (more := self.attempt(lambda: self.take(lexicon.AGG) if self.separator() else None)) is not None:
            funcs.append(more.key)
        self.fill()
        if func == "sum" and self.take(lexicon.AGG, "count"):
            func, funcs = "count", ["count"]
        self.take(lexicon.PREP, "of")
        self.fill()
        distinct = self.take(lexicon.DISTINCT) is not None
        grain = self.take(GRAIN) if self.kind() == GRAIN and self._is_adverb() else None
        for cond in self._adjectives():
            self._hold(cond)
        noun = self._plain_noun()
        if noun is not None and funcs == ["sum"] and self._is_counted(noun):
            funcs = ["count"]  # "total flights"
        unit = "" if noun else self.unit()
        if noun is None and not unit:
            return None
        if grain:
            self.sketch.groups.append(Group(grain=grain.key))
        for other in funcs[:-1]:
            self.sketch.measures.append(MeasureSketch(other, noun, distinct, unit=unit))
        return MeasureSketch(funcs[-1], noun, distinct, unit=unit)

    def _nested(self, outer: str) -> MeasureSketch | None:
        """Read an aggregate of aggregates: "average number of flights per day", "most flights in a day" by its maximum."""
        self.fill()
        grain = self.take(GRAIN) if self.kind() == GRAIN and self._is_adverb() else None
        self.fill()
        inner = self.take(lexicon.AGG, "count", "sum")
        if inner:
            self.take(lexicon.PREP, "of")
            self.fill()
        distinct = self.take(lexicon.DISTINCT) is not None
        for cond in self._adjectives():
            self._hold(cond)
        noun = self._plain_noun()
        if noun is None:
            return None
        counted = self._is_counted(noun)
        if not inner and not counted and not (grain and noun.of("metric")):
            return None
        measure = MeasureSketch(inner.key if inner else "count", noun, distinct, outer=outer)
        if grain:
            return replace(measure, over=Group(grain=grain.key))
        return measure

    def _daily(self) -> bool | None:
        """Read "daily flights" and "monthly revenue": grouped by a grain."""
        lexeme = self.peek()
        if lexeme is None or lexeme.kind != GRAIN or not lexeme.adverb:
            return None
        self.at += 1
        self.sketch.groups.append(Group(grain=lexeme.key))
        return True

    def _share(self) -> bool | None:
        lexeme = self.take(lexicon.SHARE)
        if lexeme is None:
            return None
        self.fill()
        self.take(lexicon.PREP, "of")
        self.fill()
        if lexeme.key == "total":
            return self.attempt(self._share_total)
        agg = self.take(lexicon.AGG, "sum", "count")
        self.take(lexicon.PREP, "of")
        self.fill()
        distinct = self.take(lexicon.DISTINCT) is not None
        for cond in self._adjectives():
            self.sketch.parts.append(cond)
        noun = self._plain_noun()
        if noun is None:
            return None
        func = (
            agg.key if agg and agg.key == "count" else "count" if self._is_counted(noun) else "" if not agg else "sum"
        )
        self.sketch.measures.append(MeasureSketch("count" if distinct else func, noun, distinct, share="part"))
        if self.sketch.ask == "count":
            self.sketch.ask = ""
        return True

    def _share_total(self) -> bool | None:
        if self.sketch.measures:
            self.sketch.measures[-1] = replace(self.sketch.measures[-1], share="total")
            if self.kind() == NOUN:
                self.noun()
            return True
        agg = self.take(lexicon.AGG)
        self.take(lexicon.PREP, "of")
        self.fill()
        noun = self._plain_noun()
        if noun is None:
            return None
        self.sketch.measures.append(MeasureSketch(agg.key if agg else "", noun, share="total"))
        return True

    def _diff(self) -> bool | None:
        lexeme = self.take(lexicon.DIFF)
        if lexeme is None or (self.sketch.diff and "previous" not in {lexeme.key, self.sketch.diff}):
            return None
        self.sketch.diff = "previous" if self.sketch.diff else lexeme.key
        if lexeme.key == "previous":
            self.sketch.previous_grain = (
                lexeme.text.split()[0]
                .lower()
                .replace("yoy", "year")
                .replace("mom", "month")
                .replace("qoq", "quarter")
                .replace("wow", "week")
            )
            return True
        self.fill()
        self.take(lexicon.PREP, "of", "at")
        self.take(lexicon.CMP, "between")
        self.fill()
        if self.kind() == lexicon.AGG:
            return self._aggregate()
        if self.kind() == lexicon.SHARE:
            return True
        noun = self.attempt(self._plain_noun)
        if noun is None:
            return True if self.kind() in {lexicon.FILL, VALUE, PERIOD} else None
        counted = self._is_counted(noun)
        self.sketch.measures.append(MeasureSketch("count" if counted else "", noun))
        return True

    def _key(self) -> MeasureSketch | None:
        self.fill()
        self.take(lexicon.SUP, "desc")
        if self.kind() == lexicon.AGG:
            return self._measure()
        if self.kind() == lexicon.SHARE:
            return self.sketch.measures.pop() if self._share() else None
        noun = self._plain_noun()
        if noun is None or self.kind() == lexicon.CMP:
            return None
        counted = self._is_counted(noun)
        return MeasureSketch("count" if counted else "", noun)

    def _having(self) -> bool | None:  # noqa: PLR0911
        """Read "with more than 1000 flights", "with at least 3 different destinations": counted per group."""
        self.skip(lexicon.AUX, lexicon.REL, lexicon.FILL)
        self.take(lexicon.PREP, "with", "to", "by", "at", "from", "of")
        self.skip(lexicon.AUX, lexicon.FILL)
        lexeme = self.take(lexicon.CMP)
        op = lexeme.key if lexeme else "eq"
        upper = None
        if lexeme is None and self.kind() != NUM:
            return None
        number = self.number()
        if number is None or number[1]:
            return None
        if op == "between":
            if not self.take(lexicon.AND):
                return None
            high = self.number()
            if high is None:
                return None
            upper = high[0]
        self.fill()
        self.take(lexicon.PREP, "of")
        distinct = self.take(lexicon.DISTINCT) is not None
        for cond in self._adjectives():
            self._hold(cond)
        noun = self._plain_noun()
        if noun is None or (not self._subjects() and not self.sketch.groups):
            return None
        counted = noun.of("table") or distinct or not self._is_quantity(noun)
        if not counted or any(
            set(noun.of("table")) & set(subject.of("table")) for subject in self._subjects() if not self.sketch.groups
        ):
            return None
        self.sketch.havings.append(HavingSketch(MeasureSketch("count", noun, distinct), op, number[0], upper=upper))
        return True

    def _compared_measure(self, measure: MeasureSketch) -> HavingSketch | None:
        """Read what follows an aggregate when it is a condition on groups: "average delay above 20 minutes"."""
        if not self.sketch.targets and not self.sketch.groups and not self.sketch.measures:
            return None
        self.skip(lexicon.AUX, lexicon.FILL)
        self.take(lexicon.PREP, "of", "at")
        lexeme = self.take(lexicon.CMP)
        if lexeme is None:
            return None
        self.fill()
        if self.take(lexicon.AGG, "avg"):
            self.fill()
            self.attempt(self.noun)
            return HavingSketch(measure, lexeme.key, average=True)
        number = self.number()
        if number is None:
            return None
        upper = None
        if lexeme.key == "between":
            high = self.number() if self.take(lexicon.AND) else None
            if high is None:
                return None
            upper, number = high[0], (number[0], high[1] or number[1])
        return HavingSketch(measure, lexeme.key, number[0], number[1], upper)

    def _more_than(self) -> bool | None:
        """Read "more flights than Delta", "more flights than average", "did A or B have more flights"."""
        self.skip(lexicon.AUX, lexicon.REL, lexicon.FILL)
        self.take(lexicon.PREP, "with")
        self.fill()
        more = self.take(lexicon.MORE)
        if more is None:
            return None
        measure = self._key()
        if measure is None:
            return None
        begin = self.at
        self.fill()
        if self.take(lexicon.THAN):
            return self._than(more.key, measure)
        self.at = begin
        self.sketch.more = more.key
        self.sketch.measures.append(measure)
        return True

    def _than(self, op: str, measure: MeasureSketch) -> bool | None:
        self.skip(lexicon.FILL, lexicon.AUX)
        if self.take(lexicon.AGG, "avg"):
            self.fill()
            self.attempt(self._plain_noun)
            self.sketch.havings.append(HavingSketch(measure, op, average=True))
            return True
        if self.kind() == NUM:
            number = self.number()
            if number is None:
                return None
            self.sketch.havings.append(HavingSketch(measure, op, number[0], number[1]))
            return True
        cond = self.condition()
        if not isinstance(cond, ValueCond) or len(cond.values) != 1:
            return None
        self.sketch.havings.append(HavingSketch(measure, op, than=cond))
        return True
