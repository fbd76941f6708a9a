"""Exports, imports and watches over HTTP: gateway and memory service together, as any HTTP client sees them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from memorybox.memory.v1 import memory_pb2
from services.cli.entry import run
from services.cli.grants import standard_keys
from services.memory.stores.embedded import EmbeddedMemoryStore
from services.mesh.channels import GatewayCredentials
from services.mesh.identity import HopSigner
from services.mesh.keys import GATEWAY
from tests.support.clients import Deployment
from tests.support.gateway import WITHIN_S, Gateway, gateway
from tests.support.memory import World, memory_world

NDJSON = "application/x-ndjson"
SSE = "text/event-stream"


@dataclass
class Site:
    """A gateway before a memory service, and an HTTP client that acts as Ann."""

    edge: Gateway
    world: World
    client: aiohttp.ClientSession

    async def lines(self, path: str) -> list[dict[str, Any]]:
        async with self.client.get(path, headers={"Accept": NDJSON}) as response:
            assert response.status == 200
            assert response.content_type == NDJSON
            return [json.loads(line) for line in (await response.text()).splitlines()]

    async def take_in(self, lines: list[dict[str, Any]], import_id: str = "i") -> dict[str, Any]:
        body = "".join(json.dumps(line) + "\n" for line in [{"config": {"importId": import_id}}, *lines])
        async with self.client.post("/v1/memories:import", data=body, headers={"Content-Type": NDJSON}) as response:
            answer: dict[str, Any] = await response.json()
            assert response.status == 200, answer
            return answer


@asynccontextmanager
async def site(folder: Path) -> AsyncIterator[Site]:
    deployment = Deployment(folder / "deployment", standard_keys("ann"))
    store = await EmbeddedMemoryStore.open(folder / "data")
    credentials = GatewayCredentials(HopSigner(deployment.keys, GATEWAY))
    async with (
        memory_world(deployment, store) as world,
        gateway(deployment.settings().port("memory"), credentials=credentials) as edge,
        aiohttp.ClientSession(
            f"http://127.0.0.1:{edge.port}",
            headers={"X-Memorybox-User": "ann"},
            timeout=aiohttp.ClientTimeout(WITHIN_S),
        ) as client,
    ):
        yield Site(edge, world, client)
    await store.close()


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Site]:
    async with site(tmp_path / "here") as made:
        yield made


async def next_event(stream: aiohttp.StreamReader) -> dict[str, str]:
    """Return the fields of the next server-sent event; comments are passed over."""
    fields: dict[str, str] = {}
    async with asyncio.timeout(WITHIN_S):
        while True:
            line = (await stream.readline()).decode()
            assert line, "the stream has ended"
            if line == "\n" and fields:
                return fields
            name, _, value = line.rstrip("\n").partition(": ")
            if name:
                fields[name] = value


async def test_export_can_be_sent_to_an_import_as_it_is(here: Site, tmp_path: Path) -> None:
    for n in range(3):
        await here.world.ann.create(f"tea {n} \N{HOT BEVERAGE}", tags=["t"], bucket="work")
    exported = await here.lines("/v1/memories:export?includeEmbeddings=true")

    async with site(tmp_path / "there") as there:
        answer = await there.take_in(exported)
        again = await there.lines("/v1/memories:export?includeEmbeddings=true")

    assert answer == {"importedCount": "3", "failedCount": "0", "errors": [], "lastCommittedIndex": "2"}
    assert [set(line) for line in exported] == [{"memory", "resumeToken"}] * 3
    assert [line["memory"] for line in again] == [line["memory"] for line in exported]


async def test_export_resumes_by_token_and_is_a_json_array_by_default(here: Site) -> None:
    for n in range(3):
        await here.world.ann.create(f"tea {n}")
    token = (await here.lines("/v1/memories:export"))[0]["resumeToken"]

    async with here.client.get("/v1/memories:export", params={"resumeToken": token}) as response:
        rest = await response.json()

    assert [line["memory"]["content"] for line in rest] == ["tea 1", "tea 2"]


async def test_bad_line_of_an_import_keeps_whole_chunks_only(here: Site) -> None:
    lines = [{"config": {"importId": "i"}}, *({"memory": {"content": f"tea {n}"}} for n in range(150))]
    body = "".join(json.dumps(line) + "\n" for line in lines) + "nonsense\n"

    async with here.client.post("/v1/memories:import", data=body, headers={"Content-Type": NDJSON}) as response:
        answer = await response.json()

    assert response.status == 400
    assert "line 152" in answer["message"]
    kept = await here.lines("/v1/memories:export")
    assert len(kept) in {0, 100}
    assert (await here.take_in([{"memory": {"content": f"tea {n}"}} for n in range(150)]))["importedCount"] == "150"
    assert len(await here.lines("/v1/memories:export")) == 150


async def test_watch_is_server_sent_events_which_last_event_id_resumes(here: Site) -> None:
    async with here.client.get("/v1/memories:watch", headers={"Accept": SSE}) as response:
        assert response.content_type == SSE
        await here.world.ann.create("tea")
        first = await next_event(response.content)
    await here.world.ann.create("unwatched")

    again = {"Accept": SSE, "Last-Event-ID": first["id"]}
    async with here.client.get("/v1/memories:watch", headers=again) as response:
        second = await next_event(response.content)

    told = json.loads(first["data"])
    assert first["event"] == "created"
    assert first["id"] == told["resumeToken"]
    assert told["created"]["content"] == "tea"
    assert told["sequence"] == "1"
    assert (second["event"], json.loads(second["data"])["created"]["content"]) == ("created", "unwatched")


async def test_watch_shows_over_http_what_the_caller_may_see(here: Site) -> None:
    async with here.client.get("/v1/memories:watch", headers={"Accept": SSE}) as response:
        await here.world.bob.create("private")
        await here.world.bob.create("public", access_level=memory_pb2.Memory.PUBLIC)

        event = await next_event(response.content)

    assert json.loads(event["data"])["created"]["content"] == "public"


async def test_gateway_that_leaves_tells_the_clients_of_streams_to_come_back(here: Site) -> None:
    async with here.client.get("/v1/memories:watch", headers={"Accept": SSE}) as response:
        await here.world.ann.create("tea")
        await next_event(response.content)

        draining = asyncio.ensure_future(here.edge.server.drain(0.0, 1.0))
        event = await next_event(response.content)
        await draining

    assert event["event"] == "error"
    status = json.loads(event["data"])
    assert status["code"] == 14
    assert any("RetryInfo" in detail["@type"] for detail in status["details"])


def command(here: Site, *words: str) -> "asyncio.Future[int]":
    """Run the command line against *here*."""
    environ = {"MEMORYBOX_HTTP_PORT": str(here.edge.port), "MEMORYBOX_USER": "ann"}
    return asyncio.ensure_future(asyncio.to_thread(run, words, environ))


async def test_commands_move_all_memories_by_a_file(
    here: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(3):
        await here.world.ann.create(f"tea {n}")
    file = tmp_path / "memories.ndjson"
    code = await command(here, "export", str(file))
    exported = await here.lines("/v1/memories:export?includeEmbeddings=true")

    async with site(tmp_path / "there") as there:
        first = await command(there, "import", "--ndjson", str(file))
        again = await command(there, "import", "--ndjson", str(file), "--json")
        copy = await there.lines("/v1/memories:export?includeEmbeddings=true")

    output = capsys.readouterr()
    assert (code, first, again) == (0, 0, 0)
    assert [line["memory"] for line in copy] == [line["memory"] for line in exported]
    assert output.out.startswith("3 imported, 0 failed\n")
    assert json.loads(output.out.partition("\n")[2]) == {"imported": 3, "failed": 0, "errors": []}
    assert not await asyncio.to_thread(file.with_name(file.name + ".part").exists)


async def test_import_command_names_the_lines_that_were_refused(
    here: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "memories.ndjson"
    file.write_text('{"memory": {"content": "tea"}}\n{"memory": {"content": ""}}\n')

    code = await command(here, "import", "--ndjson", str(file))

    output = capsys.readouterr()
    assert code == 1
    assert output.out == "1 imported, 1 failed\n"
    assert f"{file}:2: memory.content must be" in output.err


@pytest.mark.parametrize(
    ("content", "said"), [(None, "cannot read"), ("# notes\n", "is not an export")], ids=["absent", "markdown"]
)
async def test_import_command_refuses_what_is_no_export(
    here: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, said: str
) -> None:
    file = tmp_path / "memories.ndjson"
    if content is not None:
        file.write_text(content)

    code = await command(here, "import", "--ndjson", str(file))

    assert code == 1
    assert said in capsys.readouterr().err


async def test_export_command_writes_to_standard_output(here: Site, capfdbinary: Any) -> None:
    await here.world.ann.create("tea")

    code = await command(here, "export", "--no-embeddings")

    lines = capfdbinary.readouterr().out.splitlines()
    assert code == 0
    assert [json.loads(line)["memory"]["content"] for line in lines] == ["tea"]
    assert json.loads(lines[0])["memory"]["embedding"] == []
