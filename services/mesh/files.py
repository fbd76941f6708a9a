"""Small durable files: written whole or not at all, readable by their owner only."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.mesh.errors import FailedPrecondition


def write_private(path: Path, data: bytes) -> None:
    """Replace *path* by *data* atomically and durably, mode 0600; missing folders are made with mode 0700."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes it 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in *folder* durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class FolderUnusable(FailedPrecondition):
    """The data folder cannot be made, read or written."""

    reason = "DATA_FOLDER_UNUSABLE"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on *path* among processes; waits for it. A file made for it is readable by its owner only."""
    with open(path, "a", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
