"""A question's way to an answer, over fakes: what comes in which order, and what becomes of it when something is refused."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any

import pytest
from sqlglot import exp

from services.analyst.domain.allowing import allowed_tables
from services.analyst.domain.asking import Asking
from services.analyst.domain.conversations import Asked, Conversations
from services.analyst.domain.events import (
    Chart,
    Done,
    Event,
    Explanation,
    Interpretation,
    Result,
    Sql,
    Status,
    Suggestions,
)
from services.analyst.domain.guard import Place, TableName
from services.analyst.domain.language import OutputColumn, Turn
from services.analyst.domain.models import SemanticModelNotFound, SemanticModels
from services.analyst.domain.ports import KeptAnswer, KeptModel, LoadedModel, Question, Reading, Statement
from services.analyst.domain.semantic_model import parse
from services.analyst.domain.statements import Statements
from services.analyst.domain.warehouse import ColumnType, Rows, StatementFailed
from services.mesh.caller import Caller
from tests.support.analyst import STAFF_YAML

ANN = Caller("ann")
NOW = datetime(2024, 1, 2, tzinfo=UTC)
TWO_ROWS = Rows((ColumnType("base", "VARCHAR"),), [("JFK",), ("LGA",)])
STATEMENT = Statement("SELECT base FROM staff", columns=(OutputColumn("base", "dimension"),))


class FakeModels(SemanticModels):
    """One model, which is there as often as *times* says."""

    def __init__(self, times: int = 99) -> None:
        self.times = times
        model = parse(STAFF_YAML).model
        assert model is not None
        kept = KeptModel("m", "staff", 1, "ann", "PRIVATE", (), STAFF_YAML, "", NOW, NOW)
        self._model = LoadedModel(kept, model, (), allowed_tables(model))

    async def load(self, caller: Caller, name: str, owner_user: str = "", version: int = 0) -> LoadedModel:
        """Return it."""
        self.times -= 1
        if self.times < 0:
            raise SemanticModelNotFound("there is none")
        return self._model


@dataclass
class FakeAnalyst:
    """Reads every question the same way."""

    readings: Sequence[Reading] = (Interpretation("as it stands"), STATEMENT)
    asked: list[Question] = field(default_factory=list)

    async def read(self, question: Question, model: LoadedModel) -> AsyncGenerator[Reading, None]:
        """Yield the readings."""
        self.asked.append(question)
        for reading in self.readings:
            yield reading


class FakeWarehouse:
    """Has the staff, and the same rows for every statement."""

    dialect = "duckdb"
    generation = 1

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.fails = False

    def places(self, names: Iterable[TableName]) -> Mapping[TableName, Place]:
        """Return a place for each."""
        return {name: Place(exp.to_table("main.staff"), ["name", "base", "salary"]) for name in names}

    async def run(self, sql: str, *, max_rows: int = 0) -> Rows:
        """Return the rows, or fail."""
        self.ran.append(sql)
        if self.fails:
            raise StatementFailed("the statement does not run: no such thing")
        return TWO_ROWS

    def run_blocking(self, sql: str, *, max_rows: int, timeout_s: float) -> Rows:
        """Return the rows."""
        return TWO_ROWS


class FakeAnswers:
    """Keeps answers in a list."""

    def __init__(self) -> None:
        self.kept: list[KeptAnswer] = []

    async def turns(self, owner_user: str, conversation_id: str, limit: int) -> list[Turn]:
        """Return the questions of a conversation."""
        return [Turn(answer.question) for answer in self.kept if answer.conversation_id == conversation_id]

    async def keep(self, answer: KeptAnswer, max_turns: int, oldest: datetime) -> None:
        """Keep one."""
        self.kept.append(answer)

    async def answer(self, owner_user: str, answer_id: str) -> KeptAnswer | None:
        """Return one."""
        return None

    async def judge(self, answer: KeptAnswer, comment: str, at: datetime, *, positive: bool) -> None:
        """Forget it."""


class FakeDescriber:
    """Has a word and a picture for everything."""

    def describe(
        self, question: str, columns: Sequence[OutputColumn], query: exp.Query, result: Rows
    ) -> tuple[Explanation, Chart]:
        """Return them."""
        return Explanation(f"{len(result.rows)} rows by {columns[0].name}"), Chart({"mark": "bar"})


@dataclass
class World:
    """An ``Asking`` over fakes."""

    models: FakeModels = field(default_factory=FakeModels)
    analyst: FakeAnalyst = field(default_factory=FakeAnalyst)
    warehouse: FakeWarehouse = field(default_factory=FakeWarehouse)
    answers: FakeAnswers = field(default_factory=FakeAnswers)
    describer: Any = None

    async def ask(self, question: str = "bases", **fields: Any) -> list[Event]:
        """Return the events."""
        statements = Statements(self.warehouse, 1.0)
        asking = Asking(self.models, self.analyst, statements, Conversations(self.answers), self.describer)
        return [event async for event in asking.ask(ANN, Asked(question, "staff", **fields))]


async def collect(events: AsyncGenerator[Event, None], seen: list[Event]) -> None:
    async for event in events:
        seen.append(event)  # noqa: PERF401  # also those before an error


def names(events: Iterable[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


async def test_status_comes_before_the_question_is_read() -> None:
    world = World()
    asking = Asking(world.models, world.analyst, Statements(world.warehouse, 1.0), Conversations(world.answers))
    events = asking.ask(ANN, Asked("bases", "staff"))

    first = await anext(events)

    assert isinstance(first, Status)
    assert world.analyst.asked == []
    await events.aclose()


async def test_answer_has_its_parts_in_order() -> None:
    events = await World(describer=FakeDescriber()).ask()

    assert names(events) == ["Status", "Interpretation", "Sql", "Status", "Result", "Explanation", "Chart", "Done"]
    assert events[2] == Sql("SELECT base FROM staff", "", "duckdb")
    assert events[5] == Explanation("2 rows by base")
    assert isinstance(events[-1], Done)
    assert events[-1].row_count == 2


async def test_what_runs_is_what_the_guard_has_confined() -> None:
    world = World()

    await world.ask()

    assert world.warehouse.ran == ['SELECT base FROM (SELECT "name", "base" FROM main.staff) AS staff LIMIT 10001']


@pytest.mark.parametrize(
    "query",
    ["DROP TABLE staff", "SELECT salary FROM staff", "SELECT 1; SELECT 2", "SELECT * FROM read_text('/etc/passwd')"],
)
async def test_statement_that_the_guard_refuses_does_not_run(query: str) -> None:
    world = World(analyst=FakeAnalyst((replace(STATEMENT, query=query),)))

    events = await world.ask()

    assert names(events) == ["Status", "Suggestions", "Done"]
    assert world.warehouse.ran == []


async def test_statement_that_fails_gives_the_reason_and_no_rows() -> None:
    world = World()
    world.warehouse.fails = True

    events = await world.ask()

    assert names(events) == ["Status", "Interpretation", "Sql", "Status", "Suggestions", "Done"]
    assert world.answers.kept[0].statement == ""


async def test_question_nobody_reads_gets_a_reason() -> None:
    events = await World(analyst=FakeAnalyst(())).ask()

    assert names(events) == ["Status", "Suggestions", "Done"]
    assert isinstance(events[1], Suggestions)
    assert events[1].reason


async def test_model_taken_back_meanwhile_gives_no_rows() -> None:
    world = World(models=FakeModels(times=1))
    seen: list[Event] = []

    asking = Asking(world.models, world.analyst, Statements(world.warehouse, 1.0), Conversations(world.answers))
    events = asking.ask(ANN, Asked("bases", "staff"))

    with pytest.raises(SemanticModelNotFound):
        await collect(events, seen)

    assert not any(isinstance(event, Result) for event in seen)


async def test_conversation_carries_earlier_questions() -> None:
    world = World()

    await world.ask("first", conversation_id="c")
    await world.ask("second", conversation_id="c", as_of="2020-01-31")

    assert [turn.question for turn in world.analyst.asked[1].history] == ["first"]
    assert world.analyst.asked[1].today == date(2020, 1, 31)


async def test_answer_is_kept_as_a_statement_that_could_be_verified() -> None:
    world = World(analyst=FakeAnalyst((replace(STATEMENT, query="WITH __staff AS (SELECT base AS base FROM staff) SELECT base FROM __staff"),)))  # fmt: skip

    await world.ask()

    assert world.answers.kept[0].statement == "SELECT base FROM __staff"
