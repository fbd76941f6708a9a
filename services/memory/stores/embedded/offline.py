"""Backups of a data folder without the memory service: for the command line, with the mesh down or the folder lost."""

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import apsw
import orjson

from services.memory.domain.backups import CREATE, Backup, BackupNotFound, Restored
from services.memory.domain.ids import new_memory_id
from services.memory.domain.jobs import Meter
from services.memory.stores.embedded import swap
from services.memory.stores.embedded.backup import read_back
from services.memory.stores.embedded.backup_folder import BackupFolder, folders_of, restored_of
from services.memory.stores.embedded.database import (
    DATABASE_NAME,
    IntegrityCheck,
    check_file,
    connect,
    migrate,
    schema_version,
    translated_errors,
)
from services.memory.stores.embedded.keyring import KEYS, Keyring
from services.memory.stores.embedded.lock import FolderLock, holder
from services.memory.stores.embedded.restore import carry_over, owners_being_erased
from services.memory.stores.embedded.rows import from_us
from services.memory.stores.embedded.schema import MIGRATIONS
from services.mesh.errors import DataLoss

_GOVERNED = 4  # the schema from which on there are events and operations
_NEWEST_EVENT = "SELECT event_time FROM audit_events ORDER BY event_no DESC LIMIT 1"
_LAST_BACKUP = "SELECT state, error FROM operations WHERE kind = ? ORDER BY operation_no DESC LIMIT 1"

_log = logging.getLogger(__name__)


def open_backups(
    data_dir: Path, keys_dir: Path, backup_dir: Path | None = None, *, read_only: bool = True
) -> BackupFolder:
    """Return the backups of a data folder; no key is made when *read_only*."""
    return BackupFolder(folders_of(data_dir, backup_dir), Keyring(keys_dir / KEYS, read_only=read_only))


def is_in_use(backups: BackupFolder) -> bool:
    """Say whether a process has the live data."""
    return bool(holder(backups.folders.store))


@dataclass(frozen=True, slots=True)
class Health:
    """What a look at a database finds."""

    schema: int = 0
    newest_schema: int = len(MIGRATIONS)
    faults: tuple[str, ...] = ()
    newest_event: datetime | None = None
    failed_backup: str = ""  # why the last attempt to make one failed, if it did


def examine(database: Path) -> Health:
    """Look at a database, which a process may have."""
    try:
        with translated_errors(), closing(connect(database, None, read_only=True)) as connection:
            check_file(connection, IntegrityCheck.QUICK)
            schema = schema_version(connection)
            governed = schema >= _GOVERNED
            event = connection.execute(_NEWEST_EVENT).get if governed else None
            failed = connection.execute(_LAST_BACKUP, (CREATE,)).fetchone() if governed else None
    except DataLoss as error:
        return Health(faults=(error.message,))
    message = orjson.loads(str(failed[1]))["message"] if failed and failed[0] == "FAILED" else ""
    return Health(schema=schema, newest_event=from_us(event), failed_backup=message)


def newest(backups: BackupFolder) -> Backup:
    """Return the newest whole backup. Raises ``BackupNotFound``."""
    for backup in backups.backups():
        if backup.verified:
            return backup
    raise BackupNotFound(f"there is no whole backup in {backups.folders.backups}")


def verify(backups: BackupFolder, backup_id: str) -> tuple[int, int]:
    """Read a backup back; return how many rows, of how many owners, can be read no more. Raises ``BackupDamaged``."""
    return read_back(backups.find(backup_id), Meter())


def create(backups: BackupFolder, keep: int) -> Backup:
    """Make a backup of the live data, which no process has."""
    now = datetime.now(UTC)
    with _locked(backups.folders.store):
        with translated_errors(), closing(connect(_database(backups), None)) as connection:
            migrate(connection)
        made = backups.create(_snapshot(_database(backups)), new_memory_id(now), now, Meter())
        backups.prune(keep)
    return made


def restore_aside(backups: BackupFolder, backup_id: str, folder: Path) -> Restored:
    """Restore to a new data folder."""
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return backups.restore_to(backup_id, folder, Meter())


def restore_in_place(backups: BackupFolder, backup_id: str) -> Restored:
    """Replace the live data, which no process has, or which are lost or damaged."""
    store = backups.folders.store
    backups.find(backup_id)  # before anything is touched
    store.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(store):
        live = _database(backups) if _is_sound(_database(backups)) else None
        skipped: set[str] = set()
        if live is not None:
            with translated_errors(), closing(connect(live, None)) as connection:
                skipped = owners_being_erased(connection)
        try:
            loaded = backups.prepare(backup_id, skipped, Meter())
            if live is not None:
                manifest = backups.find(backup_id).manifest
                carry_over(swap.prepared(store), live, manifest, datetime.now(UTC), None)
            swap.decide(store)
        finally:
            swap.clear_prepared(store)
        swap.carry_out(store)
    return restored_of(backup_id, loaded, "")


def _database(backups: BackupFolder) -> Path:
    return backups.folders.store / DATABASE_NAME


def _is_sound(database: Path) -> bool:
    """Say whether there is a live database that a restore may go on from; brings its schema to the present."""
    if not database.exists():
        return False
    try:
        with translated_errors(), closing(connect(database, None)) as connection:
            check_file(connection, IntegrityCheck.QUICK)
            migrate(connection)
    except DataLoss as error:
        _log.warning(
            "the live data are damaged; their audit log and operations are set aside with them", exc_info=error
        )
        return False
    return True


@contextmanager
def _locked(store: Path) -> Iterator[None]:
    lock = FolderLock(store)
    try:
        swap.carry_out(store)
        yield
    finally:
        lock.release()


@contextmanager
def _snapshot(database: Path) -> Iterator[apsw.Connection]:
    with closing(connect(database, None, read_only=True)) as connection:
        connection.execute("BEGIN")
        yield connection
