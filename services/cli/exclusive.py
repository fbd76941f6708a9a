"""One `up` a data folder: a lock that the kernel lets go of however its holder ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.mesh.errors import FailedPrecondition
from services.mesh.files import FolderUnusable


class AlreadyRunning(FailedPrecondition):
    """Another `up` runs on this data folder."""

    reason = "ALREADY_RUNNING"


@contextmanager
def only_one(data_dir: Path) -> Iterator[bool]:
    """Hold the lock of *data_dir*; yields whether the holder before was killed, so that its services may still be ending.

    Raises ``AlreadyRunning``, naming the process that holds it, and ``FolderUnusable``.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (data_dir / "up.lock").open("a+")
    except OSError as error:
        raise FolderUnusable(
            f"cannot keep data in {data_dir}: {error.strerror}; choose another folder with --data-dir or MEMORYBOX_DATA_DIR"
        ) from error
    with lock as file:
        file.seek(0)
        holder = file.read().strip()
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(
                f"`memorybox up` already runs on {data_dir} (process {holder}); end it, or choose another with --data-dir"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield bool(holder)
        finally:
            file.truncate(0)
