"""The probe service as a process: answers with its port. Run as a script, its settings in the environment.

A text that is a number is waited for, in seconds, before the answer.
"""

import asyncio
import sys
from typing import Any

from services.mesh.config import MeshSettings, load
from services.mesh.server import Mesh, Service, run
from tests.support import probe


async def build(mesh: Mesh) -> Service:
    """Wire the service."""
    port = str(mesh.settings.port(mesh.name))

    async def say(_self: object, request: Any, _context: Any) -> Any:
        await asyncio.sleep(float(request.text or 0.002))
        return probe.text(port)

    return probe.service(Say=say)


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], load(MeshSettings), build))
