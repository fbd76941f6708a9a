"""Backups of a store that runs: made beside its writer, and restored to it or aside."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import apsw

from services.memory.domain.backups import Backup, BackupUnderWay, Restored, RestoreFolderExists
from services.memory.domain.jobs import Meter
from services.memory.domain.memory import Json
from services.memory.domain.operations import Operation
from services.memory.stores.embedded import swap
from services.memory.stores.embedded.backup_folder import RESTORED_NAME, BackupFolder, restored_of
from services.memory.stores.embedded.database import DATABASE_NAME, connect, transaction, translated_errors
from services.memory.stores.embedded.erasure import scrub
from services.memory.stores.embedded.lock import FolderLock, StoreLocked
from services.memory.stores.embedded.ownership import strip
from services.memory.stores.embedded.restore import carry_over, owners_being_erased
from services.mesh.errors import BackendUnavailable

_RETRY_S = 5.0


class Host(Protocol):
    """What of a running store a vault needs."""

    def snapshot(self) -> AbstractContextManager[apsw.Connection]:
        """Yield a connection that sees the state of this moment; erased bytes are not removed while it is open."""
        ...

    async def retire(self, work: Callable[[apsw.Connection], None]) -> None:
        """Run *work* on the writer's thread, outside any transaction; if it returns, refuse every call from then on."""
        ...


class EmbeddedBackupVault:
    """A ``BackupVault`` for the store that runs over *folder*'s data."""

    def __init__(self, folder: BackupFolder, host: Host, leave: Callable[[], None]) -> None:
        self._folder = folder
        self._host = host
        self._leave = leave
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="backup")
        self._busy: list[None] = []  # one entry for each work under way; a list, since threads may append at once
        self._skipped: set[str] = set()  # whose rows were left out of what is prepared

    @property
    def executor(self) -> Executor:
        """The thread of jobs."""
        return self._executor

    async def backups(self) -> Sequence[Backup]:
        """Return all, newest first."""
        return await asyncio.to_thread(self._folder.backups)

    async def check_target(self, backup_id: str, folder: str | None) -> None:
        """Raise when there is no such backup, or the folder is taken."""

        def check() -> None:
            self._folder.find(backup_id)
            if folder is not None and self._aside(folder).exists():
                raise RestoreFolderExists(f"{folder!r} exists; restore to another name", folder=folder)

        await asyncio.to_thread(check)

    def create(self, backup_id: str, now: datetime, meter: Meter) -> Backup:
        """Make a backup."""
        with self._working():
            return self._folder.create(self._host.snapshot(), backup_id, now, meter)

    def prune(self, keep: int) -> int:
        """Remove what is one too many."""
        return self._folder.prune(keep)

    def restore_aside(self, backup_id: str, folder: str, meter: Meter) -> Restored:
        """Restore to a new folder below ``restored``."""
        with self._working():
            target = self._aside(folder)
            target.parent.mkdir(mode=0o700, exist_ok=True)
            return self._folder.restore_to(backup_id, target, meter)

    def prepare(self, backup_id: str, meter: Meter) -> Restored:
        """Restore beside the live data."""
        with self._working():
            with self._host.snapshot() as connection:
                self._skipped = owners_being_erased(connection)
            try:
                return restored_of(backup_id, self._folder.prepare(backup_id, self._skipped, meter), "")
            except BaseException:
                self.discard()
                raise

    def discard(self) -> None:
        """Remove what was prepared."""
        swap.clear_prepared(self._folder.folders.store)

    async def replace_live(self, operation: Operation, restored: Restored, result: Json) -> None:
        """Put what was prepared in the place of the live data."""
        folders = self._folder.folders
        manifest = (await asyncio.to_thread(self._folder.find, restored.backup_id)).manifest

        def work(live: apsw.Connection) -> None:
            if owners_being_erased(live) - self._skipped or not swap.prepared(folders.store).exists():
                raise BackupUnderWay(
                    "an owner began to be erased meanwhile; the restore begins anew", retry_after_s=1.0
                )
            ended = (operation.operation_id, result)
            carry_over(swap.prepared(folders.store), folders.store / DATABASE_NAME, manifest, datetime.now(UTC), ended)
            swap.decide(folders.store)

        with self._working():
            try:
                await self._host.retire(work)
            except BaseException:
                await asyncio.to_thread(self.discard)
                raise
        self._leave()

    async def shred(self, owner: str, operation_id: str) -> Mapping[str, int]:
        """Remove *owner* from restored copies and destroy their key."""
        if self._busy:
            raise _under_way()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._shred, owner, operation_id)

    def close(self) -> None:
        """Let go of the thread and the keys."""
        self._executor.shutdown(wait=True)
        self._folder.keyring.close()

    def _shred(self, owner: str, operation_id: str) -> Mapping[str, int]:
        if swap.prepared(self._folder.folders.store).exists():
            raise _under_way()
        self._folder.clear()
        for copy in self._folder.copies():
            erase_from_copy(copy, owner)
        return {"keys": self._folder.keyring.shred(owner, operation_id)}

    def _aside(self, folder: str) -> Path:
        return self._folder.folders.data / RESTORED_NAME / folder

    @contextmanager
    def _working(self) -> Iterator[None]:
        self._busy.append(None)
        try:
            yield
        finally:
            self._busy.pop()


def _under_way() -> BackupUnderWay:
    return BackupUnderWay("a backup or restore is under way; it is tried again", retry_after_s=_RETRY_S)


def erase_from_copy(database: Path, owner: str) -> int:
    """Remove *owner* from a database that nobody has open, down to the bytes; return how many memories that were."""
    try:
        lock = FolderLock(database.parent)
    except StoreLocked as error:
        raise BackendUnavailable(
            "a restored copy is in use, and what is erased must go from it too; stop what uses it", retry_after_s=60.0
        ) from error
    try:
        with translated_errors():
            connection = connect(database, None)
            try:
                with transaction(connection, "IMMEDIATE"):
                    memories = strip(connection, owner)
                scrub(connection)
            finally:
                connection.close()
    finally:
        lock.release()
    return memories
