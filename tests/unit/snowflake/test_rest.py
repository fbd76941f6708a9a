"""The REST client against a server that answers as it is told."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from services.mesh.config import Secret
from services.snowflake.errors import LoginRefused, SnowflakeUnavailable
from services.snowflake.login import OAUTH, RestCredential
from services.snowflake.rest import MAX_EVENT_BYTES, CortexNotGranted, CortexRefused, RateLimited, RestClient


class Cortex:
    """Answers in turn with what it was given; the last answer repeats."""

    def __init__(self) -> None:
        self.answers: list[web.Response] = []
        self.tokens: list[str] = []
        self.pauses: list[float] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.tokens.append(request.headers["Authorization"])
        answer = self.answers[0]
        if len(self.answers) > 1:
            self.answers.pop(0)
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)


@pytest.fixture
def cortex() -> Cortex:
    return Cortex()


@pytest.fixture
async def client(cortex: Cortex) -> AsyncIterator[RestClient]:
    app = web.Application()
    app.router.add_post("/api", cortex.handle)
    tokens = numbered()
    async with TestServer(app) as server, aiohttp.ClientSession() as http:
        url = str(server.make_url("")).rstrip("/")
        yield RestClient(http, url, lambda: RestCredential(Secret(next(tokens)), OAUTH), pause=cortex.pause)


def numbered() -> Iterator[str]:
    number = 0
    while True:
        yield f"token-{number}"
        number += 1


def answer(status: int = 200, body: str = '{"ok":true}', **headers: str) -> web.Response:
    return web.Response(
        status=status, text=body, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


async def call(client: RestClient) -> dict[str, Any]:
    return await client.call("/api", {"a": 1}, timeout_s=5)


async def test_an_answer_is_returned(cortex: Cortex, client: RestClient) -> None:
    cortex.answers = [answer()]

    assert await call(client) == {"ok": True}


async def test_a_refused_token_is_read_again_once(cortex: Cortex, client: RestClient) -> None:
    cortex.answers = [answer(401), answer()]

    assert await call(client) == {"ok": True}
    assert cortex.tokens == ["Bearer token-0", "Bearer token-1"]
    assert cortex.pauses == []


async def test_a_token_that_stays_refused_is_told(cortex: Cortex, client: RestClient) -> None:
    cortex.answers = [answer(401)]

    with pytest.raises(LoginRefused):
        await call(client)

    assert len(cortex.tokens) == 2


async def test_retry_after_is_kept_to(cortex: Cortex, client: RestClient) -> None:
    cortex.answers = [answer(429, Retry_After="3"), answer(503), answer()]

    assert await call(client) == {"ok": True}
    assert cortex.pauses[0] == 3.0
    assert 0 < cortex.pauses[1] < 1


async def test_a_long_retry_after_goes_to_the_caller(cortex: Cortex, client: RestClient) -> None:
    cortex.answers = [answer(429, Retry_After="60")]

    with pytest.raises(RateLimited) as failure:
        await call(client)

    assert failure.value.retry_after_s == 60.0
    assert cortex.pauses == []


async def test_attempts_are_bounded(cortex: Cortex, client: RestClient) -> None:
    cortex.answers = [answer(503, "<html>busy</html>")]

    with pytest.raises(SnowflakeUnavailable):
        await call(client)

    assert len(cortex.tokens) == 4


@pytest.mark.parametrize(("status", "error"), [(400, CortexRefused), (403, CortexNotGranted), (404, CortexNotGranted)])
async def test_a_refusal_is_not_repeated(
    cortex: Cortex, client: RestClient, status: int, error: type[Exception]
) -> None:
    cortex.answers = [answer(status, '{"code":"390189","message":"quotes a secret"}', X_Snowflake_Request_ID="r1")]

    with pytest.raises(error) as failure:
        await call(client)

    assert "secret" not in str(failure.value)
    assert failure.value.context["request_id"] == "r1"  # type: ignore[attr-defined]
    assert len(cortex.tokens) == 1


async def test_an_answer_that_is_no_json_is_told(cortex: Cortex, client: RestClient) -> None:
    cortex.answers = [answer(body="<html>")]

    with pytest.raises(SnowflakeUnavailable, match="JSON"):
        await call(client)


async def test_events_are_read_whatever_their_form(cortex: Cortex, client: RestClient) -> None:
    cortex.answers = [
        answer(
            body=': hello\nevent: status\ndata: {"a":1}\n\ndata: one\ndata: two\n\nid: 3\n\nevent: done\ndata:[DONE]'
        )
    ]

    found = [(event.name, event.data) async for event in client.stream("/api", {}, timeout_s=5)]

    assert found == [("status", b'{"a":1}'), ("message", b"one\ntwo"), ("done", b"[DONE]")]


async def test_long_lines_of_events_are_read_whole(cortex: Cortex, client: RestClient) -> None:
    long = "é" * 400_000
    cortex.answers = [answer(body=f"data: {long}\r\n\r\ndata: short\r\n\r\n")]

    found = [event.data.decode() async for event in client.stream("/api", {}, timeout_s=5)]

    assert found == [long, "short"]


@pytest.mark.parametrize(
    "body", ["data: " + "x" * MAX_EVENT_BYTES * 2, ("data: " + "x" * 1000 + "\n") * 1100], ids=["a line", "an event"]
)
async def test_an_event_without_end_is_refused(cortex: Cortex, client: RestClient, body: str) -> None:
    cortex.answers = [answer(body=body)]

    with pytest.raises(SnowflakeUnavailable, match="bytes"):
        _ = [event async for event in client.stream("/api", {}, timeout_s=5)]


async def test_an_answer_without_body_is_empty(cortex: Cortex, client: RestClient) -> None:
    cortex.answers = [answer(body="")]

    assert await call(client) == {}


async def test_a_stream_tells_the_id_of_its_request(cortex: Cortex, client: RestClient) -> None:
    cortex.answers = [answer(body="data: 1\n\n", X_Snowflake_Request_Id="r-1")]
    ids: list[str] = []

    _ = [event async for event in client.stream("/api", {}, timeout_s=5, opened=ids.append)]

    assert ids == ["r-1"]


async def test_a_server_that_is_not_there_is_unavailable(cortex: Cortex) -> None:
    async with aiohttp.ClientSession() as http:
        nowhere = RestClient(http, "http://127.0.0.1:9", lambda: RestCredential(Secret("t"), OAUTH), pause=cortex.pause)
        with pytest.raises(SnowflakeUnavailable):
            await call(nowhere)

    assert len(cortex.pauses) == 3
