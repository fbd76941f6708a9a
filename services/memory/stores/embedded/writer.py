"""The one writer: collects concurrent units of work and commits them with one sync of the disk."""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any

import apsw

from services.memory.domain.audit import Entry, Touched
from services.memory.domain.memory import Memory
from services.memory.stores.embedded.answer import Answer, deliver
from services.memory.stores.embedded.audit import AuditWriter
from services.memory.stores.embedded.bell import Bell
from services.memory.stores.embedded.changes import ChangeWriter, PreparedWork
from services.memory.stores.embedded.database import translated_errors
from services.memory.stores.embedded.entry import IndexChange
from services.memory.stores.embedded.index import MemoryIndex
from services.mesh.errors import BackendUnavailable, MemoryBoxError

_log = logging.getLogger(__name__)

_BATCH_UNITS = 256
_BATCH_BYTES = 16 << 20  # of contents: bounds a commit's time and the log's growth


@dataclass(frozen=True, slots=True)
class Ground:
    """What a task writes on, inside the writer's transaction; *index_changes* are shown once it is committed."""

    connection: apsw.Connection
    changes: ChangeWriter
    audit: AuditWriter
    index_changes: list[IndexChange]


Task = Callable[[Ground], Any]  # what it returns is its answer, never None


@dataclass(slots=True)
class _Job:
    task: Task
    answer: Answer[Any]
    size_bytes: int
    result: Any = None
    index_changes: Sequence[IndexChange] = ()
    error: Exception | None = None


class GroupWriter:
    """Applies units of work in order of arrival, each whole or not at all, on one thread and one connection.

    A unit is answered when its commit is on the disk and the indexes show it. *after_commit* is told of every commit.
    """

    def __init__(
        self, connection: apsw.Connection, index: MemoryIndex, seq: int, after_commit: Callable[[], None]
    ) -> None:
        self._connection = connection
        self._index = index
        self._changes = ChangeWriter(connection, seq)
        self._audit = AuditWriter(connection)
        self._after_commit = after_commit
        self.bell = Bell()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="store-write")
        self._lock = Lock()
        self._queue: deque[_Job] = deque()
        self._draining = False
        self._failure: str | None = None
        # Held from before a commit until the indexes show it: whoever holds it reads rows and indexes of one moment.
        self.publication = Lock()

    @property
    def failure(self) -> str | None:
        """Why no more writes are taken, if so."""
        return self._failure

    def submit(self, work: PreparedWork, answer: Answer[tuple[Memory, ...]]) -> None:
        """Queue *work*. If its answer is abandoned before its turn it leaves no trace, afterwards it is done all the same."""
        size_bytes = sum(text.size_bytes for text in work.texts if text is not None)
        self.run(lambda ground: apply_work(ground, work), answer, size_bytes)

    def run(self, task: Task, answer: Answer[Any], size_bytes: int = 0) -> None:
        """Queue *task*, as ``submit`` does; *size_bytes* is about what it adds to the log."""
        with self._lock:
            self._queue.append(_Job(task, answer, size_bytes))
            if not self._draining:
                self._draining = True
                self._executor.submit(self._drain).add_done_callback(_report)

    def run_alone(self, work: Callable[[apsw.Connection], None]) -> Future[None]:
        """Queue *work* that allows no transaction, such as a rewrite of the file, between two commits."""
        return self._executor.submit(work, self._connection)

    def refuse(self, reason: str) -> None:
        """Take no more writes; for what is run alone."""
        self._failure = reason

    def close(self) -> None:
        """Finish what is queued; nothing may be submitted any more."""
        while self._draining:
            self._executor.submit(lambda: None).result()
        self._executor.shutdown(wait=True)

    def _drain(self) -> None:
        jobs = self._take_batch()
        answers = [job.answer for job in jobs]
        try:
            try:
                self._commit(jobs)
            finally:
                for answer in answers:
                    answer.set(BackendUnavailable("the write failed; it is safe to repeat it"))
                deliver(answers)
            self._index.tidy()
            self._after_commit()
        finally:
            with self._lock:
                self._draining = bool(self._queue)
                if self._draining:
                    self._executor.submit(self._drain).add_done_callback(_report)

    def _take_batch(self) -> list[_Job]:
        jobs: list[_Job] = []
        size = 0
        with self._lock:
            while self._queue and len(jobs) < _BATCH_UNITS and size < _BATCH_BYTES:
                job = self._queue.popleft()
                if not job.answer.future.cancelled():
                    jobs.append(job)
                    size += job.size_bytes
        return jobs

    def _commit(self, jobs: Sequence[_Job]) -> None:
        if self._failure is not None:
            for job in jobs:
                job.answer.set(BackendUnavailable(self._failure))
            return
        before = self._changes.moment
        try:
            with self.publication, translated_errors():
                self._write(jobs)
                self._publish(jobs)
        except MemoryBoxError as error:
            self._changes.go_back(before)
            for job in jobs:
                job.answer.set(error)
            return
        for job in jobs:
            if job.error is None:
                job.answer.set(job.result)
            else:
                job.answer.set(job.error)

    def _write(self, jobs: Sequence[_Job]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for job in jobs:
                self._write_one(job)
            self._sync()
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _sync(self) -> None:
        try:
            self._connection.execute("COMMIT")
        except apsw.IOError:
            # After a failed sync the kernel may drop the pages and report the next sync as done: nothing written
            # from here on could be promised. Opening the store again reads what really is on the disk.
            self._failure = "the disk failed during a commit; writes stop until the store is opened again"
            raise

    def _write_one(self, job: _Job) -> None:
        """Run one task inside the batch; its own fault undoes it alone."""
        before = self._changes.moment
        ground = Ground(self._connection, self._changes, self._audit, [])
        self._connection.execute("SAVEPOINT unit")
        try:
            job.result = job.task(ground)
            job.index_changes = ground.index_changes
        except (MemoryBoxError, ValueError, TypeError, OverflowError) as error:
            # The last three: a value that SQLite cannot take, such as a text with lone surrogates.
            self._connection.execute("ROLLBACK TO unit")
            self._changes.go_back(before)
            job.error = error
        self._connection.execute("RELEASE unit")

    def _publish(self, jobs: Sequence[_Job]) -> None:
        changes = [change for job in jobs for change in job.index_changes]
        self._failure = "the indexes could not follow a commit; writes stop until the store is opened again"
        self._index.publish(changes, *self._changes.moment)
        self.bell.ring(changes)
        self._failure = None


def apply_work(ground: Ground, work: PreparedWork) -> tuple[Memory, ...]:
    """Apply a unit of work, and record the act that it is part of."""
    outcomes = ground.changes.apply(work)
    ground.index_changes.extend(outcome.index_change for outcome in outcomes if outcome.index_change is not None)
    memories = tuple(outcome.memory for outcome in outcomes)
    if work.work.act is not None:
        touched = tuple(Touched(memory.memory_id, memory.owner_user) for memory in memories)
        ground.audit.append([Entry(work.work.act, "OK", touched)])
    return memories


def _report(drained: Future[None]) -> None:
    # Whoever waited has been answered; what is queued goes on.
    if not drained.cancelled() and drained.exception() is not None:
        _log.error("a group of writes failed", exc_info=drained.exception())
