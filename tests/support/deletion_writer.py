"""Keeps memories and deletes them by filter; the operation's id is printed, then how many are deleted durably, after each batch.

Run as a script: ``deletion_writer.py FOLDER``.
"""

import asyncio
import sys
from pathlib import Path

from services.memory.domain.audits import Roles
from services.memory.domain.deleting import DeletionKind, Deletions
from services.memory.domain.operations import Operation, OperationRunner, Operations, Step
from services.memory.stores.embedded import EmbeddedMemoryStore
from services.memory.stores.embedded.governing import EmbeddedOperations
from tests.support.memories import ANN, apply, creation

TOTAL = 2000


class Told(DeletionKind):
    """Says after each batch what is durable."""

    async def step(self, operation: Operation) -> Step:
        """Make the step, then tell of it before anything is kept of it."""
        step = await super().step(operation)
        tell(str(step.done_count))
        return step


def tell(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def main(folder: Path) -> None:
    """Run until killed."""
    store = await EmbeddedMemoryStore.open(folder)
    await asyncio.gather(*(apply(store, ANN, creation(f"m{number}", tags=("old",))) for number in range(TOTAL)))
    started, kept = asyncio.Event(), EmbeddedOperations(store)
    operations = Operations(kept, store.secrets, Roles("GOVERNOR", "OPERATOR"), started)
    deletions = Deletions(store.deleting, operations)
    operation = await deletions.start(ANN, "tags:old", everything=False, dry_run=False)
    tell(operation.operation_id)
    runner = OperationRunner(kept, (Told(store.deleting),), "writer", started)
    await asyncio.Event().wait()
    await runner.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
