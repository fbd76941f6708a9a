"""A change to one table: takes the lock, writes versions under one mark, and lets go."""

from types import TracebackType
from typing import Self

import duckdb
import pyarrow as pa

from services.emulator import errors
from services.emulator.engine.objects import Column, Table
from services.emulator.engine.session import LiveSession
from services.emulator.engine.store import OPEN, Transaction
from services.emulator.sql.names import shown


def writable(session: LiveSession, parts: tuple[str, ...], privilege: str) -> Table:
    """Return the table that a statement writes, or refuse: absent, a view, or without the right."""
    table = session.find_table(parts)
    if table.is_view:
        raise errors.compilation(1003, "42601", f"Object '{shown(table.name)}' is a view and cannot be changed.")
    if not session.allowed(privilege, "TABLE", ".".join(table.path), table.owner):
        seen = session.allowed("SELECT", "TABLE", ".".join(table.path), table.owner)
        raise errors.privileges("table", shown(table.name)) if seen else errors.missing("Object", shown(table.name))
    return table


class Change:
    """One statement's change of one table. Use as a context; leaving it commits unless a transaction is open."""

    def __init__(self, session: LiveSession, table: Table, *, locking: bool = False) -> None:
        self._session = session
        self.table = table
        self._locking = locking
        self._transaction: Transaction | None = session.writing_transaction()
        self._holder: object = self._transaction or object()

    def __enter__(self) -> Self:
        if self._locking:
            self._session.lock_table(self.table, self._holder)
        if self._transaction is not None:
            self._transaction.tables.add(self.table.physical)
        self._session.record.modified = (*self._session.record.modified, ".".join(self.table.path))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._transaction is None:
            self._session.account.locks.release(self._holder)

    @property
    def _sight(self) -> str:
        return self._session.view(self._session.store.commit).where()

    def stage(self, sql: str) -> int:
        """Compute which rows change and their new values, before anything is written; return how many were found."""
        self._rows = self._session.cursor.sql(sql).to_arrow_table()
        return int(self._rows.num_rows)

    def add(self, columns: list[Column], source: str, defaults: dict[str, str]) -> int:
        """Insert the rows of *source*."""
        names = [column.physical for column in columns] + list(defaults)
        picks = ", ".join([f"n.{column.physical}" for column in columns] + list(defaults.values()))
        rows = self._session.cursor.sql(f"SELECT {picks} FROM ({source}) AS n").to_arrow_table()
        return self._append(names, rows)

    def _append(self, names: list[str], rows: object) -> int:
        with self._session.store.writing(self._transaction) as (engine, mark):
            engine.register("incoming", rows)
            return self._count(
                engine,
                f"INSERT INTO {self.table.physical} ({', '.join(names)}, b, e) SELECT *, {mark}, {OPEN} FROM incoming",
            )

    def end_all(self) -> int:
        with self._session.store.writing(self._transaction) as (engine, mark):
            return self._count(engine, f"UPDATE {self.table.physical} SET e = {mark} WHERE {self._sight}")

    def end_staged(self) -> int:
        """End the versions that ``stage`` found."""
        with self._session.store.writing(self._transaction) as (engine, mark):
            engine.register("staged", self._rows)
            return self._end(engine, mark)

    def _end(self, engine: duckdb.DuckDBPyConnection, mark: int) -> int:
        return self._count(
            engine, f"UPDATE {self.table.physical} SET e = {mark} WHERE rowid IN (SELECT rid FROM staged)"
        )

    def replace(self, columns: list[Column]) -> int:
        """End the staged versions and begin new ones that differ in *columns*; of several new values one is taken."""
        with self._session.store.writing(self._transaction) as (engine, mark):
            engine.register("staged", self._rows)
            changed = {column.physical for column in columns}
            picks = ", ".join(
                f"s.{column.physical}" if column.physical in changed else f"t.{column.physical}"
                for column in self.table.columns
            )
            names = ", ".join(column.physical for column in self.table.columns)
            once = "SELECT * FROM staged QUALIFY row_number() OVER (PARTITION BY rid) = 1"
            engine.execute(
                f"INSERT INTO {self.table.physical} ({names}, b, e) SELECT {picks}, {mark}, {OPEN} FROM {self.table.physical} AS t JOIN ({once}) AS s ON t.rowid = s.rid"
            )
            return self._end(engine, mark)

    @staticmethod
    def _count(engine: duckdb.DuckDBPyConnection, sql: str) -> int:
        done = next(iter(engine.execute(sql).fetchall()), None)
        return int(done[0]) if done else 0

    def apply(self, clauses: list[tuple[str, list[Column], pa.Table]]) -> dict[str, int]:
        """Write the staged clauses of a MERGE as one commit; return how many rows each kind changed."""
        done = {"number_of_rows_inserted": 0, "number_of_rows_updated": 0, "number_of_rows_deleted": 0}
        with self._session.store.writing(self._transaction) as (engine, mark):
            for kind, columns, rows in clauses:
                engine.register("staged", rows)
                done[f"number_of_rows_{kind.lower().rstrip('e')}ed"] += self._clause(engine, mark, kind, columns)
        return done

    def _clause(self, engine: duckdb.DuckDBPyConnection, mark: int, kind: str, columns: list[Column]) -> int:
        if kind == "INSERT":
            names = ", ".join(column.physical for column in columns)
            return self._count(
                engine, f"INSERT INTO {self.table.physical} ({names}, b, e) SELECT *, {mark}, {OPEN} FROM staged"
            )
        if kind == "UPDATE":
            changed = {column.physical for column in columns}
            picks = ", ".join(
                f"s.{column.physical}" if column.physical in changed else f"t.{column.physical}"
                for column in self.table.columns
            )
            names = ", ".join(column.physical for column in self.table.columns)
            once = "SELECT * FROM staged QUALIFY row_number() OVER (PARTITION BY rid) = 1"
            engine.execute(
                f"INSERT INTO {self.table.physical} ({names}, b, e) SELECT {picks}, {mark}, {OPEN} "
                f"FROM {self.table.physical} AS t JOIN ({once}) AS s ON t.rowid = s.rid"
            )
        return self._end(engine, mark)
