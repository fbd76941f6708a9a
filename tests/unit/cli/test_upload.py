"""An import goes on through what passes, and tells precisely what does not."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from services.cli.client import Reply, RequestRefused
from services.cli.documents import Fault, Item
from services.cli.upload import ATTEMPTS, BATCH_BYTES, BATCH_ITEMS, Batch, Counts, ImportInterrupted, Uploader, batches

BEGAN = datetime(2030, 1, 1, tzinfo=UTC)
NEW = {"memory": {"createdAt": "2030-01-01T00:00:01.123456Z"}}
OLD = {"memory": {"createdAt": "2029-12-31T23:59:59Z"}}

Answer = Callable[[list[dict[str, Any]]], Reply]


def item(name: str) -> Item:
    return Item({"content": name}, f"id-{name}", f"file:{name}")


def error(code: int, message: str = "no", **detail: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "details": [detail] if detail else []}}


def kept(requests: list[dict[str, Any]]) -> Reply:
    return Reply(200, {"results": [NEW for _ in requests]})


class Server:
    """Answers with each of *answers* once, then keeps everything; records requests and waits."""

    def __init__(self, *answers: Answer | Reply) -> None:
        self.answers = list(answers)
        self.seen: list[list[str]] = []
        self.waits: list[float] = []

    async def post(self, path: str, body: Mapping[str, Any]) -> Reply:
        requests = body["requests"]
        self.seen.append([request["memory"]["content"] for request in requests])
        answer = self.answers.pop(0) if self.answers else kept
        return answer if isinstance(answer, Reply) else answer(requests)

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    def uploader(self) -> Uploader:
        return Uploader(self.post, Counts(), began_at=BEGAN, sleep=self.sleep)


def test_batches_are_bounded_by_items_and_bytes() -> None:
    long = Item({"content": "x" * (BATCH_BYTES // 2)}, "id", "file")

    sizes = [len(batch.items) for batch in batches([*(item(str(number)) for number in range(120)), long, long, long])]

    assert sizes == [BATCH_ITEMS, BATCH_ITEMS, 20 + 1, 1, 1]


async def test_upload_counts_what_is_new_and_what_was_there() -> None:
    server = Server(Reply(200, {"results": [NEW, OLD, error(3)]}))
    uploader = server.uploader()

    await uploader.send([item("a"), item("b"), item("c")])

    counts = uploader.counts
    assert (counts.imported, counts.already_there, counts.failed) == (1, 1, 1)
    assert counts.faults == [Fault("file:c", "no", skipped=False)]


async def test_upload_sends_again_only_what_may_pass() -> None:
    advice = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2.5s"}
    server = Server(Reply(200, {"results": [NEW, error(14, **advice), error(8)]}))
    uploader = server.uploader()

    await uploader.send([item("a"), item("b"), item("c")])

    assert server.seen == [["a", "b", "c"], ["b", "c"]]
    assert uploader.counts.imported == 3
    assert 2.5 <= server.waits[0] <= 2.5 * 1.3


@pytest.mark.parametrize("status", [429, 503])
async def test_upload_waits_as_long_as_the_server_advises(status: int) -> None:
    server = Server(Reply(status, {}, retry_after_s=7))

    await server.uploader().send([item("a")])

    assert 7 <= server.waits[0] <= 7 * 1.3


async def test_upload_finds_the_item_that_makes_a_batch_unreadable() -> None:
    def strict(requests: list[dict[str, Any]]) -> Reply:
        if any(request["memory"]["content"] == "bad" for request in requests):
            return Reply(400, {"code": 3, "message": "unknown field"})
        return kept(requests)

    server = Server(*[strict] * 20)
    uploader = server.uploader()

    await uploader.send([item(name) for name in ("a", "b", "bad", "c", "d")])

    assert uploader.counts.imported == 4
    assert uploader.counts.faults == [Fault("file:bad", "unknown field", skipped=False)]


async def test_upload_halves_a_batch_that_takes_too_long() -> None:
    server = Server(Reply(504, {}))

    await server.uploader().send([item("a"), item("b")])

    assert server.seen == [["a", "b"], ["a"], ["b"]]


async def test_upload_gives_up_after_a_bounded_number_of_attempts() -> None:
    server = Server(*[Reply(503, {"message": "embedding is down"})] * 100)

    with pytest.raises(ImportInterrupted, match="embedding is down"):
        await server.uploader().send([item("a")])

    assert len(server.seen) == ATTEMPTS


async def test_upload_stops_where_the_caller_may_not_write() -> None:
    server = Server(Reply(403, {"message": "not you"}))

    with pytest.raises(RequestRefused, match="not you"):
        await server.uploader().send([item("a")])

    assert server.waits == []


async def test_upload_sends_several_batches_at_once_and_counts_faults() -> None:
    server = Server()
    uploader = server.uploader()
    most = running = 0

    async def post(path: str, body: Mapping[str, Any]) -> Reply:
        nonlocal most, running
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return await server.post(path, body)

    uploader._post = post
    found = [Batch([item(str(number))], [Fault("x", "binary", skipped=True)]) for number in range(12)]

    await uploader.send_all(iter(found))

    assert (uploader.counts.imported, uploader.counts.skipped) == (12, 12)
    assert most > 1
