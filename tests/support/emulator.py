"""An emulator on a free loopback port, in a thread of this process, and connections of the real connector to it."""

import asyncio
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import snowflake.connector

from services.emulator.engine.account import Account
from services.emulator.protocol.credentials import Credentials
from services.emulator.server import application, serve


class Emulator:
    """A running emulator."""

    def __init__(self, account: Account, credentials: Credentials, port: int) -> None:
        self.account = account
        self.credentials = credentials
        self.port = port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self, **more: Any) -> Any:
        """Return a connection of the installed connector; the administrator's unless told otherwise."""
        facts = {"host": "127.0.0.1", "port": self.port, "protocol": "http", "account": "test", "user": "TEST"}
        if "authenticator" not in more:
            facts["password"] = "test"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return snowflake.connector.connect(**{**facts, **more})


@contextmanager
def emulator(data: Path | None = None) -> Iterator[Emulator]:
    """Run an emulator for as long as the context lasts."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="emulator-under-test")
    thread.start()

    def call(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(60)

    account = Account(data=data)
    credentials = Credentials(account)
    runner = call(serve(application(account, credentials), "127.0.0.1", 0))
    try:
        yield Emulator(account, credentials, runner.addresses[0][1])
    finally:
        call(runner.cleanup())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
