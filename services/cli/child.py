"""One service as a process of its own: started, watched, restarted when it ends by itself, ended when asked."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp

from services.cli.logstream import LONGEST_LINE, LogStream, entry, parse
from services.cli.restarts import RestartPolicy
from services.mesh.errors import FailedPrecondition

START_ATTEMPTS = 3  # ends in a row, before ever being ready, that show that another attempt is of no use
ASK_EVERY_S = 0.1
ANSWER_WITHIN_S = 2.0
_ERROR_PREFIX = "memorybox: "  # how the command line says why it gives up


class StartFailed(FailedPrecondition):
    """A service cannot be started; the message is what it said itself."""

    reason = "START_FAILED"


@dataclass(frozen=True, slots=True)
class ServiceProcess:
    """What to run as one service, which ports it needs, and where it says that it is ready."""

    name: str
    command: tuple[str, ...]
    ready_url: str
    ports: tuple[tuple[int, str], ...]  # (number, the setting that moves it)
    socket: str = ""  # path of the Unix socket where it says that it is ready; empty for TCP
    environ: Mapping[str, str] = field(default_factory=dict)  # beside what all services get


class Child:
    """Keeps one service running. ``ready`` is set while it takes calls, as far as its ops port said."""

    def __init__(self, service: ServiceProcess, environ: Mapping[str, str], log: LogStream, supervisor_fd: int) -> None:
        self.name = service.name
        self.ready = asyncio.Event()
        self._service = service
        self._environ = {**environ, **service.environ, "MEMORYBOX_SUPERVISOR_FD": str(supervisor_fd)}
        self._supervisor_fd = supervisor_fd
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._ending = asyncio.Event()
        self._was_ready = False
        self._last_words = ""

    async def keep(self) -> None:
        """Run the service until `end` is called, again and again. Raises ``StartFailed`` when it never gets ready."""
        policy, attempts, loop = RestartPolicy(), 0, asyncio.get_running_loop()
        while not self._ending.is_set():
            began = loop.time()
            code = await self._run_once()
            self.ready.clear()
            if self._ending.is_set():
                self._log.tell("INFO", f"{self.name} has ended", exit_code=code)
                return
            attempts += 1
            if not self._was_ready and code >= 0 and attempts >= START_ATTEMPTS:
                raise StartFailed(f"{self.name} does not start: {self._why(code)}")
            delay = policy.delay_s(loop.time() - began)
            self._log.tell("ERROR", f"{self.name} ended: {self._why(code)}; starting it again", delay_s=delay)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), delay)

    def leave(self) -> None:
        """Tell the service to drain and end."""
        self._ending.set()
        self.tell(signal.SIGTERM)

    async def end(self, keeper: asyncio.Task[None], grace_s: float) -> None:
        """Wait until the service has ended, and kill it when it takes longer than *grace_s*."""
        await asyncio.wait({keeper}, timeout=grace_s)
        if not keeper.done():
            self._log.tell("ERROR", f"{self.name} did not end in time and is killed", grace_s=grace_s)
            self.kill()
            await asyncio.wait({keeper})

    def kill(self) -> None:
        """End the service and whatever it started, at once."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _run_once(self) -> int:
        """Start the service and return its exit code when it has ended; negative is the number of the signal that killed it."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._service.command,
                env=self._environ,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,  # a terminal's Ctrl-C is for the supervisor alone
                pass_fds=(self._supervisor_fd,),
            )
        except OSError as error:
            self._last_words = str(error)
            return 1
        self._process = process
        if self._ending.is_set():
            self.tell(signal.SIGTERM)
        asking = asyncio.create_task(self._ask_until_ready())
        try:
            await self._forward(process)
            return await process.wait()
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    async def _forward(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            raise ValueError("standard output is a pipe")
        rest = b""
        while chunk := await process.stdout.read(LONGEST_LINE):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > LONGEST_LINE:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._forward_line(line)
        self._forward_line(rest)

    def _forward_line(self, data: bytes) -> None:
        if data.startswith(_ERROR_PREFIX.encode()):
            self._last_words = data[len(_ERROR_PREFIX) :].decode(errors="replace")
            self._log.put(entry(self.name, "ERROR", self._last_words))
        elif data.strip():
            self._log.put(parse(self.name, data))

    async def _ask_until_ready(self) -> None:
        began = asyncio.get_running_loop().time()
        async with self._session() as http:
            while not self.ready.is_set():
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with http.get(self._service.ready_url) as answer:
                        if answer.status == 200:  # noqa: PLR2004
                            self.ready.set()
                            break
                await asyncio.sleep(ASK_EVERY_S)
        self._was_ready = True
        self._last_words = ""
        after = round(asyncio.get_running_loop().time() - began, 2)
        self._log.tell("INFO", f"{self.name} is ready", after_s=after)

    def _session(self) -> aiohttp.ClientSession:
        # A connection kept open would outlive the process that it led to.
        connector: aiohttp.BaseConnector = aiohttp.TCPConnector(force_close=True)
        if self._service.socket:
            connector = aiohttp.UnixConnector(self._service.socket, force_close=True)
        return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=ANSWER_WITHIN_S))

    def tell(self, number: signal.Signals) -> None:
        """Send a signal to the service, if it runs."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def _why(self, code: int) -> str:
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return self._last_words or f"exit code {code}"
