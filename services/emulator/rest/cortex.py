"""Cortex over REST: embed, complete with SSE, models, Analyst with SSE."""

import asyncio
import uuid
from typing import Any

import orjson
from aiohttp import web

from services.emulator.cortex import analyst
from services.emulator.cortex.completion import completed
from services.emulator.cortex.embedding import MODELS, embedded
from services.emulator.protocol.keys import ACCOUNT
from services.emulator.rest.access import answer, guarded, json_body, refusal

COMPLETING = ("claude-4-sonnet", "claude-3-5-sonnet", "llama3.1-70b", "mistral-large2", "snowflake-llama-3.3-70b")
PIECE = 12  # characters of a streamed delta


def routes() -> list[web.RouteDef]:
    return [
        web.post("/api/v2/cortex/inference:embed", guarded(embed)),
        web.post("/api/v2/cortex/inference:complete", guarded(complete)),
        web.get("/api/v2/cortex/models", guarded(models)),
        web.post("/api/v2/cortex/analyst/message", guarded(message)),
        web.post("/api/v2/cortex/analyst/feedback", guarded(feedback)),
    ]


async def models(_request: web.Request) -> web.Response:
    return answer(200, {"models": [*COMPLETING, *MODELS]})


async def embed(request: web.Request) -> web.Response:
    body = await json_body(request)
    model, texts = body.get("model"), body.get("text")
    if model not in MODELS:
        return refusal(400, "390142", f"unknown model {model!r}")
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        return refusal(400, "390142", "text must be a list of at least one string")
    vectors = await asyncio.to_thread(lambda: [embedded(text, MODELS[model]) for text in texts])
    data = [{"object": "embedding", "embedding": [list(vector)], "index": at} for at, vector in enumerate(vectors)]
    return answer(
        200,
        {
            "object": "list",
            "data": data,
            "model": model,
            "usage": {"total_tokens": sum(len(text.split()) for text in texts)},
        },
    )


def _prompt(messages: list[dict[str, Any]]) -> str:
    return str(
        messages[-1].get("content") or "".join(part.get("text", "") for part in messages[-1].get("content_list") or ())
    )


async def complete(request: web.Request) -> web.StreamResponse:
    body = await json_body(request)
    model, messages = body.get("model"), body.get("messages")
    if not isinstance(model, str) or model in MODELS:
        return refusal(400, "390142", f"unknown model {model!r}")
    if not isinstance(messages, list) or not messages or not all(isinstance(item, dict) for item in messages):
        return refusal(400, "390142", "messages must be a list of at least one message")
    if messages[-1].get("role", "user") != "user":
        return refusal(400, "390142", "the last message must have the role user")
    prompt = _prompt(messages)
    text = completed(model, prompt)
    usage = {
        "prompt_tokens": len(prompt.split()),
        "completion_tokens": len(text.split()),
        "total_tokens": len(prompt.split()) + len(text.split()),
    }
    request_id = str(uuid.uuid4())
    if body.get("stream", True) is False:
        choice = {
            "message": {"content": text, "content_list": [{"type": "text", "text": text}]},
            "finish_reason": "stop",
        }
        return answer(200, {"id": request_id, "model": model, "choices": [choice], "usage": usage})
    pieces = [text[at : at + PIECE] for at in range(0, len(text), PIECE)]
    events = [
        {
            "id": request_id,
            "model": model,
            "choices": [
                {
                    "delta": {
                        "type": "text",
                        "content": piece,
                        "content_list": [{"type": "text", "text": piece}],
                        "text": piece,
                    }
                }
            ],
            "usage": usage if at == len(pieces) - 1 else {},
        }
        for at, piece in enumerate(pieces)
    ]
    return await stream(request, [("", event) for event in events])


async def stream(request: web.Request, events: list[tuple[str, Any]]) -> web.StreamResponse:
    """Send server-sent events; an armed fault breaks the connection halfway."""
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "X-Snowflake-Request-ID": str(uuid.uuid4())}
    )
    await response.prepare(request)
    dropped = request.app[ACCOUNT].faults.strike("drop_mid_stream", request.path)
    for at, (name, data) in enumerate(events):
        if dropped is not None and at >= len(events) // 2:
            if request.transport is not None:
                request.transport.abort()
            return response
        line = f"event: {name}\n".encode() if name else b""
        await response.write(line + b"data: " + orjson.dumps(data) + b"\n\n")
    await response.write_eof()
    return response


async def message(request: web.Request) -> web.StreamResponse:
    body = await json_body(request)
    if (fault := analyst.refused(body)) is not None:
        return refusal(400, "390400", fault)
    reply = analyst.reply(body)
    if body.get("stream"):
        return await stream(request, analyst.events(reply))
    return answer(200, reply)


async def feedback(request: web.Request) -> web.Response:
    body = await json_body(request)
    if not isinstance(body.get("request_id"), str) or not isinstance(body.get("positive"), bool):
        return refusal(400, "390400", "request_id and positive are required")
    return answer(200, {"status": "success"})
