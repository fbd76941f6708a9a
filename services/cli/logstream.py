"""One stream of log lines from every service: JSON for machines, text for people.

Lines are written by a thread, so that a terminal on hold or a slow reader stops neither the supervisor nor the services: beyond
`CAPACITY` waiting lines new ones are dropped, counted and the count told.
"""

import queue
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson

from services.cli.output import printable

CAPACITY = 10_000
CLOSING_S = 2.0
LONGEST_LINE = 64 * 1024  # bytes; what a service writes beyond is a line of its own
SUPERVISOR = "up"
_SHOWN_APART = frozenset({"time", "level", "service", "message", "logger", "trace_id", "span_id", "exception"})
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

Render = Callable[[Mapping[str, Any]], str]


def as_json(line: Mapping[str, Any]) -> str:
    """Return *line* as it goes to machines."""
    return orjson.dumps(line, default=str).decode()


def as_text(line: Mapping[str, Any]) -> str:
    """Return *line* as it goes to people: local time, level, service, message, then the other fields."""
    fields = " ".join(f"{key}={_value(value)}" for key, value in line.items() if key not in _SHOWN_APART)
    message = printable(str(line.get("message", "")))
    head = f"{_clock(line.get('time'))} {line.get('level', 'INFO')!s:<8} {line.get('service', '')!s:<10} {message}"
    trace = f"\n{line['exception']}" if line.get("exception") else ""
    return f"{head}  {fields}".rstrip() + trace


def parse(service: str, data: bytes) -> dict[str, Any]:
    """Return the fields of a line that *service* wrote; one that is not of our form becomes the message of such a line."""
    try:
        line = orjson.loads(data)
    except orjson.JSONDecodeError:
        line = None
    if isinstance(line, dict) and "message" in line:
        line.setdefault("service", service)
        return line
    return entry(service, "INFO", data.decode(errors="replace"))


def entry(service: str, level: str, message: str, **fields: Any) -> dict[str, Any]:
    """Return a line of our own."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return {"time": now, "level": level, "service": service, "message": message, **fields}


class LogStream:
    """Writes lines to *file* in the order in which they come, those below *level* left out."""

    def __init__(self, file: TextIO, render: Render, level: str = "INFO", *, name: str = SUPERVISOR) -> None:
        self._name = name
        self._file = file
        self._render = render
        self._shown = frozenset(_LEVELS[_LEVELS.index(level) :])
        self._lines: queue.Queue[Mapping[str, Any] | None] = queue.Queue(CAPACITY)
        self._dropped = 0
        self._thread = threading.Thread(target=self._write, name="log stream", daemon=True)
        self._thread.start()

    def put(self, line: Mapping[str, Any]) -> None:
        """Write *line* soon."""
        try:
            if self._dropped:
                self._lines.put_nowait(entry(self._name, "WARNING", "log lines were dropped", count=self._dropped))
                self._dropped = 0
            self._lines.put_nowait(line)
        except queue.Full:
            self._dropped += 1

    def tell(self, level: str, message: str, **fields: Any) -> None:
        """Write a line of the supervisor's own."""
        if level in self._shown:
            self.put(entry(self._name, level, message, **fields))

    def close(self) -> None:
        """Write what waits; a reader that takes longer than `CLOSING_S` misses the rest."""
        try:
            self._lines.put(None, timeout=CLOSING_S)
        except queue.Full:
            return
        self._thread.join(CLOSING_S)

    def _write(self) -> None:
        readable = True
        while (line := self._lines.get()) is not None:
            if not readable:
                continue
            try:
                self._file.write(self._render(line) + "\n")
                if self._lines.empty():
                    self._file.flush()
            except OSError:  # the reader has left; services go on without being watched
                readable = False


def _value(value: Any) -> str:
    if isinstance(value, str):
        text = printable(value)
        return text if text and " " not in text else f'"{text}"'
    return orjson.dumps(value, default=str).decode()


def _clock(time: Any) -> str:
    try:
        return datetime.fromisoformat(str(time)).astimezone().strftime("%H:%M:%S.%f")[:-3]
    except ValueError:
        return datetime.now().astimezone().strftime("%H:%M:%S.%f")[:-3]
