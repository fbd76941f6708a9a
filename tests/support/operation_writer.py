"""Opens a store and runs an operation of many small steps; its id is printed, then each count once it is durable.

Run as a script: ``operation_writer.py FOLDER``.
"""

import asyncio
import sys
from pathlib import Path

from services.memory.domain.audits import Roles
from services.memory.domain.operations import Operation, OperationRunner, Operations, Step
from services.memory.stores.embedded import EmbeddedMemoryStore
from services.memory.stores.embedded.governing import EmbeddedOperations
from services.mesh.caller import Caller

TOTAL = 300


class Slow:
    """Counts, a step each."""

    name = "Count"

    async def step(self, operation: Operation) -> Step:
        """Count one further."""
        count = (operation.cursor or {}).get("count", 0)
        sys.stdout.write(f"{count}\n")
        sys.stdout.flush()
        await asyncio.sleep(0.01)
        return Step({"count": count + 1})


async def main(folder: Path) -> None:
    """Run until killed."""
    store = await EmbeddedMemoryStore.open(folder)
    started, kept = asyncio.Event(), EmbeddedOperations(store)
    operations = Operations(kept, store.secrets, Roles("GOVERNOR", "OPERATOR"), started)
    operation = await operations.start(Caller("ann"), "Count", {"to": TOTAL})
    sys.stdout.write(f"{operation.operation_id}\n")
    sys.stdout.flush()
    runner = OperationRunner(kept, (Slow(),), "writer", started)
    await asyncio.Event().wait()
    await runner.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
