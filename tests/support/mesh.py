"""A real mesh for tests: processes on free ports, with a data folder of their own."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.error import HTTPError
from urllib.request import Request, urlopen

ROOT = Path(__file__).parents[2]
START_WITHIN_S = 60.0
END_WITHIN_S = 30.0
SERVICES = ("embedding", "memory", "analyst", "gateway")
_OPS = 100


def free_ports(offsets: Sequence[int]) -> int:
    """Return a port that is free together with those *offsets* above it, outside the range of outgoing connections."""
    for base in range(20000 + os.getpid() % 1000 * 10, 32000, 7):
        probes = [socket.socket() for _ in offsets]
        try:
            for probe, offset in zip(probes, offsets, strict=True):
                probe.bind(("127.0.0.1", base + offset))
        except OSError:
            continue
        finally:
            for probe in probes:
                probe.close()
        return base
    raise RuntimeError("no free ports")


def wait_until(ready: Callable[[], object], within_s: float, what: str, *, every_s: float = 0.05) -> None:
    """Return when *ready* says so; fail, naming *what* was waited for, when it does not in time."""
    deadline = time.monotonic() + within_s
    while not ready():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what}")
        time.sleep(every_s)


def is_alive(pid: int) -> bool:
    """Say whether a process lives; one that ended and was not waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children(pid: int) -> list[int]:
    """Return the living processes that *pid* started."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split() if is_alive(int(word))]


class Up:
    """A supervisor as a process, with what it writes. Leaving the block ends it and whatever it has started."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command, env=dict(environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        self.pid = self._process.pid
        self.output: list[str] = []
        self.log: list[str] = []
        self._known: set[int] = set()
        self._readers = [
            threading.Thread(target=self._collect, args=(stream, lines), daemon=True)
            for stream, lines in ((self._process.stdout, self.output), (self._process.stderr, self.log))
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.running:
            self.services()
            self.tell(signal.SIGTERM)
        try:
            self._process.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pid in self._known:
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        for reader in self._readers:
            reader.join(END_WITHIN_S)

    @property
    def running(self) -> bool:
        """Whether the supervisor lives."""
        return self._process.poll() is None

    def services(self) -> list[int]:
        """Return the services' process ids."""
        pids = children(self.pid)
        self._known.update(pids)
        return pids

    def service(self, name: str) -> int | None:
        """Return the process id of the service *name*, nothing while it does not run."""
        for pid in self.services():
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if name.encode() in words:
                return pid
        return None

    def tell(self, number: signal.Signals) -> None:
        """Send the supervisor a signal."""
        self._process.send_signal(number)

    def wait(self, within_s: float = END_WITHIN_S) -> int:
        """Return the supervisor's exit code."""
        code = self._process.wait(within_s)
        for reader in self._readers:
            reader.join(within_s)
        return code

    def wait_until_ready(self) -> None:
        """Return when it says that all services are ready."""
        wait_until(lambda: self.output or not self.running, START_WITHIN_S, "ready")
        if not self.output:
            self.wait()
            raise AssertionError("the mesh did not start:\n" + "\n".join(self.log[-30:]))

    def messages(self) -> list[str]:
        """Return the messages of its log lines so far."""
        return [json.loads(line)["message"] for line in list(self.log) if line.startswith("{")]

    def _collect(self, stream: Any, lines: list[str]) -> None:
        with stream:
            lines.extend(line.decode().rstrip("\n") for line in stream)


class Mesh:
    """Where one mesh answers, and its settings. Nothing runs before `up`."""

    def __init__(self, data_dir: Path, settings: Mapping[str, str] | None = None) -> None:
        self.port_base = free_ports((0, 1, 2, _OPS, 1 + _OPS, 2 + _OPS))
        self.http_port = free_ports((1000, 1000 + _OPS)) + 1000
        self.data_dir = data_dir
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MEMORYBOX_")},
            "MEMORYBOX_DATA_DIR": str(data_dir),
            "MEMORYBOX_PORT_BASE": str(self.port_base),
            "MEMORYBOX_HTTP_PORT": str(self.http_port),
            "MEMORYBOX_DRAIN": "0.1",
            "MEMORYBOX_USER": "ann",
            **(settings or {}),
        }
        self.url = f"http://127.0.0.1:{self.http_port}"

    @contextmanager
    def up(self, *arguments: str) -> Iterator[Up]:
        """Start every service and wait until all are ready."""
        with Up([*COMMAND, "up", *arguments], self.environ) as up:
            up.wait_until_ready()
            yield up

    def target(self, service: str) -> str:
        """Return the gRPC target of *service*."""
        return f"127.0.0.1:{self.port_base + {'memory': 0, 'embedding': 1, 'analyst': 2}[service]}"

    def command(self, *arguments: str, user: str = "ann") -> subprocess.CompletedProcess[str]:
        """Run the command line against this mesh."""
        environ = {**self.environ, "MEMORYBOX_USER": user}
        return subprocess.run(
            [*COMMAND, *arguments], env=environ, capture_output=True, text=True, timeout=120, check=False
        )

    def call(
        self, method: str, path: str, body: object = None, *, user: str = "ann", within_s: float = 30
    ) -> tuple[int, Any]:
        """Return status and JSON of one HTTP call; status 0 when nobody answers."""
        request = Request(self.url + path, method=method, headers={"X-Memorybox-User": user})  # noqa: S310
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        try:
            with urlopen(request, timeout=within_s) as answer:  # noqa: S310
                return answer.status, json.load(answer)
        except HTTPError as error:
            with error:
                return error.code, json.load(error)
        except OSError:
            return 0, None

    async def call_async(self, method: str, path: str, body: object = None, **options: Any) -> tuple[int, Any]:
        """Do `call` in a thread."""
        return await asyncio.to_thread(self.call, method, path, body, **options)


COMMAND = (sys.executable, "-P", "-m", "services.cli")
