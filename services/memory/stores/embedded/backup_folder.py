"""The folder of the backups: each a folder of its own, there as a whole or not at all."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import apsw

from services.memory.domain.backups import (
    Backup,
    BackupDamaged,
    BackupKeysMissing,
    BackupNotFound,
    Restored,
    RestoreFolderExists,
)
from services.memory.domain.jobs import Meter
from services.memory.stores.embedded import swap
from services.memory.stores.embedded.backup import dump, read_back
from services.memory.stores.embedded.backup_file import MANIFEST_NAME, ROWS_NAME, BackupReader, BackupWriter
from services.memory.stores.embedded.database import DATABASE_NAME, translated_errors
from services.memory.stores.embedded.keyring import Keyring
from services.memory.stores.embedded.restore import Loaded, load
from services.mesh.errors import FailedPrecondition
from services.mesh.files import sync_folder

STORE_NAME = "memory"  # the store's folder in a data folder
RESTORED_NAME = "restored"  # folder of what was restored aside, each a data folder of its own
_PARTIAL_PREFIX = ".partial-"


class BackupFolderUnusable(FailedPrecondition):
    """The folder of the backups cannot be made, read or written."""

    reason = "BACKUP_FOLDER_UNUSABLE"


@dataclass(frozen=True, slots=True)
class VaultFolders:
    """Where things lie."""

    data: Path
    store: Path  # the live store's
    backups: Path


def folders_of(data: Path, backups: Path | None, store: Path | None = None) -> VaultFolders:
    """Return the folders of a data folder, whose store and backups lie in it unless said otherwise."""
    return VaultFolders(data, store or data / STORE_NAME, backups or data / "backups")


class BackupFolder:
    """Backups as folders of *folders*.backups; for a process that has the data folder, or with nobody running."""

    def __init__(self, folders: VaultFolders, keyring: Keyring) -> None:
        self.folders = folders
        self.keyring = keyring

    def backups(self) -> list[Backup]:
        """Return all, newest first; what cannot be vouched for is not verified."""
        with _usable(self.folders.backups):
            found = sorted((path for path in self._entries() if not path.name.startswith(".")), reverse=True)
        return [self._describe(path) for path in found]

    def find(self, backup_id: str) -> BackupReader:
        """Return a backup. Raises ``BackupNotFound``, ``BackupDamaged``."""
        folder = self.folders.backups / Path(backup_id).name
        if not folder.is_dir():
            raise BackupNotFound(f"no backup {backup_id!r}", backup_id=backup_id)
        return BackupReader(folder, self.keyring)

    def create(
        self, snapshot: AbstractContextManager[apsw.Connection], backup_id: str, now: datetime, meter: Meter
    ) -> Backup:
        """Make a backup of *snapshot* under its id, at once and whole, or nothing."""
        target = self.folders.backups / backup_id
        if target.exists():  # made before a crash that came before its operation was told
            return self._describe(target)
        with _usable(self.folders.backups):
            self.folders.backups.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.clear()
            partial = self.folders.backups / f"{_PARTIAL_PREFIX}{backup_id}"
            partial.mkdir(mode=0o700)
            try:
                with (
                    translated_errors(),
                    snapshot as connection,
                    BackupWriter(partial, backup_id, self.keyring) as writer,
                ):
                    dump(connection, writer, now, meter)
                read_back(BackupReader(partial, self.keyring), meter)
                partial.rename(target)
                sync_folder(self.folders.backups)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        return self._describe(target)

    def prune(self, keep: int) -> int:
        """Remove all but the newest *keep* whole ones; what is not whole neither counts nor is removed."""
        surplus = [backup for backup in self.backups() if backup.verified][max(keep, 1) :]
        for backup in surplus:
            folder = self.folders.backups / backup.backup_id
            doomed = folder.with_name(f"{_PARTIAL_PREFIX}{folder.name}")
            folder.rename(doomed)  # so that no half of it is ever taken for a backup
            shutil.rmtree(doomed, ignore_errors=True)
        for database in swap.set_aside(self.folders.store):
            shutil.rmtree(database.parent, ignore_errors=True)
        return len(surplus)

    def restore_to(self, backup_id: str, folder: Path, meter: Meter) -> Restored:
        """Restore to a new data *folder*, which appears when all of it was checked."""
        reader = self.find(backup_id)
        if folder.exists():
            raise RestoreFolderExists(f"{folder.name!r} exists; restore to another name", folder=folder.name)
        partial = folder.with_name(f"{_PARTIAL_PREFIX}{folder.name}")
        shutil.rmtree(partial, ignore_errors=True)
        (partial / STORE_NAME).mkdir(mode=0o700, parents=True)
        try:
            loaded = load(reader, partial / STORE_NAME / DATABASE_NAME, (), meter)
            sync_folder(partial / STORE_NAME)
            sync_folder(partial)
            partial.rename(folder)
            sync_folder(folder.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return restored_of(backup_id, loaded, folder.name)

    def prepare(self, backup_id: str, skipped_owners: set[str], meter: Meter) -> Loaded:
        """Restore beside the live database, without *skipped_owners*."""
        ids = {key.key_id for owner in skipped_owners if (key := self.keyring.existing(owner)) is not None}
        swap.clear_prepared(self.folders.store)
        target = swap.prepared(self.folders.store)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return load(self.find(backup_id), target, ids, meter)

    def clear(self) -> None:
        """Remove what was cut short; for whoever knows that nothing is being made."""
        for folder in (self.folders.backups, self.folders.data / RESTORED_NAME):
            for path in folder.glob(f"{_PARTIAL_PREFIX}*"):
                shutil.rmtree(path, ignore_errors=True)

    def copies(self) -> list[Path]:
        """Return the databases that restores have left in the data folder."""
        aside = self.folders.data / RESTORED_NAME
        return [*swap.set_aside(self.folders.store), *sorted(aside.glob(f"*/{STORE_NAME}/{DATABASE_NAME}"))]

    def _entries(self) -> Sequence[Path]:
        return (
            [path for path in self.folders.backups.iterdir() if path.is_dir()] if self.folders.backups.exists() else []
        )

    def _describe(self, folder: Path) -> Backup:
        try:
            reader = BackupReader(folder, self.keyring)
        except (BackupDamaged, BackupKeysMissing):
            return Backup(
                folder.name, _made_at(folder), _size_of(folder), verified=False, memory_count=0, schema_version=0
            )
        manifest = reader.manifest
        whole = reader.is_of_its_size and manifest.backup_id == folder.name
        created_at = datetime.fromisoformat(manifest.created_at)
        return Backup(folder.name, created_at, _size_of(folder), whole, manifest.count("memories"), manifest.schema)


def restored_of(backup_id: str, loaded: Loaded, folder: str) -> Restored:
    """Return *loaded* as callers are told of it."""
    return Restored(backup_id, folder, loaded.memory_count, loaded.skipped_rows, loaded.skipped_owners)


@contextmanager
def _usable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BackupFolderUnusable(f"the folder of the backups {folder} cannot be used: {error.strerror}") from error


def _size_of(folder: Path) -> int:
    return sum(path.stat().st_size for name in (ROWS_NAME, MANIFEST_NAME) if (path := folder / name).exists())


def _made_at(folder: Path) -> datetime:
    """Return the time in the id of a backup that says nothing itself (RFC 9562 section 5.7), else its folder's."""
    try:
        made = UUID(folder.name)
    except ValueError:
        return datetime.fromtimestamp(folder.stat().st_mtime, UTC)
    return datetime.fromtimestamp((made.int >> 80) / 1000, UTC)
