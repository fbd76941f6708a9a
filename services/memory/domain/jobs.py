"""Work on a thread that reports how far it is and stops when told to: what a step of an operation waits for."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Generic, TypeVar

from services.mesh.errors import Conflict

REST = 1.0  # a job takes half of one processor
LONGEST_REST_S = 0.1  # a step that waited long for the disk has burdened nobody

Result = TypeVar("Result")


class JobStopped(Conflict):
    """The work was told to stop before it was done."""

    reason = "JOB_STOPPED"


class Meter:
    """How far a job is; shared by its thread and whoever watches.

    With *rest* the job pauses at each step for that part of the time it has worked since the last, so that a process that serves
    meanwhile gets the interpreter and the disk in between.
    """

    def __init__(self, rest: float = 0.0) -> None:
        self.done = 0
        self.total = 0
        self._stop = threading.Event()
        self._rest = rest
        self._resumed = time.perf_counter()

    def advance(self, count: int = 1) -> None:
        """Count what was done. Raises ``JobStopped`` once the job is to stop."""
        self.done += count
        if self._rest:
            worked_s = time.perf_counter() - self._resumed
            self._stop.wait(min(worked_s * self._rest, LONGEST_REST_S))
            self._resumed = time.perf_counter()
        if self._stop.is_set():
            raise JobStopped("the work was told to stop")

    def stop(self) -> None:
        """Have the job stop at its next step."""
        self._stop.set()


class Job(Generic[Result]):
    """*work* on a thread of *executor*, begun when a thread is free."""

    def __init__(self, work: Callable[[Meter], Result], executor: Executor) -> None:
        self.meter = Meter(REST)
        self._future = asyncio.wrap_future(executor.submit(work, self.meter))

    async def wait(self, seconds: float) -> bool:
        """Return whether the work is over, after *seconds* at the latest."""
        await asyncio.wait({self._future}, timeout=seconds)
        return self._future.done()

    def result(self) -> Result:
        """Return what the work returned, or raise what it raised."""
        return self._future.result()

    async def stop(self) -> None:
        """Return once the work is over, which ends early."""
        self.meter.stop()
        await asyncio.wait({self._future})
        if not self._future.cancelled():
            self._future.exception()  # seen, so that nobody is told of it again
