"""Limits of callers and of calls at once, as clients see them."""

import asyncio
from typing import Any

from tests.support.gateway import WITHIN_S, FakeUpstream, gateway

ANN, BOB = ("X-Memorybox-User", "ann"), ("X-Memorybox-User", "bob")


async def test_caller_over_the_limit_is_told_when_to_come_back() -> None:
    upstream = FakeUpstream()
    limits = {"MEMORYBOX_GATEWAY_RATE_LIMITS": "read=6/m:2,write=1/h:9"}

    async with upstream.serving() as target, gateway(target, limits) as edge:
        replies = [await edge.ask("GET", "/v1/memories/m1", [ANN]) for _ in range(3)]
        others = [await edge.ask("GET", "/v1/memories/m1", [BOB]), await edge.ask("DELETE", "/v1/memories/m1", [ANN])]
        probe = await edge.ask("GET", "/livez")

    assert [reply.status for reply in replies] == [200, 200, 429]
    assert [reply.status for reply in others] == [200, 200]
    assert replies[0].headers["RateLimit-Policy"] == '"read";q=2;w=20'
    assert [reply.headers["RateLimit"].split(";")[1] for reply in replies] == ["r=1", "r=0", "r=0"]
    assert 1 <= int(replies[2].headers["Retry-After"]) <= 10
    assert replies[2].json["code"] == 8
    assert replies[2].reason == "RATE_LIMITED"
    assert others[1].headers["RateLimit-Policy"].startswith('"write"')
    assert "RateLimit" not in probe.headers
    assert len(upstream.seen) == 4


async def test_address_is_limited_before_it_is_known_who_calls() -> None:
    upstream = FakeUpstream()
    limits = {"MEMORYBOX_GATEWAY_RATE_LIMITS": "ip=1/h:2", "MEMORYBOX_GATEWAY_TRUSTED_PROXIES": "127.0.0.0/8"}
    foreign = ("Origin", "https://evil.test")

    async with upstream.serving() as target, gateway(target, limits) as edge:
        replies = [await edge.ask("GET", "/v1/memories/m1", [foreign]) for _ in range(3)]
        other = await edge.ask("GET", "/v1/memories/m1", [("X-Forwarded-For", "203.0.113.9")])
        probe = await edge.ask("GET", "/readyz")

    assert [reply.status for reply in replies] == [403, 403, 429]
    assert [other.status, probe.status] == [200, 200]


async def test_dev_has_no_limits_unless_set() -> None:
    upstream = FakeUpstream()

    async with upstream.serving() as target, gateway(target) as edge:
        reply = await edge.ask("GET", "/v1/memories/m1")

    assert "RateLimit" not in reply.headers


async def test_calls_beyond_the_slots_are_shed_while_probes_are_answered() -> None:
    upstream = FakeUpstream()
    upstream.answers["GetMemory"] = upstream.hang

    async with upstream.serving() as target, gateway(target, {"MEMORYBOX_GATEWAY_MAX_CONCURRENT": "1"}) as edge:
        held = asyncio.create_task(edge.ask("GET", "/v1/memories/m1"))
        async with asyncio.timeout(WITHIN_S):
            await upstream.reached.wait()
        shed = await edge.ask("GET", "/v1/memories/m2")
        probe = await edge.ask("GET", "/livez")
        held.cancel()
        await asyncio.gather(held, return_exceptions=True)

    assert (shed.status, shed.reason, shed.headers["Retry-After"]) == (503, "OVERLOADED", "1")
    assert probe.status == 200


async def test_slow_body_holds_no_slot() -> None:
    upstream = FakeUpstream()

    async def answer(_request: bytes, _context: Any) -> bytes:
        return b""

    upstream.answers["CreateMemory"] = answer
    async with upstream.serving() as target, gateway(target, {"MEMORYBOX_GATEWAY_MAX_CONCURRENT": "1"}) as edge:
        _, slow = await edge.connect()
        head = edge.request("POST", "/v1/memories", [("Content-Type", "application/json"), ("Content-Length", "100")])
        slow.write(head + b'{"content":')
        await slow.drain()
        await asyncio.sleep(0.1)
        reply = await edge.ask("GET", "/v1/memories/m1")
        slow.close()

    assert reply.status == 200
