"""What reading a question needs to know about the data, and what comes of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Protocol, TypeAlias

from sqlglot import exp

Scalar: TypeAlias = str | int | float | bool | Decimal | date | datetime


@dataclass(frozen=True, slots=True)
class Distinct:
    """The distinct values of a column without NULL, in order; *complete* is False when the bound cut them."""

    values: tuple[Scalar, ...]
    complete: bool


class Values(Protocol):
    """What was observed in the data of one model. Names are logical, as the model spells them; None means not observed.

    Implementations answer from memory: they are called many times for one question.
    """

    def distinct(self, table: str, column: str) -> Distinct | None:
        """Return the distinct values of a dimension, up to a bound."""
        ...

    def span(self, table: str, column: str) -> tuple[Scalar, Scalar] | None:
        """Return the lowest and highest value of a column; None also when all are NULL."""
        ...

    def column_type(self, table: str, column: str) -> str | None:
        """Return the type that the engine reports for the column's expression, such as ``VARCHAR``."""
        ...

    def row_count(self, table: str) -> int | None:
        """Return how many rows the table has."""
        ...

    def is_unique(self, table: str, columns: tuple[str, ...]) -> bool | None:
        """Tell whether no two rows agree in these columns; rows with a NULL among them do not count."""
        ...

    def determines(self, table: str, key: tuple[str, ...], column: str) -> bool | None:
        """Tell whether rows that agree in *key* agree in *column* too, though the key may repeat."""
        ...


@dataclass(frozen=True, slots=True)
class Similarities:
    """Cosine of the question to the questions of verified queries, by the query's name, from the embedding service."""

    verified_queries: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Turn:
    """An earlier question of the same conversation, as the person wrote it."""

    question: str


@dataclass(frozen=True, slots=True)
class OutputColumn:
    """A column of the result. *role* is ``dimension``, ``time`` or ``measure``; *unit* is like ``minutes``, ``%``, '' when unknown."""

    name: str
    role: str
    unit: str = ""
    title: str = ""  # for a person: "average departure delay"
    grain: str = ""  # of a time: year, quarter, month, week, day, hour; '' when none


@dataclass(frozen=True, slots=True)
class Answer:
    """How a question was read, and the query that answers it over the model's base tables.

    ``sql`` renders for either engine: ``answer.sql.sql(dialect="duckdb")`` or ``"snowflake"``.
    """

    interpretation: str
    sql: exp.Query
    verified_query: str | None = None  # name of the verified query that it rests on
    warnings: tuple[str, ...] = ()
    columns: tuple[OutputColumn, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a question is not answered; *questions* are ones that would be."""

    reason: str
    questions: tuple[str, ...] = field(default=())
