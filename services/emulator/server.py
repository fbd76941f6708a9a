"""The HTTP server: routes of the connector's protocol, of REST, and of the control endpoint, over one account."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from aiohttp import web

from services.emulator.engine.account import Account
from services.emulator.protocol import login, query
from services.emulator.protocol.credentials import Credentials
from services.emulator.protocol.keys import ACCOUNT, CREDENTIALS, WORKERS
from services.emulator.rest import control, cortex, statements

LARGEST_BODY = 256 * 1024 * 1024
THREADS = 96  # statements at once; those beyond wait in a queue


def application(account: Account, credentials: Credentials) -> web.Application:
    """Return the server of *account*; the account is closed with it."""
    app = web.Application(client_max_size=LARGEST_BODY)
    app[ACCOUNT] = account
    app[CREDENTIALS] = credentials
    app[WORKERS] = ThreadPoolExecutor(THREADS, "emulator")
    app.add_routes(login.routes())
    app.add_routes(query.routes())
    for family in (cortex, statements, control):
        app.add_routes(family.routes())
    app.on_cleanup.append(_close)
    return app


async def _close(app: web.Application) -> None:
    for session in app[ACCOUNT].sessions():
        if session.record is not None:
            session.record.cancelled.set()
    app[WORKERS].shutdown(wait=False, cancel_futures=True)
    await asyncio.to_thread(app[ACCOUNT].close)


async def serve(app: web.Application, host: str, port: int) -> web.AppRunner:
    """Listen and return the runner, whose ``cleanup`` ends everything."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner
