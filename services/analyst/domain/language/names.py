"""Names of a question over one root table: which columns they are, and what it costs to read them so."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

from sqlglot import exp

from services.analyst.domain.language import lexicon
from services.analyst.domain.language.literals import either
from services.analyst.domain.language.schema import Ref, Schema
from services.analyst.domain.language.scope import Scope, Tables, Unresolved
from services.analyst.domain.language.sketch import (
    Noun,
)
from services.analyst.domain.language.vocabulary import Meaning, table_words
from services.analyst.domain.language.words import name_words, phrase, spoken
from services.analyst.domain.semantic_model.model import Column

STEP = 0.6  # the cost of one join; two readings closer than TIE are ambiguous
TIE = 0.25


@dataclass(slots=True)
class Choice:
    """A column that a noun may be, and what it costs to read it so."""

    ref: Ref
    cost: float
    note: str = ""


@dataclass(slots=True)
class Names:
    """Reads names over one root. *cost* adds up; *notes* says what was decided for the person."""

    schema: Schema
    tables: Tables
    scope: Scope
    today: date
    cost: float = 0.0
    notes: list[str] = field(default_factory=list)
    used: list[Ref] = field(default_factory=list)
    mentions: list[Noun] = field(
        default_factory=list
    )  # names elsewhere in the question, which may say what part a join plays

    @property
    def root(self) -> str:
        """The table whose rows are counted."""
        return self.scope.root

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
            foreign = {
                relation.name
                for m in noun.of("column")
                if m.cost < 1
                for relation in self.schema.foreign(m.table, m.name)
            }
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
        return self.one(choices, noun.text, f"{noun.text!r} is nothing that {self.root} has or leads to")

    def one(self, choices: Sequence[Choice], text: str, missing: str, *, beside: bool = False) -> Ref:
        if not choices:
            raise Unresolved(missing, weight=2)
        best = min(choices, key=lambda choice: choice.cost)
        rivals = [choice for choice in choices if choice.cost - best.cost < TIE and choice.ref != best.ref]
        if rivals:
            names = [self.title(choice.ref) for choice in (best, *rivals)]
            options = tuple(f"{name} {text}" for name in names) if beside else tuple(names)
            raise Unresolved(f"{text!r} may mean {either(names)}", weight=6, options=options, noun=text)
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
            raise Unresolved(f"{noun.text!r} may mean {either(names)}", weight=6, options=tuple(names), noun=noun.text)
        self.cost += meaning.cost + STEP * len(paths[0])
        return paths[0]

    def time(self, noun: Noun | None = None) -> Ref:
        """Return the time column that dates are about: the named one, else the root's one, else the nearest one."""
        if noun is not None:
            choices = [
                choice for choice in self.choices(noun) if self.schema.is_time(choice.ref.table, self.entry(choice.ref))
            ]
            return self.one(choices, noun.text, f"{noun.text!r} is no time of {self.root}")
        own = self.schema.times(self.root)
        if own:
            refs = [Ref((), self.root, column.name) for column in own]
            return self.one([Choice(ref, self._time_cost(ref)) for ref in refs], "the date", "")
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
        return self.one(choices, "the date", f"{self.root} has no date")

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
