"""Faults on demand: what the control endpoint asked for, and where it strikes."""

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from services.emulator import errors


@dataclass(slots=True)
class Fault:
    """One fault: its kind, how often it still strikes (-1: always), and its particulars."""

    kind: str
    times: int = 1
    facts: dict[str, Any] = field(default_factory=dict)


class Faults:
    """The faults that are armed, and the latency that every statement has."""

    def __init__(self) -> None:
        self._armed: list[Fault] = []
        self._guard = threading.Lock()
        self.latency_s = 0.0

    def arm(self, fault: Fault) -> None:
        with self._guard:
            self._armed.append(fault)

    def clear(self) -> None:
        with self._guard:
            self._armed.clear()
            self.latency_s = 0.0

    def armed(self) -> list[Fault]:
        with self._guard:
            return list(self._armed)

    def strike(self, kind: str, text: str = "") -> Fault | None:
        """Return the armed fault of *kind* that strikes now, counting it down; ``match`` limits it to texts with that part."""
        with self._guard:
            for fault in self._armed:
                if fault.kind == kind and str(fault.facts.get("match", "")).lower() in text.lower():
                    if fault.times > 0:
                        fault.times -= 1
                    if fault.times == 0:
                        self._armed.remove(fault)
                    return fault
        return None

    def statement(self, session: Any, record: Any) -> None:
        """Delay or refuse a statement."""
        wait = self.latency_s
        if (slow := self.strike("slow_statement", record.text)) is not None:
            wait += float(slow.facts.get("seconds", 1))
        limit = float(session.parameter("STATEMENT_TIMEOUT_IN_SECONDS")) or 604_800
        if record.cancelled.wait(min(wait, limit)) if wait else record.cancelled.is_set():
            raise errors.cancelled()
        if wait > limit:
            raise errors.timed_out(int(limit))
        if (failing := self.strike("statement_error", record.text)) is not None:
            raise errors.SqlError(
                int(failing.facts.get("code", 300002)),
                str(failing.facts.get("sqlstate", "XX000")),
                str(failing.facts.get("message", "injected fault")),
            )
        record.started = record.started or time.time()
