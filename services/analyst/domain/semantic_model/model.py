"""What a semantic model says: logical tables over base tables, how they join, and questions whose SQL somebody verified."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a column is for; the legacy dialect's ``measures`` are facts."""

    DIMENSION = "dimension"
    TIME = "time_dimension"
    FACT = "fact"


@dataclass(frozen=True, slots=True)
class BaseTable:
    """Where the rows of a logical table are. Empty parts were not given; *definition* is a query instead of a name."""

    table: str = ""
    database: str = ""
    schema: str = ""
    definition: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A row-level value of a logical table. *expr* is Snowflake SQL over the base table's columns."""

    name: str
    kind: Kind
    expr: str
    data_type: str = ""
    description: str = ""
    synonyms: tuple[str, ...] = ()
    sample_values: tuple[str, ...] = ()
    is_enum: bool = False  # the sample values are all there are
    unique: bool = False
    default_aggregation: str = ""  # lower case: sum, avg, median, min, max, count, count_distinct; '' when not given
    private: bool = False  # usable in expressions, never shown
    is_filter: bool = False  # a boolean meant to stand in a WHERE


@dataclass(frozen=True, slots=True)
class Metric:
    """An aggregate with a name. *expr* is over logical columns of its table, or over metrics of tables when it stands at the top."""

    name: str
    expr: str
    description: str = ""
    synonyms: tuple[str, ...] = ()
    private: bool = False
    non_additive_dimensions: tuple[str, ...] = ()
    using_relationships: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition with a name, over logical columns of its table."""

    name: str
    expr: str
    description: str = ""
    synonyms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LogicalTable:
    """Rows of one kind of thing, under the names that people use for it and its columns."""

    name: str
    base_table: BaseTable
    description: str = ""
    synonyms: tuple[str, ...] = ()
    primary_key: tuple[str, ...] = ()
    unique_keys: tuple[tuple[str, ...], ...] = ()
    dimensions: tuple[Column, ...] = ()
    time_dimensions: tuple[Column, ...] = ()
    facts: tuple[Column, ...] = ()
    metrics: tuple[Metric, ...] = ()
    filters: tuple[Filter, ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        """All row-level columns: dimensions, time dimensions, facts."""
        return self.dimensions + self.time_dimensions + self.facts

    def column(self, name: str) -> Column | None:
        """Return the column of that name, ignoring case."""
        return next((column for column in self.columns if column.name.casefold() == name.casefold()), None)


@dataclass(frozen=True, slots=True)
class Relationship:
    """Each row of *left_table* finds at most one row of *right_table*; *columns* are pairs (left, right) that must be equal."""

    name: str
    left_table: str
    right_table: str
    columns: tuple[tuple[str, str], ...]
    join_type: str = ""  # as written: inner, left_outer, ...; '' when not given
    relationship_type: str = ""  # as written: many_to_one, one_to_one, ...; '' when not given
    synonyms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VerifiedQuery:
    """A question whose SQL a person approved. *sql* is Snowflake SQL over logical tables, named plainly or with ``__`` before."""

    name: str
    question: str
    sql: str
    verified_at: int | None = None  # seconds since 1970
    verified_by: str = ""
    use_as_onboarding_question: bool = False


@dataclass(frozen=True, slots=True)
class SemanticModel:
    """A whole model, in the union of the two dialects in use."""

    name: str
    tables: tuple[LogicalTable, ...]
    description: str = ""
    relationships: tuple[Relationship, ...] = ()
    metrics: tuple[Metric, ...] = ()
    verified_queries: tuple[VerifiedQuery, ...] = ()
    custom_instructions: str = ""
    sql_generation: str = ""  # of module_custom_instructions; beats custom_instructions
    question_categorization: str = ""  # of module_custom_instructions

    def table(self, name: str) -> LogicalTable | None:
        """Return the logical table of that name, ignoring case."""
        return next((table for table in self.tables if table.name.casefold() == name.casefold()), None)
