"""What an answer consists of, in the order in which a caller learns it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from services.analyst.domain.warehouse import Rows


class Step(StrEnum):
    """A step of an answer."""

    READING = "READING"
    RUNNING = "RUNNING"


@dataclass(frozen=True, slots=True)
class Status:
    """A step has begun."""

    step: Step


@dataclass(frozen=True, slots=True)
class Interpretation:
    """How the question was read."""

    text: str


@dataclass(frozen=True, slots=True)
class Sql:
    """The statement that answers."""

    statement: str
    verified_query: str
    dialect: str


@dataclass(frozen=True, slots=True)
class Suggestions:
    """Why there is no answer, and what would have one."""

    reason: str
    questions: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """The rows."""

    rows: Rows


@dataclass(frozen=True, slots=True)
class Chart:
    """A Vega-Lite specification."""

    spec: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The result in words; *generated* by a language model or not."""

    text: str
    generated: bool = False


@dataclass(frozen=True, slots=True)
class Warnings:
    """What to bear in mind."""

    messages: Sequence[str]


@dataclass(frozen=True, slots=True)
class Done:
    """The end of an answer."""

    answer_id: str
    conversation_id: str
    row_count: int = 0
    truncated: bool = False


Event: TypeAlias = Status | Interpretation | Sql | Suggestions | Result | Chart | Explanation | Warnings | Done
