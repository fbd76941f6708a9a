"""A service that does nothing but live: an ops port, JSON log lines, and the ways in which a service can end.

Run as a script: ``fake_service.py NAME OPS_PORT [BEHAVIOUR]``, where BEHAVIOUR is one of

* ``steady``: gets ready and waits until it is told to stop;
* ``refuses``: says why it cannot start, and ends;
* ``stubborn``: gets ready and does not end when told to.
"""

import asyncio
import json
import sys

from services.mesh.config import process_environment
from services.mesh.lifetime import until_told_to_stop

READY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


async def main(name: str, port: int, behaviour: str) -> int:
    """Live as *behaviour* says."""
    if behaviour == "refuses":
        sys.stderr.write("memorybox: MEMORYBOX_COLOUR='x': must be red or green\n")
        return 1
    server = await asyncio.start_server(_answer, "127.0.0.1", port)
    _log(name, "listening")
    why = await until_told_to_stop(process_environment())
    _log(name, why)
    if behaviour == "stubborn":
        await asyncio.Event().wait()
    server.close()
    return 0


def _log(name: str, message: str) -> None:
    sys.stderr.write(json.dumps({"level": "INFO", "service": name, "message": message}) + "\n")


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(READY)
    await writer.drain()
    writer.close()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3])))
