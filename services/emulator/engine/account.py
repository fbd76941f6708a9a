"""The account: catalogue, rows, sessions, history and the faults asked for. One for each process."""

import itertools
import threading
from pathlib import Path

from services.emulator import errors
from services.emulator.engine import persistence
from services.emulator.engine.catalog import Catalog, founded
from services.emulator.engine.faults import Faults
from services.emulator.engine.history import History, Record
from services.emulator.engine.locks import Locks
from services.emulator.engine.session import LiveSession
from services.emulator.engine.store import Store
from services.emulator.engine.watchdog import Watchdog


class Account:
    """Everything behind one port."""

    def __init__(
        self,
        *,
        name: str = "test",
        user: str = "TEST",
        password: str = "test",  # noqa: S107 - known to all: the account is for trials
        data: Path | None = None,
    ) -> None:
        self.name = name.upper()
        self.store = Store(data)
        body = self.store.saved()
        self.catalog: Catalog = persistence.loaded(body) if body else founded(user.upper(), password)
        self.history = History()
        self.store.provide("sf_next", self._next, ["VARCHAR", "DOUBLE"], "BIGINT")
        self.locks = Locks()
        self.watchdog = Watchdog()
        self.faults = Faults()
        self._ids = itertools.count(1)
        self._sessions: dict[int, LiveSession] = {}
        self._guard = threading.Lock()

    def open_session(self, user: str, role: str) -> LiveSession:
        """Return a new session; names are checked by who signed the user in."""
        session = LiveSession(session_id=next(self._ids), user=user, role=role, catalog=self.catalog, account=self)
        session.cursor = self.store.cursor()
        with self._guard:
            self._sessions[session.session_id] = session
        return session

    def session(self, session_id: int) -> LiveSession:
        with self._guard:
            found = self._sessions.get(session_id)
        if found is None:
            raise errors.SqlError(
                390111, "08001", "Session no longer exists.  New login required to access the service."
            )
        return found

    def sessions(self) -> list[LiveSession]:
        with self._guard:
            return list(self._sessions.values())

    def close_session(self, session: LiveSession) -> None:
        """End *session*: its open transaction is rolled back and its temporary tables go."""
        with self._guard:
            self._sessions.pop(session.session_id, None)
        session.end()

    def _next(self, name: str, _salt: float) -> int:
        """Return the next number of the sequence *name*; the salt keeps the engine from asking once for all rows."""
        with self.catalog.lock:
            thing = self.catalog.account_things.get(("IDENTITY", name))
            if thing is None:
                database, schema, plain = name.split(".")
                thing = self.catalog.schema(database, schema).things["SEQUENCE", plain]
            value = int(thing.facts["next"])
            thing.facts["next"] = value + int(thing.facts["increment"])
        return value

    def save(self) -> None:
        """Keep the catalogue; every change of it ends here."""
        if self.store.folder is not None:
            self.store.save(persistence.dumped(self.catalog))

    def before(self, session: LiveSession, record: Record) -> None:
        """Do what faults on demand ask for before a statement runs: wait, or refuse."""
        self.faults.statement(session, record)

    def close(self) -> None:
        self.watchdog.close()
        for session in self.sessions():
            self.close_session(session)
        self.store.close()
