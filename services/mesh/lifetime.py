"""How a process learns that it should end: a signal, or the end of the supervisor that started it."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import NoReturn

from services.mesh.config import BadSettings, LifetimeSettings, load

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


async def until_told_to_stop(
    environ: Mapping[str, str] | None = None,
    *,
    signals: Iterable[signal.Signals] = STOP_SIGNALS,
    at_second_signal: Callable[[int], None] | None = None,
) -> str:
    """Return why this process should drain and end, as soon as there is a reason.

    Reasons are one of *signals*, and end of file on the pipe named by ``MEMORYBOX_SUPERVISOR_FD``: the kernel closes it
    however the supervisor ends, so no service outlives it. From the first signal on, another one calls *at_second_signal*
    with its number, by default leaving at once with status 128 + number; this holds while the caller drains.
    Raises ``BadSettings`` when the descriptor is not open.
    """
    loop = asyncio.get_running_loop()
    reason: asyncio.Future[str] = loop.create_future()
    impatient = at_second_signal or _exit_at_once
    seen: list[int] = []

    def tell(text: str) -> None:
        if not reason.done():
            reason.set_result(text)

    def on_signal(number: signal.Signals) -> None:
        seen.append(number)
        if len(seen) > 1:
            impatient(number)
        tell(f"received {number.name}")

    for number in signals:
        loop.add_signal_handler(number, on_signal, number)
    descriptor = load(LifetimeSettings, environ).supervisor_fd
    if descriptor is not None:
        _watch_end_of_file(loop, descriptor, lambda: tell("the supervisor has ended"))
    return await reason


def start_again() -> NoReturn:
    """Put a fresh process with the same command in the place of this one, which keeps its number and its supervisor."""
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  # what was run is run


def _watch_end_of_file(loop: asyncio.AbstractEventLoop, descriptor: int, then: Callable[[], None]) -> None:
    def read() -> None:
        if not os.read(descriptor, 64):
            loop.remove_reader(descriptor)
            then()

    try:
        os.set_blocking(descriptor, False)
    except OSError as error:
        raise BadSettings(f"MEMORYBOX_SUPERVISOR_FD={descriptor}: {error.strerror}") from error
    loop.add_reader(descriptor, read)


def _exit_at_once(number: int) -> None:
    os._exit(128 + number)
