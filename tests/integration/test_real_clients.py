"""Clients as people have them: curl, Node's WebSocket, a browser's fetch, EventSource and WebSocket. Each where it is installed."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from memorybox.memory.v1 import memory_pb2, memory_service_pb2
from tests.support.gateway import FakeUpstream, Gateway, gateway

pytestmark = pytest.mark.slow

WITHIN_S = 60.0
EVENTS = 3
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
NODE_SCRIPT = """
const socket = new WebSocket(process.argv[2], ["json.transcode.v1"]);
const seen = [];
socket.onopen = () => socket.send("");
socket.onmessage = (event) => seen.push(JSON.parse(event.data).sequence);
socket.onclose = (event) => console.log(JSON.stringify({seen, code: event.code, protocol: socket.protocol}));
"""
PAGE = """
<!doctype html><title>client</title><pre id="out"></pre>
<script>
const api = "http://127.0.0.1:PORT";
const options = {headers: {"Content-Type": "application/json", "X-Memorybox-User": "ann"}};
async function streamed() {
  const answer = await fetch(api + "/v1/memories:watch", {headers: {Accept: "text/event-stream"}});
  return (await answer.text()).split("\\n").filter((line) => line.startsWith("data: ")).length;
}
const sourced = () => new Promise((resolve) => {
  let count = 0;
  const source = new EventSource(api + "/v1/memories:watch");
  source.addEventListener("created", () => { count += 1; if (count === 3) { source.close(); resolve(count); } });
  source.onmessage = () => { count += 1; if (count === 3) { source.close(); resolve(count); } };
});
const socketed = () => new Promise((resolve) => {
  let count = 0;
  const socket = new WebSocket(api.replace("http", "ws") + "/v1/memories:watch", ["json.transcode.v1"]);
  socket.onopen = () => socket.send("");
  socket.onmessage = () => { count += 1; };
  socket.onclose = (event) => resolve([count, event.code, socket.protocol]);
});
(async () => {
  const seen = {};
  for (const [name, ask] of Object.entries({
    get: async () => (await (await fetch(api + "/v1/memories/m1", options)).json()).content,
    missing: async () => { const answer = await fetch(api + "/v1/nowhere", options); return [answer.status, (await answer.json()).code]; },
    streamed, sourced, socketed,
  })) {
    try { seen[name] = await ask(); } catch (error) { seen[name] = String(error); }
  }
  await fetch("/seen", {method: "POST", body: JSON.stringify(seen)});
})();
</script>
"""


async def tell(command: str, *words: str, cwd: Path | None = None) -> str:
    """Return what a command prints; fail when it does not end well in time."""
    process = await asyncio.create_subprocess_exec(
        command, *words, cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(WITHIN_S):
        out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return out.decode()


def installed(*names: str) -> str:
    """Return the first of *names* that is installed, or skip saying which are not."""
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"not installed: {', '.join(names)}")
    return found


def upstream() -> FakeUpstream:
    fake = FakeUpstream()

    async def get(_request: bytes, _context: Any) -> bytes:
        return memory_service_pb2.GetMemoryResponse(memory=memory_pb2.Memory(content="tea")).SerializeToString()

    async def watch(_request: bytes, _context: Any) -> AsyncIterator[bytes]:
        for number in range(EVENTS):
            yield memory_service_pb2.WatchMemoriesResponse(sequence=number + 1).SerializeToString()

    async def gather(messages: AsyncIterator[bytes], _context: Any) -> bytes:
        count = len([message async for message in messages])
        return memory_service_pb2.ImportMemoriesResponse(imported_count=count).SerializeToString()

    fake.answers["GetMemory"], fake.streams["WatchMemories"], fake.uploads["ImportMemories"] = get, watch, gather
    return fake


@asynccontextmanager
async def running(*origins: str) -> AsyncIterator[Gateway]:
    settings = {"MEMORYBOX_GATEWAY_CORS_ORIGINS": ",".join(origins)} if origins else {}
    async with upstream().serving() as target, gateway(target, settings) as edge:
        yield edge


async def test_curl_reads_answers_streams_and_errors(tmp_path: Path) -> None:
    curl = installed("curl")
    lines = "\n".join(json.dumps({"memory": {"content": str(number)}}) for number in range(500))
    (tmp_path / "import.ndjson").write_text(lines)

    async with running() as edge:
        url = f"http://127.0.0.1:{edge.port}"
        one = await tell(curl, "-sS", "--compressed", f"{url}/v1/memories/m1")
        many = await tell(curl, "-sSN", "-H", "Accept: application/x-ndjson", f"{url}/v1/memories:watch")
        events = await tell(curl, "-sSN", "-H", "Accept: text/event-stream", f"{url}/v1/memories:watch")
        upload = ["-H", "Content-Type: application/x-ndjson", "-H", "Transfer-Encoding: chunked", "-T"]
        imported = await tell(
            curl, "-sS", "-X", "POST", *upload, str(tmp_path / "import.ndjson"), f"{url}/v1/memories:import"
        )
        form = await tell(curl, "-sS", "-o", "-", "-w", " %{http_code}", "-d", "{}", f"{url}/v1/memories:search")
        head = await tell(curl, "-sSI", f"{url}/v1/memories/m1")

    assert json.loads(one)["content"] == "tea"
    assert [json.loads(line)["sequence"] for line in many.splitlines()] == ["1", "2", "3"]
    assert events.count("data: ") == EVENTS
    assert json.loads(imported)["importedCount"] == "500"
    assert form.endswith(" 415")
    assert head.startswith("HTTP/1.1 200")


async def test_nodes_websocket_follows_a_stream(tmp_path: Path) -> None:
    node = installed("node")
    if "function" not in await tell(node, "--experimental-websocket", "-p", "typeof WebSocket"):
        pytest.skip("this Node has no WebSocket of its own")
    (tmp_path / "client.mjs").write_text(NODE_SCRIPT)

    async with running() as edge:
        url = f"ws://127.0.0.1:{edge.port}/v1/memories:watch"
        out = await tell(node, "--experimental-websocket", "--no-warnings", "client.mjs", url, cwd=tmp_path)

    assert json.loads(out) == {"seen": ["1", "2", "3"], "code": 1000, "protocol": "json.transcode.v1"}


async def test_page_in_a_browser_fetches_listens_and_talks(tmp_path: Path) -> None:
    browser = installed(*BROWSERS)
    seen: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    ports: dict[str, int] = {}

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text=PAGE.replace("PORT", str(ports["api"])), content_type="text/html")

    async def take(request: web.Request) -> web.Response:
        seen.set_result(json.loads(await request.text()))
        return web.Response()

    app = web.Application()
    app.router.add_get("/", page)
    app.router.add_post("/seen", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with running(origin) as edge:
            ports["api"] = edge.port
            flags = [
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                f"--user-data-dir={tmp_path}",
                "--remote-debugging-port=0",
            ]
            process = await asyncio.create_subprocess_exec(
                browser, *flags, origin, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
            )
            try:
                async with asyncio.timeout(WITHIN_S):
                    found = await seen
            finally:
                process.terminate()
                await process.wait()
    finally:
        await runner.cleanup()

    assert found["get"] == "tea"
    assert found["missing"] == [404, 5]
    assert (found["streamed"], found["sourced"]) == (EVENTS, EVENTS)
    assert found["socketed"] == [EVENTS, 1000, "json.transcode.v1"]
