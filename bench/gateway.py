"""What a request costs in the gateway, beside Envoy and beside a plain aiohttp handler with json_format, in one run.

Each gateway is a process of its own before one backend process; callers are a further process that speaks HTTP by hand. Machines are noisy, so short
rounds of all gateways take turns, and what counts are the medians: CPU seconds of the gateway's own processes per request (their inverse is what one
core serves), and the time of a request as its caller sees it.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent import futures
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
import uvloop
from aiohttp import web
from google.protobuf import json_format, message_factory

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.conformance.contract import Contract, compiled
from tests.conformance.gateways import Envoy, free_port, until_listening

HERE = Path(__file__).parent
SERVICE = "bench.v1.Memories"
OURS, ENVOY, PLAIN = "gateway", "Envoy 1.40", "json_format"
STREAMED = 100  # messages of one export
WARM_UP_S = 1.0  # of each gateway before its first round
_TICKS = os.sysconf("SC_CLK_TCK")

MEMORY = {
    "memoryId": "01JQ8Z6T5V3W4X2Y1Z0ABCDEFG",
    "content": "The tea house in Uji closes at five, and on Thursdays it does not open at all. Ask for the gyokuro of the second harvest. "
    * 2,
    "contentType": "text/plain",
    "ownerUser": "ann@example.org",
    "bucket": "travel",
    "accessLevel": "PRIVATE",
    "readerRoles": ["editors"],
    "createdAt": "2031-05-06T07:08:09.123456Z",
    "updatedAt": "2031-05-06T07:08:09.123456Z",
    "metadata": {"place": "Uji", "visits": 3, "open": True},
    "tags": ["tea", "kyoto"],
    "source": {"uri": "https://example.org/notes/17", "kind": "note"},
    "revision": "3",
    "etag": '"3-9f"',
}
SMALL = {"content": "Tea at five.", "tags": ["tea"]}
LARGE = {"content": "x" * 16 * 1024}


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of request."""

    name: str
    method: str
    path: str
    body: Any = None
    accept: str = "application/json"

    def request(self, port: int) -> bytes:
        """Return the bytes of one request."""
        body = b"" if self.body is None else json.dumps(self.body).encode()
        kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        head = f"{self.method} {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: {self.accept}\r\n{kind}\r\n"
        return head.encode() + body


SCENARIOS = (
    Scenario("search, ten hits", "POST", "/v1/memories:search", {"query": "where to drink tea", "pageSize": 10}),
    Scenario("small create", "POST", "/v1/memories", SMALL),
    Scenario("create of 16 KB", "POST", "/v1/memories", LARGE),
    Scenario(f"stream of {STREAMED}", "GET", "/v1/memories:export?query=tea"),
)


def contract() -> tuple[bytes, Contract]:
    """Return the bench's descriptor set and its types."""
    data = compiled([HERE / "gateway.proto"], HERE)
    return data, Contract(data)


def serve_backend(port: int) -> None:
    """Answer every call at once with bytes made beforehand."""
    _, types = contract()
    one = types.wire(types.method(f"/{SERVICE}/Create").output_type, MEMORY)
    large = types.wire(types.method(f"/{SERVICE}/Create").output_type, LARGE)
    hits = {"hits": [{"memory": MEMORY, "score": 0.9, "vectorScore": 0.8}] * 10}
    found = types.wire(types.method(f"/{SERVICE}/Search").output_type, hits)
    handlers = {
        "Create": grpc.unary_unary_rpc_method_handler(lambda request, _: large if len(request) > 1024 else one),
        "Search": grpc.unary_unary_rpc_method_handler(lambda _request, _context: found),
        "Export": grpc.unary_stream_rpc_method_handler(lambda _request, _context: iter([one] * STREAMED)),
    }
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


def serve_plain(port: int, backend: int) -> None:
    """Serve the same routes by handlers as one writes them by hand."""
    _, types = contract()

    async def build() -> web.Application:
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{backend}")
        app = web.Application()
        for path, name in (("/v1/memories", "Create"), ("/v1/memories:search", "Search")):
            app.router.add_post(path, _handler(types, channel, name))
        return app

    web.run_app(build(), host="127.0.0.1", port=port, print=None, access_log=None, loop=uvloop.new_event_loop())


def _handler(types: Contract, channel: grpc.aio.Channel, name: str) -> Any:
    method = types.method(f"/{SERVICE}/{name}")
    asked = message_factory.GetMessageClass(method.input_type)
    answered = message_factory.GetMessageClass(method.output_type)
    call = channel.unary_unary(
        f"/{SERVICE}/{name}", request_serializer=asked.SerializeToString, response_deserializer=answered.FromString
    )

    async def handle(request: web.Request) -> web.Response:
        message: Any = asked()
        json_format.Parse(await request.read(), message.memory if name == "Create" else message)
        text = json_format.MessageToJson(await call(message), indent=None)
        return web.Response(text=text, content_type="application/json")

    return handle


class Caller(asyncio.Protocol):
    """One connection that asks again as soon as it is answered."""

    def __init__(self, request: bytes, until: float, took: list[float]) -> None:
        """Ask *request* until the monotonic time *until*."""
        self._request = request
        self._until = until
        self._took = took
        self._buffer = b""
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._began = time.monotonic()
        if self._began >= self._until:
            self._transport.close()
            return
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Count an answer when it is whole."""
        self._buffer += data
        head, blank, body = self._buffer.partition(b"\r\n\r\n")
        if not blank:
            return
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(self._buffer[:500])
        lower = head.lower()
        at = lower.find(b"content-length:")
        length = int(lower[at + 15 :].partition(b"\r\n")[0]) if at >= 0 else None
        whole = body.endswith(b"0\r\n\r\n") if length is None else len(body) >= length
        if whole:
            self._buffer = b""
            self._took.append(time.monotonic() - self._began)
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if not self.done.done():
            self.done.set_result(None)


async def call(port: int, scenario: Scenario, callers: int, seconds: float) -> list[float]:
    """Return the times in seconds of the requests that *callers* made."""
    took: list[float] = []
    until = time.monotonic() + seconds
    loop = asyncio.get_running_loop()
    made = [
        (await loop.create_connection(lambda: Caller(scenario.request(port), until, took), "127.0.0.1", port))[1]
        for _ in range(callers)
    ]
    await asyncio.gather(*(caller.done for caller in made))
    return took


def answer_orders() -> None:
    """Be the process of the callers: a line of JSON asks for one round, a line tells how it went."""
    for line in sys.stdin:
        order = json.loads(line)
        took = sorted(uvloop.run(call(order["port"], SCENARIOS[order["scenario"]], order["callers"], order["seconds"])))
        print(
            json.dumps({"count": len(took), "p50": took[len(took) // 2], "p99": took[len(took) * 99 // 100]}),
            flush=True,
        )


def cpu_s(pids: Sequence[int]) -> float:
    """Return the CPU seconds of processes and their children."""
    total = 0.0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / _TICKS
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += cpu_s([int(child) for child in (task / "children").read_text().split()])
    return total


@dataclass(slots=True)
class Round:
    """What one round of one gateway told."""

    per_request_s: float
    a_second: float
    p50_s: float
    p99_s: float


class Bench:
    """All processes of a run."""

    def __init__(self, callers: int, seconds: float) -> None:
        """Measure with so many callers, so long a round."""
        self._callers = callers
        self._seconds = seconds
        self._orders = subprocess.Popen(  # noqa: S603 ourselves
            [sys.executable, __file__, "--role", "callers"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def close(self) -> None:
        """End the callers."""
        self._orders.terminate()
        self._orders.wait()

    def round(self, port: int, pid: int, scenario: int, seconds: float | None = None) -> Round:
        """Run one round and return what it told."""
        assert self._orders.stdin is not None
        assert self._orders.stdout is not None
        seconds = seconds or self._seconds
        order = {"port": port, "scenario": scenario, "callers": self._callers, "seconds": seconds}
        before = cpu_s([pid])
        self._orders.stdin.write(json.dumps(order) + "\n")
        self._orders.stdin.flush()
        told = json.loads(self._orders.stdout.readline())
        spent = cpu_s([pid]) - before
        count = max(told["count"], 1)
        return Round(spent / count, count / seconds, told["p50"], told["p99"])


@asynccontextmanager
async def started(words: Sequence[str], port: int, environ: Mapping[str, str]) -> AsyncIterator[int]:
    """Run a process that listens on *port*; gives its id."""
    with TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as out:
            child = await asyncio.create_subprocess_exec(*words, stdout=out, stderr=out, env={**os.environ, **environ})
        try:
            await until_listening(port, lambda: child.returncode is not None, log)
            yield child.pid
        finally:
            child.terminate()
            await child.wait()


async def measure(arguments: argparse.Namespace) -> dict[str, dict[str, list[Round]]]:
    """Return the rounds by scenario and gateway."""
    data, _ = contract()
    rounds: dict[str, dict[str, list[Round]]] = {}
    with TemporaryDirectory() as text:
        folder = Path(text)
        (folder / "set.binpb").write_bytes(data)
        backend, ours, envoy, plain = free_port(), free_port(), free_port(), free_port()
        config = Envoy().config(folder / "set.binpb", [SERVICE], {}, envoy, backend)
        (folder / "envoy.json").write_text(json.dumps(config))
        me = [sys.executable, __file__, "--port"]
        commands = {
            OURS: (
                [sys.executable, "-m", "services.cli", "gateway", "--descriptor-set", str(folder / "set.binpb"), "--http-port", str(ours),
                 "--upstream", f"{SERVICE}=127.0.0.1:{backend}"],
                ours,
            ),
            ENVOY: (
                [str(Envoy.binary()), "-c", str(folder / "envoy.json"), "--concurrency", "1", "--use-dynamic-base-id", "-l", "error"],
                envoy,
            ),
            PLAIN: ([*me, str(plain), "--role", "plain", "--backend", str(backend)], plain),
        }  # fmt: skip
        bench = Bench(arguments.callers, arguments.seconds)
        environ = {
            "MEMORYBOX_DATA_DIR": text,
            "MEMORYBOX_GATEWAY_WORKERS": str(arguments.workers),
            "MEMORYBOX_LOG_LEVEL": arguments.log_level,
        }
        try:
            async with started([*me, str(backend), "--role", "backend"], backend, {}):
                await _turns(arguments, bench, commands, environ, rounds)
        finally:
            bench.close()
    return rounds


async def _turns(
    arguments: argparse.Namespace,
    bench: Bench,
    commands: Mapping[str, tuple[list[str], int]],
    environ: Mapping[str, str],
    rounds: dict[str, dict[str, list[Round]]],
) -> None:
    """Let the gateways take turns."""
    names = [name for name in commands if name in arguments.gateways]
    async with AsyncExitStack() as stack:
        pids = [await stack.enter_async_context(started(*commands[name], environ)) for name in names]
        for index, scenario in enumerate(SCENARIOS):
            if arguments.scenario and arguments.scenario not in scenario.name:
                continue
            own = rounds.setdefault(scenario.name, {})
            for turn in range(arguments.rounds + 1):
                for name, pid in zip(names, pids, strict=True):
                    if name == PLAIN and scenario.method == "GET":
                        continue
                    done = bench.round(commands[name][1], pid, index, None if turn else WARM_UP_S)
                    if turn:
                        own.setdefault(name, []).append(done)


def table(rounds: Mapping[str, Mapping[str, Sequence[Round]]]) -> str:
    """Return the medians as Markdown."""
    lines = [
        "| request | gateway | CPU µs a request | a second per core | of Envoy | p50 ms | p99 ms |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for name, gateways in rounds.items():
        base = gateways.get(ENVOY, ())
        for gateway, own in gateways.items():
            cost = statistics.median(one.per_request_s for one in own)
            pairs = [theirs.per_request_s / one.per_request_s for one, theirs in zip(own, base, strict=False)]
            ratio = f"{statistics.median(pairs):.2f}" if pairs else ""
            p50 = statistics.median(one.p50_s for one in own) * 1000
            p99 = statistics.median(one.p99_s for one in own) * 1000
            lines.append(
                f"| {name} | {gateway} | {cost * 1e6:.0f} | {1 / cost:.0f} | {ratio} | {p50:.1f} | {p99:.1f} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Run the bench, or one of its parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--role", choices=["bench", "backend", "plain", "callers"], default="bench")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--backend", type=int, default=0)
    parser.add_argument("--callers", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scenario", default="", help="a word of the scenario's name")
    parser.add_argument("--gateways", nargs="+", default=[OURS, ENVOY, PLAIN], choices=[OURS, ENVOY, PLAIN])
    parser.add_argument("--workers", type=int, default=1, help="processes of our gateway (MEMORYBOX_GATEWAY_WORKERS)")
    parser.add_argument("--log-level", default="INFO", help="of our gateway; its access log is written at INFO")
    arguments = parser.parse_args()
    if arguments.role == "backend":
        serve_backend(arguments.port)
    elif arguments.role == "plain":
        serve_plain(arguments.port, arguments.backend)
    elif arguments.role == "callers":
        answer_orders()
    else:
        print(table(asyncio.run(measure(arguments))))


if __name__ == "__main__":
    main()
