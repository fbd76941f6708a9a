"""Ends statements that were cancelled or have run out of time, from one thread for all sessions."""

import threading
import time
from dataclasses import dataclass
from typing import Any

PERIOD_S = 0.05


@dataclass(slots=True)
class _Watched:
    session: Any
    record: Any
    stop: threading.Event
    deadline: float


class Watchdog:
    """Looks at what runs every few milliseconds and interrupts what has to end."""

    def __init__(self) -> None:
        self._watched: list[_Watched] = []
        self._guard = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="emulator-watchdog", daemon=True)
        self._thread.start()

    def watch(self, session: Any, record: Any, stop: threading.Event, deadline: float) -> None:
        with self._guard:
            self._watched.append(_Watched(session, record, stop, deadline))

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(PERIOD_S):
            with self._guard:
                self._watched = [item for item in self._watched if not item.stop.is_set()]
                current = list(self._watched)
            for item in current:
                if not item.stop.is_set() and (item.record.cancelled.is_set() or time.time() > item.deadline):
                    item.session.cursor.interrupt()
