"""The analyst on an emulated Cortex Analyst."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import aiohttp
import pytest

from services.analyst.backends.cortex import CortexAnalyst
from services.analyst.domain.allowing import allowed_tables
from services.analyst.domain.events import Interpretation, Suggestions
from services.analyst.domain.language import Turn
from services.analyst.domain.ports import KeptModel, LoadedModel, Question, Reading, Statement
from services.analyst.domain.semantic_model import parse
from services.emulator.cortex.analyst import script
from services.emulator.engine.faults import Fault
from services.mesh.config import Secret
from services.snowflake.errors import LoginRefused, SnowflakeUnavailable
from services.snowflake.login import OAUTH, RestCredential
from services.snowflake.rest import CortexRefused, RestClient
from tests.support.analyst import STAFF_YAML
from tests.support.emulator import Emulator, emulator

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def running() -> Iterator[Emulator]:
    with emulator() as found:
        yield found


@pytest.fixture
async def client(running: Emulator) -> AsyncIterator[RestClient]:
    token = running.credentials.service_token("ANALYST", "ACCOUNTADMIN")
    async with aiohttp.ClientSession() as http:
        yield RestClient(http, running.url, lambda: RestCredential(Secret(token), OAUTH))
    running.account.faults.clear()


async def ask(client: RestClient, text: str, *history: str) -> list[Reading]:
    model = parse(STAFF_YAML).model
    assert model is not None
    kept = KeptModel("m", "staff", 1, "ann", "PRIVATE", (), STAFF_YAML, "", NOW, NOW)
    question = Question(text, NOW.date(), [Turn(earlier) for earlier in history])
    loaded = LoadedModel(kept, model, (), allowed_tables(model))
    return [reading async for reading in CortexAnalyst(client).read(question, loaded)]


async def test_a_question_gets_its_statement(client: RestClient) -> None:
    script("bases of the staff", "Every base once.", "SELECT DISTINCT base FROM staff")

    found = await ask(client, "What are the bases of the staff?", "an earlier question")

    assert found == [Interpretation("Every base once."), Statement("SELECT DISTINCT base FROM staff")]


async def test_a_question_without_answer_gets_suggestions(client: RestClient) -> None:
    script("bases of the staff", "Every base once.", "SELECT DISTINCT base FROM staff")

    (found,) = await ask(client, "What will the weather be?")

    assert isinstance(found, Suggestions)
    assert "bases of the staff" in found.questions


async def test_a_connection_that_drops_gives_no_half_answer(client: RestClient, running: Emulator) -> None:
    running.account.faults.arm(Fault("drop_mid_stream", 1, {}))

    with pytest.raises(SnowflakeUnavailable):
        await ask(client, "What are the bases of the staff?")

    assert await ask(client, "What are the bases of the staff?")


async def test_a_busy_cortex_is_waited_for(client: RestClient, running: Emulator) -> None:
    running.account.faults.arm(Fault("rest_429", 1, {"retry_after": 1}))

    assert await ask(client, "What are the bases of the staff?")


async def test_feedback_is_taken(client: RestClient) -> None:
    await CortexAnalyst(client).feedback("5f0c", "good", positive=True)

    with pytest.raises(CortexRefused):
        await client.call("/api/v2/cortex/analyst/feedback", {"request_id": 1}, timeout_s=5)


async def test_a_wrong_token_is_told(running: Emulator) -> None:
    async with aiohttp.ClientSession() as http:
        with pytest.raises(LoginRefused):
            await ask(RestClient(http, running.url, lambda: RestCredential(Secret("wrong"), OAUTH)), "bases")
