"""Names and conditions of a sketch over one root table: which columns they are, what it costs to read them so, and their SQL."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import sqlglot
from sqlglot import exp

from services.analyst.domain.language import lexicon
from services.analyst.domain.language.dates import Period
from services.analyst.domain.language.schema import Ref, Schema
from services.analyst.domain.language.scope import Scope, Tables, Unresolved
from services.analyst.domain.language.sketch import (
    AverageCond,
    ColumnCond,
    Cond,
    DateCond,
    FlagCond,
    NoneCond,
    Noun,
    NullCond,
    NumberCond,
    OrCond,
    TextCond,
    ValueCond,
    WeekdayCond,
)
from services.analyst.domain.language.vocabulary import Found, Meaning, table_words
from services.analyst.domain.language.words import name_words, phrase, spoken
from services.analyst.domain.semantic_model.logical import identifier
from services.analyst.domain.semantic_model.model import Column
from services.analyst.domain.semantic_model.structure import DIALECT

STEP = 0.6  # the cost of one join; two readings closer than TIE are ambiguous
TIE = 0.25
_OPERATORS: dict[str, type[exp.Binary]] = {
    "gt": exp.GT,
    "ge": exp.GTE,
    "lt": exp.LT,
    "le": exp.LTE,
    "eq": exp.EQ,
    "ne": exp.NEQ,
}
_TURNED = {"gt": "le", "ge": "lt", "lt": "ge", "le": "gt", "eq": "ne", "ne": "eq"}
OPERATOR_WORDS = {
    "gt": "more than",
    "ge": "at least",
    "lt": "less than",
    "le": "at most",
    "eq": "exactly",
    "ne": "other than",
}
WEEKDAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(slots=True)
class Choice:
    """A column that a noun may be, and what it costs to read it so."""

    ref: Ref
    cost: float
    note: str = ""


@dataclass(slots=True)
class Resolver:
    """Reads names and conditions over one root. *cost* adds up; *notes* says what was decided for the person."""

    schema: Schema
    tables: Tables
    scope: Scope
    today: date
    cost: float = 0.0
    notes: list[str] = field(default_factory=list)
    used: list[Ref] = field(default_factory=list)
    mentions: list[Noun] = field(default_factory=list)  # names elsewhere in the question, which may say what part a join plays

    @property
    def root(self) -> str:
        """The table whose rows are counted."""
        return self.scope.root

    # Names

    def choices(self, noun: Noun, role: str = "") -> list[Choice]:
        """Return the columns that a noun may be, over this root."""
        found: dict[Ref, Choice] = {}
        for meaning in noun.of("column"):
            for ref, extra in self._reached(meaning.table, meaning.name, noun, role):
                choice = Choice(ref, meaning.cost + extra)
                if ref not in found or found[ref].cost > choice.cost:
                    found[ref] = choice
        return sorted(found.values(), key=lambda choice: choice.cost)

    def _reached(self, table: str, column: str, noun: Noun, role: str) -> list[tuple[Ref, float]]:
        paths = self.paths(table, self._hints(noun, role), self._through(noun))
        return [(self.reduced(Ref(steps, table, column)), len(steps) * STEP) for steps in paths]

    def _through(self, noun: Noun) -> frozenset[str]:
        """Return the relationships that a noun's owner names: "destination" of "destination airport's name"."""
        owner = noun.owner
        if owner is None:
            return frozenset()
        return frozenset(
            relation.name
            for meaning in owner.of("column")
            if meaning.cost < 1
            for relation in self.schema.foreign(meaning.table, meaning.name)
        )

    def _hints(self, noun: Noun | None, role: str) -> frozenset[str]:
        words = set(phrase(noun.text)) if noun else set()
        hints: set[str] = set()
        role = role or (noun.role if noun else "")
        if role == "from" or words & lexicon.BEGINNING:
            hints |= lexicon.BEGINNING
        if role == "to" or words & lexicon.ENDING:
            hints |= lexicon.ENDING
        return frozenset(hints)

    def paths(
        self, table: str, hints: frozenset[str] = frozenset(), through: frozenset[str] = frozenset()
    ) -> list[tuple[str, ...]]:
        """Return the shortest ways to a table; among joins that play different parts, those that the words before it mean."""
        paths = list(self.schema.paths(self.root, table))
        if through:
            named = [steps for steps in paths if through & set(steps)]
            paths = named or paths
        if hints and len(paths) > 1:
            meant = [steps for steps in paths if self._plays(steps, hints)]
            paths = meant or paths
        if not hints and not through and len(paths) > 1:
            paths = self._mentioned(table, paths) or paths
        shortest = min((len(steps) for steps in paths), default=0)
        return [steps for steps in paths if len(steps) == shortest]

    def _mentioned(self, table: str, paths: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
        """Return the ways that another name in the question speaks of: "destinations in the time zone"."""
        for noun in self.mentions:
            foreign = {relation.name for m in noun.of("column") if m.cost < 1 for relation in self.schema.foreign(m.table, m.name)}
            if named := [steps for steps in paths if foreign & set(steps)]:
                return named
            if noun.role and any(meaning.table == table for meaning in noun.of("table")):
                hints = lexicon.BEGINNING if noun.role == "from" else lexicon.ENDING
                return [steps for steps in paths if self._plays(steps, hints)]
        return []

    def _plays(self, steps: tuple[str, ...], hints: frozenset[str]) -> bool:
        return any(self.part(step) & hints for step in steps)

    def part(self, step: str) -> frozenset[str]:
        """Return the words that say which part a relationship plays: of its name and its left columns."""
        relation = self.schema.relationships[step]
        words = set(name_words(step)) - set(name_words(relation.left_table)) - {"to"}
        for left, _ in relation.columns:
            words |= self.column_words(relation.left_table, left)
        return frozenset(words)

    def column_words(self, table: str, column: str) -> set[str]:
        """Return the words of a column's name and synonyms."""
        entry = self.schema.column(table, column)
        return set(name_words(column)) | {part for synonym in entry.synonyms for part in phrase(synonym)}

    def reduced(self, ref: Ref) -> Ref:
        """Return the near end of a join instead of its far end: the foreign key is the key."""
        while ref.steps:
            relation = self.schema.relationships[ref.steps[-1]]
            left = next((left for left, right in relation.columns if right.casefold() == ref.column.casefold()), None)
            if left is None or self.schema.table(relation.left_table).column(left) is None:
                break
            ref = Ref(ref.steps[:-1], relation.left_table, left)
        return ref

    def ref(self, noun: Noun, role: str = "", *, numeric: bool = False) -> Ref:
        """Return the one column that a noun is. Raises when there is none, or no one."""
        choices = self.choices(noun, role)
        if numeric:
            choices = [each for each in choices if self.is_number(each.ref)] or choices
        return self._one(choices, noun.text, f"{noun.text!r} is nothing that {self.root} has or leads to")

    def _one(self, choices: Sequence[Choice], text: str, missing: str, *, beside: bool = False) -> Ref:
        if not choices:
            raise Unresolved(missing, weight=2)
        best = min(choices, key=lambda choice: choice.cost)
        rivals = [choice for choice in choices if choice.cost - best.cost < TIE and choice.ref != best.ref]
        if rivals:
            names = [self.title(choice.ref) for choice in (best, *rivals)]
            options = tuple(f"{name} {text}" for name in names) if beside else tuple(names)
            raise Unresolved(f"{text!r} may mean {_or(names)}", weight=6, options=options, noun=text)
        self.cost += best.cost
        self.used.append(best.ref)
        if best.note:
            self.notes.append(best.note)
        return best.ref

    def title(self, ref: Ref) -> str:
        """Return a column's name for a person, with the part its join plays when there are several."""
        words = spoken(ref.column)
        if ref.steps:
            relation = self.schema.relationships[ref.steps[-1]]
            if len(self.schema.paths(self.root, ref.table)) > 1:
                return f"{spoken(relation.columns[0][0])} {words}"
            if ref.column.casefold() in {"name", "title", "type", "code", "id", "status", "date"}:
                return f"{' '.join(table_words(self.schema.table(ref.table)))} {words}"
        return words

    def entry(self, ref: Ref) -> Column:
        """Return the model's column."""
        return self.schema.column(ref.table, ref.column)

    def is_number(self, ref: Ref) -> bool:
        """Tell whether a column holds numbers."""
        return self.schema.is_number(ref.table, self.entry(ref))

    def entity(self, meaning: Meaning, noun: Noun, role: str = "") -> tuple[str, ...]:
        """Return the way to the table that a noun names. Raises when there is none, or no one."""
        paths = self.paths(meaning.table, self._hints(noun, role))
        if not paths:
            raise Unresolved(f"{self.root} does not lead to {noun.text}", weight=2)
        if len(paths) > 1:
            names = [f"{spoken(self.schema.relationships[steps[-1]].columns[0][0])}" for steps in paths]
            raise Unresolved(f"{noun.text!r} may mean {_or(names)}", weight=6, options=tuple(names), noun=noun.text)
        self.cost += meaning.cost + STEP * len(paths[0])
        return paths[0]

    # Conditions

    def conditions(self, conds: Sequence[Cond]) -> tuple[list[exp.Expr], list[str]]:
        """Return the SQL of conditions that must all hold, and their words."""
        absent = self._about_others(conds)
        pairs = [self.condition(cond) for cond in conds if cond not in absent] + self._absence(absent)
        equalities = [sql.this.sql() for sql, _ in pairs if isinstance(sql, exp.EQ | exp.In)]
        if len(equalities) != len(set(equalities)):
            raise Unresolved("two conditions on one column exclude each other; join their values by or", weight=5)
        return [sql for sql, _ in pairs], [words for _, words in pairs]

    def _about_others(self, conds: Sequence[Cond]) -> list[Cond]:
        """Return conditions that the root does not have but rows that point to it do, when one of them is denied.

        "Airlines that do not fly to Boston" have no flight to Boston; a flight elsewhere does not make them one.
        """
        if not any(isinstance(cond, ValueCond | FlagCond | NumberCond) and _denied(cond) for cond in conds):
            return []
        others = [cond for cond in conds if not self._has(cond)]
        return others if any(_denied(cond) for cond in others) else []

    def _has(self, cond: Cond) -> bool:
        probe = Resolver(self.schema, Tables(self.schema), Scope(Tables(self.schema), self.root), self.today)
        try:
            probe.condition(cond)
        except Unresolved as error:
            return error.weight > 2  # noqa: PLR2004  found, but unclear
        return True

    def _absence(self, conds: list[Cond]) -> list[tuple[exp.Expr, str]]:
        """Return that there is a row with all the conditions that are said, and none with one that is denied."""
        if not conds:
            return []
        denied = [cond for cond in conds if _denied(cond)]
        dates = [cond for cond in conds if isinstance(cond, DateCond | WeekdayCond)]
        said = [cond for cond in conds if cond not in denied and cond not in dates]
        if len(denied) != 1 or not all(_one_column(cond, denied[0]) for cond in said):
            raise Unresolved("it is unclear which of the conditions are denied", weight=7)
        many = [
            relation.left_table for relation in self.schema.relationships.values() if relation.right_table == self.root
        ]
        meanings = tuple(Meaning("table", table) for table in dict.fromkeys(many))
        if len(meanings) != 1:
            raise Unresolved(f"rows of several tables, or none, point to {self.root}", weight=3)
        noun = Noun(spoken(meanings[0].table), meanings)
        found = [self._none(NoneCond(noun, (replace(denied[0], negated=False), *dates)))]
        if said:
            sql, words = self._none(NoneCond(noun, (*said, *dates)))
            found.append((exp.Not(this=exp.paren(sql)), words.replace("there are no", "there are", 1)))
        self.cost += 1.0
        return found

    def refs_of(self, cond: Cond) -> set[Ref]:
        """Return the columns that a condition is about."""
        probe = Resolver(self.schema, Tables(self.schema), Scope(Tables(self.schema), self.root), self.today)
        probe.condition(cond)
        return set(probe.used)

    def condition(self, cond: Cond) -> tuple[exp.Expr, str]:
        """Return a condition's SQL and how it was read."""
        match cond:
            case ValueCond():
                return self._value(cond)
            case NumberCond():
                return self._number(cond)
            case DateCond():
                return self._date(cond)
            case WeekdayCond():
                return self._weekday(cond)
            case FlagCond():
                return self._flag(cond)
            case NullCond():
                ref = self.ref(cond.noun)
                missing: exp.Expr = exp.Is(this=self.scope.column(ref), expression=exp.Null())
                return (
                    exp.Not(this=missing) if cond.negated else missing
                ), f"{self.title(ref)} is {'known' if cond.negated else 'missing'}"
            case TextCond():
                return self._text(cond)
            case AverageCond():
                return self._average(cond)
            case ColumnCond():
                left, right = self.ref(cond.noun, numeric=True), self.ref(cond.other, numeric=True)
                sql = _OPERATORS[cond.op](this=self.scope.column(left), expression=self.scope.column(right))
                return sql, f"{self.title(left)} {OPERATOR_WORDS[cond.op]} {self.title(right)}"
            case OrCond():
                pairs = [self.condition(each) for each in cond.conds]
                return exp.paren(exp.or_(*(sql for sql, _ in pairs))), f"({' or '.join(words for _, words in pairs)})"
            case NoneCond():
                return self._none(cond)

    def value_choices(self, cond: ValueCond) -> list[tuple[Choice, list[tuple[str, ...]]]]:
        """Return the columns that hold all values of a condition, with the values as each writes them."""
        places: dict[Ref, tuple[Choice, list[tuple[str, ...]]]] = {}
        for at, found_list in enumerate(cond.values):
            for found in found_list:
                for ref, cost in self._places(found, cond):
                    choice, values = places.setdefault(ref, (Choice(ref, 0.0), []))
                    if len(values) == at:
                        values.append(found.values)
                        choice.cost += cost + (0.0 if found.whole else 1.0)
        return [(choice, values) for choice, values in places.values() if len(values) == len(cond.values)]

    def _places(self, found: Found, cond: ValueCond) -> list[tuple[Ref, float]]:
        noun = cond.noun
        if noun is not None and noun.of("column") and not noun.of("table"):
            hints = self._hints(noun, cond.role)
            through = frozenset(
                relation.name
                for meaning in noun.of("column")
                for relation in self.schema.foreign(meaning.table, meaning.name)
            )
        else:
            hints, through = self._hints(noun, cond.role), frozenset()
        refs = {}
        for steps in self.paths(found.table, hints, through if found.table != self.root else frozenset()):
            ref = self.reduced(Ref(steps, found.table, found.column))
            if noun is not None and not self._named(ref, found, noun):
                continue
            if (
                not ref.steps
                and all(self.schema.observed(ref.table, ref.column, value) is False for value in found.values)
                and not cond.role
            ):
                continue
            unnamed = len(self.schema.paths(self.root, found.table)) > 1 and not hints and ref.steps and noun is None
            refs[ref] = len(steps) * STEP + (
                0.5 if unnamed else 0.0
            )  # a part in a join that nobody named is the less likely
        return list(refs.items())

    def _named(self, ref: Ref, found: Found, noun: Noun) -> bool:
        """Tell whether a noun beside a value can be its column."""
        for meaning in noun.meanings:
            if meaning.kind == "column" and (
                (meaning.table, meaning.name) in {(ref.table, ref.column), (found.table, found.column)}
            ):
                return True
            if meaning.kind == "column" and self.schema.fits(meaning, found) and ref.steps:
                return any(relation.name in ref.steps for relation in self.schema.foreign(meaning.table, meaning.name))
            if meaning.kind == "table" and self.schema.fits(meaning, found):
                return True
        return False

    def _value(self, cond: ValueCond) -> tuple[exp.Expr, str]:
        options = self.value_choices(cond)
        hints = self._hints(None, cond.role)
        if hints:
            meant = [option for option in options if self._part_of(option[0].ref) & hints]
            options = meant or options
        text = " or ".join(cond.texts)
        missing = f"{text!r} is no value that {self.root} has or leads to"
        ref = self._one([choice for choice, _ in options], text, missing, beside=True)
        values = [value for choice, found in options if choice.ref == ref for each in found for value in each]
        if len(values) > len(cond.values):
            self.notes.append(f"{text} was read as {_or(values)}")
        column = self.scope.column(ref)
        words = f"{self.title(ref)} is {'not ' if cond.negated else ''}{_or(values)}"
        literals = [exp.Literal.string(value) for value in dict.fromkeys(values)]
        sql: exp.Expr = (
            exp.EQ(this=column, expression=literals[0])
            if len(literals) == 1
            else exp.In(this=column, expressions=literals)
        )
        return (exp.Not(this=sql) if cond.negated else sql), words

    def _part_of(self, ref: Ref) -> frozenset[str]:
        words = set(self.column_words(ref.table, ref.column))
        for step in ref.steps:
            words |= self.part(step)
        return frozenset(words)

    def _number(self, cond: NumberCond) -> tuple[exp.Expr, str]:
        ref = self.ref(cond.noun, numeric=True) if cond.noun else self._by_unit(cond.unit)
        if not self.is_number(ref):
            raise Unresolved(f"{self.title(ref)} is no number to compare", weight=4)
        factor = self._factor(cond.unit, ref)
        low, high = cond.number * factor, None if cond.upper is None else cond.upper * factor
        column, unit = self.scope.column(ref), self.schema.unit(ref.table, ref.column)
        suffix = f" {unit}" if unit else ""
        if high is not None:
            sql: exp.Expr = exp.Between(this=column, low=literal(low), high=literal(high))
            words = f"{self.title(ref)} between {plain(low)} and {plain(high)}{suffix}"
            return (exp.Not(this=sql), f"not {words}") if cond.negated else (sql, words)
        op = _TURNED[cond.op] if cond.negated else cond.op
        sql = _OPERATORS[op](this=column, expression=literal(low))
        return sql, f"{self.title(ref)} {OPERATOR_WORDS[op]} {plain(low)}{suffix}"

    def _by_unit(self, unit: str) -> Ref:
        """Return the one number of the root that is measured in a unit, or in one that it converts to."""
        mentioned = {meaning.table for noun in self.mentions for meaning in noun.of("table") if meaning.table != self.root}
        tables = sorted(table for table in mentioned if self.schema.paths(self.root, table)) or [self.root]
        columns = [
            (Ref(steps, table, column.name), self.schema.unit(table, column.name))
            for table in tables
            for steps in self.paths(table)
            for column in self.schema.table(table).columns
            if not column.private and self.schema.is_number(table, column)
        ]
        same = [ref for ref, own in columns if own == unit]
        near = same or [ref for ref, own in columns if (unit, own) in lexicon.CONVERSIONS]
        choices = [Choice(ref, 1.0) for ref in near]
        return self._one(choices, unit, f"nothing in {self.root} is measured in {unit}")

    def _factor(self, unit: str, ref: Ref) -> float:
        own = self.schema.unit(ref.table, ref.column)
        if not unit or unit == own or unit in {"percent", "dollars", "euros", "pounds", "stars"}:
            return 1.0
        if not own and unit in name_words(ref.column):
            return 1.0
        if (unit, own) not in lexicon.CONVERSIONS:
            raise Unresolved(f"{self.title(ref)} is not known to be measured in {unit}", weight=5)
        return lexicon.CONVERSIONS[unit, own]

    # Times

    def time(self, noun: Noun | None = None) -> Ref:
        """Return the time column that dates are about: the named one, else the root's one, else the nearest one."""
        if noun is not None:
            choices = [
                choice for choice in self.choices(noun) if self.schema.is_time(choice.ref.table, self.entry(choice.ref))
            ]
            return self._one(choices, noun.text, f"{noun.text!r} is no time of {self.root}")
        own = self.schema.times(self.root)
        if own:
            refs = [Ref((), self.root, column.name) for column in own]
            return self._one([Choice(ref, self._time_cost(ref)) for ref in refs], "the date", "")
        choices = [
            Choice(
                Ref(steps, table.name, column.name),
                len(steps) * STEP + self._time_cost(Ref(steps, table.name, column.name)),
            )
            for table in self.schema.model.tables
            if table.name != self.root
            for steps in self.schema.paths(self.root, table.name)
            for column in self.schema.times(table.name)
        ]
        return self._one(choices, "the date", f"{self.root} has no date")

    def _time_cost(self, ref: Ref) -> float:
        """Return 0 for the date that a table's rows are about by their name, more for others."""
        stems = name_words(ref.column)
        own = set(name_words(ref.table))
        if stems in {("date",), ("day",), ("timestamp",), ("time",), ("datetime",), ("month",), ("week",)}:
            return 0.0
        if stems[-1:] in {("date",), ("day",), ("time",), ("timestamp",)} and set(stems[:-1]) <= own | {
            "event",
            "transaction",
        }:
            return 0.1
        return 1.0

    def span(self, ref: Ref) -> tuple[date, date] | None:
        """Return the first and last day that the data have."""
        return self.schema.span(ref.table, ref.column)

    def time_column(self, ref: Ref) -> exp.Expr:
        """Return a time column as a date or timestamp, cast when it is stored as text."""
        column: exp.Expr = self.scope.column(ref)
        return exp.cast(column, "DATE") if self.schema.is_text_time(ref.table, ref.column) else column

    def _date(self, cond: DateCond) -> tuple[exp.Expr, str]:
        if year := self._year_column(cond):
            return self._year(cond, year)
        ref = self.time(cond.noun)
        sqls, words = [], []
        for period, text in zip(cond.periods, cond.texts, strict=True):
            settled = period.settle(self.today, self.span(ref))
            if settled is None:
                raise Unresolved(f"{text!r} is no time range", weight=5)
            self._within_data(settled, ref)
            sqls.append(within(self.time_column(ref), settled))
            words.append(period_words(settled))
        sql = sqls[0] if len(sqls) == 1 else exp.paren(exp.or_(*sqls))
        said = f"{self.title(ref)} {' or '.join(words)}"
        return (exp.Not(this=exp.paren(sql)), f"not {said}") if cond.negated else (sql, said)

    def _within_data(self, period: Period, ref: Ref) -> None:
        """Raise when no row can lie in a period: an empty answer would look like a zero."""
        span = self.span(ref)
        if span and ((period.start and period.start > span[1]) or (period.end and period.end <= span[0])):
            raise Unresolved(
                f"{period_words(period)} is outside the data, whose {self.title(ref)} runs from {span[0]} to {span[1]}",
                weight=8,
            )

    def _year_column(self, cond: DateCond) -> Ref | None:
        """Return a number column that holds years, when that is what whole years are about."""
        whole = all(
            period.first
            and period.first.year
            and not (period.first.month or period.first.quarter or period.first.half or period.first.day)
            for period in cond.periods
        )
        if not whole:
            return None
        if cond.noun is not None:
            choices = [
                choice
                for choice in self.choices(cond.noun)
                if self.is_number(choice.ref) and "year" in name_words(choice.ref.column)
            ]
            timed = any(
                self.schema.is_time(choice.ref.table, self.entry(choice.ref)) for choice in self.choices(cond.noun)
            )
            return self._one(choices, cond.noun.text, "") if choices and not timed else None
        if self.schema.times(self.root):
            return None
        years = [
            Choice(Ref((), self.root, column.name), 0.5)
            for column in self.schema.table(self.root).columns
            if name_words(column.name) in {("year",), ("fiscal", "year")} and self.schema.is_number(self.root, column)
        ]
        return self._one(years, "the year", "") if years else None

    def _year(self, cond: DateCond, ref: Ref) -> tuple[exp.Expr, str]:
        column, sqls, words = self.scope.column(ref), [], []
        for period in cond.periods:
            first = period.first.year if period.first and period.first.year else 0
            last = period.last.year if period.last and period.last.year else first
            op = {"since": "ge", "after": "gt", "before": "lt", "until": "le"}.get(period.mode)
            if op:
                sqls.append(_OPERATORS[op](this=column.copy(), expression=literal(first)))
                words.append(f"{period.mode} {first}")
            elif last != first:
                sqls.append(exp.Between(this=column.copy(), low=literal(first), high=literal(last)))
                words.append(f"from {first} to {last}")
            else:
                sqls.append(exp.EQ(this=column.copy(), expression=literal(first)))
                words.append(f"in {first}")
        sql = sqls[0] if len(sqls) == 1 else exp.paren(exp.or_(*sqls))
        said = f"{self.title(ref)} {' or '.join(words)}"
        return (exp.Not(this=exp.paren(sql)), f"not {said}") if cond.negated else (sql, said)

    def _weekday(self, cond: WeekdayCond) -> tuple[exp.Expr, str]:
        ref = self.time()
        day = exp.DayOfWeekIso(this=self.time_column(ref))
        sql: exp.Expr = exp.In(this=day, expressions=[literal(each) for each in cond.days])
        names = _or([WEEKDAY_NAMES[each - 1] for each in cond.days])
        return (
            exp.Not(this=sql) if cond.negated else sql
        ), f"{self.title(ref)} is {'not ' if cond.negated else ''}a {names}"

    # Flags, text, averages, absence

    def _flag(self, cond: FlagCond) -> tuple[exp.Expr, str]:
        not_ = "not " if cond.negated else ""
        filters = [meaning for meaning in cond.noun.of("filter") if self.paths(meaning.table)]
        if filters:
            best = min(filters, key=lambda meaning: (len(self.paths(meaning.table)[0]), meaning.cost))
            steps = self.entity(best, cond.noun)
            condition = next(each for each in self.schema.table(best.table).filters if each.name == best.name)
            sql = exp.paren(self.expression(condition.expr, best.table, steps))
            return (exp.Not(this=sql) if cond.negated else sql), f"{not_}{spoken(condition.name)}"
        ref = self.ref(cond.noun)
        is_true: exp.Expr = exp.EQ(this=self.scope.column(ref), expression=exp.Boolean(this=not cond.negated))
        return is_true, f"{self.title(ref)} is {'false' if cond.negated else 'true'}"

    def expression(self, text: str, table: str, steps: tuple[str, ...] = (), depth: int = 0) -> exp.Expr:
        """Return an expression of the model over logical columns, seen from the root."""
        tree = sqlglot.parse_one(text, read=DIALECT)
        entry = self.schema.table(table)

        def bound(node: exp.Expr) -> exp.Expr:
            if not isinstance(node, exp.Column):
                return node
            metric = next((each for each in entry.metrics if each.name.casefold() == node.name.casefold()), None)
            if metric and not entry.column(node.name) and depth < 5:  # noqa: PLR2004
                return exp.paren(self.expression(metric.expr, table, steps, depth + 1))
            column = entry.column(node.name)
            return self.scope.column(Ref(steps, table, column.name if column else node.name))

        return tree.transform(bound)

    def _text(self, cond: TextCond) -> tuple[exp.Expr, str]:
        ref = self.ref(cond.noun) if cond.noun else self._labelled()
        if self.is_number(ref) or self.schema.is_time(ref.table, self.entry(ref)):
            raise Unresolved(f"{self.title(ref)} is no text", weight=4)
        lowered = exp.Lower(this=self.scope.column(ref))
        escaped = cond.text.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        if cond.op == "eq":
            sql: exp.Expr = exp.EQ(this=lowered, expression=exp.Literal.string(cond.text.lower()))
            words = "is"
        elif "\\" in escaped:
            raise Unresolved("a text to look for has letters, digits and spaces only", weight=4)
        else:
            pattern = {"starts": f"{escaped}%", "ends": f"%{escaped}", "contains": f"%{escaped}%"}[cond.op]
            sql = exp.Like(this=lowered, expression=exp.Literal.string(pattern))
            words = {"starts": "starts with", "ends": "ends with", "contains": "contains"}[cond.op]
        sql = exp.Not(this=sql) if cond.negated else sql
        return sql, f"{self.title(ref)} {'not ' if cond.negated else ''}{words} {cond.text!r}, ignoring case"

    def _labelled(self) -> Ref:
        label = self.schema.label(self.root)
        if label is None:
            raise Unresolved("say which column's text is meant", weight=4)
        return Ref((), self.root, label)

    def _average(self, cond: AverageCond) -> tuple[exp.Expr, str]:
        if cond.noun is None:
            raise Unresolved("say what is compared to its average", weight=4)
        ref = self.ref(cond.noun, numeric=True)
        if not self.is_number(ref):
            raise Unresolved(f"{self.title(ref)} has no average", weight=4)
        inner = Scope(self.tables, ref.table, "every_" + ref.table.lower())
        average = exp.select(exp.Avg(this=inner.column(Ref((), ref.table, ref.column))))
        sql = _OPERATORS[cond.op](this=self.scope.column(ref), expression=exp.Subquery(this=inner.from_(average)))
        return sql, f"{self.title(ref)} {OPERATOR_WORDS[cond.op]} its average over all {spoken(ref.table)}"

    def _none(self, cond: NoneCond) -> tuple[exp.Expr, str]:
        """Return NOT EXISTS over rows of another table that point to the root's."""
        tables = [meaning.table for meaning in cond.noun.meanings]
        links = [
            (relation.left_table, relation.name)
            for relation in self.schema.relationships.values()
            if relation.right_table == self.root and relation.left_table in tables
        ]
        if not links:
            raise Unresolved(f"no {cond.noun.text} belong to {self.root}", weight=3)
        if cond.role:
            hints = lexicon.BEGINNING if cond.role == "from" else lexicon.ENDING
            links = [(table, name) for table, name in links if self.part(name) & hints] or links
        many = links[0][0]
        said: list[str] = []
        sqls: list[exp.Expr] = []
        for table, name in links:
            inner = Resolver(self.schema, self.tables, Scope(self.tables, table, f"their_{table.lower()}"), self.today)
            parts, said = inner.conditions(cond.conds)
            relation = self.schema.relationships[name]
            for left, right in relation.columns:
                pair = inner.scope.column(Ref((), table, left)), self.scope.column(Ref((), self.root, right))
                parts.append(exp.EQ(this=pair[0], expression=pair[1]))
            query = inner.scope.from_(exp.select(literal(1))).where(*parts, copy=False)
            sqls.append(exp.Not(this=exp.Exists(this=query)))
            self.cost += inner.cost
        words = f" with {' and '.join(said)}" if said else ""
        parts_note = f", in whichever part ({_or([n for _, n in links])})" if len(links) > 1 else ""
        return exp.and_(*sqls), f"there are no {spoken(many)}{words}{parts_note}"


def _denied(cond: Cond) -> bool:
    return isinstance(cond, ValueCond | FlagCond | NumberCond) and cond.negated


def _one_column(cond: Cond, other: Cond) -> bool:
    """Tell whether two conditions are about values of one column."""
    if not isinstance(cond, ValueCond) or not isinstance(other, ValueCond):
        return False
    places = {(found.table, found.column) for values in cond.values for found in values}
    return any((found.table, found.column) in places for values in other.values for found in values)


def literal(value: float) -> exp.Expr:
    """Return a number as SQL, whole when it is."""
    return exp.Literal.number(plain(value)) if value >= 0 else exp.Neg(this=exp.Literal.number(plain(-value)))


def plain(value: float) -> str:
    """Return a number without a needless fraction."""
    return str(int(value)) if value == int(value) else repr(value)


def day(value: date) -> exp.Expr:
    """Return a date literal."""
    return exp.cast(exp.Literal.string(value.isoformat()), "DATE")


def within(column: exp.Expr, period: Period) -> exp.Expr:
    """Return the condition that a time lies in a period, its end left out."""
    parts: list[exp.Expr] = []
    if period.start:
        parts.append(exp.GTE(this=column.copy(), expression=day(period.start)))
    if period.end:
        parts.append(exp.LT(this=column.copy(), expression=day(period.end)))
    return exp.paren(exp.and_(*parts)) if len(parts) > 1 else parts[0]


def period_words(period: Period) -> str:
    """Return a period in words, both days included."""
    last = period.end - timedelta(days=1) if period.end else None
    if period.start and last:
        return f"on {period.start}" if period.start == last else f"from {period.start} to {last}"
    return f"from {period.start} on" if period.start else f"up to {last}"


def _or(words: Sequence[str]) -> str:
    unique = list(dict.fromkeys(words))
    return unique[0] if len(unique) == 1 else f"{', '.join(unique[:-1])} or {unique[-1]}"
