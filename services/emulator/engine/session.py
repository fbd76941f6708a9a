"""A session that can run statements: transactions, sequences, and small questions to the engine."""

from dataclasses import dataclass
from typing import Any

from services.emulator import errors
from services.emulator.engine.sessions import Session
from services.emulator.engine.store import Store, Transaction


@dataclass(slots=True)
class LiveSession(Session):
    """A session joined to its account."""

    account: Any = None
    record: Any = None  # history record of the statement under way

    @property
    def store(self) -> Store:
        return self.account.store  # type: ignore[no-any-return]

    def evaluate(self, sql: str) -> Any:
        """Return one value of the engine, for constants that compiling needs."""
        row = next(iter(self.cursor.execute(f"SELECT {sql}").fetchall()), None)
        return row[0] if row else None

    def statement_commits(self, query_id: str) -> tuple[int, int] | None:
        """Return the commits before and after a statement."""
        record = self.account.history.get(query_id)
        return record.commits if record is not None and record.status != "RUNNING" else None

    def begin(self, name: str = "") -> Transaction:
        if self.transaction is None:
            self.transaction = self.store.begin(name)
        return self.transaction

    def finish(self, *, keep: bool) -> None:
        """Commit or roll back the transaction, if there is one."""
        transaction, self.transaction, self.implicit = self.transaction, None, False
        if transaction is not None:
            self.store.finish(transaction, keep=keep)
            self.account.locks.release(transaction)

    def writing_transaction(self) -> Transaction | None:
        """Return the transaction that a write belongs to, beginning one where AUTOCOMMIT is off."""
        if self.transaction is None and not self.parameter("AUTOCOMMIT"):
            self.implicit = True
            return self.begin()
        return self.transaction

    def commit_for_ddl(self) -> None:
        """DDL commits what is open, docs: transactions, "DDL"."""
        self.finish(keep=True)

    def lock_table(self, table: Any, holder: object) -> None:
        record = self.record
        self.account.locks.take(
            table.physical,
            table.name,
            holder,
            record.query_id,
            timeout_s=float(self.parameter("LOCK_TIMEOUT")),
            cancelled=record.cancelled,
        )

    def end(self) -> None:
        """Roll back, and drop temporary tables."""
        self.closed = True
        self.finish(keep=False)
        for table in list(self.temporary.values()):
            self.store.execute(f"DROP TABLE IF EXISTS {table.physical}")
        self.temporary.clear()

    def next_value(self, thing: Any) -> int:
        """Return the next number of a sequence."""
        with self.catalog.lock:
            value = int(thing.facts["next"])
            thing.facts["next"] = value + int(thing.facts["increment"])
            thing.facts["used"] = True
        self.sequences[".".join(thing.path)] = value
        return value

    def refuse_closed(self) -> None:
        if self.closed:
            raise errors.SqlError(
                390111, "08001", "Session no longer exists.  New login required to access the service."
            )
