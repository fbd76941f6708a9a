"""A data folder of any earlier schema opens, is brought up to date and works; whatever ends that on its way, the next opening goes on."""

import random
import tempfile
from pathlib import Path

import pytest

from services.memory.stores.embedded import EmbeddedMemoryStore, IntegrityCheck
from services.memory.stores.embedded.database import DATABASE_NAME, connect, schema_version
from services.memory.stores.embedded.schema import MIGRATIONS
from tests.support.old_store import check, write_folder
from tests.support.power_loss import Disk, Journal, RecordedDisk

RAM = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # noqa: S108  # nothing there must survive us
CRASH_POINTS = 24  # of each opening, if it has so many operations
NUMBERS = range(1, len(MIGRATIONS) + 1)


def version_of(folder: Path) -> int:
    connection = connect(folder / DATABASE_NAME, None)
    try:
        return schema_version(connection)
    finally:
        connection.close()


@pytest.mark.parametrize("number", NUMBERS)
async def test_folder_of_every_schema_opens_and_works(tmp_path: Path, number: int) -> None:
    write_folder(tmp_path, number)
    assert version_of(tmp_path) == number

    store = await EmbeddedMemoryStore.open(tmp_path, integrity=IntegrityCheck.FULL)
    await check(store, number)
    await store.close()

    assert version_of(tmp_path) == len(MIGRATIONS)
    await (await EmbeddedMemoryStore.open(tmp_path, integrity=IntegrityCheck.FULL)).close()


@pytest.mark.parametrize("number", NUMBERS[:-1])
async def test_migration_that_a_power_loss_cut_short_is_gone_on_with(number: int) -> None:
    rng, journal, name = random.Random(number), Journal(), f"migrated-{number}"
    disk = RecordedDisk(name, journal)
    with tempfile.TemporaryDirectory(dir=RAM) as folder:
        write_folder(Path(folder), number, name)
        begun = len(journal.operations)
        await (await EmbeddedMemoryStore.open(Path(folder), vfs=name)).close()
    disk.unregister()
    possible = range(begun, len(journal.operations))
    moments = sorted(rng.sample(possible, min(CRASH_POINTS, len(possible))))
    reached, played, left = set(), 0, Disk()

    for moment in moments:
        for operation in journal.operations[played:moment]:
            left.play(operation)
        played = moment
        with tempfile.TemporaryDirectory(dir=RAM) as parent:
            folder_left = Path(parent) / "data"
            left.lose_power(folder_left, rng)
            reached.add(version_of(folder_left))
            store = await EmbeddedMemoryStore.open(folder_left, integrity=IntegrityCheck.FULL)
            await check(store, number)
            await store.close()

    assert len(reached) > 1 or number == len(MIGRATIONS) - 1
    assert min(reached) >= number


async def test_newest_schema_is_opened_again_without_a_change(tmp_path: Path) -> None:
    write_folder(tmp_path, len(MIGRATIONS))
    await (await EmbeddedMemoryStore.open(tmp_path)).close()
    before = (tmp_path / DATABASE_NAME).read_bytes()

    await (await EmbeddedMemoryStore.open(tmp_path)).close()

    assert (tmp_path / DATABASE_NAME).read_bytes() == before
