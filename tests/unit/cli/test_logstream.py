"""Log lines of all services in one stream, for machines or people."""

import io
import json
import threading

from services.cli import logstream
from services.cli.logstream import LogStream, as_json, as_text, parse


class Closed(io.StringIO):
    """A stream whose reader has left."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


class OnHold(io.StringIO):
    """A stream whose reader takes nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def write(self, text: str) -> int:
        self.go_on.wait(20)
        return super().write(text)


def test_json_line_of_a_service_passes_unchanged() -> None:
    line = {"time": "2030-01-01T00:00:00Z", "level": "INFO", "service": "memory", "message": "ready", "port": 1}

    assert json.loads(as_json(parse("memory", json.dumps(line).encode()))) == line


def test_other_output_of_a_service_becomes_a_line() -> None:
    line = parse("memory", b"Segmentation \xff fault")

    assert (line["service"], line["level"], line["message"]) == ("memory", "INFO", "Segmentation \ufffd fault")


def test_text_shows_time_level_service_message_and_fields() -> None:
    line = {
        "time": "2030-01-01T12:34:56.789+00:00",
        "level": "WARNING",
        "service": "memory",
        "logger": "services.memory",
        "message": "slow\x1b[2J call",
        "trace_id": "ab",
        "took_ms": 12,
        "why": "a b",
    }

    head, _, rest = as_text(line).partition(".789 ")

    assert len(head) == len("12:34:56")
    assert rest == 'WARNING  memory     slow [2J call  took_ms=12 why="a b"'


def test_stream_writes_lines_in_order() -> None:
    file = io.StringIO()
    log = LogStream(file, as_json)

    for number in range(100):
        log.tell("INFO", str(number))
    log.close()

    assert [json.loads(line)["message"] for line in file.getvalue().splitlines()] == [str(n) for n in range(100)]


def test_stream_leaves_out_what_is_below_the_level() -> None:
    file = io.StringIO()
    log = LogStream(file, as_json, "WARNING")

    log.tell("INFO", "quiet")
    log.tell("ERROR", "loud")
    log.close()

    assert [json.loads(line)["message"] for line in file.getvalue().splitlines()] == ["loud"]


def test_stream_survives_a_reader_that_left() -> None:
    log = LogStream(Closed(), as_json)

    log.tell("INFO", "one")
    log.tell("INFO", "two")
    log.close()

    assert not log._thread.is_alive()


def test_stream_drops_and_counts_lines_when_nobody_reads() -> None:
    file = OnHold()
    log = LogStream(file, as_json)

    for _ in range(logstream.CAPACITY + 50):
        log.tell("INFO", "line")
    file.go_on.set()
    while not log._lines.empty():
        threading.Event().wait(0.01)
    log.tell("INFO", "last")
    log.close()

    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    assert lines[-1]["message"] == "last"
    assert lines[-2]["message"] == "log lines were dropped"
    assert len(lines) - 2 + lines[-2]["count"] == logstream.CAPACITY + 50
