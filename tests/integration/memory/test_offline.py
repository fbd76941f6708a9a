"""Backups without the memory service, over folders that are whole, damaged, lost or written by an earlier version."""

import hashlib
import shutil
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from services.memory.domain.backups import BackupDamaged, BackupKeysMissing, BackupNotFound, RestoreFolderExists
from services.memory.domain.jobs import Meter
from services.memory.stores.embedded import EmbeddedMemoryStore, StoreLocked, offline, swap
from services.memory.stores.embedded.backup import dump
from services.memory.stores.embedded.backup_file import MANIFEST_NAME, ROWS_NAME, BackupWriter, Manifest, Table, signed
from services.memory.stores.embedded.backup_folder import BackupFolder
from services.memory.stores.embedded.database import connect, migrate
from services.memory.stores.embedded.ownership import tables
from services.memory.stores.embedded.schema import MIGRATIONS
from tests.support.memories import ANN, BOB, NOW, creation, fill


def backups_in(data: Path, *, read_only: bool = False) -> BackupFolder:
    """Return the backups of a data folder."""
    return offline.open_backups(data, data / "keys", read_only=read_only)


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """Return a data folder in which Ann and Bob have kept something."""
    store = await EmbeddedMemoryStore.open(tmp_path / "data" / "memory")
    for number in range(40):
        await fill(store, creation(f"m{number}", f"tea {number}", owner=("ann", "bob")[number % 2]))
    await store.close()
    return tmp_path / "data"


async def count(data: Path) -> int:
    store = await EmbeddedMemoryStore.open(data / "memory")
    counted = await store.count(ANN, NOW) + await store.count(BOB, NOW)
    await store.close()
    return counted


async def test_folder_in_use_is_left_alone(data: Path) -> None:
    backups = backups_in(data)
    backup = offline.create(backups, 7)
    store = await EmbeddedMemoryStore.open(data / "memory")

    assert offline.is_in_use(backups)
    with pytest.raises(StoreLocked):
        offline.create(backups, 7)
    with pytest.raises(StoreLocked):
        offline.restore_in_place(backups, backup.backup_id)
    await store.close()
    assert not offline.is_in_use(backups)


async def test_damaged_data_are_replaced_and_set_aside(data: Path) -> None:
    backups = backups_in(data)
    backup = offline.create(backups, 7)
    path = data / "memory" / "memories.sqlite"
    path.write_bytes(b"\x55" * path.stat().st_size)

    restored = offline.restore_in_place(backups, backup.backup_id)

    assert restored.memory_count == await count(data) == 40
    assert [aside.read_bytes()[:1] for aside in swap.set_aside(data / "memory")] == [b"\x55"]


@pytest.mark.parametrize(
    "change", ["flip", "cut", "grow", "swap", "lose", "manifest", "other manifest", "other format"]
)
async def test_damaged_backup_is_refused_before_anything_is_replaced(data: Path, change: str) -> None:
    backups = backups_in(data)
    backup, other = offline.create(backups, 7), offline.create(backups, 7)
    folder = backups.folders.backups / backup.backup_id
    rows, manifest = folder / ROWS_NAME, folder / MANIFEST_NAME
    kept = rows.read_bytes()
    match change:
        case "flip":
            rows.write_bytes(kept[:1000] + bytes([kept[1000] ^ 1]) + kept[1001:])
        case "cut":
            rows.write_bytes(kept[:-1])
        case "grow":
            rows.write_bytes(kept + b"\x00")
        case "swap":
            rows.write_bytes((backups.folders.backups / other.backup_id / ROWS_NAME).read_bytes())
        case "lose":
            rows.unlink()
        case "manifest":
            manifest.write_bytes(manifest.read_bytes().replace(b'"row_count":40', b'"row_count":39'))
        case "other manifest":
            shutil.copy(backups.folders.backups / other.backup_id / MANIFEST_NAME, manifest)
        case _:
            manifest.write_bytes(b"{}")

    with pytest.raises(BackupDamaged):
        offline.restore_in_place(backups, backup.backup_id)

    assert await count(data) == 40
    assert swap.set_aside(data / "memory") == []
    assert not swap.prepared(data / "memory").exists()
    with pytest.raises(BackupDamaged):
        offline.verify(backups, backup.backup_id)


def dumped(backups: BackupFolder, backup_id: str) -> Manifest:
    """Write the live rows as a backup, without the care that is taken of one."""
    folder = backups.folders.backups / backup_id
    folder.mkdir(parents=True)
    database = backups.folders.store / "memories.sqlite"
    with closing(connect(database, None)) as connection, BackupWriter(folder, backup_id, backups.keyring) as writer:
        return dump(connection, writer, NOW, Meter())


def dumped_at(backups: BackupFolder, schema: int, database: Path) -> None:
    """Write the rows that a new database of an earlier schema has, as the version of that time did."""
    folder = backups.folders.backups / "old"
    folder.mkdir(parents=True)
    with closing(connect(database, None)) as connection, BackupWriter(folder, "old", backups.keyring) as writer:
        migrate(connection, MIGRATIONS[:schema])
        written = []
        for number, name in enumerate(tables(connection)):
            columns = tuple(str(row[1]) for row in connection.execute(f"PRAGMA table_info({name})"))
            rows = connection.execute(f"SELECT {', '.join(columns)} FROM {name}").fetchall()  # noqa: S608
            if rows:
                writer.write(number, 0, "", rows)
            written.append(Table(name, columns, len(rows)))
        writer.finish(Manifest("old", NOW.isoformat(), schema, 0, tuple(written), ()))


async def test_boxes_cannot_be_moved_within_a_backup_even_by_who_can_sign_it(data: Path) -> None:
    backups = backups_in(data)
    manifest = dumped(backups, "forged")
    folder = backups.folders.backups / "forged"
    rows = (folder / ROWS_NAME).read_bytes()
    ends = [0]
    while ends[-1] < len(rows):  # each box says how long it is beyond its header of 34 bytes
        ends.append(ends[-1] + 34 + int.from_bytes(rows[ends[-1] : ends[-1] + 4]))
    boxes = [rows[start:end] for start, end in pairwise(ends)]
    for moved in ([boxes[1], boxes[0], *boxes[2:]], boxes[1:], boxes[:-1], [*boxes, boxes[-1]]):
        forged = b"".join(moved)
        chunks = ((len(forged), hashlib.sha256(forged).hexdigest()),)
        (folder / ROWS_NAME).write_bytes(forged)
        (folder / MANIFEST_NAME).write_bytes(signed(replace(manifest, chunks=chunks), backups.keyring))

        with pytest.raises(BackupDamaged):
            offline.verify(backups, "forged")
    (folder / ROWS_NAME).write_bytes(rows)
    (folder / MANIFEST_NAME).write_bytes(signed(manifest, backups.keyring))
    assert offline.verify(backups, "forged") == (0, 0)


async def test_backup_needs_the_keys_that_sealed_it(data: Path, tmp_path: Path) -> None:
    backup = offline.create(backups_in(data), 7)
    keys = data / "keys" / "backup"
    kept = keys.rename(tmp_path / "kept")

    with pytest.raises(BackupKeysMissing, match="bring it back"):
        offline.verify(backups_in(data, read_only=True), backup.backup_id)
    keys.mkdir()
    shutil.copy(kept / "master.key", keys)
    with pytest.raises(BackupKeysMissing, match="not those that sealed this"):
        offline.restore_in_place(backups_in(data, read_only=True), backup.backup_id)
    shutil.copy(kept / "owners.keys", keys)

    assert offline.verify(backups_in(data, read_only=True), backup.backup_id) == (0, 0)
    assert await count(data) == 40


async def test_nothing_is_restored_over_something_or_from_nothing(data: Path, tmp_path: Path) -> None:
    backups = backups_in(data)
    backup = offline.create(backups, 7)
    (tmp_path / "taken").mkdir()

    with pytest.raises(RestoreFolderExists):
        offline.restore_aside(backups, backup.backup_id, tmp_path / "taken")
    with pytest.raises(BackupNotFound):
        offline.restore_in_place(backups, "nothing")
    with pytest.raises(BackupNotFound, match="no whole backup"):
        offline.newest(backups_in(tmp_path / "empty"))


@pytest.mark.parametrize("schema", range(1, len(MIGRATIONS) + 1))
def test_backup_of_every_earlier_schema_is_brought_to_the_present(tmp_path: Path, schema: int) -> None:
    backups = backups_in(tmp_path / "data")
    dumped_at(backups, schema, tmp_path / "old.sqlite")

    offline.restore_aside(backups, "old", tmp_path / "new")

    with closing(connect(tmp_path / "new" / "memory" / "memories.sqlite", None)) as connection:
        assert connection.execute("SELECT max(number) FROM migrations").get == len(MIGRATIONS)
