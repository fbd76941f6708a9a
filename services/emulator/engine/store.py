"""Rows as versions in DuckDB: each carries the commit that began it and the commit that ended it.

What a statement sees is a predicate on the two, so AT, BEFORE, READ COMMITTED and rolling back need no copies. Writes to the engine
happen one at a time; reads run beside them, each on the last published commit.
"""

import bisect
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from services.emulator.engine.objects import Table
from services.emulator.sql import runtime

OPEN = 1 << 62  # end of a version that still stands
FIRST_TRANSACTION = 1 << 61  # marks from here to OPEN belong to transactions under way


@dataclass(slots=True, eq=False)
class Transaction:
    """Work of one session that others do not see yet."""

    mark: int
    started: float = field(default_factory=time.time)
    tables: set[str] = field(default_factory=set)
    name: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """What a statement may see: all up to ``commit``, and what ``mark`` did."""

    commit: int
    mark: int = 0

    def where(self, alias: str = "") -> str:
        """Return the predicate of versions in sight."""
        begin, end = f"{alias}b", f"{alias}e"
        if not self.mark:
            return f"{begin} <= {self.commit} AND {end} > {self.commit}"
        return f"({begin} <= {self.commit} OR {begin} = {self.mark}) AND {end} > {self.commit} AND {end} <> {self.mark}"


class Store:
    """The engine and its commits."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._root = duckdb.connect(str(folder / "rows.duckdb") if folder else ":memory:")
        self._writer = threading.RLock()
        self._next_mark = FIRST_TRANSACTION
        runtime.install(self._root)
        self._root.execute("CREATE TABLE IF NOT EXISTS commits (seq BIGINT, moment DOUBLE)")
        self._root.execute("CREATE TABLE IF NOT EXISTS catalog (body VARCHAR)")
        rows = self._root.execute("SELECT seq, moment FROM commits ORDER BY seq").fetchall()
        self._numbers: list[int] = [row[0] for row in rows] or [0]
        self._times: list[float] = [row[1] for row in rows] or [0.0]
        self._forget_unfinished()

    @property
    def commit(self) -> int:
        """The last commit that all may see."""
        return self._numbers[-1]

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a connection of its own to the same rows; a session has one."""
        return self._root.cursor()

    def provide(self, name: str, function: Callable[..., Any], arguments: list[str], result: str) -> None:
        """Give the engine a function that is not pure: it runs for every row."""
        self._root.create_function(name, function, list(arguments), duckdb.type(result), side_effects=True)

    def begin(self, name: str = "") -> Transaction:
        with self._writer:
            self._next_mark += 1
            return Transaction(self._next_mark, name=name)

    def commit_at(self, moment: float) -> int:
        """Return the last commit that had happened at *moment*, in seconds since 1970."""
        return self._numbers[max(0, bisect.bisect_right(self._times, moment) - 1)]

    @property
    def oldest(self) -> float:
        return self._times[0]

    @contextmanager
    def writing(self, transaction: Transaction | None) -> Iterator[tuple[duckdb.DuckDBPyConnection, int]]:
        """Lend the engine for one write and the mark for its versions; without a transaction it commits at the end."""
        with self._writer:
            number = self.commit + 1
            self._root.execute("BEGIN")
            try:
                yield self._root, transaction.mark if transaction else number
                if transaction is None:
                    moment = self._record(number)
                self._root.execute("COMMIT")
            except BaseException:
                self._root.execute("ROLLBACK")
                raise
            if transaction is None:
                self._publish(number, moment)

    def finish(self, transaction: Transaction, *, keep: bool) -> None:
        """Commit or roll back all that *transaction* wrote."""
        if not transaction.tables:
            return
        with self._writer:
            number = self.commit + 1
            self._root.execute("BEGIN")
            for table in sorted(transaction.tables):
                if not self._stands(table):
                    continue
                if keep:
                    self._root.execute(f"UPDATE {table} SET b = {number} WHERE b = {transaction.mark}")
                    self._root.execute(f"UPDATE {table} SET e = {number} WHERE e = {transaction.mark}")
                else:
                    self._root.execute(f"DELETE FROM {table} WHERE b = {transaction.mark}")
                    self._root.execute(f"UPDATE {table} SET e = {OPEN} WHERE e = {transaction.mark}")
            moment = self._record(number) if keep else 0.0
            self._root.execute("COMMIT")
            if keep:
                self._publish(number, moment)

    def create(self, table: Table) -> None:
        """Make the physical table of *table*."""
        columns = [
            f"{column.physical} {column.type.physical}{'' if column.nullable else ' NOT NULL'}"
            for column in table.columns
        ]
        self.execute(f"CREATE TABLE {table.physical} ({', '.join([*columns, 'b BIGINT', 'e BIGINT'])})")

    def execute(self, sql: str) -> None:
        """Run one change of the engine's schema."""
        with self._writer:
            self._root.execute(sql)

    def save(self, body: str) -> None:
        """Keep the catalogue beside the rows."""
        if self.folder is None:
            return
        with self._writer:
            self._root.execute("BEGIN")
            self._root.execute("DELETE FROM catalog")
            self._root.execute("INSERT INTO catalog VALUES (?)", [body])
            self._root.execute("COMMIT")

    def saved(self) -> str:
        row = next(iter(self._root.execute("SELECT body FROM catalog").fetchall()), None)
        return str(row[0]) if row else ""

    def close(self) -> None:
        with self._writer:
            self._root.close()

    def _stands(self, table: str) -> bool:
        found = next(
            iter(self._root.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = ?", [table]).fetchall()),
            None,
        )
        return bool(found and found[0])

    def _record(self, number: int) -> float:
        moment = max(time.time(), self._times[-1])
        self._root.execute("INSERT INTO commits VALUES (?, ?)", [number, moment])
        return moment

    def _publish(self, number: int, moment: float) -> None:
        self._times.append(moment)
        self._numbers.append(number)

    def _forget_unfinished(self) -> None:
        """Roll back what was under way when the process ended."""
        tables: list[Any] = self._root.execute(
            "SELECT table_name FROM duckdb_tables() WHERE table_name SIMILAR TO 't[0-9]+'"
        ).fetchall()
        for (table,) in tables:
            self._root.execute(f"DELETE FROM {table} WHERE b >= {FIRST_TRANSACTION}")
            self._root.execute(f"UPDATE {table} SET e = {OPEN} WHERE e >= {FIRST_TRANSACTION} AND e <> {OPEN}")
