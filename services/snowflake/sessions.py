"""A bounded pool of sessions on threads of their own, for callers on an event loop.

A session runs one statement at a time. One that expired is replaced and the work done again, once: Snowflake had refused it before doing
anything. Work whose caller leaves is ended in Snowflake too, and its session is not used again before both are known to be over.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from snowflake.connector import Error
from snowflake.connector.network import ReauthenticationRequest

from services.mesh.errors import MemoryBoxError, ResourceExhausted
from services.snowflake.errors import (
    LOGIN_TOKEN_STALE,
    StatementFailed,
    StatementTimeout,
    errno_of,
    login_failure,
    session_is_gone,
    statement_failure,
)
from services.snowflake.login import Options
from services.snowflake.session import Session, Tag

T = TypeVar("T")
MAX_IDLE_S = 1800.0  # below the four hours after which Snowflake forgets an idle session
WAITING_PER_SESSION = 32  # callers in the queue for each session, before more are turned away
CANCEL_TAG_RPC = "cancel"
FAILURES = (Error, ReauthenticationRequest)  # the second is no Error in 4.x


class SessionsBusy(ResourceExhausted):
    """All sessions work and the queue for them is full."""

    reason = "SNOWFLAKE_SESSIONS_BUSY"


@dataclass(slots=True)
class _Job(Generic[T]):
    work: Callable[[Session], T]
    tag: Tag
    ends_at: float  # of time.monotonic
    session: Session | None = None
    abandoned: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    # Held while the session is being cancelled or handed back: a late cancel must not meet the next one's statement.
    guard: threading.Lock = field(default_factory=threading.Lock)

    @property
    def remaining_s(self) -> float:
        return self.ends_at - time.monotonic()

    def do(self, session: Session) -> T:
        if self.abandoned:
            raise StatementTimeout("the caller left before the statement began")
        return self.work(session)


class Sessions:
    """Runs work in Snowflake: *options* says how each session logs in, *open_session* does it."""

    def __init__(
        self,
        options: Callable[[], Options],
        *,
        size: int,
        login_timeout_s: float,
        statement_timeout_s: float,
        of_caller: bool = False,
        open_session: Callable[[Options, float], Session] = Session.open,
    ) -> None:
        self._options = options
        self._size = size
        self._login_timeout_s = login_timeout_s
        self._statement_timeout_s = statement_timeout_s
        self._of_caller = of_caller
        self._open_session = open_session
        self._idle: deque[tuple[Session, float]] = deque()  # the last one used is the next one taken
        self._places = asyncio.Semaphore(size)
        self._waiting = 0
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="snowflake")
        self._control = ThreadPoolExecutor(1, thread_name_prefix="snowflake-control")
        self._canceller: Session | None = None
        self._cancelling: set[asyncio.Task[None]] = set()

    async def run(self, work: Callable[[Session], T], tag: Tag, timeout_s: float | None = None) -> T:
        """Return what *work* does with a session, on a thread; its statements carry *tag*.

        Ends after *timeout_s* seconds (None: the setting's) or when the caller is cancelled, in Snowflake too. Raises ``SessionsBusy``,
        ``StatementTimeout`` and what ``errors`` makes of the connector's failures.
        """
        job = _Job(work, tag, time.monotonic() + min(timeout_s or self._statement_timeout_s, self._statement_timeout_s))
        await self._take_place(job)
        running = asyncio.get_running_loop().run_in_executor(self._threads, self._perform, job)
        running.add_done_callback(lambda _: self._over(job))
        try:
            async with asyncio.timeout(max(0.0, job.remaining_s)):
                return await asyncio.shield(running)
        except TimeoutError:
            self._abandon(job, running)
            raise StatementTimeout("the statement was ended at its deadline") from None
        except asyncio.CancelledError:
            self._abandon(job, running)
            raise

    async def close(self) -> None:
        """Wait for what runs, and log out everywhere."""
        for _ in range(self._size):
            await self._places.acquire()
        await asyncio.gather(*self._cancelling)
        loop = asyncio.get_running_loop()
        sessions = [session for session, _ in self._idle] + ([self._canceller] if self._canceller else [])
        self._idle.clear()
        await asyncio.gather(*(loop.run_in_executor(self._threads, session.close) for session in sessions))
        self._threads.shutdown(wait=False)
        self._control.shutdown(wait=False)

    async def _take_place(self, job: _Job[Any]) -> None:
        if self._waiting >= self._size * WAITING_PER_SESSION:
            raise SessionsBusy(
                "all Snowflake sessions of this process work; try again, or raise MEMORYBOX_SNOWFLAKE_SESSIONS",
                retry_after_s=1.0,
            )
        self._waiting += 1
        try:
            async with asyncio.timeout(max(0.0, job.remaining_s)):
                await self._places.acquire()
        except TimeoutError:
            raise StatementTimeout("no Snowflake session became free before the deadline") from None
        finally:
            self._waiting -= 1

    def _over(self, job: _Job[Any]) -> None:
        job.ended.set()
        if not job.abandoned:
            self._places.release()

    def _abandon(self, job: _Job[Any], running: "asyncio.Future[Any]") -> None:
        """End *job* in Snowflake; its place is free when that is over."""
        if running.done():
            return
        job.abandoned = True
        running.add_done_callback(_consume)
        task = asyncio.create_task(self._cancel(job))
        self._cancelling.add(task)
        task.add_done_callback(self._cancelling.discard)

    async def _cancel(self, job: _Job[Any]) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._control, self._cancel_in_snowflake, job)
            await job.ended.wait()
        finally:
            self._places.release()

    def _cancel_in_snowflake(self, job: _Job[Any]) -> None:
        with job.guard:
            session = job.session
            if session is None:  # it is over, or still logging in and will notice
                return
            try:
                control = self._canceller or self._open_session(self._options(), self._login_timeout_s)
                self._canceller = control
                control.bound(Tag(job.tag.service, CANCEL_TAG_RPC, job.tag.trace_id), self._login_timeout_s)
                control.rows("SELECT SYSTEM$CANCEL_ALL_QUERIES(?)", (int(session.session_id),))
            except (*FAILURES, MemoryBoxError):
                self._canceller = None  # STATEMENT_TIMEOUT_IN_SECONDS ends the statement, a little later

    def _perform(self, job: _Job[T]) -> T:
        try:
            return self._work(job, self._take(job))
        except FAILURES as error:
            if not session_is_gone(error) or job.abandoned:
                raise statement_failure(error) from error
        try:
            return self._work(job, self._log_in(job))
        except FAILURES as error:
            raise statement_failure(error) from error

    def _work(self, job: _Job[T], session: Session) -> T:
        """Do *job*; a session that failed is given up unless Snowflake merely refused the statement."""
        job.session = session
        session.bound(job.tag, job.remaining_s)
        healthy = False
        try:
            result = job.do(session)
            healthy = True
        except BaseException as error:
            healthy = _survives(error)
            raise
        finally:
            with job.guard:
                job.session = None
            if healthy and not job.abandoned:
                self._idle.append((session, time.monotonic()))
            else:
                session.close()
        return result

    def _take(self, job: _Job[Any]) -> Session:
        while True:
            try:
                session, since = self._idle.pop()
            except IndexError:
                return self._log_in(job)
            if time.monotonic() - since < MAX_IDLE_S:
                return session
            session.close()

    def _log_in(self, job: _Job[Any]) -> Session:
        timeout_s = max(1.0, min(self._login_timeout_s, job.remaining_s))
        try:
            return self._open_session(self._options(), timeout_s)
        except FAILURES as error:
            if errno_of(error) not in LOGIN_TOKEN_STALE:
                raise login_failure(error, of_caller=self._of_caller) from error
        try:
            return self._open_session(self._options(), timeout_s)  # with the token read anew
        except FAILURES as error:
            raise login_failure(error, of_caller=self._of_caller) from error


def _survives(error: BaseException) -> bool:
    """Say whether a session is as good as before after *error*: Snowflake answered, or the work itself went wrong."""
    return isinstance(error, MemoryBoxError) or (
        isinstance(error, Error) and isinstance(statement_failure(error), StatementFailed)
    )


def _consume(future: "asyncio.Future[Any]") -> None:
    if not future.cancelled():
        future.exception()
