"""Questions and statements over real gRPC: events, refusals, bounds, and clients that leave."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from memorybox.analyst.v1 import analyst_pb2
from memorybox.analyst.v1 import analyst_service_pb2 as pb
from services.cli.grants import standard_keys
from tests.support.analyst import STAFF_CSV, World, analyst_world, kinds, rows, suggestions
from tests.support.clients import Deployment, eventually, refusal

QUESTIONS = (Path(__file__).parents[2] / "unit" / "analyst" / "hostile_questions.txt").read_text().splitlines()
BOMB = "SELECT sum(a.n * b.n) FROM range(3000000) AS a(n), range(3000000) AS b(n)"


@pytest.fixture
async def brief(tmp_path: Path) -> AsyncIterator[World]:
    """Serve with statements of a second at most, and little memory."""
    settings = {"MEMORYBOX_ANALYST_STATEMENT_TIMEOUT": "1", "MEMORYBOX_ANALYST_WAREHOUSE_MIB": "64"}
    async with analyst_world(Deployment(tmp_path / "brief", standard_keys("ann")), **settings) as world:
        await world.ann.load("staff", STAFF_CSV)
        await world.ann.put("staff")
        yield world


async def test_answer_is_read_shown_run_and_done_in_that_order(world: World) -> None:
    events = await world.ann.ask("headcount by base")

    assert kinds(events) == ["status", "interpretation", "sql", "status", "result", "explanation", "chart", "done"]
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert sorted(map(tuple, rows(events))) == [("JFK", 2), ("LGA", 1)]
    assert events[-1].done.row_count == 2
    assert events[-1].done.answer_id


async def test_statement_of_an_answer_can_be_run_again(world: World) -> None:
    events = await world.ann.ask("headcount by base")
    (sql,) = [event.sql for event in events if event.HasField("sql")]

    assert rows(await world.ann.execute(sql.statement)) == rows(events)


async def test_question_that_is_not_covered_has_one_reason_and_no_rows(world: World) -> None:
    events = await world.ann.ask("what is the weather in Paris")

    assert kinds(events) == ["status", "suggestions", "done"]
    assert suggestions(events).reason


async def test_suggested_questions_have_answers(world: World) -> None:
    for question in suggestions(await world.ann.ask("what is the weather in Paris")).questions:
        assert "result" in kinds(await world.ann.ask(question)), question


async def test_model_whose_table_is_not_loaded_says_so(world: World) -> None:
    await world.ann.DropTable(pb.DropTableRequest(name="staff"))

    events = await world.ann.ask("headcount by base")

    assert "result" not in kinds(events)
    assert kinds(events)[-1] == "done"
    assert suggestions(events).reason


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        pytest.param({"question": ""}, "question", id="empty"),
        pytest.param({"question": "x" * 2049}, "question", id="long"),
        pytest.param({"semantic_model": ""}, "semantic_model", id="no-model"),
        pytest.param({"as_of": "yesterday"}, "as_of", id="day"),
        pytest.param({"conversation_id": "x" * 129}, "conversation_id", id="conversation"),
        pytest.param({"history": [analyst_pb2.Turn(question="x")] * 21}, "history", id="history"),
    ],
)
async def test_request_outside_its_limits_names_the_field(world: World, fields: dict[str, object], field: str) -> None:
    request = pb.AskRequest(**{"question": "headcount", "semantic_model": "staff", **fields})  # type: ignore[arg-type]

    async def ask() -> list[pb.AskResponse]:
        return [event async for event in world.ann.Ask(request)]

    assert (await refusal(ask())).fields == (field,)


async def test_as_of_says_what_today_means(world: World) -> None:
    in_2020 = await world.ann.ask("headcount this year by hired", as_of="2020-06-01")
    in_2021 = await world.ann.ask("headcount this year by hired", as_of="2021-06-01")

    assert rows(in_2020) != rows(in_2021)


async def test_conversation_goes_on_where_it_was_for_its_user_alone(world: World) -> None:
    await world.ann.put("staff", access_level=analyst_pb2.SemanticModel.PUBLIC)
    first = await world.ann.ask("headcount in JFK")
    conversation = first[-1].done.conversation_id

    follow_up = await world.ann.ask("and in LGA?", conversation_id=conversation)
    kept_by_client = await world.ann.ask("and in LGA?", history=[analyst_pb2.Turn(question="headcount in JFK")])
    by_someone_else = await world.bob.ask("and in LGA?", conversation_id=conversation)

    assert rows(follow_up) == rows(kept_by_client) == [[1]]
    assert "result" not in kinds(by_someone_else)


async def test_fifty_questions_at_once_are_all_answered(world: World) -> None:
    answers = await asyncio.gather(*(world.ann.ask("headcount by base") for _ in range(50)))

    assert {tuple(kinds(events)) for events in answers} == {
        ("status", "interpretation", "sql", "status", "result", "explanation", "chart", "done")
    }


async def test_hostile_questions_are_refused_with_a_reason(world: World) -> None:
    answered = {}
    for question in QUESTIONS:
        events = await world.ann.ask(question.replace("\\0", "\0"))
        if "result" in kinds(events) or not suggestions(events).reason:
            answered[question] = rows(events)

    assert len(QUESTIONS) >= 40
    assert answered == {}


async def test_result_tells_columns_rows_and_what_ran(world: World) -> None:
    events = await world.ann.execute("select name, hired from staff order by name limit 1 -- x")

    result, done = events[0].result, events[-1].done
    assert [(column.name, column.type) for column in result.columns] == [("name", "VARCHAR"), ("hired", "DATE")]
    assert [list(row) for row in result.rows] == [["ann", "2020-01-02"]]
    assert (done.row_count, done.truncated) == (1, False)
    assert done.statement == "SELECT name, hired FROM staff ORDER BY name LIMIT 1"


async def test_result_without_rows_still_has_its_columns(world: World) -> None:
    events = await world.ann.execute("SELECT name FROM staff WHERE base = 'nowhere'")

    assert [event.WhichOneof("event") for event in events] == ["result", "done"]
    assert [column.name for column in events[0].result.columns] == ["name"]


async def test_large_result_comes_in_pages_and_ends_at_ten_thousand_rows(world: World) -> None:
    events = await world.ann.execute("SELECT n FROM range(20000) AS t(n)")

    assert len(events) == 21
    assert len(rows(events)) == 10_000
    assert (events[-1].done.row_count, events[-1].done.truncated) == (10_000, True)


async def test_statement_may_be_in_snowflakes_dialect(world: World) -> None:
    events = await world.ann.execute("SELECT IFF(base = 'JFK', 1, 0) AS j FROM HR.PUBLIC.STAFF", dialect="snowflake")

    assert sorted(rows(events)) == [[0], [1], [1]]


async def test_column_that_the_model_leaves_out_cannot_be_read(world: World) -> None:
    named = await refusal(world.ann.execute("SELECT salary FROM staff"))
    starred = await world.ann.execute("SELECT * FROM staff")

    assert (named.code, named.reason) == ("INVALID_ARGUMENT", "STATEMENT_REFUSED")
    assert [column.name for column in starred[0].result.columns] == ["name", "base", "hired"]


async def test_statement_that_the_warehouse_cannot_run_says_why(world: World) -> None:
    refused = await refusal(world.ann.execute("SELECT name + base FROM staff"))

    assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "STATEMENT_FAILED")


async def test_statement_that_takes_too_long_is_ended(brief: World) -> None:
    refused = await refusal(brief.ann.execute(BOMB))

    assert (refused.code, refused.reason) == ("RESOURCE_EXHAUSTED", "STATEMENT_TOO_LARGE")


async def test_statement_that_needs_too_much_memory_is_ended(brief: World) -> None:
    wide = "SELECT count(DISTINCT a.n * 7919 + b.n) FROM range(20000) AS a(n), range(20000) AS b(n)"

    refused = await refusal(brief.ann.execute(wide))

    assert refused.reason == "STATEMENT_TOO_LARGE"


async def test_statement_ends_when_its_client_leaves(world: World) -> None:
    call = world.ann.ExecuteQuery(pb.ExecuteQueryRequest(statement=BOMB, semantic_model="staff"))
    reading = asyncio.ensure_future(anext(aiter(call)))
    await eventually(lambda: busy() > 0, "the statement to run")

    call.cancel()
    await asyncio.gather(reading, return_exceptions=True)

    await eventually(lambda: busy() == 0, "the statement to end")


def busy() -> int:
    """Return how many threads of the warehouse run a statement."""
    return sum(is_fetching(thread) for thread in threading.enumerate() if thread.name.startswith("warehouse_"))


def is_fetching(thread: threading.Thread) -> bool:
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None:
        if frame.f_code.co_name == "_fetch":
            return True
        frame = frame.f_back
    return False


async def test_feedback_goes_to_ones_own_answers_only(world: World) -> None:
    answer_id = (await world.ann.ask("headcount"))[-1].done.answer_id

    await world.ann.SubmitFeedback(pb.SubmitFeedbackRequest(answer_id=answer_id, positive=True, comment="yes"))
    refused = await refusal(world.bob.SubmitFeedback(pb.SubmitFeedbackRequest(answer_id=answer_id)))

    assert refused.reason == "ANSWER_NOT_FOUND"
