"""Kills a process at each step that it makes in the file system, one after the other.

Run as a script: ``crashes.py SCENARIO TEMPLATE OUT``. For step 1, 2, 3 ... it copies folder TEMPLATE to OUT/<step>, lets a child of its own do the
scenario there, and kills the child just before that step; it ends after the child that came to its end.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import apsw

from services.memory.domain.jobs import Meter
from services.memory.stores.embedded import swap
from services.memory.stores.embedded.backup_folder import BackupFolder, folders_of
from services.memory.stores.embedded.database import DATABASE_NAME, connect
from services.memory.stores.embedded.keyring import Keyring

STEPS = frozenset(
    {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.listdir", "shutil.rmtree", "os.truncate"}
)


def backup_folder(data: Path, *, read_only: bool = False) -> BackupFolder:
    """Return the backups of a data folder; its keys are this process's until closed, unless *read_only*."""
    return BackupFolder(folders_of(data, None), Keyring(data / "keys" / "backup", read_only=read_only))


@contextmanager
def snapshot(data: Path) -> Iterator[apsw.Connection]:
    """Yield a connection that sees the state of this moment."""
    with closing(connect(data / "memory" / DATABASE_NAME, None)) as connection:
        connection.execute("BEGIN")
        yield connection


def replace(data: Path) -> None:
    """Put the prepared database in the place of the live one."""
    swap.decide(data / "memory")
    swap.carry_out(data / "memory")


def back_up(data: Path) -> None:
    """Make a backup, and remove all others."""
    backups = backup_folder(data)
    backups.create(snapshot(data), "second", datetime.now(UTC), Meter())
    backups.prune(1)
    backups.keyring.close()


def restore(data: Path) -> None:
    """Restore the backup aside."""
    backup_folder(data).restore_to("first", data / "copy", Meter())


def shred(data: Path) -> None:
    """Destroy Ann's key."""
    backup_folder(data).keyring.shred("ann", "operation")


SCENARIOS: dict[str, Callable[[Path], None]] = {
    "replace": replace,
    "back_up": back_up,
    "restore": restore,
    "shred": shred,
}


def die_before(step: int, folder: Path) -> None:
    """Have this process killed before its *step*-th change or look in *folder*."""
    made = 0

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal made
        if event in STEPS and arguments and str(arguments[0]).startswith(str(folder)):
            made += 1
            if made == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def main(scenario: str, template: Path, out: Path) -> None:
    """Crash at every step."""
    step, status = 0, 1
    while status:
        step += 1
        folder = out / f"{step:03}"
        shutil.copytree(template, folder)
        child = os.fork()
        if child == 0:
            die_before(step, folder)
            SCENARIOS[scenario](folder)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if os.WIFEXITED(status) and status:
            raise SystemExit(f"step {step} failed by itself")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
