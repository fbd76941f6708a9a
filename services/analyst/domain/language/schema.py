"""What a model's tables and data allow: joins that keep every row single, what names a thing, what may be summed."""

import re
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from functools import cached_property

from services.analyst.domain.language import lexicon
from services.analyst.domain.language.answer import Scalar, Values
from services.analyst.domain.language.vocabulary import Found, Meaning, table_words
from services.analyst.domain.language.words import name_words, phrase
from services.analyst.domain.semantic_model.model import Column, Kind, LogicalTable, Relationship, SemanticModel

_MAX_STEPS = 4  # a snowflake of three joins needs 3
_NUMBERS = (
    "NUMBER",
    "INT",
    "FLOAT",
    "DOUBLE",
    "DECIMAL",
    "NUMERIC",
    "REAL",
    "BIGINT",
    "HUGEINT",
    "SMALLINT",
    "TINYINT",
    "UBIGINT",
)
_ADDITIVE_UNITS = {"miles", "kilometers", "hours", "minutes", "dollars", "euros"}
_UNIT_WORDS = re.compile(r"[A-Za-z%]+")


class Join(StrEnum):
    """How a relationship may be joined: as it stands, on distinct pairs because the key repeats, or not at all."""

    PLAIN = "plain"
    DISTINCT = "distinct"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Ref:
    """A column seen from a root table: the relationships to follow, then the column."""

    steps: tuple[str, ...]
    table: str
    column: str


class Schema:
    """Answers what can be joined and how a column behaves. One is made for a model and its data, and kept."""

    def __init__(self, model: SemanticModel, values: Values) -> None:
        self.model = model
        self.values = values
        self._tables = {table.name: table for table in model.tables}
        self.relationships = {relation.name: relation for relation in self._proper(model)}
        self._paths: dict[tuple[str, str], tuple[tuple[str, ...], ...]] = {}

    def _proper(self, model: SemanticModel) -> list[Relationship]:
        found = []
        for relation in model.relationships:
            left, right = model.table(relation.left_table), model.table(relation.right_table)
            if left and right and left is not right and relation.columns:
                found.append(
                    Relationship(
                        relation.name,
                        left.name,
                        right.name,
                        relation.columns,
                        relation.join_type,
                        relation.relationship_type,
                    )
                )
        return found

    def table(self, name: str) -> LogicalTable:
        """Return a table that exists, by its exact name."""
        return self._tables[name]

    def column(self, table: str, name: str) -> Column:
        """Return a column that exists; a key that is physical only counts as a dimension."""
        return self._tables[table].column(name) or Column(name, Kind.DIMENSION, name)

    @cached_property
    def _joins(self) -> dict[str, Join]:
        return {name: self._join(relation) for name, relation in self.relationships.items()}

    def _join(self, relation: Relationship) -> Join:
        right = self._tables[relation.right_table]
        key = tuple(pair[1] for pair in relation.columns)
        observed = self.values.is_unique(right.name, key)
        if observed is not None:
            return Join.PLAIN if observed else Join.DISTINCT
        declared = {
            frozenset(part.casefold() for part in each) for each in (right.primary_key, *right.unique_keys) if each
        }
        return Join.PLAIN if any(each <= {part.casefold() for part in key} for each in declared) else Join.NEVER

    def join(self, name: str, columns: tuple[str, ...] = ()) -> Join:
        """Return how a relationship may be joined when these columns of its right table are read."""
        how = self._joins[name]
        if how is not Join.DISTINCT:
            return how
        relation = self.relationships[name]
        key = tuple(pair[1] for pair in relation.columns)
        wanted = [column for column in columns if column.casefold() not in {part.casefold() for part in key}]
        decided = all(self.values.determines(relation.right_table, key, column) for column in wanted)
        return Join.DISTINCT if decided else Join.NEVER

    def paths(self, root: str, table: str) -> tuple[tuple[str, ...], ...]:
        """Return the ways from many to one between two tables, the shortest first."""
        if (root, table) not in self._paths:
            self._paths[root, table] = tuple(sorted(self._walk(root, table, ()), key=lambda steps: (len(steps), steps)))
        return self._paths[root, table]

    def _walk(self, at: str, goal: str, steps: tuple[str, ...]) -> list[tuple[str, ...]]:
        if at == goal:
            return [steps]
        if len(steps) == _MAX_STEPS:
            return []
        visited = {self.relationships[step].left_table for step in steps} | {at}
        return [
            path
            for name, relation in self.relationships.items()
            if relation.left_table == at and relation.right_table not in visited
            for path in self._walk(relation.right_table, goal, (*steps, name))
        ]

    def foreign(self, table: str, column: str) -> list[Relationship]:
        """Return the relationships whose one left column is this."""
        return [
            relation
            for relation in self.relationships.values()
            if relation.left_table == table
            and len(relation.columns) == 1
            and relation.columns[0][0].casefold() == column.casefold()
        ]

    def key(self, table: str) -> tuple[str, ...]:
        """Return the columns that tell the table's rows apart, () when none are known."""
        entry = self._tables[table]
        if entry.primary_key and self.values.is_unique(table, entry.primary_key) is not False:
            return entry.primary_key
        for key in entry.unique_keys:
            if self.values.is_unique(table, key) is not False:
                return key
        for column in entry.dimensions:
            if column.unique and self.values.is_unique(table, (column.name,)) is not False:
                return (column.name,)
        return ()

    def label(self, table: str) -> str | None:
        """Return the column by which people know the table's rows: ``name``, ``title``, ``<table>_name``."""
        entry = self._tables[table]
        own = table_words(entry)
        wanted = [
            ("name",),
            (*own, "name"),
            (own[-1], "name"),
            ("title",),
            (*own, "title"),
            (*own,),
            (own[-1],),
            ("full", "name"),
            ("description",),
        ]
        texts = [column for column in entry.dimensions if not column.private and not self.is_number(table, column)]
        for stems in wanted:
            for column in texts:
                if name_words(column.name) == stems and column.name not in entry.primary_key:
                    return column.name
        for column in texts:
            if (
                name_words(column.name)[-1:] == ("name",)
                and len(name_words(column.name)) == len(own) + 1
                and not self.foreign(table, column.name)
            ):
                return column.name
        return None

    def is_number(self, table: str, column: Column) -> bool:
        """Tell whether a column holds numbers."""
        kind = (self.values.column_type(table, column.name) or column.data_type).upper()
        return kind.startswith(_NUMBERS)

    def is_flag(self, table: str, name: str) -> bool:
        """Tell whether a column is true or false."""
        column = self.column(table, name)
        return (self.values.column_type(table, name) or column.data_type).upper().startswith("BOOL") or column.is_filter

    def is_time(self, table: str, column: Column) -> bool:
        """Tell whether a column holds dates or timestamps, by its type or by what it was declared to be."""
        kind = (self.values.column_type(table, column.name) or column.data_type).upper()
        if kind.startswith(("DATE", "TIMESTAMP")):
            return True
        return (
            column.kind is Kind.TIME
            and column.data_type.startswith(("DATE", "TIMESTAMP"))
            and not kind.startswith(_NUMBERS)
        )

    def times(self, table: str) -> list[Column]:
        """Return the columns of a table that hold dates or timestamps."""
        return [column for column in self._tables[table].columns if not column.private and self.is_time(table, column)]

    def is_text_time(self, table: str, column: str) -> bool:
        """Tell whether a date is stored as text, so that it must be cast to compare."""
        kind = (self.values.column_type(table, column) or "").upper()
        return kind.startswith(("VARCHAR", "TEXT", "STRING", "CHAR"))

    def span(self, table: str, column: str) -> tuple[date, date] | None:
        """Return the first and last day in a time column."""
        found = self.values.span(table, column)
        if found is None:
            return None
        low, high = _day(found[0]), _day(found[1])
        return (low, high) if low and high else None

    def unit(self, table: str, name: str) -> str:
        """Return the unit that a column's name or description states, '' when none."""
        column = self.column(table, name)
        for part in reversed(name_words(name)[1:]):  # a column named "hour" alone is an hour of the clock
            if (
                part in lexicon.UNITS
                and len(part) > 1
                and part not in {"second", "month", "year", "day", "star", "percent"}
            ):
                return lexicon.UNITS[part]
        matches = re.findall(
            r"\b(?:in|\(in|measured in|unit:|units:|expressed in) (?:the )?(\w+)", column.description.lower()
        )
        units = [
            lexicon.UNITS[word]
            for word in (_singular(match) for match in matches)
            if word in lexicon.UNITS and len(word) > 1
        ]
        units += [
            lexicon.UNITS[_singular(word)]
            for word in re.findall(r"\((\w+)\)", column.description.lower())
            if _singular(word) in lexicon.UNITS
        ]
        return units[0] if units and column.kind is not Kind.TIME else ""

    def aggregation(self, table: str, column: Column) -> str:
        """Return how a fact is aggregated when nobody says: as declared, sum for what adds up, '' when it is open."""
        if column.default_aggregation:
            return column.default_aggregation
        stems = set(name_words(column.name)) | {part for synonym in column.synonyms for part in phrase(synonym)}
        last = name_words(column.name)[-1]
        if set(name_words(column.name)) & lexicon.NOT_ADDITIVE or column.unique or last == "id":
            return ""
        if column.kind is Kind.FACT and (stems & lexicon.ADDITIVE):
            return "sum"
        return ""

    def observed(self, table: str, column: str, value: str) -> bool | None:
        """Tell whether a value stands in a column; None when not all of its values are known."""
        distinct = self.values.distinct(table, column)
        if distinct is None:
            return None
        if value in distinct.values:
            return True
        return False if distinct.complete else None

    def equivalent(self, found: Found, table: str, column: str) -> bool:
        """Tell whether a value's column is this one, by name or as the other end of a join."""
        if (found.table, found.column) == (table, column):
            return True
        return any(
            relation.right_table == found.table and relation.columns[0][1].casefold() == found.column.casefold()
            for relation in self.foreign(table, column)
        )

    def fits(self, meaning: Meaning, found: Found) -> bool:
        """Tell whether "noun value" may be read as one: the column has the value, or a table's row is known by it."""
        if meaning.kind == "column":
            if self.equivalent(found, meaning.table, meaning.name):
                return True
            targets = {relation.right_table for relation in self.foreign(meaning.table, meaning.name)}
            return found.table in targets and found.column == self.label(found.table)
        if meaning.kind == "table":
            names = {self.label(meaning.table), *(self.key(meaning.table) if len(self.key(meaning.table)) == 1 else ())}
            return found.table == meaning.table and found.column in names
        return False


def _singular(word: str) -> str:
    return word if word in lexicon.UNITS else word.removesuffix("s")


def _day(value: Scalar) -> date | None:
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(str(value)[:10])
    except ValueError:
        return None
