"""kill -9 in the middle of an import: the same stream again doubles nothing and loses nothing."""

import asyncio
import random
import sys
from pathlib import Path

from services.memory.stores.embedded import EmbeddedMemoryStore, IntegrityCheck
from tests.support.import_writer import IMPORT_ID, TOTAL, take_in
from tests.support.memories import ANN, listing

WRITER = Path(__file__).parents[1] / "support" / "import_writer.py"


async def killed_after(folder: Path, lines: int) -> int:
    """Kill an import after so many chunks; return how many items it said were durable."""
    process = await asyncio.create_subprocess_exec(sys.executable, WRITER, folder, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    for _ in range(lines):
        await process.stdout.readline()
    process.kill()
    told = (await process.stdout.read()).decode()
    await process.wait()
    complete = told[: told.rfind("\n") + 1].split()
    return int(complete[-1]) if complete else 0


async def test_import_goes_on_after_kill_9_without_loss_or_repetition(tmp_path: Path) -> None:
    rng, folder = random.Random(4), tmp_path / "data"
    told = [await killed_after(folder, rng.randrange(1, 5)) for _ in range(2)]
    store = await EmbeddedMemoryStore.open(folder, integrity=IntegrityCheck.FULL)
    durable = (await store.moving.import_progress(ANN, IMPORT_ID)).next_index

    progress = await take_in(store)
    again = await take_in(store)
    memories = (await store.list(ANN, listing(limit=TOTAL * 2, max_bytes=1 << 40))).memories
    await store.close()

    contents = sorted(memory.content for memory in memories)
    assert max(told) <= durable < TOTAL
    assert contents == sorted(f"tea {number}" for number in range(TOTAL) if number % 10)
    assert (progress.next_index, progress.imported_count, progress.failed_count) == (
        TOTAL,
        TOTAL * 9 // 10,
        TOTAL // 10,
    )
    assert again == progress
