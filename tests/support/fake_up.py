"""`memorybox up` over fake services: ``fake_up.py NAME:PORT:BEHAVIOUR ...``; settings come from the environment as ever."""

import sys
from collections.abc import Sequence
from pathlib import Path

from services.cli import up
from services.cli.arguments import parse
from services.cli.child import ServiceProcess
from services.mesh.config import MeshSettings, process_environment
from services.mesh.errors import MemoryBoxError

SCRIPT = str(Path(__file__).with_name("fake_service.py"))


def service(text: str) -> ServiceProcess:
    """Return the service that NAME:PORT:BEHAVIOUR describes."""
    name, port, behaviour = text.split(":")
    return ServiceProcess(
        name=name,
        command=(sys.executable, SCRIPT, name, port, behaviour),
        ready_url=f"http://127.0.0.1:{port}/readyz",
        ports=((int(port), "MEMORYBOX_PORT_BASE"),),
    )


def main(words: Sequence[str]) -> int:
    """Run until told to stop."""

    def table(mesh: MeshSettings) -> list[ServiceProcess]:
        return [service(word) for word in words]

    try:
        return up.run(parse(["up"]), process_environment(), table)
    except MemoryBoxError as error:
        sys.stderr.write(f"memorybox: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
