"""Whole-product figures: searches and creates through real processes, and what each hop of a search costs.

Starts a mesh of its own in a temporary folder, fills it, measures, prints Markdown tables, stops it. The client runs on the
same processors as the mesh, so the figures are what this machine gives to all of it together.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import grpc

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.corpus import paragraphs
from memorybox.memory.v1 import memory_pb2, memory_service_pb2, memory_service_pb2_grpc
from services.mesh.config import MeshSettings, load
from services.mesh.identity import HopSigner
from services.mesh.keys import KeyFolder
from tests.support.mesh import Mesh

Call = Callable[[int], Awaitable[None]]
BATCH = 100


def percentile(values: list[float], share: float) -> float:
    """Return the value below which *share* of *values* lie."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


async def measure(call: Call, callers: int, total: int) -> tuple[float, float, float]:
    """Return p50 and p99 in ms and calls a second of *total* calls by *callers* at once."""
    numbers = iter(range(total))
    times: list[float] = []

    async def caller() -> None:
        for number in numbers:
            start = time.perf_counter()
            await call(number)
            times.append((time.perf_counter() - start) * 1000)

    begin = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return statistics.median(times), percentile(times, 0.99), total / (time.perf_counter() - begin)


async def fill(session: aiohttp.ClientSession, texts: list[str]) -> float:
    """Keep *texts* by batches and return how many a second."""
    begin = time.perf_counter()
    queue = [texts[index : index + BATCH] for index in range(0, len(texts), BATCH)]

    async def worker() -> None:
        while queue:
            body = {"requests": [{"memory": {"content": text}} for text in queue.pop()]}
            async with session.post("/v1/memories:batchCreate", json=body) as answer:
                answer.raise_for_status()
                for result in (await answer.json())["results"]:
                    if "error" in result:
                        raise SystemExit(f"a create failed: {result['error']}")

    await asyncio.gather(worker(), worker())
    return len(texts) / (time.perf_counter() - begin)


async def post(session: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> None:
    """Post and insist on success."""
    async with session.post(path, json=body) as answer:
        if answer.status != 200:
            raise SystemExit(f"{path} answered {answer.status}: {await answer.text()}")
        await answer.read()


async def run(mesh: Mesh, size: int, calls: int) -> None:
    """Measure and print."""
    texts = paragraphs(size)
    rng = random.Random(7)  # noqa: S311
    sources = [rng.choice(texts).split() for _ in range(calls * 4)]
    queries = [
        " ".join(words[start : start + 6]) for words in sources for start in [rng.randrange(max(1, len(words) - 6))]
    ]
    headers = {"X-Memorybox-User": "ann"}
    connector = aiohttp.TCPConnector(limit=100)
    async with aiohttp.ClientSession(mesh.url, headers=headers, connector=connector) as session:
        rate = await fill(session, texts)
        print(f"\n{size} paragraphs kept in batches of {BATCH}: {rate:.0f} a second (embedding included)\n")
        print("| over HTTP | callers | p50 ms | p99 ms | a second |\n|---|---|---|---|---|")
        fresh = iter(queries)
        for mode in ("HYBRID", "KEYWORD"):
            for callers in (1, 50):

                async def search(_number: int, mode: str = mode) -> None:
                    query = next(fresh) if mode == "HYBRID" else rng.choice(queries)
                    await post(session, "/v1/memories:search", {"query": query, "mode": mode})

                show(f"search {mode}, new queries", callers, *await measure(search, callers, calls))

        async def repeated(_number: int) -> None:
            await post(session, "/v1/memories:search", {"query": queries[0]})

        show("search HYBRID, one query (cached vector)", 50, *await measure(repeated, 50, calls))
        for callers in (1, 50):

            async def create(number: int, callers: int = callers) -> None:
                await post(session, "/v1/memories", {"content": f"Note {callers}-{number}: {rng.choice(queries)}"})

            show("create, durable", callers, *await measure(create, callers, calls))
    await over_grpc(mesh, queries, calls)


async def over_grpc(mesh: Mesh, queries: list[str], calls: int) -> None:
    """Measure creates straight at the memory service."""
    signer = HopSigner(KeyFolder(load(MeshSettings, mesh.environ).keys_dir), "gateway")
    async with grpc.aio.insecure_channel(mesh.target("memory")) as channel:
        stub: Any = memory_service_pb2_grpc.MemoryServiceStub(channel)

        async def create(number: int) -> None:
            token = signer.token("memory", "ann")
            memory = memory_pb2.Memory(content=f"By gRPC {number}: {random.choice(queries)}")  # noqa: S311
            request = memory_service_pb2.CreateMemoryRequest(memory=memory)
            await stub.CreateMemory(request, metadata=(("authorization", f"Bearer {token}"),))

        for callers in (1, 50):
            show("create over gRPC, durable", callers, *await measure(create, callers, calls))


def show(what: str, callers: int, p50: float, p99: float, rate: float) -> None:
    """Print one row."""
    print(f"| {what} | {callers} | {p50:.1f} | {p99:.1f} | {rate:.0f} |", flush=True)


def hops(folder: Path) -> None:
    """Print the median duration of each kind of span among traces of single searches, own time apart from that of its children."""
    spans = [json.loads(line) for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]
    children: dict[str, float] = defaultdict(float)
    for span in spans:
        if span["parent_span_id"]:
            children[span["parent_span_id"]] += span["duration_ms"]
    whole, own = defaultdict(list), defaultdict(list)
    for span in spans:
        name = (span["service"], span["name"], span["kind"])
        whole[name].append(span["duration_ms"])
        own[name].append(span["duration_ms"] - children[span["span_id"]])
    print("\n| span of one search, 1 caller | kind | median ms | of it its own |\n|---|---|---|---|")
    for name in sorted(whole, key=lambda key: -statistics.median(whole[key])):
        print(
            f"| {name[0]}: {name[1]} | {name[2]} | {statistics.median(whole[name]):.2f} | {statistics.median(own[name]):.2f} |"
        )


async def traced(mesh: Mesh, queries: list[str]) -> None:
    """Search once with each query."""
    async with aiohttp.ClientSession(mesh.url, headers={"X-Memorybox-User": "ann"}) as session:
        for query in queries:
            await post(session, "/v1/memories:search", {"query": query})


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memories", type=int, default=10_000)
    parser.add_argument("--calls", type=int, default=1000)
    options = parser.parse_args()
    print(f"{os.cpu_count()} processors, Python {sys.version.split()[0]}")
    with tempfile.TemporaryDirectory() as folder:
        mesh = Mesh(Path(folder) / "data")
        with mesh.up():
            asyncio.run(run(mesh, options.memories, options.calls))
        traces = Path(folder) / "traces"
        with mesh.up("--trace-dir", str(traces)):
            asyncio.run(traced(mesh, [f"how do I {text[:40]}" for text in paragraphs(200)]))
        hops(traces)


if __name__ == "__main__":
    main()
