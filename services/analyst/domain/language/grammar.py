"""The grammar of a question. Every lexeme is consumed by a rule that gives it a meaning, or the question is not understood."""

from collections.abc import Callable
from dataclasses import replace

from services.analyst.domain.language import lexicon
from services.analyst.domain.language.conditions import Conditions
from services.analyst.domain.language.cursor import NotUnderstood, T
from services.analyst.domain.language.lexemes import ADJ, GRAIN, MARK, NOUN, NUM, ORDINAL, PERIOD, UNIT, VALUE, Lexeme
from services.analyst.domain.language.sketch import (
    AverageCond,
    Cond,
    Group,
    HavingSketch,
    MeasureSketch,
    NoneCond,
    Noun,
    RankSketch,
    Sketch,
    ValueCond,
)

_NESTING = ("avg", "max", "min", "median")
_MAX_COUNT = 10_000  # of "top n"


class Grammar(Conditions):
    """Reads a whole question into a sketch, or a fragment that refines an earlier one."""

    def parse(self) -> Sketch:
        """Return what the question says. Raises ``NotUnderstood`` at the first word that no rule reads."""
        self.sketch = Sketch()
        self.predicate = False  # past the verb: what follows is what the question asks about its subject
        self.wanted: int | None = None  # "which five": how many a later ranking keeps
        self._begin()
        while not self.is_done:
            if not self._step():
                lexeme = self.peek()
                raise NotUnderstood(self.at, lexeme.text if lexeme else "")
        self.sketch.compare = self.sketch.compare or self.compared
        self._target_of_value()
        return self.sketch

    def _target_of_value(self) -> None:
        """Read "which airline is UA" as a question for the airline."""
        sketch = self.sketch
        if sketch.targets or sketch.measures or sketch.groups or sketch.rank or sketch.havings or sketch.ask not in {"which", "what", "who"}:
            return
        for cond in sketch.conds:
            if isinstance(cond, ValueCond) and cond.noun and cond.noun.of("table") and not cond.negated:
                sketch.targets.append(cond.noun)
                return

    def attempt(self, rule: Callable[[], T | None]) -> T | None:
        """Return what *rule* reads; when it reads nothing, the cursor and the sketch are as before."""
        saved = (self.sketch.copy(), self.predicate, self.compared, self.role, self.wanted)
        found = super().attempt(rule)
        if found is None or found is False:
            self.sketch, self.predicate, self.compared, self.role, self.wanted = saved
        return found

    def _begin(self) -> None:
        self.skip(lexicon.FILL, MARK)
        if self.kind() == lexicon.AND:
            self.at += 1
        first = self.peek()
        if first and first.kind == lexicon.AUX and first.text.lower().split()[0] in {
            "is", "are", "was", "were", "do", "does", "did", "has", "have", "had", "can", "could", "should", "will", "would",
        }:  # fmt: skip
            self.sketch.ask = "yesno"
            self.at += 1

    def _step(self) -> bool:
        rules = (
            self._mark, self._ask, self._diff, self._share, self._rank, self._none, self._having, self._more_than, self._aggregate,
            self._order, self._group, self._daily, self._condition, self._null, self._target, self._distinct, self._grain_target, self._link,
        )  # fmt: skip
        return any(self.attempt(rule) for rule in rules)

    def _mark(self) -> bool | None:
        return True if self.take(MARK) or self.skip(lexicon.FILL) else None

    def _ask(self) -> bool | None:
        lexeme = self.peek()
        if lexeme is None or lexeme.kind != lexicon.ASK:
            return None
        key = lexeme.key
        if key in {"who", "where", "when"} and self.sketch.ask not in {"", "yesno"}:
            return None  # a relative word
        if key == "which" and self.sketch.ask not in {"", "list", "compare"}:
            return None
        self.at += 1
        if key == "compare":
            self.sketch.compare = True
        if self.sketch.ask in {"", "list", "what", "compare"} or key == "count":
            self.sketch.ask = key
        elif self.sketch.ask != key:
            return True if key in {"list", "what"} else None
        if key == "count":
            return self._count_target()
        if key == "sum":
            return self._sum_target()
        return True

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

    def _adjectives(self) -> list[Cond]:
        """Read conditions that stand before their noun: "cancelled", "Delta", "non-stop"."""
        conds: list[Cond] = []
        while self.kind() in {VALUE, NOUN, lexicon.NEG, lexicon.NULL, lexicon.CMP}:
            cond = self.attempt(self._adjective)
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
        if owner is None or owner.plural and not owner.of("table"):
            return None
        return self.owned(noun, owner)

    def is_valued(self) -> bool:
        """Tell whether the noun here is followed by its value: "airline Delta"."""
        return (
            self.kind() == NOUN
            and self.kind(1) in {VALUE, NUM}
            or (self.kind() == NOUN and self.kind(1) == lexicon.TEXT)
        )

    def _hold(self, cond: Cond) -> None:
        shared = any(measure.share == "part" for measure in self.sketch.measures)
        (self.sketch.parts if shared and self.predicate else self.sketch.conds).append(cond)

    # Measures

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
        counted = any(meaning.cost < 1 for meaning in noun.of("table"))
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
            total = self.attempt(self._share_total)
            return total
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
            agg.key
            if agg and agg.key == "count"
            else "count"
            if any(m.cost < 1 for m in noun.of("table"))
            else ""
            if not agg
            else "sum"
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
        counted = any(meaning.cost < 1 for meaning in noun.of("table"))
        self.sketch.measures.append(MeasureSketch("count" if counted else "", noun))
        return True

    # Rankings

    def _rank(self) -> bool | None:
        if self.sketch.rank is not None and not self.sketch.rank.every:
            return None
        rank = self._rank_words()
        if rank is None:
            return None
        self.sketch.rank = replace(rank, count=rank.count or self.wanted)
        self.wanted = None
        return True

    def _rank_words(self) -> RankSketch | None:
        offset, count = 0, None
        if self.kind() == ORDINAL and self.kind(1) in {lexicon.SUP, ADJ}:
            lexeme = self.peek()
            offset = int(lexeme.number) - 1 if lexeme else 0
            self.at += 1
            count = 1
        elif self.kind() == NUM and self.kind(1) in {lexicon.SUP, ADJ}:
            count = self._whole()
        if adjective := self.take(ADJ):
            return self._by_adjective(adjective.key, count, offset)
        lexeme = self.take(lexicon.SUP)
        if lexeme is None:
            return None
        self.take(lexicon.PREP, "of")
        if count is None and self.kind() == NUM:
            count = self._whole()
        key, words = lexeme.key, lexeme.text.lower()
        descending = key in {"desc", "common", "busy", "last"}
        if key in {"common", "rare", "busy", "quiet"}:
            self._ranked_noun()
            if measure := self.attempt(self._ranked_by):
                return RankSketch(descending, count, offset, measure)
            return RankSketch(descending, count, offset, common=True, busy=key in {"busy", "quiet"})
        if key in {"first", "last"}:
            return self._by_time(descending, count, offset)
        if words in {"top", "bottom", "leading", "best", "worst", "worst performing"}:
            return self._top(descending, key, words, count, offset)
        return self._by_most(descending, words, count, offset)

    def _whole(self) -> int | None:
        lexeme = self.take(NUM)
        if lexeme is None or lexeme.number != int(lexeme.number) or not 0 < lexeme.number <= _MAX_COUNT:
            return None
        return int(lexeme.number)

    def _ranked_noun(self) -> bool:
        """Read what is ranked, as a target; conditions may stand before it."""
        self.fill()
        for cond in self._adjectives():
            self._hold(cond)
        noun = self._plain_noun()
        if noun is not None:
            self.sketch.targets.append(noun)
        return noun is not None

    def _ranked_by(self) -> MeasureSketch | None:
        """Read "by number of flights", "with the highest average delay" needs no such words."""
        if not (self.take(lexicon.BY) or self.take(lexicon.ORDER, "by")):
            return None
        self.fill()
        return self._key()

    def _key(self) -> MeasureSketch | None:
        self.fill()
        self.take(lexicon.SUP, "desc")
        if self.kind() == lexicon.AGG:
            return self._measure()
        noun = self._plain_noun()
        if noun is None or self.kind() in {lexicon.CMP}:
            return None
        counted = any(meaning.cost < 1 for meaning in noun.of("table")) and not noun.of("metric")
        return MeasureSketch("count" if counted else "", noun)

    def _top(self, descending: bool, key: str, words: str, count: int | None, offset: int) -> RankSketch | None:
        if words in {"best", "worst"} and self.kind() == lexicon.AGG:
            measure = self._measure()
            bad = measure is not None and _is_bad(measure.noun)
            good = measure is not None and _is_good(measure.noun)
            if measure is None or bad == good:
                return None
            return RankSketch((words == "worst") == bad, count, offset, measure)
        if not self._ranked_noun():
            return None
        while (cond := self.attempt(self.condition)) is not None:
            self._hold(cond)
        measure = self.attempt(self._ranked_by)
        if measure is None and not self._later_key():
            return None
        if words in {"best", "worst", "worst performing"}:
            return None
        return RankSketch(descending, count, offset, measure)

    def _later_key(self) -> bool:
        """Tell whether what a ranking goes by comes later in the question, after conditions."""
        return any(
            lexeme.kind in {lexicon.BY, lexicon.ORDER, lexicon.PREP, lexicon.AGG} for lexeme in self.lexemes[self.at :]
        ) or bool(self.sketch.measures)

    def _by_adjective(self, adjective: str, count: int | None, offset: int) -> RankSketch | None:
        descending = lexicon.ADJECTIVES[adjective][1]
        begin = self.at
        if self.kind() == lexicon.AGG and (measure := self._measure()):
            if _superlative_is_up(adjective) is None:
                return None
            return RankSketch(bool(_superlative_is_up(adjective)), count, offset, measure)
        self.fill()
        noun = self.attempt(self._plain_noun)
        if noun and not any(meaning.cost < 1 for meaning in noun.of("table")) and noun.of("column", "metric"):
            up = _superlative_is_up(adjective)
            if up is not None and self._measures(noun):
                return RankSketch(up, count, offset, MeasureSketch("", noun))
        self.at = begin
        self._ranked_noun()
        measure = self.attempt(self._ranked_by)
        if measure is not None:
            up = _superlative_is_up(adjective)
            return None if up is None else RankSketch(up, count, offset, measure)
        return RankSketch(descending, count, offset, adjective=adjective)

    def _measures(self, noun: Noun) -> bool:
        """Tell whether a name can be ranked by: a metric, a number, a time."""
        return bool(noun.of("metric")) or any(
            self.schema.is_number(meaning.table, self.schema.column(meaning.table, meaning.name))
            or self.schema.is_time(meaning.table, self.schema.column(meaning.table, meaning.name))
            for meaning in noun.of("column")
        )

    def _by_time(self, descending: bool, count: int | None, offset: int) -> RankSketch | None:
        noun_ahead = self.kind() in {NOUN, lexicon.FILL, VALUE}
        if not noun_ahead or not self._ranked_noun():
            return None
        measure = self.attempt(self._ranked_by)
        if measure:
            return RankSketch(descending, count, offset, measure)
        return RankSketch(descending, count, offset, adjective="latest" if descending else "earliest")

    def _by_most(self, descending: bool, words: str, count: int | None, offset: int) -> RankSketch | None:
        """Read "most flights", "highest average delay", "most seats", "most miles"."""
        self.fill()
        if self.kind() == lexicon.AGG:
            measure = self._measure()
            return RankSketch(descending, count, offset, measure) if measure else None
        if self.kind() == lexicon.SHARE and self._share():
            return RankSketch(descending, count, offset)
        distinct = self.take(lexicon.DISTINCT) is not None
        for cond in self._adjectives():
            self._hold(cond)
        noun = self._plain_noun()
        if noun is None:
            unit = self.unit()
            return RankSketch(descending, count, offset, MeasureSketch("sum", unit=unit)) if unit else None
        plain = words.removeprefix("the ")
        if any(meaning.cost < 1 for meaning in noun.of("table")) or not self._measures(noun):
            if "number" in plain or "count" in plain or "amount" in plain or plain in {"most", "least", "fewest"}:
                return RankSketch(descending, count, offset, MeasureSketch("count", noun, distinct))
            return None
        return RankSketch(descending, count, offset, MeasureSketch("", noun))

    def _order(self) -> bool | None:
        lexeme = self.take(lexicon.ORDER)
        if lexeme is None:
            return None
        if lexeme.key == "alpha":
            self.sketch.alphabetical = True
            return True
        if lexeme.key in {"asc", "desc"}:
            rank = self.sketch.rank
            self.sketch.rank = (
                replace(rank, descending=lexeme.key == "desc")
                if rank and rank.every
                else rank or RankSketch(lexeme.key == "desc", every=True)
            )
            return True
        measure = self._key()
        if measure is None:
            return None
        rank = self.sketch.rank
        if rank is not None and not rank.every:
            if rank.measure is not None:
                return None
            self.sketch.rank = replace(rank, measure=measure)
        else:
            self.sketch.rank = RankSketch(rank.descending if rank else False, measure=measure, every=True)
        return True

    # Groups and targets

    def _group(self) -> bool | None:
        lexeme = self.take(lexicon.BY)
        if lexeme is None:
            if not self.take(lexicon.EACH):
                return None
            each = True
        else:
            each = lexeme.text.lower() not in {"by", "grouped by", "broken down by", "split by", "group by", "across"}
        self.fill()
        each = bool(self.take(lexicon.EACH)) or each
        self.take(lexicon.DISTINCT)
        rank = self.sketch.rank
        if rank and not rank.every and rank.measure is None and not rank.adjective and (not rank.common or self.kind() == lexicon.AGG):
            key = self.attempt(self._key)
            if key is not None:
                self.sketch.rank = replace(rank, measure=key, common=False)
                return True
        groups = self._group_list(each)
        if not groups:
            return None
        last = self.sketch.measures[-1] if self.sketch.measures else None
        if last and last.outer and last.over is None:
            self.sketch.measures[-1] = replace(last, over=groups[0])
            groups = groups[1:]
        self.sketch.groups.extend(groups)
        return True

    def _group_list(self, each: bool) -> list[Group]:
        groups: list[Group] = []
        while True:
            self.fill()
            group = self.attempt(lambda: self._one_group(each))
            if group is None:
                break
            groups.append(group)
            begin = self.at
            if self.separator() != "and":
                break
            self.take(lexicon.BY)
            self.take(lexicon.EACH)
            if self.kind() not in {NOUN, GRAIN, lexicon.FILL}:
                self.at = begin
                break
            following = self.at
            if self.attempt(lambda: self._one_group(each)) is None:
                self.at = begin
                break
            self.at = following
        return groups

    def _one_group(self, each: bool) -> Group | None:
        self.fill()
        if lexeme := self.take(GRAIN):
            return Group(grain=lexeme.key, each=each)
        for cond in self._adjectives():
            self._hold(cond)
        noun = self._plain_noun()
        if noun is None or self.kind() in {lexicon.CMP}:
            return None
        if self.kind() == GRAIN and any(
            self._is_time(meaning) for meaning in noun.of("column")
        ):  # "by order date month"
            grain = self.take(GRAIN)
            return Group(noun, grain.key if grain else "", each)
        return Group(noun, each=each)

    def _condition(self) -> bool | None:
        self.role = ""
        begin = self.at
        cond = self.condition()
        if cond is None:
            return None
        self.predicate = self.predicate or any(_is_verb(lexeme) for lexeme in self.lexemes[begin : self.at])
        self._hold(cond)
        return True

    def _null(self) -> bool | None:
        self.skip(lexicon.AUX, lexicon.REL)
        self.take(lexicon.PREP, "with")
        cond = self.null()
        if cond is None:
            return None
        self._hold(cond)
        return True

    def _none(self) -> bool | None:
        """Read "with no flights to Boston": all conditions after it are about what there is none of."""
        self.skip(lexicon.AUX, lexicon.REL, lexicon.FILL)
        if not (self.take(lexicon.NO) or (self.take(lexicon.NEG) and self._verb())):
            return None
        self.fill()
        conds = self._adjectives()
        noun = self.attempt(self.noun)
        if (
            noun is None
            or not any(meaning.cost < 1 for meaning in noun.of("table"))
            or not (self.sketch.targets or self.sketch.measures)
        ):
            return None
        if any(meaning in noun.of("table") for target in self._subjects() for meaning in target.of("table")):
            return None
        while (cond := self.attempt(self.condition)) is not None:
            conds.append(cond)
            self.skip(lexicon.AND)
        role = self.take(lexicon.PREP, "from", "to")
        self.fill()
        if role and not self.is_done and self.kind() != MARK:
            return None
        self.sketch.conds.append(NoneCond(Noun(noun.text, noun.of("table")), tuple(conds), role.key if role else ""))
        return True

    def _verb(self) -> bool:
        return self.take(lexicon.PREP, "with") is not None or self.skip(lexicon.AUX) > 0

    def _subjects(self) -> list[Noun]:
        return [*self.sketch.targets, *(measure.noun for measure in self.sketch.measures if measure.noun)]

    def _having(self) -> bool | None:
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
        if noun is None or not self._subjects() and not self.sketch.groups:
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

    def _target(self) -> bool | None:
        """Read a plain name: what to list, to show, to count by."""
        prep = self.take(lexicon.PREP, "of", "for", "at", "with", "by", "from", "to")
        self.fill()
        if self.kind() == NUM and self.kind(1) in {NOUN, VALUE} and any(x.kind in {lexicon.SUP, ADJ} for x in self.lexemes[self.at :]):
            self.wanted = self._whole()
        each = self.take(lexicon.EACH) is not None
        self.fill()
        for cond in self._adjectives():
            self._hold(cond)
        noun = self._plain_noun()
        if noun is None:
            return None
        if noun.of("table") and (count := self.peek()) and count.kind == lexicon.ASK and count.text.lower() == "count":
            self.at += 1
            self.sketch.measures.append(MeasureSketch("count", noun))
            return True
        if self.sketch.targets and not any(meaning.cost < 1 for meaning in noun.of("table")):
            noun = self.owned(noun, self.sketch.targets[0]) or noun
        noun = replace(noun, role=prep.key if prep and prep.key in {"from", "to"} else "")
        if each:
            self.sketch.groups.append(Group(noun, each=True))
        else:
            self.sketch.targets.append(noun)
        return True

    def _distinct(self) -> bool | None:
        if not self.take(lexicon.DISTINCT):
            return None
        self.sketch.distinct = True
        return True

    def _grain_target(self) -> bool | None:
        """Read "which month had the most flights": a grain of time stands where a name would."""
        lexeme = self.peek()
        if lexeme is None or lexeme.kind != GRAIN:
            return None
        if self.sketch.ask in {"which", "what", "list", "when"} or self.sketch.rank:
            self.at += 1
            self.sketch.groups.append(Group(grain=lexeme.key))
            return True
        return None

    def _link(self) -> bool | None:
        """Move over a word that only links what is read on both sides of it."""
        lexeme = self.peek()
        if lexeme is None:
            return None
        said = self.sketch.targets or self.sketch.measures or self.sketch.groups or self.sketch.conds
        if lexeme.kind == lexicon.AUX or (lexeme.kind == lexicon.REL and said):
            self.at += 1
            self.predicate = True
            return True
        if lexeme.kind == lexicon.AND and not self.is_last():
            self.at += 1
            return True
        if (
            lexeme.kind == lexicon.PREP
            and (self.is_last() or self.kind(1) in {lexicon.THAN, lexicon.BY, MARK, PERIOD})
            and lexeme.text.lower()
            in {
                "have",
                "has",
                "had",
                "having",
                "arrive at",
                "go to",
                "fly to",
                "depart",
                "leave",
                "fly from",
                "depart from",
                "take off from",
                "departed",
                "left",
                "arriving",
            }
        ):
            self.at += 1  # a verb at the end of the question
            return True
        if lexeme.kind == lexicon.PREP and not self.is_last():
            ahead = 1
            while self.kind(ahead) == lexicon.FILL:
                ahead += 1
            following = self.kind(ahead)
            if following in {
                NOUN,
                VALUE,
                GRAIN,
                lexicon.SUP,
                ADJ,
                lexicon.AGG,
                lexicon.EACH,
                lexicon.PREP,
                lexicon.MORE,
                lexicon.DISTINCT,
                lexicon.DIFF,
            }:
                self.at += 1
                if lexeme.key in {"with", "from", "to", "by"} and lexeme.text.lower() in {
                    "having",
                    "have",
                    "has",
                    "had",
                    "go to",
                    "went to",
                    "goes to",
                }:
                    self.predicate = True
                return True
            return None
        if lexeme.kind == lexicon.THAN and self.sketch.diff in {"more", "fewer"}:
            self.at += 1
            return True
        if lexeme.kind == lexicon.VERSUS and not self.is_last():
            self.at += 1
            self.sketch.compare = True
            return True
        return None

    def is_last(self) -> bool:
        """Tell whether nothing but marks follows."""
        return all(lexeme.kind == MARK for lexeme in self.lexemes[self.at + 1 :])


def _is_verb(lexeme: Lexeme) -> bool:
    """Tell whether a word is a verb, after which a share's part is said."""
    plain = {
        "of",
        "in",
        "at",
        "on",
        "to",
        "into",
        "from",
        "for",
        "with",
        "by",
        "during",
        "out of",
        "within",
        "over",
        "under",
        "about",
    }
    return lexeme.kind in {lexicon.AUX, lexicon.REL} or (
        lexeme.kind == lexicon.PREP and lexeme.text.lower() not in plain
    )


def _superlative_is_up(adjective: str) -> bool | None:
    """Tell whether an adjective asks for the greatest of whatever number it stands before; None when it depends."""
    up = {
        "longest": True,
        "shortest": False,
        "highest": True,
        "lowest": False,
        "largest": True,
        "biggest": True,
        "smallest": False,
    }
    late = {"oldest": None, "latest": True, "earliest": False, "tallest": True, "fastest": None, "slowest": None}
    return (up | late).get(adjective)


def _is_bad(noun: Noun | None) -> bool:
    return noun is not None and bool(
        {"delay", "error", "cost", "loss", "complaint", "lateness", "wait", "defect", "failure"}
        & set(noun.text.lower().split())
    )


def _is_good(noun: Noun | None) -> bool:
    return noun is not None and bool(
        {"score", "rating", "revenue", "profit", "performance", "sales", "margin", "satisfaction"}
        & set(noun.text.lower().split())
    )
