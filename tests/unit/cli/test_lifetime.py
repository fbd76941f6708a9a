"""A process ends on a signal, and when its supervisor is gone."""

import asyncio
import os
import signal

import pytest

from services.mesh.config import BadSettings
from services.mesh.lifetime import until_told_to_stop


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_until_told_to_stop_returns_at_the_first_signal(number: signal.Signals) -> None:
    waiting = asyncio.create_task(until_told_to_stop({}))
    await asyncio.sleep(0)

    os.kill(os.getpid(), number)

    assert await waiting == f"received {number.name}"


async def test_until_told_to_stop_gives_way_to_impatience_at_the_second_signal() -> None:
    impatient: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(until_told_to_stop({}, at_second_signal=impatient.set_result))
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGTERM)
    await waiting

    os.kill(os.getpid(), signal.SIGINT)

    assert await impatient == signal.SIGINT


async def test_until_told_to_stop_returns_when_the_supervisors_pipe_ends() -> None:
    reading, writing = os.pipe()
    waiting = asyncio.create_task(until_told_to_stop({"MEMORYBOX_SUPERVISOR_FD": str(reading)}))
    await asyncio.sleep(0.01)
    assert not waiting.done()

    os.close(writing)

    assert await waiting == "the supervisor has ended"
    os.close(reading)


async def test_until_told_to_stop_refuses_a_descriptor_that_is_not_open() -> None:
    with pytest.raises(BadSettings, match="MEMORYBOX_SUPERVISOR_FD=65535"):
        await until_told_to_stop({"MEMORYBOX_SUPERVISOR_FD": "65535"})
