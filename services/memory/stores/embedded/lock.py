"""One process at a time writes a data folder."""

import fcntl
import os
from pathlib import Path

from services.mesh.errors import FailedPrecondition

LOCK_NAME = "lock"


class StoreLocked(FailedPrecondition):
    """Another process has the data folder open."""

    reason = "STORE_LOCKED"


class FolderLock:
    """An exclusive lock on *folder*, held until ``release``; the kernel frees it when the process dies."""

    def __init__(self, folder: Path) -> None:
        self._descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._descriptor)
            raise StoreLocked(
                f"the data folder {folder} is in use by process {holder}; stop it or choose another folder",
                folder=str(folder),
                pid=holder,
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let the next process in."""
        os.close(self._descriptor)
