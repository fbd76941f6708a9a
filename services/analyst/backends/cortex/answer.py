"""An answer of Cortex Analyst, put together from a stream whose events come in any order."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import orjson

from services.analyst.domain.events import Interpretation, Suggestions, Warnings
from services.analyst.domain.ports import Reading, Statement
from services.mesh.errors import BackendUnavailable
from services.snowflake.rest import ServerEvent

MAX_CHARACTERS = 1 << 20  # of all deltas of an answer
_UNANSWERED = "Cortex Analyst has no answer to this question"
_RETRY_AFTER_S = 2.0

Deltas = defaultdict[int, list[str]]


class AnalystAnswerUnusable(BackendUnavailable):
    """Cortex Analyst's answer breaks off, or is not as documented; nothing of it is used."""

    reason = "CORTEX_ANALYST_ANSWER_UNUSABLE"


class CortexAnalystFailed(BackendUnavailable):
    """Cortex Analyst gave up in the middle of its answer."""

    reason = "CORTEX_ANALYST_FAILED"


class Answer:
    """Collects events; unknown ones, and unknown kinds of content, are passed over.

    ``request_id`` is what Cortex calls the request by, '' while unknown; ``ended`` whether the end was announced.
    """

    def __init__(self) -> None:
        self.request_id = ""
        self.ended = False
        self._texts: Deltas = defaultdict(list)
        self._statements: Deltas = defaultdict(list)
        self._suggestions: defaultdict[int, Deltas] = defaultdict(lambda: defaultdict(list))
        self._warnings: list[str] = []
        self._verified_query = ""
        self._characters = 0

    def add(self, event: ServerEvent) -> None:
        """Take an event. Raises ``CortexAnalystFailed`` for one that tells a failure, ``AnalystAnswerUnusable`` for a malformed one."""
        match event.name:
            case "message.content.delta":
                self._add_delta(_parsed(event))
            case "status":
                data = _parsed(event)
                self.request_id = _text(data, "request_id") or self.request_id
                self.ended = self.ended or _text(data, "status") == "done"
            case "warnings":
                self._add_warnings(_parsed(event).get("warnings"))
            case "error":
                raise self._failure(_parsed(event))
            case "done":  # its data are not specified
                self.ended = True

    def readings(self) -> Iterator[Reading]:
        """Yield the whole answer: a statement, or suggestions. Raises ``AnalystAnswerUnusable`` for one that broke off."""
        text = "\n\n".join(_joined(self._texts))
        statements = _joined(self._statements)
        questions = [question for block in sorted(self._suggestions) for question in _joined(self._suggestions[block])]
        if not (self.ended or statements or questions):
            raise self._unusable("broke off")
        if statements and text:
            yield Interpretation(text)
        if self._warnings:
            yield Warnings(tuple(self._warnings))
        if statements:
            yield Statement(statements[0], self._verified_query)
        else:
            yield Suggestions(text or _UNANSWERED, questions)

    def _add_delta(self, data: dict[str, Any]) -> None:
        block = self._number(data)
        match data.get("type"):
            case "text":
                self._keep(self._texts[block], _text(data, "text_delta"))
            case "sql":
                self._keep(self._statements[block], _text(data, "statement_delta"))
                self._add_confidence(data.get("confidence"))
            case "suggestions" | "suggestion":  # the documentation uses both
                delta = data.get("suggestions_delta")
                if not isinstance(delta, dict):
                    raise self._unusable("has suggestions without text")
                self._keep(self._suggestions[block][self._number(delta)], _text(delta, "suggestion_delta"))

    def _add_confidence(self, confidence: object) -> None:
        used = confidence.get("verified_query_used") if isinstance(confidence, dict) else None
        if isinstance(used, dict):
            self._verified_query = _text(used, "name")

    def _add_warnings(self, warnings: object) -> None:
        for warning in warnings if isinstance(warnings, list) else ():
            message = _text(warning, "message") if isinstance(warning, dict) else ""
            if message and message not in self._warnings:
                self._warnings.append(message)

    def _keep(self, pieces: list[str], piece: str) -> None:
        self._characters += len(piece)
        if self._characters > MAX_CHARACTERS:
            raise self._unusable(f"is longer than {MAX_CHARACTERS} characters")
        pieces.append(piece)

    def _number(self, data: dict[str, Any]) -> int:
        index = data.get("index", 0)
        if not isinstance(index, int):
            raise self._unusable("has content without a number")
        return index

    def _failure(self, data: dict[str, Any]) -> CortexAnalystFailed:
        return CortexAnalystFailed(
            "Cortex Analyst gave up on this question; try again",
            retry_after_s=_RETRY_AFTER_S,
            code=_text(data, "code"),
            request_id=_text(data, "request_id") or self.request_id,
        )

    def _unusable(self, what: str) -> AnalystAnswerUnusable:
        return AnalystAnswerUnusable(
            f"Cortex Analyst's answer {what}", retry_after_s=_RETRY_AFTER_S, request_id=self.request_id
        )


def _parsed(event: ServerEvent) -> dict[str, Any]:
    try:
        data = orjson.loads(event.data)
    except orjson.JSONDecodeError:
        data = None
    if not isinstance(data, dict):
        raise AnalystAnswerUnusable(
            f"Cortex Analyst sent an event {event.name} that is not a JSON object", retry_after_s=_RETRY_AFTER_S
        )
    return data


def _text(data: dict[str, Any], name: str) -> str:
    """Return the text *name*; '' where it is missing or something else."""
    value = data.get(name)
    return value if isinstance(value, str) else ""


def _joined(deltas: Deltas) -> list[str]:
    """Return the texts by their numbers, none empty."""
    joined = ("".join(deltas[number]).strip() for number in sorted(deltas))
    return [text for text in joined if text]
