"""kill -9 at every step in the file system of a backup, a restore, a replacement and a shredding."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from services.memory.domain.jobs import Meter
from services.memory.stores.embedded import EmbeddedMemoryStore, IntegrityCheck, swap
from services.memory.stores.embedded.backup import read_back
from tests.support.crashes import back_up, backup_folder, snapshot
from tests.support.memories import ANN, BOB, NOW, creation, fill

ROOT = Path(__file__).parents[3]
COUNT = 30


@pytest.fixture
async def template(tmp_path: Path) -> Path:
    """Return a data folder with a backup; since then Bob has kept one memory more."""
    data = tmp_path / "template"
    store = await EmbeddedMemoryStore.open(data / "memory")
    for number in range(COUNT):
        await fill(store, creation(f"m{number}", f"tea {number}", owner=("ann", "bob")[number % 2]))
    backups = backup_folder(data)
    backups.create(snapshot(data), "first", NOW, Meter())
    backups.keyring.close()
    await fill(store, creation("late", "coffee", owner="bob"))
    await store.close()
    return data


def crash(scenario: str, template: Path, tmp_path: Path) -> list[Path]:
    """Return the folders that crashes have left, by step; the last is of the run that came to its end."""
    out = tmp_path / "out"
    out.mkdir()
    command = (sys.executable, "-m", "tests.support.crashes", scenario, str(template), str(out))
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)
    return sorted(out.iterdir())


async def count(folder: Path) -> int:
    """Return how many memories are there, after every check there is."""
    store = await EmbeddedMemoryStore.open(folder, integrity=IntegrityCheck.FULL)
    counted = await store.count(BOB, NOW) + await store.count(ANN, NOW)
    await store.close()
    return counted


async def test_replacement_that_is_killed_leaves_the_old_state_or_the_new(template: Path, tmp_path: Path) -> None:
    backup_folder(template, read_only=True).prepare("first", set(), Meter())
    folders = crash("replace", template, tmp_path)

    counts = [await count(folder / "memory") for folder in folders]

    assert set(counts) == {COUNT, COUNT + 1}
    assert counts == sorted(counts, reverse=True), "once it is decided there is no way back"
    assert len(folders) > 10
    assert not any((folder / "memory" / swap.PREPARED_NAME).exists() for folder in folders)
    assert not any((folder / "memory" / swap.NOTE_NAME).exists() for folder in folders)
    for folder, counted in zip(folders, counts, strict=True):
        aside = swap.set_aside(folder / "memory")
        assert [await count(path.parent) for path in aside] == ([COUNT + 1] if counted == COUNT else [])


async def test_backup_that_is_killed_leaves_nothing_that_looks_like_one(template: Path, tmp_path: Path) -> None:
    for folder in crash("back_up", template, tmp_path):
        backups = backup_folder(folder, read_only=True)
        found = backups.backups()
        assert found, "there is one at any moment"
        for backup in found:
            assert backup.verified
            read_back(backups.find(backup.backup_id), Meter())
        shutil.rmtree(folder / "backups" / "second", ignore_errors=True)
        back_up(folder)
        assert [path.name for path in (folder / "backups").iterdir()] == ["second"]


async def test_restore_that_is_killed_leaves_all_of_the_copy_or_none(template: Path, tmp_path: Path) -> None:
    folders = crash("restore", template, tmp_path)

    whole = [folder for folder in folders if (folder / "copy").exists()]

    assert 0 < len(whole) < len(folders)
    for folder in whole:
        assert await count(folder / "copy" / "memory") == COUNT
    for folder in folders[:-1]:
        shutil.rmtree(folder / "copy", ignore_errors=True)
        assert backup_folder(folder, read_only=True).restore_to("first", folder / "copy", Meter()).memory_count == COUNT


def test_shredding_that_is_killed_is_finished_by_its_next_attempt(template: Path, tmp_path: Path) -> None:
    key = backup_folder(template, read_only=True).keyring.existing("ann")
    assert key is not None
    for folder in crash("shred", template, tmp_path):
        backups = backup_folder(folder)
        assert backups.keyring.shred("ann", "operation") == 1
        assert backups.keyring.find(key.key_id) is None
        rows, owners = read_back(backups.find("first"), Meter())
        assert (rows > 0, owners) == (True, 1)
