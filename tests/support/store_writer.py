"""Opens a store and creates memories without end; each id is printed once its creation was acknowledged.

Run as a script: ``store_writer.py FOLDER PREFIX CALLERS``.
"""

import asyncio
import sys
from itertools import count
from pathlib import Path

from services.memory.stores.embedded import EmbeddedMemoryStore
from tests.support.memories import creation, fill, vector


async def write(store: EmbeddedMemoryStore, name: str) -> None:
    """Create memories, one after the other."""
    for number in count():
        memory_id = f"{name}-{number}"
        await fill(store, creation(memory_id, f"tea {memory_id}", embedding=vector(1, number, 2)))
        sys.stdout.write(f"{memory_id}\n")
        sys.stdout.flush()


async def main(folder: Path, prefix: str, callers: int) -> None:
    """Write with so many callers at once until killed."""
    store = await EmbeddedMemoryStore.open(folder)
    await asyncio.gather(*(write(store, f"{prefix}{caller}") for caller in range(callers)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
