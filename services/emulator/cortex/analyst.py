"""Cortex Analyst by script: the first script whose pattern the question has answers; without one it suggests."""

import itertools
import threading
import uuid
from typing import Any

_GUARD = threading.Lock()
_SCRIPTS: list[tuple[str, str, str]] = []
_SOURCES = ("semantic_model_file", "semantic_model", "semantic_view", "semantic_models")


def script(pattern: str, text: str, statement: str) -> None:
    """Let questions that contain *pattern* be answered with *text* and *statement*."""
    with _GUARD:
        _SCRIPTS.append((pattern, text, statement))


def refused(body: dict[str, Any]) -> str | None:
    """Return why a request is malformed, or None."""
    messages = body.get("messages")
    if (
        not isinstance(messages, list)
        or not messages
        or not all(isinstance(item, dict) and isinstance(item.get("content"), list) for item in messages)
    ):
        return "messages must be a list of at least one message with content"
    roles = [item.get("role", "user") for item in messages]
    if roles[-1] != "user" or any(one == two for one, two in itertools.pairwise(roles)):
        return "roles must alternate between user and analyst, and the last one must be user"
    given = [name for name in _SOURCES if body.get(name)]
    if len(given) != 1 and "semantic_models" not in given:
        return f"exactly one of {', '.join(_SOURCES)} is required"
    return None


def reply(body: dict[str, Any]) -> dict[str, Any]:
    """Return the whole answer to a valid request."""
    question = " ".join(str(part.get("text", "")) for part in body["messages"][-1]["content"])
    with _GUARD:
        found = next(
            ((text, statement) for pattern, text, statement in _SCRIPTS if pattern.lower() in question.lower()), None
        )
    if found is None:
        content: list[dict[str, Any]] = [
            {"type": "text", "text": "I do not understand the question."},
            {"type": "suggestions", "suggestions": [pattern for pattern, _, _ in _SCRIPTS]},
        ]
    else:
        content = [
            {"type": "text", "text": found[0]},
            {"type": "sql", "statement": found[1], "confidence": {"verified_query_used": None}},
        ]
    answer: dict[str, Any] = {
        "message": {"role": "analyst", "content": content},
        "request_id": str(uuid.uuid4()),
        "warnings": [],
        "response_metadata": {"model_names": ["emulator"], "question_category": "CLEAR_SQL" if found else "UNCLEAR"},
    }
    if body.get("semantic_models"):
        answer["semantic_model_selection"] = {"index": 0, "identifier": body["semantic_models"][0]}
    return answer


def events(answer: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the same answer as server-sent events."""
    out: list[tuple[str, Any]] = [
        (
            "status",
            {
                "status": "interpreting_question",
                "status_message": "Interpreting question",
                "request_id": answer["request_id"],
            },
        )
    ]
    for index, block in enumerate(answer["message"]["content"]):
        match block["type"]:
            case "text":
                out.append(("message.content.delta", {"index": index, "type": "text", "text_delta": block["text"]}))
                out.append(("status", {"status": "generating_sql", "status_message": "Generating SQL"}))
            case "sql":
                out.append(
                    (
                        "message.content.delta",
                        {
                            "index": index,
                            "type": "sql",
                            "statement_delta": block["statement"],
                            "confidence": block["confidence"],
                        },
                    )
                )
            case "suggestions":
                out += [
                    (
                        "message.content.delta",
                        {
                            "index": index,
                            "type": "suggestions",
                            "suggestions_delta": {"index": at, "suggestion_delta": text},
                        },
                    )
                    for at, text in enumerate(block["suggestions"])
                ]
    out.append(("warnings", {"warnings": answer["warnings"]}))
    out.append(("response_metadata", answer["response_metadata"]))
    out.append(("status", {"status": "done", "status_message": "Done"}))
    return [*out, ("done", {})]
