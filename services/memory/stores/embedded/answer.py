"""Results that threads hand to event loops."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from services.mesh.errors import BackendUnavailable

Result = TypeVar("Result")


def _new_future() -> "asyncio.Future[Any]":
    return asyncio.get_running_loop().create_future()


@dataclass(slots=True, eq=False)
class Answer(Generic[Result]):
    """The result of a task of the writer, never None, awaited in the event loop that asked for it; set once, by any thread."""

    future: "asyncio.Future[Result]" = field(default_factory=_new_future)
    outcome: Result | BaseException | None = None

    def set(self, outcome: Result | BaseException) -> None:
        """Keep *outcome* for ``deliver``, unless there is one already."""
        if self.outcome is None:
            self.outcome = outcome

    def fail_with(self, preparation: Future[None]) -> None:
        """Deliver the error of a *preparation* that did not get as far as the writer."""
        if preparation.cancelled():
            self.set(BackendUnavailable("the memory store is closed"))
        elif (error := preparation.exception()) is not None:
            self.set(error)
        else:
            return
        deliver([self])


def deliver(answers: Sequence[Answer[Any]]) -> None:
    """Wake who waits: once for each event loop, as each waking costs the calling thread some 50 us."""
    for loop in {answer.future.get_loop() for answer in answers}:
        own = [answer for answer in answers if answer.future.get_loop() is loop]
        with suppress(RuntimeError):  # the loop is closed: nobody waits there
            loop.call_soon_threadsafe(_wake, own)


def _wake(answers: Sequence[Answer[Any]]) -> None:
    for answer in answers:
        if answer.future.done():  # its caller was cancelled
            continue
        if isinstance(answer.outcome, BaseException):
            answer.future.set_exception(answer.outcome)
        elif answer.outcome is not None:
            answer.future.set_result(answer.outcome)
