"""Locks of tables: UPDATE, DELETE and MERGE hold one until their transaction ends; others wait, at most twenty."""

import threading
import time
from dataclasses import dataclass, field

from services.emulator import errors

MOST_WAITERS = 20  # a lock; error 000625 beyond


@dataclass(slots=True)
class _Lock:
    holder: object = None
    depth: int = 0
    statement: str = ""
    waiters: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)


class Locks:
    """The locks of all tables by their physical name. A holder is a transaction, or a statement that commits by itself."""

    def __init__(self) -> None:
        self._locks: dict[str, _Lock] = {}
        self._guard = threading.Lock()
        self.most_waiters = MOST_WAITERS

    def take(
        self, table: str, shown: str, holder: object, statement: str, *, timeout_s: float, cancelled: threading.Event
    ) -> None:
        """Wait for the lock of *table*; refuse when too many wait already."""
        with self._guard:
            lock = self._locks.setdefault(table, _Lock())
        deadline = time.monotonic() + timeout_s
        with lock.changed:
            if lock.holder is None or lock.holder is holder:
                lock.holder, lock.statement = holder, statement
                return
            if lock.waiters >= self.most_waiters:
                raise errors.SqlError(
                    625,
                    "57014",
                    f"Statement '{lock.statement}' has locked table '{shown}' in transaction {id(lock.holder)} and this lock has not yet been released.\nYour statement '{statement}' was aborted because the number of waiters for this lock exceeds the {self.most_waiters} statements limit.",
                )
            lock.waiters += 1
            try:
                while lock.holder is not None:
                    if cancelled.is_set():
                        raise errors.cancelled()
                    if time.monotonic() > deadline:
                        raise errors.SqlError(
                            639,
                            "57014",
                            f"Statement '{statement}' waited for a lock on table '{shown}' longer than {timeout_s:g} seconds.",
                        )
                    lock.changed.wait(0.05)
                lock.holder, lock.statement = holder, statement
            finally:
                lock.waiters -= 1

    def release(self, holder: object) -> None:
        """Free all that *holder* has locked."""
        with self._guard:
            locks = list(self._locks.values())
        for lock in locks:
            with lock.changed:
                if lock.holder is holder and holder is not None:
                    lock.holder = None
                    lock.changed.notify_all()

    def held(self) -> list[tuple[str, str, int]]:
        """Return table, statement and number of waiters of every lock that is held, for SHOW LOCKS."""
        with self._guard:
            return [
                (table, lock.statement, lock.waiters) for table, lock in self._locks.items() if lock.holder is not None
            ]
