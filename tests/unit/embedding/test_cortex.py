"""The embedder on Cortex, against a server and sessions that answer as they are told."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import numpy as np
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from snowflake.connector import ProgrammingError
from sqlglot import ErrorLevel, parse_one

from services.embedding.backends.cortex import MODEL_NAMES, CortexAnswerUnusable, CortexEmbedder, RestCalls, SqlCalls
from services.embedding.backends.cortex.calls import EMBED_PATH
from services.embedding.backends.cortex.embedder import BATCH_PIECES, CALLS_AT_ONCE
from services.embedding.domain.embedder import InputKind, TextVector
from services.embedding.settings import EmbeddingSettings
from services.mesh.config import Secret, load
from services.mesh.errors import BackendUnavailable, MemoryBoxError
from services.snowflake.errors import SnowflakeUnavailable, StatementFailed
from services.snowflake.login import OAUTH, RestCredential
from services.snowflake.rest import CortexNotGranted, CortexRefused, RateLimited, RestClient
from services.snowflake.sessions import Sessions

MODEL = MODEL_NAMES[0]
Json = dict[str, Any]


def vector(text: str) -> list[float]:
    """Return a vector that tells its text."""
    return [float(np.float32(item)) for item in np.random.default_rng(list(text.encode())).normal(size=768)]


def answered(body: Json) -> Json:
    texts = body["text"]
    data = [{"object": "embedding", "embedding": [vector(text)], "index": at} for at, text in enumerate(texts)]
    return {"object": "list", "data": data, "model": body["model"], "usage": {"total_tokens": 7 * len(texts)}}


class Cortex:
    """Answers rightly, unless *say* answers a request otherwise; *hold* keeps all waiting."""

    def __init__(self) -> None:
        self.bodies: list[Json] = []
        self.pauses: list[float] = []
        self.say: list[Callable[[Json], web.Response | None]] = []
        self.held = asyncio.Event()
        self.held.set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        self.bodies.append(body)
        await self.held.wait()
        answer = self.say[0](body) if self.say else web.json_response(answered(body))
        if len(self.say) > 1:
            self.say.pop(0)
        if answer is not None:
            return answer
        broken = web.StreamResponse(headers={"Content-Length": "100000"})
        await broken.prepare(request)
        await broken.write(b'{"data": [')
        assert request.transport is not None
        request.transport.abort()
        return broken

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)


@pytest.fixture
def cortex() -> Cortex:
    return Cortex()


@pytest.fixture
async def calls(cortex: Cortex) -> AsyncIterator[RestCalls]:
    app = web.Application(client_max_size=1 << 24)
    app.router.add_post(EMBED_PATH, cortex.handle)
    async with TestServer(app) as server, aiohttp.ClientSession() as http:
        url = str(server.make_url("")).rstrip("/")
        client = RestClient(http, url, lambda: RestCredential(Secret("t"), OAUTH), pause=cortex.pause)
        yield RestCalls(client, timeout_s=10)


@pytest.fixture
async def embedder(calls: RestCalls) -> AsyncIterator[CortexEmbedder]:
    embedder = CortexEmbedder(calls, MODEL)
    yield embedder
    await embedder.close()


async def embed(embedder: CortexEmbedder, *texts: str, kind: InputKind = InputKind.DOCUMENT) -> list[TextVector]:
    return await asyncio.gather(*embedder.submit(texts, kind))


def status(code: int, **headers: str) -> Callable[[Json], web.Response]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: web.json_response({"code": "1", "message": "quotes a secret"}, status=code, headers=named)


def altered(alter: Callable[[Json], object]) -> Callable[[Json], web.Response]:
    def say(body: Json) -> web.Response:
        answer = answered(body)
        alter(answer)
        return web.json_response(answer)

    return say


def is_of(found: TextVector, text: str) -> bool:
    """Say whether *found* is the vector of *text*, of length 1."""
    expected = np.array(vector(text))
    return bool(np.allclose(found.values, expected / np.linalg.norm(expected), atol=1e-6))


async def test_each_text_gets_its_own_vector_of_length_one(embedder: CortexEmbedder) -> None:
    found = await embed(embedder, "one", "two", "three")

    assert all(is_of(item, text) for item, text in zip(found, ("one", "two", "three"), strict=True))


async def test_answers_are_put_in_order_by_their_index(cortex: Cortex, embedder: CortexEmbedder) -> None:
    cortex.say = [altered(lambda answer: answer["data"].reverse())]

    one, two = await embed(embedder, "one", "two")

    assert is_of(one, "one")
    assert is_of(two, "two")


async def test_vectors_need_not_be_nested(cortex: Cortex, embedder: CortexEmbedder) -> None:
    cortex.say = [altered(lambda answer: answer["data"][0].update(embedding=answer["data"][0]["embedding"][0]))]

    (one,) = await embed(embedder, "one")

    assert is_of(one, "one")


async def test_texts_of_many_requests_share_calls(cortex: Cortex, embedder: CortexEmbedder) -> None:
    cortex.held.clear()
    futures = [future for number in range(100) for future in embedder.submit([f"text {number}"], InputKind.DOCUMENT)]
    async with asyncio.timeout(10):
        while len(cortex.bodies) < CALLS_AT_ONCE:
            await asyncio.sleep(0.01)
    cortex.held.set()

    found = await asyncio.gather(*futures)

    assert all(is_of(item, f"text {number}") for number, item in enumerate(found))
    assert all(len(body["text"]) <= BATCH_PIECES for body in cortex.bodies)
    assert len(cortex.bodies) <= 2 * CALLS_AT_ONCE


async def test_a_query_does_not_wait_for_an_import(cortex: Cortex, embedder: CortexEmbedder) -> None:
    cortex.held.clear()
    imported = embedder.submit([f"memory {number}" for number in range(600)], InputKind.DOCUMENT)
    async with asyncio.timeout(10):
        while len(cortex.bodies) < CALLS_AT_ONCE:
            await asyncio.sleep(0.01)
    (query,) = embedder.submit(["query"], InputKind.QUERY)
    cortex.held.set()

    await query
    sent = next(number for number, body in enumerate(cortex.bodies) if "query" in body["text"])
    await asyncio.gather(*imported)

    assert sent <= CALLS_AT_ONCE + 1 < len(cortex.bodies) - 1


async def test_a_long_text_is_read_in_pieces_and_their_mean_is_its_vector(
    cortex: Cortex, embedder: CortexEmbedder
) -> None:
    text = "The tide tables hang beside the door of the harbour office. " * 100

    (found,) = await embed(embedder, text)

    sent = cortex.bodies[0]["text"]
    assert found.window_count == len(sent) > 2
    assert found.windows is not None
    assert [text[start:end] for start, end in found.windows.spans.tolist()] == sent
    assert np.linalg.norm(found.values) == pytest.approx(1, abs=1e-6)
    assert all(found.values @ window > 0 for window in found.windows.values)


async def test_tokens_are_counted_as_cortex_reports_them(embedder: CortexEmbedder) -> None:
    await embed(embedder, "one", "two")

    cost = embedder.costs[MODEL]
    assert (cost.tokens_reported, cost.tokens_estimated, cost.calls, cost.failed_calls) == (14, 0, 1, 0)


@pytest.mark.parametrize(
    "alter",
    [
        lambda answer: answer["data"].pop(),
        lambda answer: answer["data"].append(answer["data"][0]),
        lambda answer: answer["data"][0].update(index=1),
        lambda answer: answer["data"][0].update(index="0"),
        lambda answer: answer["data"][0].update(embedding=[vector("one")[:384]]),
        lambda answer: answer["data"][0].update(embedding=[]),
        lambda answer: answer["data"][0].update(embedding=[[0.0] * 768]),
        lambda answer: answer["data"][0].update(embedding=[["x"] * 768]),
        lambda answer: answer["data"][0].update(embedding=None),
        lambda answer: answer.update(data="none"),
        lambda answer: answer.pop("data"),
    ],
    ids=[
        "too few", "too many", "index twice", "index a text", "too short", "empty", "zero", "no numbers", "null",
        "no list", "no data",
    ],
)  # fmt: skip
async def test_an_answer_that_is_not_one_vector_for_each_text_is_refused_whole(
    cortex: Cortex, embedder: CortexEmbedder, alter: Callable[[Json], object]
) -> None:
    cortex.say = [altered(alter)]
    futures = embedder.submit(["one", "two"], InputKind.DOCUMENT)

    failures = await asyncio.gather(*futures, return_exceptions=True)

    assert all(isinstance(failure, CortexAnswerUnusable) and failure.retry_after_s for failure in failures)
    assert embedder.costs[MODEL].failed_calls == 1


@pytest.mark.parametrize(
    ("say", "error", "advice"),
    [
        (status(429, Retry_After="60"), RateLimited, 60.0),
        (status(429), RateLimited, 5.0),
        (status(503), SnowflakeUnavailable, 2.0),
        (status(503, Retry_After="30"), SnowflakeUnavailable, 30.0),
        (lambda _: None, SnowflakeUnavailable, 2.0),
        (lambda _: web.Response(text="<html>"), SnowflakeUnavailable, 2.0),
        (status(400), CortexRefused, None),
        (status(403), CortexNotGranted, None),
    ],
    ids=["429 with advice", "429", "503", "503 with advice", "dropped", "no JSON", "400", "403"],
)
async def test_a_failure_and_its_advice_reach_every_caller(
    cortex: Cortex,
    embedder: CortexEmbedder,
    say: Callable[[Json], web.Response | None],
    error: type[MemoryBoxError],
    advice: float | None,
) -> None:
    cortex.say = [say]
    futures = embedder.submit(["one", "two"], InputKind.DOCUMENT)

    failures = await asyncio.gather(*futures, return_exceptions=True)

    for failure in failures:
        assert isinstance(failure, error)
        assert failure.retry_after_s == advice
        assert "secret" not in failure.message


@pytest.mark.parametrize("say", [status(429, Retry_After="1"), status(429), status(503), lambda _: None])
async def test_what_passes_is_waited_for(
    cortex: Cortex, embedder: CortexEmbedder, say: Callable[[Json], web.Response | None]
) -> None:
    cortex.say = [say, lambda body: web.json_response(answered(body))]

    (one,) = await embed(embedder, "one")

    assert is_of(one, "one")


async def test_a_text_that_is_refused_fails_its_own_request_alone(cortex: Cortex, embedder: CortexEmbedder) -> None:
    cortex.say = [
        lambda body: status(400)(body) if "poison" in body["text"] else web.json_response(answered(body)),
    ]
    cortex.held.clear()
    futures = [embedder.submit([text], InputKind.DOCUMENT)[0] for text in (*"abcd", "good", "poison", "fine")]
    async with asyncio.timeout(10):
        while len(cortex.bodies) < CALLS_AT_ONCE:
            await asyncio.sleep(0.01)
    cortex.held.set()

    *others, good, poison, fine = await asyncio.gather(*futures, return_exceptions=True)

    assert isinstance(poison, CortexRefused)
    assert all(isinstance(found, TextVector) for found in (*others, good, fine))


async def test_a_text_that_nobody_waits_for_any_more_is_not_sent(cortex: Cortex, embedder: CortexEmbedder) -> None:
    (future,) = embedder.submit(["left"], InputKind.DOCUMENT)
    future.cancel()

    await embed(embedder, "stayed")

    assert all("left" not in body["text"] for body in cortex.bodies)


async def test_closing_fails_what_waits(cortex: Cortex, calls: RestCalls) -> None:
    embedder = CortexEmbedder(calls, MODEL)
    cortex.held.clear()
    (future,) = embedder.submit(["one"], InputKind.DOCUMENT)

    await embedder.close()

    with pytest.raises(BackendUnavailable, match="stopping"):
        await future
    cortex.held.set()


async def test_prefixes_stand_before_texts_and_make_another_space(cortex: Cortex, calls: RestCalls) -> None:
    plain, prefixed = CortexEmbedder(calls, "e5-base-v2"), CortexEmbedder(calls, "e5-base-v2", prefixed=True)

    await embed(prefixed, "tide", kind=InputKind.QUERY)
    await embed(prefixed, "tide", kind=InputKind.DOCUMENT)
    await embed(plain, "tide", kind=InputKind.QUERY)

    assert [body["text"] for body in cortex.bodies] == [["query: tide"], ["passage: tide"], ["tide"]]
    assert not {model.space for model in plain.models} & {model.space for model in prefixed.models}
    assert plain.models[0].space == "e5-base-v2@cortex/768/mean448/none"


async def test_all_models_are_served_the_chosen_one_first(cortex: Cortex, calls: RestCalls) -> None:
    embedder = CortexEmbedder(calls, "e5-base-v2")

    await asyncio.gather(*embedder.submit(["one"], InputKind.DOCUMENT, embedder.models[1].space))

    assert embedder.models[0].model == "e5-base-v2"
    assert {model.model for model in embedder.models} == set(MODEL_NAMES)
    assert {model.threshold for model in embedder.models} == {0.7}
    assert cortex.bodies[0]["model"] == embedder.models[1].model


def test_every_model_can_be_chosen() -> None:
    for name in MODEL_NAMES:
        assert load(EmbeddingSettings, {"MEMORYBOX_CORTEX_EMBED_MODEL": name}).cortex_model == name


class OpenSession:
    """A session that embeds in SQL."""

    session_id = "1"

    def __init__(self, statements: list[str], fault: Exception | None) -> None:
        self.statements = statements
        self.fault = fault

    def bound(self, tag: object, timeout_s: float) -> None:
        assert '"embedding"' in str(tag)

    def rows(self, statement: str, parameters: list[Any]) -> list[tuple[Any, ...]]:
        self.statements.append(statement)
        if self.fault is not None:
            raise self.fault
        return [(at, vector(text)) for at, text in reversed(list(zip(parameters[::2], parameters[1::2], strict=True)))]

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize(
    ("function", "name"), [("ai_embed", "AI_EMBED("), ("embed_text", "SNOWFLAKE.CORTEX.EMBED_TEXT_768(")]
)
async def test_sql_embeds_a_batch_in_one_statement(function: str, name: str) -> None:
    statements: list[str] = []
    sessions = Sessions(
        dict,
        size=1,
        login_timeout_s=5,
        statement_timeout_s=5,
        open_session=lambda *_: OpenSession(statements, None),  # type: ignore[arg-type]
    )
    embedder = CortexEmbedder(SqlCalls(sessions, function), MODEL)

    found = await embed(embedder, "one", "it's")
    await embedder.close()
    await sessions.close()

    assert is_of(found[0], "one")
    assert is_of(found[1], "it's")
    assert len(statements) == 1
    assert name in statements[0]
    assert parse_one(statements[0], read="snowflake", error_level=ErrorLevel.RAISE)
    assert embedder.costs[MODEL].tokens_estimated > 0


async def test_a_statement_that_snowflake_refuses_is_told() -> None:
    fault = ProgrammingError("quotes a secret", errno=100351)
    sessions = Sessions(
        dict,
        size=1,
        login_timeout_s=5,
        statement_timeout_s=5,
        open_session=lambda *_: OpenSession([], fault),  # type: ignore[arg-type]
    )
    embedder = CortexEmbedder(SqlCalls(sessions, "ai_embed"), MODEL)

    with pytest.raises(StatementFailed) as failure:
        await embed(embedder, "one")
    await embedder.close()
    await sessions.close()

    assert "secret" not in failure.value.message
