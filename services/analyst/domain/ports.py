"""What the analyst needs of the world: somebody who reads questions, somebody who describes results, and places that keep things."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Protocol, TypeAlias

from sqlglot import exp

from services.analyst.domain.events import Chart, Explanation, Interpretation, Suggestions, Warnings
from services.analyst.domain.guard import Columns, TableName
from services.analyst.domain.language import OutputColumn, Turn
from services.analyst.domain.semantic_model import Finding, SemanticModel
from services.analyst.domain.warehouse import Rows
from services.mesh.caller import Caller

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class KeptModel:
    """A version of a semantic model as it is kept."""

    model_id: str
    name: str
    version: int
    owner_user: str
    access_level: str  # PRIVATE, ROLE, PUBLIC
    reader_roles: tuple[str, ...]
    yaml: str
    description: str
    created_at: datetime
    updated_at: datetime

    @property
    def etag(self) -> str:
        """Opaque form of the version."""
        return f"{self.model_id[:8]}-{self.version:x}"


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model made ready for questions."""

    kept: KeptModel
    model: SemanticModel
    findings: tuple[Finding, ...]
    allowed: Mapping[TableName, Columns]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and when."""

    text: str
    today: date
    history: Sequence[Turn] = ()


@dataclass(frozen=True, slots=True)
class Statement:
    """The query that answers, over base tables: a tree, or text that nobody has looked at yet."""

    query: exp.Query | str
    verified_query: str = ""
    columns: Sequence[OutputColumn] = ()


Reading: TypeAlias = Interpretation | Statement | Suggestions | Warnings


class Analyst(Protocol):
    """Reads questions; implemented in ``backends/``."""

    def read(self, question: Question, model: LoadedModel) -> AsyncGenerator[Reading, None]:
        """Yield how *question* is read, and a statement or suggestions, never both."""
        ...


class Describer(Protocol):
    """Says in words and pictures what a result holds. Called on a thread."""

    def describe(
        self, question: str, columns: Sequence[OutputColumn], query: exp.Query, result: Rows
    ) -> tuple[Explanation | None, Chart | None]:
        """Return both, each None where there is nothing to say or draw. *query* is the statement as it was checked."""
        ...


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """A question that was asked, and what became of it."""

    answer_id: str
    owner_user: str
    conversation_id: str
    model_id: str
    question: str
    statement: str  # '' when it was not answered
    dialect: str
    asked_at: datetime


class ModelStore(Protocol):
    """Where semantic models are kept. What a caller may not see is not there."""

    async def find(self, caller: Caller, name: str, owner_user: str, version: int = 0) -> KeptModel | None:
        """Return the caller's own model of that name, else the oldest that they may see; of *owner_user* only, when given."""
        ...

    async def page(self, caller: Caller, after: tuple[str, str], limit: int) -> list[KeptModel]:
        """Return models with a greater (name, owner) than *after*, without YAML."""
        ...

    async def put(self, model: KeptModel) -> bool:
        """Keep a version; False when there is a newer one, or another first one, already."""
        ...

    async def delete(self, model_id: str) -> None:
        """Delete all versions."""
        ...


class AnswerStore(Protocol):
    """Where conversations and feedback are kept."""

    async def turns(self, owner_user: str, conversation_id: str, limit: int) -> list[Turn]:
        """Return the last turns, oldest first."""
        ...

    async def keep(self, answer: KeptAnswer, max_turns: int, oldest: datetime) -> None:
        """Keep an answer; forget what is beyond *max_turns* of its conversation, or older than *oldest*."""
        ...

    async def answer(self, owner_user: str, answer_id: str) -> KeptAnswer | None:
        """Return an answer that *owner_user* was given."""
        ...

    async def judge(self, answer: KeptAnswer, comment: str, at: datetime, *, positive: bool) -> None:
        """Keep feedback, in place of earlier feedback to the same answer."""
        ...
