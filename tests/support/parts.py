"""Single services as processes, without a supervisor that would restart them."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self
from urllib.error import URLError
from urllib.request import urlopen

from services.cli.grants import standard_keys
from services.mesh.config import MeshSettings, load
from services.mesh.keys import KeyFolder
from tests.support.mesh import Mesh, wait_until

READY_WITHIN_S = 60.0


def make_keys(mesh: Mesh) -> None:
    """Make the deployment's keys, as the first `up` does."""
    KeyFolder(load(MeshSettings, mesh.environ).keys_dir).ensure(standard_keys("ann"))


class Part(AbstractContextManager["Part"]):
    """One process of ``memorybox serve``; killed at the end of the block."""

    def __init__(self, name: str, mesh: Mesh, changes: Mapping[str, str] | None = None) -> None:
        self._name = name
        self._environ = {**mesh.environ, **(changes or {})}
        self._settings = load(MeshSettings, self._environ)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start the process and wait until it is ready."""
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "services.cli", "serve", self._name],
            env=self._environ,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_until(self._ready, READY_WITHIN_S, f"{self._name} ready")

    def kill(self) -> None:
        """End the process by SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def freeze(self) -> None:
        """Make the process hang: it lives and answers nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let the process go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise AssertionError("the process was not started")
        os.kill(self._process.pid, number)

    def _ready(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise AssertionError(f"{self._name} ended with {self._process.returncode}")
        url = f"http://127.0.0.1:{self._settings.ops_port(self._name)}/readyz"
        try:
            with urlopen(url, timeout=5) as answer:
                return bool(answer.status == 200)
        except (URLError, ConnectionError):
            return False
