"""One process at a time writes a folder: of data, of keys."""

import fcntl
import os
from pathlib import Path

from services.mesh.errors import FailedPrecondition

LOCK_NAME = "lock"


class StoreLocked(FailedPrecondition):
    """Another process has the folder open."""

    reason = "STORE_LOCKED"


def holder(folder: Path) -> str:
    """Return the id of the process that has *folder*, "unknown" when it has not said so yet, '' when none has it."""
    try:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _told(descriptor)
    finally:
        os.close(descriptor)
    return ""


class FolderLock:
    """An exclusive lock on *folder*, held until ``release``; the kernel frees it when the process dies."""

    def __init__(self, folder: Path) -> None:
        self._descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            process = _told(self._descriptor)
            os.close(self._descriptor)
            raise StoreLocked(
                f"the folder {folder} is in use by process {process}; stop it or choose another folder",
                folder=str(folder),
                pid=process,
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let the next process in."""
        os.close(self._descriptor)


def _told(descriptor: int) -> str:
    """Return the process id that a lock's file says."""
    return os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
