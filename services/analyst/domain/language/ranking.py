"""The grammar of what comes first: top, most, highest, oldest, common, sorted by."""

from dataclasses import replace

from services.analyst.domain.language import lexicon
from services.analyst.domain.language.lexemes import ADJ, NOUN, NUM, ORDINAL, VALUE
from services.analyst.domain.language.quantities import Quantities
from services.analyst.domain.language.sketch import (
    Cond,
    MeasureSketch,
    Noun,
    RankSketch,
)


class Ranking(Quantities):
    """Reads rankings and orders."""

    def _rank(self) -> bool | None:
        if self.sketch.rank is not None and not self.sketch.rank.every:
            return None
        rank = self._rank_words()
        if rank is None:
            return None
        self.sketch.rank = replace(rank, count=rank.count or self.wanted)
        self.wanted = None
        return True

    def _rank_words(self) -> RankSketch | None:  # noqa: PLR0911
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
            return self._by_time(count, offset, descending=descending)
        if words in {"top", "bottom", "leading", "best", "worst", "worst performing"}:
            return self._top(key, words, count, offset, descending=descending)
        return self._by_most(words, count, offset, descending=descending)

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

    def _top(self, key: str, words: str, count: int | None, offset: int, *, descending: bool) -> RankSketch | None:  # noqa: PLR0911
        if words in {"best", "worst"} and self.kind() == lexicon.AGG:
            measure = self._measure()
            bad = measure is not None and _is_bad(measure.noun)
            good = measure is not None and _is_good(measure.noun)
            if measure is None or bad == good:
                return None
            return RankSketch((words == "worst") == bad, count, offset, measure)
        if words in {"best", "worst"} and (noun := self.attempt(self._plain_noun)):
            if not self._measures(noun) or _is_bad(noun) == _is_good(noun):
                return None
            return RankSketch((words == "worst") == _is_bad(noun), count, offset, MeasureSketch("", noun))
        if not self._ranked_noun():
            return None
        cond: Cond | None
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

    def _by_time(self, count: int | None, offset: int, *, descending: bool) -> RankSketch | None:
        noun_ahead = self.kind() in {NOUN, lexicon.FILL, VALUE}
        if not noun_ahead or not self._ranked_noun():
            return None
        measure = self.attempt(self._ranked_by)
        if measure:
            return RankSketch(descending, count, offset, measure)
        return RankSketch(descending, count, offset, adjective="latest" if descending else "earliest")

    def _by_most(self, words: str, count: int | None, offset: int, *, descending: bool) -> RankSketch | None:
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
        if self._is_counted(noun) or not self._measures(noun):
            if "number" in plain or "count" in plain or "amount" in plain or plain in {"most", "least", "fewest"}:
                return RankSketch(descending, count, offset, MeasureSketch("count", noun, distinct))
            return None
        return RankSketch(descending, count, offset, MeasureSketch("", noun))

    def _first_group(self) -> bool | None:
        """Read the name of what rows are grouped by or listed: they are in its order anyhow."""
        self.fill()
        noun = self._plain_noun()
        first = next((group.noun for group in self.sketch.groups), None) or next(iter(self.sketch.targets), None)
        if noun is None or first is None or self.kind() == lexicon.ORDER:
            return None
        return True if set(noun.meanings) & set(first.meanings) else None

    def _order(self) -> bool | None:  # noqa: PLR0911
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
        if self.attempt(self._first_group):
            self.sketch.alphabetical = True
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
