"""The grammar of a question. Every lexeme is consumed by a rule that gives it a meaning, or the question is not understood."""

from dataclasses import replace

from services.analyst.domain.language import lexicon
from services.analyst.domain.language.cursor import NotUnderstood
from services.analyst.domain.language.lexemes import ADJ, GRAIN, MARK, NOUN, NUM, PERIOD, VALUE, Lexeme
from services.analyst.domain.language.ranking import Ranking
from services.analyst.domain.language.sketch import (
    Cond,
    Group,
    MeasureSketch,
    NoneCond,
    Noun,
    Sketch,
    ValueCond,
)
from services.analyst.domain.language.words import words

_ALSO_NAMES = words(
    "name report display list output value"
)  # words of asking at the beginning only, else names of things


class Grammar(Ranking):
    """Reads a whole question into a sketch, or a fragment that refines an earlier one."""

    def parse(self) -> Sketch:
        """Return what the question says. Raises ``NotUnderstood`` at the first word that no rule reads."""
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
        if (
            sketch.targets
            or sketch.measures
            or sketch.groups
            or sketch.rank
            or sketch.havings
            or sketch.ask not in {"which", "what", "who"}
        ):
            return
        for cond in sketch.conds:
            if isinstance(cond, ValueCond) and cond.noun and cond.noun.of("table") and not cond.negated:
                sketch.targets.append(cond.noun)
                return

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

    def _ask(self) -> bool | None:  # noqa: PLR0911
        lexeme = self.peek()
        if lexeme is None or lexeme.kind != lexicon.ASK:
            return None
        key = lexeme.key
        begun = any(before.kind not in {lexicon.FILL, MARK} for before in self.lexemes[: self.at])
        if begun and lexeme.text.lower() in _ALSO_NAMES:
            return None
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

    # Measures

    # Rankings

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
        if (
            rank
            and not rank.every
            and rank.measure is None
            and not rank.adjective
            and (not rank.common or self.kind() == lexicon.AGG)
        ):
            key = self.attempt(self._key)
            if key is not None:
                self.sketch.rank = replace(rank, measure=key, common=False)
                return True
        groups = self._group_list(each=each)
        if not groups:
            return None
        last = self.sketch.measures[-1] if self.sketch.measures else None
        if last and last.outer and last.over is None:
            self.sketch.measures[-1] = replace(last, over=groups[0])
            groups = groups[1:]
        self.sketch.groups.extend(groups)
        return True

    def _group_list(self, *, each: bool) -> list[Group]:
        groups: list[Group] = []
        while True:
            self.fill()
            group = self.attempt(lambda: self._one_group(each=each))
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
            if self.attempt(lambda: self._one_group(each=each)) is None:
                self.at = begin
                break
            self.at = following
        return groups

    def _one_group(self, *, each: bool) -> Group | None:
        self.fill()
        if lexeme := self.take(GRAIN):
            return Group(grain=lexeme.key, each=each)
        for cond in self._adjectives():
            self._hold(cond)
        noun = self._plain_noun()
        if noun is None or self.kind() == lexicon.CMP:
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
        cond: Cond | None
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

    def _target(self) -> bool | None:
        """Read a plain name: what to list, to show, to count by."""
        prep = self.take(lexicon.PREP, "of", "for", "at", "with", "by", "from", "to")
        self.fill()
        if (
            self.kind() == NUM
            and self.kind(1) in {NOUN, VALUE}
            and any(x.kind in {lexicon.SUP, ADJ} for x in self.lexemes[self.at :])
        ):
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
        noun = replace(noun, role=prep.key if prep else "")
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

    def _link(self) -> bool | None:  # noqa: C901, PLR0911
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
