"""The analyst on Cortex: a question goes there with its model, a statement comes back, which is checked here like anyone's."""

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import UTC, date, datetime
from typing import Any, Final

from services.analyst.backends.cortex.answer import Answer
from services.analyst.backends.cortex.sources import Source, inline
from services.analyst.domain.ports import LoadedModel, Question, Reading
from services.snowflake.rest import RestClient

MESSAGE_PATH: Final = "/api/v2/cortex/analyst/message"
FEEDBACK_PATH: Final = "/api/v2/cortex/analyst/feedback"
ANSWER_WITHIN_S: Final = 120.0
FEEDBACK_WITHIN_S: Final = 30.0
MAX_TURNS: Final = 5  # Cortex reads all of them anew for each question, and gets worse over long conversations
# Turns must alternate, and ours keep no answers; this one says nothing that could mislead.
_ANALYST_TURN: Final = "Understood."

log = logging.getLogger(__name__)
Json = dict[str, Any]


def utc_today() -> date:
    """Return the day that Cortex takes for today."""
    return datetime.now(UTC).date()


class CortexAnalyst:
    """Asks Cortex Analyst, which acts as this service's role and knows no callers: who may see a model is decided before."""

    def __init__(self, client: RestClient, source: Source = inline, *, today: Callable[[], date] = utc_today) -> None:
        self._client = client
        self._source = source
        self._today = today

    async def read(self, question: Question, model: LoadedModel) -> AsyncGenerator[Reading, None]:
        """Yield how *question* is read, then a statement; or suggestions. Raises errors of ours; none leaves half an answer."""
        body = {"messages": self._messages(question), **self._source(model), "stream": True}
        answer = Answer()

        def opened(request_id: str) -> None:
            answer.request_id = request_id

        stream = self._client.stream(MESSAGE_PATH, body, timeout_s=ANSWER_WITHIN_S, opened=opened)
        async with aclosing(stream) as events:
            async for event in events:
                answer.add(event)
                if event.name == "done":
                    break
        log.info("Cortex Analyst has answered", extra={"request_id": answer.request_id})
        for reading in answer.readings():
            yield reading

    async def feedback(self, request_id: str, comment: str = "", *, positive: bool) -> None:
        """Tell Cortex what a person thought of the answer to *request_id*."""
        body: Json = {"request_id": request_id, "positive": positive}
        if comment:
            body["feedback_message"] = comment
        await self._client.call(FEEDBACK_PATH, body, timeout_s=FEEDBACK_WITHIN_S)

    def _messages(self, question: Question) -> list[Json]:
        messages = []
        for turn in list(question.history)[-MAX_TURNS:]:
            messages += [_message("user", turn.question), _message("analyst", _ANALYST_TURN)]
        text = question.text
        if question.today != self._today():  # Cortex has no field for it
            text = f"{text}\n(Today is {question.today.isoformat()}.)"
        return [*messages, _message("user", text)]


def _message(role: str, text: str) -> Json:
    return {"role": role, "content": [{"type": "text", "text": text}]}
