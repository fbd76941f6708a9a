"""Takes in many memories under one import id; after each chunk how many items are durable is printed.

Run as a script: ``import_writer.py FOLDER``.
"""

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

from services.memory.domain.draft import Draft
from services.memory.domain.importing import Imports, Incoming
from services.memory.domain.transfer import ImportChunk, ImportProgress
from services.memory.stores.embedded import EmbeddedMemoryStore
from services.memory.stores.embedded.moving import EmbeddedMover
from services.mesh.caller import Caller
from tests.support.memories import ANN
from tests.support.memory import FakeEmbedder

TOTAL = 1200
IMPORT_ID = "everything"


class Told(EmbeddedMover):
    """Says how far it is once that is durable."""

    async def import_chunk(self, caller: Caller, chunk: ImportChunk) -> ImportProgress:
        """Commit a chunk."""
        progress = await super().import_chunk(caller, chunk)
        sys.stdout.write(f"{progress.next_index}\n")
        sys.stdout.flush()
        return progress


async def items() -> AsyncIterator[Incoming]:
    """Give the same items each time: half of them with ids of their own, each tenth one refused."""
    for number in range(TOTAL):
        memory_id = str(uuid.UUID(int=number + 1)) if number % 2 else ""
        content = "" if number % 10 == 0 else f"tea {number}"
        yield Incoming(Draft(content=content), memory_id=memory_id)
        await asyncio.sleep(0)


async def take_in(store: EmbeddedMemoryStore) -> ImportProgress:
    """Send everything, from the first item on."""

    async def whole() -> None:
        """Say that the stream was not cut."""

    imports = Imports(Told(store), store.secrets.id_key, FakeEmbedder())
    return await imports.run(ANN, IMPORT_ID, 0, items(), whole)


async def main(folder: Path) -> None:
    """Run until killed or done."""
    store = await EmbeddedMemoryStore.open(folder)
    await take_in(store)
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
