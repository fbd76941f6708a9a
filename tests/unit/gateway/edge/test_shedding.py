import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from services.gateway.edge.shedding import INTERVAL_S, TARGET_S, Slots
from services.gateway.transcoder import HttpError

LONG_S = 60.0


@asynccontextmanager
async def held(slots: Slots) -> AsyncIterator[asyncio.Event]:
    """Hold a slot in a task until the event is set, at the latest at the end of the block."""
    taken, go_on = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with slots.one(LONG_S):
            taken.set()
            await go_on.wait()

    holding = asyncio.create_task(hold())
    await taken.wait()
    try:
        yield go_on
    finally:
        go_on.set()
        await holding


async def waited(slots: Slots) -> float:
    """Return how long a call waited before it was refused."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(HttpError) as refused:
        async with slots.one(LONG_S):
            pytest.fail("there was no room")
    assert refused.value.http_status == 503
    return loop.time() - began


async def test_call_waits_for_a_slot_that_gets_free() -> None:
    slots = Slots(1)
    async with held(slots) as go_on:
        asyncio.get_running_loop().call_later(INTERVAL_S / 10, go_on.set)
        async with slots.one(LONG_S):
            assert go_on.is_set()


async def test_queue_that_stands_is_not_waited_in() -> None:
    slots = Slots(1)
    async with held(slots):
        first = await waited(slots)
        crowd = [asyncio.create_task(waited(slots)) for _ in range(5)]
        await asyncio.sleep(INTERVAL_S * 0.9)
        late = asyncio.create_task(waited(slots))
        await asyncio.gather(*crowd)
        await late

    assert first >= INTERVAL_S * 0.9
    assert TARGET_S < INTERVAL_S


async def test_newest_goes_first_while_the_queue_stands() -> None:
    slots, order = Slots(1), list[str]()
    slots._empty_at = -LONG_S

    async def call(name: str) -> None:
        async with slots.one(LONG_S):
            order.append(name)

    async with held(slots) as go_on:
        slots._empty_at = -LONG_S
        old = asyncio.create_task(call("old"))
        await asyncio.sleep(0)
        slots._empty_at = -LONG_S
        new = asyncio.create_task(call("new"))
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(old, new)

    assert order == ["new", "old"]


async def test_deadline_is_not_slept_through() -> None:
    slots = Slots(1)
    async with held(slots):
        with pytest.raises(HttpError):
            async with slots.one(0.0):
                pytest.fail("there was no room")


async def test_caller_that_leaves_the_queue_leaves_no_hole() -> None:
    slots = Slots(1)
    async with held(slots):
        waiting = asyncio.create_task(waited(slots))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    async with slots.one(LONG_S):
        pass
    assert slots._free == 1


async def test_failing_call_gives_its_slot_back() -> None:
    slots = Slots(1)
    for _ in range(3):
        with pytest.raises(KeyError):
            async with slots.one(LONG_S):
                raise KeyError
