"""`memorybox emulate`: a local server that speaks Snowflake, until it is told to stop."""

import argparse
import asyncio
import logging
from collections.abc import Mapping

from services.cli.serve import run_to_end
from services.emulator.engine.account import Account
from services.emulator.protocol.credentials import Credentials
from services.emulator.server import application, serve
from services.mesh import logs
from services.mesh.config import MeshSettings, load
from services.mesh.lifetime import until_told_to_stop

log = logging.getLogger(__name__)


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Serve until interrupted; the folder of ``--data`` is made where it is missing."""
    logs.configure("emulator", load(MeshSettings, environ).log_level)
    if arguments.data is not None:
        arguments.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    run_to_end(_serve(arguments))
    return 0


async def _serve(arguments: argparse.Namespace) -> None:
    account = await asyncio.to_thread(
        Account, name=arguments.account, user=arguments.user, password=arguments.password, data=arguments.data
    )
    runner = await serve(application(account, Credentials(account)), arguments.bind, arguments.port)
    log.info("the Snowflake emulator listens on %s:%d", arguments.bind, arguments.port)
    await until_told_to_stop({})
    await runner.cleanup()
