"""Streams through real sockets, rules T-190 to T-238, and the scanner of uploaded arrays."""

import asyncio
import gzip
import io
import json
import random
from collections.abc import AsyncIterator, Iterable
from typing import Any

import aiohttp
import grpc
import pytest

from services.gateway.transcoder import HttpError, Options, Transcoder
from services.gateway.transcoder.elements import array_elements, ndjson_lines
from tests.support.transcoder_contract import compile_protos, message_class
from tests.support.transcoder_mesh import Gateway, running

LIVE = """
syntax = "proto3";
package live.v1;
import "google/api/annotations.proto";
import "google/api/httpbody.proto";
import "google/protobuf/timestamp.proto";
message WatchRequest { string plan = 1; string resume_token = 2; }
message Event { string resume_token = 1; oneof event { string plain_text = 2; Done done = 3; } int64 sequence = 4;
  google.protobuf.Timestamp at = 5; }
message Done { int32 count = 1; }
message Chunk { string target = 1; Row row = 2; google.api.HttpBody file = 3; }
message Row { string name = 1; int32 size = 2; }
message Summary { repeated string seen = 1; int64 bytes = 2; }
service Live {
  rpc Watch(WatchRequest) returns (stream Event) { option (google.api.http) = {get: "/watch/{plan}"
    additional_bindings {get: "/done/{plan}" response_body: "done"}}; }
  rpc Import(stream Chunk) returns (Summary) { option (google.api.http) = {post: "/import/{target}" body: "row"
    additional_bindings {post: "/import" body: "*"}}; }
  rpc Upload(stream Chunk) returns (Summary) { option (google.api.http) = {post: "/upload/{target}" body: "file"}; }
  rpc Download(WatchRequest) returns (stream google.api.HttpBody) { option (google.api.http) = {get: "/download/{plan}"}; }
}
"""


EVENTS: dict[str, dict[str, Any]] = {
    "text": {"plain_text": "a\nb", "resume_token": "t1", "sequence": 1},
    "bare": {"sequence": 2},
    "done": {"done": {"count": 3}},
    "unprintable": {"at": {"seconds": 253402300800}},
}


class Live:
    """A backend that follows the plan in its request."""

    def __init__(self, transcoder: Transcoder) -> None:
        self.event = message_class(transcoder.descriptors, "live.v1.Event")
        self.summary = message_class(transcoder.descriptors, "live.v1.Summary")
        self.body = message_class(transcoder.descriptors, "google.api.HttpBody")
        self.release = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.sent = 0
        self.received: list[Any] = []
        self.finished = False
        self.resumed_from = ""

    async def watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.resumed_from = request.resume_token
        await context.send_initial_metadata([("etag", "stream")])
        try:
            for step in request.plan.split("-"):
                if step in EVENTS:
                    yield self.event(**EVENTS[step])
                elif step == "wait":
                    await self.release.wait()
                elif step == "fail":
                    await context.abort(grpc.StatusCode.NOT_FOUND, "gone")
                while step == "flood":
                    self.sent += 1
                    yield self.event(plain_text="x" * 65536)
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.set()
            raise

    async def take(self, requests: AsyncIterator[Any], context: Any) -> Any:
        try:
            async for request in requests:
                self.received.append(request)
                if request.row.name == "stop":
                    return self.summary(seen=["stopped"])
                if request.row.name == "abort":
                    await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "enough")
            # A Python server sees a cancelled stream end first, and is cancelled at its next await.
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        self.finished = True
        size = sum(len(request.file.data) for request in self.received)
        return self.summary(seen=[request.row.name for request in self.received if request.row.name], bytes=size)

    async def download(self, request: Any, context: Any) -> AsyncIterator[Any]:
        for step in request.plan.split("-"):
            if step == "fail":
                await context.abort(grpc.StatusCode.NOT_FOUND, "gone")
            if step == "data":
                yield self.body(content_type="image/png", data=b"\x00\xff\n")


@pytest.fixture(scope="module")
def transcoder() -> Transcoder:
    return make(Options())


def make(options: Options) -> Transcoder:
    return Transcoder([compile_protos(live=LIVE)], options)


@pytest.fixture
def live(transcoder: Transcoder) -> Live:
    return Live(transcoder)


def handlers(live: Live) -> dict[str, Any]:
    return {"Watch": live.watch, "Import": live.take, "Upload": live.take, "Download": live.download}


@pytest.fixture
async def gateway(transcoder: Transcoder, live: Live) -> AsyncIterator[Gateway]:
    async with running(transcoder, handlers(live)) as served:
        yield served


SSE = "text/event-stream"
NDJSON = "application/x-ndjson"
ACCEPTED = [
    (None, "application/json"),
    ("*/*", "application/json"),
    ("application/json", "application/json"),
    (SSE, SSE),
    (f"*/*, {SSE}", SSE),
    (f"{SSE};q=0.5, application/json", "application/json"),
    (f"{SSE};q=0, application/jsonl", "application/jsonl"),
    (NDJSON, NDJSON),
    (f"{NDJSON}, application/json, {SSE};q=0.9", NDJSON),
    ("text/html, application/xhtml+xml, */*;q=0.8", "application/json"),
]


@pytest.mark.parametrize(("accept", "kind"), ACCEPTED, ids=[f"T-210 {a[0]}" for a in ACCEPTED])
async def test_accept_chooses_the_framing(gateway: Gateway, accept: str | None, kind: str) -> None:
    headers = {"Accept": accept} if accept else {}

    async with gateway.request("GET", "/watch/bare", headers=headers, skip_auto_headers=["Accept"]) as answer:
        assert answer.headers["Content-Type"] == kind
        assert answer.status == 200


async def test_an_accept_that_names_nothing_we_have_is_406(gateway: Gateway) -> None:
    status, body = await gateway.json("GET", "/watch/bare", headers={"Accept": "image/png"})

    assert (status, body["code"]) == (406, 3)


async def test_alt_outranks_accept(gateway: Gateway) -> None:
    async with gateway.request("GET", "/watch/bare?$alt=sse") as answer:
        assert answer.headers["Content-Type"] == SSE
    assert (await gateway.json("GET", "/watch/bare?$alt=xml"))[0] == 400


TEXT = b'{"resumeToken":"t1","plainText":"a\\nb","sequence":"1"}'
BARE = b'{"sequence":"2"}'
DONE = b'{"done":{"count":3}}'
GONE = b'{"code":5,"message":"gone"}'
BYTES = [
    ("T-212", "/watch/text-bare-done", "application/json", b"[" + TEXT + b"," + BARE + b"," + DONE + b"]"),
    ("T-212", "/watch/none", "application/json", b"[]"),
    ("T-213", "/watch/text-bare", NDJSON, TEXT + b"\n" + BARE + b"\n"),
    ("T-213", "/watch/none", NDJSON, b""),
    (
        "T-214",
        "/watch/text-bare-done",
        SSE,
        b"event: plainText\nid: t1\ndata: " + TEXT + b"\n\ndata: " + BARE + b"\n\nevent: done\ndata: " + DONE + b"\n\n",
    ),
    ("T-214", "/watch/none", SSE, b""),
    ("T-211", "/done/done-bare", NDJSON, b'{"count":3}\n{}\n'),
    ("T-222", "/watch/bare-fail", SSE, b"data: " + BARE + b"\n\nevent: error\ndata: " + GONE + b"\n\n"),
    ("T-222", "/watch/bare-fail", NDJSON, BARE + b'\n{"error":' + GONE + b"}\n"),
    ("T-195", "/download/data-data", "*/*", b"\x00\xff\n\x00\xff\n"),
]


@pytest.mark.parametrize(("rule", "path", "accept", "expected"), BYTES, ids=[f"{b[0]} {b[1]} {b[2]}" for b in BYTES])
async def test_bytes_on_the_wire(gateway: Gateway, rule: str, path: str, accept: str, expected: bytes) -> None:
    async with gateway.request("GET", path, headers={"Accept": accept}) as answer:
        assert await answer.read() == expected
        assert answer.status == 200
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_event_streams_are_not_cached_or_buffered(gateway: Gateway) -> None:
    async with gateway.request("GET", "/watch/bare", headers={"Accept": SSE}) as answer:
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Accel-Buffering"] == "no"
        assert answer.headers["ETag"] == "stream"


@pytest.mark.parametrize("accept", ["application/json", NDJSON, SSE])
async def test_an_error_before_the_first_message_keeps_its_status(gateway: Gateway, accept: str) -> None:
    assert await gateway.json("GET", "/watch/fail", headers={"Accept": accept}) == (404, json.loads(GONE))
    assert (await gateway.json("GET", "/watch/unprintable", headers={"Accept": accept}))[0] == 500


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/watch/bare-fail", b"[" + BARE + b',{"error":' + GONE + b"}"), ("/download/data-fail", b"\x00\xff\n")],
)
async def test_a_failed_array_or_download_is_cut(gateway: Gateway, path: str, expected: bytes) -> None:
    async with gateway.request("GET", path) as answer:
        got = await answer.content.readexactly(len(expected))
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.content.read()

    assert got == expected


async def test_an_unprintable_message_in_mid_stream_is_an_error_record(gateway: Gateway) -> None:
    async with gateway.request("GET", "/watch/bare-unprintable", headers={"Accept": NDJSON}) as answer:
        lines = (await answer.read()).splitlines()

    assert lines[0] == BARE
    assert json.loads(lines[1])["error"]["code"] == 13


async def test_messages_are_flushed_as_they_come(gateway: Gateway, live: Live) -> None:
    async with gateway.request("GET", "/watch/bare-wait-bare") as answer:
        assert await answer.content.readany() == b"[" + BARE
        live.release.set()
        assert await answer.content.read() == b"," + BARE + b"]"


async def test_event_streams_open_before_the_first_message(gateway: Gateway, live: Live) -> None:
    async with gateway.request("GET", "/watch/wait-fail", headers={"Accept": SSE}) as answer:
        assert answer.status == 200
        live.release.set()
        assert await answer.read() == b"event: error\ndata: " + GONE + b"\n\n"


HEARTS = [("application/json", b" "), (SSE, b": hb\n\n"), (NDJSON, b"\n")]


@pytest.mark.parametrize(("accept", "filler"), HEARTS, ids=[f"T-218 {h[0]}" for h in HEARTS])
async def test_silence_is_filled(accept: str, filler: bytes) -> None:
    transcoder = make(Options(heartbeat=0.05, ndjson_heartbeat=True))
    live = Live(transcoder)
    async with (
        running(transcoder, handlers(live)) as gateway,
        gateway.request("GET", "/watch/wait-bare", headers={"Accept": accept}) as answer,
    ):
        assert await answer.content.readexactly(len(filler) * 3) == filler * 3
        live.release.set()
        rest = await answer.read()

    assert BARE in rest
    if accept == "application/json":
        assert json.loads(rest) == [json.loads(BARE)]


async def test_sse_options() -> None:
    transcoder = make(Options(sse_end_event=True, sse_event_oneof="", sse_id_field="sequence"))
    async with (
        running(transcoder, handlers(Live(transcoder))) as gateway,
        gateway.request("GET", "/watch/text", headers={"Accept": SSE}) as answer,
    ):
        assert await answer.read() == b"id: 1\ndata: " + TEXT + b"\n\nevent: end\ndata: {}\n\n"


async def test_last_event_id_reaches_the_backend(gateway: Gateway, live: Live) -> None:
    headers = {"Accept": SSE, "Last-Event-ID": "t9"}

    async with gateway.request("GET", "/watch/bare?resumeToken=old", headers=headers) as answer:
        await answer.read()

    assert live.resumed_from == "t9"


async def test_a_stream_deadline_is_an_error_record(gateway: Gateway) -> None:
    headers = {"Accept": NDJSON, "Grpc-Timeout": "200m"}

    async with gateway.request("GET", "/watch/bare-wait", headers=headers) as answer:
        lines = (await answer.read()).splitlines()

    assert json.loads(lines[-1])["error"]["code"] == 4


async def test_a_client_that_leaves_a_stream_cancels_the_call(gateway: Gateway, live: Live) -> None:
    async with gateway.request("GET", "/watch/bare-wait") as answer:
        await answer.content.readany()
        answer.close()

    await asyncio.wait_for(live.cancelled.wait(), 10)


async def test_a_client_that_does_not_read_holds_the_backend_then_loses_it() -> None:
    transcoder = make(Options(write_timeout=0.3))
    live = Live(transcoder)
    async with running(transcoder, handlers(live)) as gateway:
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=1024)
        writer.write(b"GET /watch/flood HTTP/1.1\r\nHost: x\r\n\r\n")

        await asyncio.wait_for(live.cancelled.wait(), 20)

        writer.transport.abort()
    assert live.sent < 1000  # 64 MiB: flow control reached the backend


ROWS = b'{"name":"a"}\n\n {"name":"b","size":1} \r\n{"name":"c"}'


async def test_ndjson_lines_become_messages_with_bindings_in_the_first(gateway: Gateway, live: Live) -> None:
    status, body = await gateway.json("POST", "/import/t", data=ROWS, headers={"Content-Type": NDJSON})

    assert (status, body) == (200, {"seen": ["a", "b", "c"]})
    assert [request.target for request in live.received] == ["t", "", ""]


async def test_json_arrays_become_messages(gateway: Gateway, live: Live) -> None:
    rows = [{"row": {"name": 'x]"\\'}}, {"target": "t"}, {}]

    assert await gateway.json("POST", "/import", json=rows) == (200, {"seen": ['x]"\\']})
    assert [request.target for request in live.received] == ["", "t", ""]


async def test_an_empty_stream_sends_nothing(gateway: Gateway, live: Live) -> None:
    for body in (b"[]", b" [ ] \n"):
        answer = await gateway.json("POST", "/import/t", data=body, headers={"Content-Type": "application/json"})
        assert answer == (200, {})
    assert await gateway.json("POST", "/import/t") == (200, {})
    assert await gateway.json("POST", "/import/t", data=b"\n", headers={"Content-Type": NDJSON}) == (200, {})

    assert live.received == []


BAD_STREAMS = [
    ("T-231", NDJSON, b'{"name":"a"}\n{"name":1}\n', 400, "line 2: row.name"),
    ("T-231", NDJSON, b'{"name":"a"}\n\n\n{', 400, "line 4: invalid JSON"),
    ("T-230", "application/json", b'{"name":"a"}', 400, "array"),
    ("T-232", "application/json", b'[{"name":"a"},]', 400, "element 2"),
    ("T-232", "application/json", b'[{"name":"a"} {"name":"b"}]', 400, "element 1"),
    ("T-232", "application/json", b'[{"name":"a"}] x', 400, "array"),
    ("T-232", "application/json", b'[{"name":"a"}', 400, "complete array"),
    ("T-234", "application/json", b'[{"name":"a"},{"nope":1}]', 400, "element 2: row.nope"),
    ("T-402", "text/plain", b"[]", 415, "application/x-ndjson"),
]


@pytest.mark.parametrize(
    ("rule", "kind", "body", "status", "text"), BAD_STREAMS, ids=[f"{b[0]} {b[2]!r}" for b in BAD_STREAMS]
)
async def test_a_bad_element_cancels_the_upload(
    gateway: Gateway, live: Live, rule: str, kind: str, body: bytes, status: int, text: str
) -> None:
    got, answer = await gateway.json("POST", "/import/t", data=body, headers={"Content-Type": kind})

    assert got == status
    assert text in answer["message"]
    assert not live.finished


async def test_a_body_cut_short_is_never_taken_for_complete(gateway: Gateway, live: Live) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    head = f"POST /import/t HTTP/1.1\r\nHost: x\r\nContent-Type: {NDJSON}\r\nTransfer-Encoding: chunked\r\n\r\n"
    writer.write(head.encode() + b'd\r\n{"name":"a"}\n\r\n')
    await until(lambda: bool(live.received))

    writer.close()
    await writer.wait_closed()

    await asyncio.wait_for(live.cancelled.wait(), 10)
    assert not live.finished


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("name", "expected"), [("stop", (200, {"seen": ["stopped"]})), ("abort", (400, {"code": 9, "message": "enough"}))]
)
async def test_the_answer_may_come_before_the_body_ends(gateway: Gateway, name: str, expected: Any) -> None:
    first = json.dumps({"name": name}).encode() + b"\n"

    answer = await gateway.raw(
        f"POST /import/t HTTP/1.1\r\nHost: x\r\nContent-Type: {NDJSON}\r\nContent-Length: 100000\r\n\r\n".encode()
        + first,
        until=b"}",
    )

    assert int(answer.split(b" ")[1]) == expected[0]
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == expected[1]
    assert b"connection: close" in answer.lower()


async def test_lines_beyond_the_message_limit_are_413() -> None:
    transcoder = make(Options(max_message=1000))
    async with running(transcoder, handlers(Live(transcoder))) as gateway:
        for kind, body in ((NDJSON, b"x" * 2000), ("application/json", b"[" + b"x" * 2000)):
            status, answer = await gateway.json("POST", "/import/t", data=body, headers={"Content-Type": kind})
            assert (status, answer["code"]) == (413, 8)


async def test_uploads_are_forwarded_in_pieces(gateway: Gateway, live: Live) -> None:
    data = bytes(range(256)) * 12_000

    status, body = await gateway.json("POST", "/upload/t", data=io.BytesIO(data), headers={"Content-Type": "image/png"})

    assert (status, body) == (200, {"bytes": str(len(data))})
    assert b"".join(request.file.data for request in live.received) == data
    assert [request.file.content_type for request in live.received][:2] == ["image/png", ""]
    assert max(len(request.file.data) for request in live.received) <= 1024 * 1024


async def test_compressed_uploads_are_decoded(gateway: Gateway) -> None:
    headers = {"Content-Type": NDJSON, "Content-Encoding": "gzip"}

    assert await gateway.json("POST", "/import/t", data=gzip.compress(ROWS), headers=headers) == (
        200,
        {"seen": ["a", "b", "c"]},
    )


async def pieces(data: bytes, cuts: Iterable[int]) -> AsyncIterator[bytes]:
    last = 0
    for cut in [*sorted(cuts), len(data)]:
        if cut > last:
            yield data[last:cut]
            last = cut


async def test_elements_are_cut_alike_wherever_the_chunks_end() -> None:
    rng = random.Random(3)
    values: list[Any] = ['a"\\', {"k]": ["[,", {"x": [1, [2]]}]}, [], {}, 5, None, "\u00e9\\", "", [[["]"]]]]
    for _ in range(300):
        chosen = [rng.choice(values) for _ in range(rng.randint(0, 5))]
        data = json.dumps(chosen, ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, 2])).encode()
        cuts = [rng.randrange(len(data) + 1) for _ in range(rng.randint(0, 8))]

        elements = [json.loads(body) async for _, body in array_elements(pieces(data, cuts), 1000)]
        assert elements == chosen

        lines = b"\n".join(json.dumps(value).encode() for value in chosen)
        cuts = [rng.randrange(len(lines) + 1) for _ in range(rng.randint(0, 8))]
        assert [json.loads(body) async for _, body in ndjson_lines(pieces(lines, cuts), 1000)] == chosen


@pytest.mark.parametrize("body", [b"", b"[", b"[1", b"[1,", b"[,1]", b"[1,,2]", b"[1,]", b"]", b"[1]]", b"{}", b'["]'])
async def test_what_is_no_array_is_refused(body: bytes) -> None:
    with pytest.raises(HttpError):
        [element async for element in array_elements(pieces(body, []), 1000)]


@pytest.mark.parametrize("path", ["/watch/bare-wait", "/watch/wait"])
async def test_ending_streams_tells_clients_to_come_back(
    transcoder: Transcoder, gateway: Gateway, live: Live, path: str
) -> None:
    async with gateway.request("GET", path, headers={"Accept": SSE}) as answer:
        transcoder.end_streams()
        last = (await answer.read()).rstrip().rpartition(b"data: ")[2]

    assert json.loads(last)["code"] == 14
    assert json.loads(last)["details"][0]["retryDelay"] == "1s"
    await asyncio.wait_for(live.cancelled.wait(), 10)
