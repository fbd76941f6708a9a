"""Runs all services of a mesh on one machine, each as its own process, and ends them in order."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence

from services.cli.child import Child, ServiceProcess
from services.cli.logstream import LogStream

PATIENCE_S = 10.0  # between two lines that say what is still being waited for
_LEAVING_S = 0.2  # beyond its drain, for a service to take no more calls


class Supervisor:
    """The processes of one mesh. They hold the reading end of a pipe of ours, whose end tells them that we are gone."""

    def __init__(
        self,
        services: Sequence[ServiceProcess],
        environ: Mapping[str, str],
        log: LogStream,
        *,
        drain_s: float,
        grace_s: float,
        together: bool = False,
    ) -> None:
        """Services that do the same may end *together*; else those started first are there for the others to the last."""
        self._log = log
        self._drain_s = drain_s
        self._grace_s = grace_s
        self._pipe = os.pipe()
        self._together = together
        self.children = [Child(service, environ, log, self._pipe[0]) for service in services]

    async def run(self, stop: Awaitable[str], on_ready: Callable[[], None]) -> None:
        """Keep every service running until *stop*, then end them, last started first. Raises ``StartFailed``.

        The next one is told as soon as the one before it takes no more calls: what is still under way there, such as a stream
        without an end, can only end when the service behind it says so.
        """
        stopping = asyncio.ensure_future(stop)
        keepers = [asyncio.create_task(child.keep()) for child in self.children]
        announcing = asyncio.create_task(self._announce(on_ready))
        try:
            await asyncio.wait({stopping, *keepers}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            announcing.cancel()
            failed = [keeper for keeper in keepers if keeper.done() and keeper.exception() is not None]
            why = stopping.result() if stopping.done() else "a service does not start"
            self._log.tell("INFO", f"{why}; ending {', '.join(child.name for child in reversed(self.children))}")
            stopping.cancel()
            await self._end(keepers)
            await asyncio.gather(announcing, stopping, *keepers, return_exceptions=True)
        for keeper in failed:
            keeper.result()

    async def _end(self, keepers: Sequence[asyncio.Task[None]]) -> None:
        kept = list(reversed(list(zip(self.children, keepers, strict=True))))
        for child, keeper in kept:
            child.leave()
            if not self._together:
                await asyncio.wait({keeper}, timeout=self._drain_s + _LEAVING_S)
        await asyncio.gather(*(child.end(keeper, self._grace_s) for child, keeper in kept))

    def tell(self, number: signal.Signals) -> None:
        """Send a signal to every service that runs."""
        for child in self.children:
            child.tell(number)

    def kill(self) -> None:
        """End every service at once."""
        for child in self.children:
            child.kill()

    def close(self) -> None:
        """Let go of the pipe; a service that still runs ends."""
        for end in self._pipe:
            os.close(end)

    async def _announce(self, on_ready: Callable[[], None]) -> None:
        while late := [child for child in self.children if not child.ready.is_set()]:
            waits = [asyncio.create_task(child.ready.wait()) for child in late]
            _, waiting = await asyncio.wait(waits, timeout=PATIENCE_S)
            for wait in waiting:
                wait.cancel()
            if waiting:
                names = ", ".join(child.name for child in late if not child.ready.is_set())
                self._log.tell("INFO", f"waiting for {names}")
        on_ready()
