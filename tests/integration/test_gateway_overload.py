"""Overload costs answers, not time: a backend of fixed capacity behind the gateway, asked for twice as much."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from tests.support.gateway import FakeUpstream, Gateway, gateway

pytestmark = pytest.mark.slow

SERVERS = 4
SERVICE_S = 0.04
CAPACITY = SERVERS / SERVICE_S  # calls a second; low, so that the machine is not what limits
LOAD_S = 6.0


@dataclass
class Outcome:
    """Latencies of what was answered, in seconds, and how many were shed."""

    served: list[float] = field(default_factory=list)
    shed: int = 0

    @property
    def p99(self) -> float:
        return sorted(self.served)[int(len(self.served) * 0.99)]


async def load(edge: Gateway, per_second: float) -> Outcome:
    """Ask at a fixed rate, whatever comes back, as a public does."""
    outcome = Outcome()
    url = f"http://127.0.0.1:{edge.port}/v1/memories/m1"

    async def one(session: aiohttp.ClientSession) -> None:
        began = time.perf_counter()
        async with session.get(url) as answer:
            await answer.read()
        if answer.status == 200:
            outcome.served.append(time.perf_counter() - began)
        else:
            outcome.shed += 1

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session, asyncio.TaskGroup() as group:
        began = time.perf_counter()
        for number in range(int(LOAD_S * per_second)):
            await asyncio.sleep(max(0.0, began + number / per_second - time.perf_counter()))
            group.create_task(one(session))
    return outcome


async def measured(per_second: float, slots: int) -> Outcome:
    upstream, servers = FakeUpstream(), asyncio.Semaphore(SERVERS)

    async def answer(_request: bytes, _context: Any) -> bytes:
        async with servers:
            await asyncio.sleep(SERVICE_S)
        return b""

    upstream.answers["GetMemory"] = answer
    settings = {"MEMORYBOX_GATEWAY_MAX_CONCURRENT": str(slots), "MEMORYBOX_GATEWAY_MAX_IN_FLIGHT": "65535"}
    async with upstream.serving() as target, gateway(target, settings) as edge:
        return await load(edge, per_second)


async def test_latency_stays_flat_at_twice_the_capacity() -> None:
    calm = await measured(CAPACITY / 2, 2 * SERVERS)
    shedding = await measured(2 * CAPACITY, 2 * SERVERS)
    queueing = await measured(2 * CAPACITY, 60_000)

    assert not calm.shed
    assert shedding.shed
    assert len(shedding.served) > 0.6 * CAPACITY * LOAD_S
    assert shedding.p99 < queueing.p99 / 4
