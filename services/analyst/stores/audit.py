"""Audit events that wait in the analyst's database."""

import secrets
from collections.abc import Sequence
from typing import Any

import apsw
import orjson

from services.analyst.domain.audit import Entry
from services.analyst.stores.database import Database, time_us, us_time

_INSERT = """
  INSERT INTO audit_outbox (actor, method, outcome, resource_ids, trace_id, happened_at) VALUES (?, ?, ?, ?, ?, ?)
"""


class EmbeddedOutbox:
    """Keeps events until they were sent. A chain belongs to one data folder."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, entries: Sequence[Entry]) -> None:
        """Put entries at the end."""
        rows = [
            (
                *(entry.actor, entry.method, entry.outcome),
                *(orjson.dumps(entry.resource_ids).decode(), entry.trace_id, time_us(entry.at)),
            )
            for entry in entries
        ]

        def work(connection: apsw.Connection) -> None:
            connection.executemany(_INSERT, rows)

        await self._database.write(work)

    async def first(self, limit: int) -> tuple[str, list[tuple[int, Entry]]]:
        """Return the writer's id and the first entries with their numbers."""

        def work(connection: apsw.Connection) -> tuple[str, list[tuple[int, Entry]]]:
            rows: list[Any] = connection.execute("SELECT * FROM audit_outbox ORDER BY seq LIMIT ?", (limit,)).fetchall()
            entries = [(int(row[0]), _entry(row)) for row in rows]
            return _writer(connection), entries

        return await self._database.write(work)

    async def sent(self, last_seq: int) -> None:
        """Forget entries up to *last_seq*."""
        await self._database.write(
            lambda connection: connection.execute("DELETE FROM audit_outbox WHERE seq <= ?", (last_seq,)).fetchall()
        )

    async def rename(self, actor: str, to: str) -> None:
        """Put *to* in the place of *actor*."""
        await self._database.write(
            lambda connection: connection.execute(
                "UPDATE audit_outbox SET actor = ? WHERE actor = ?", (to, actor)
            ).fetchall()
        )

    async def begin_anew(self) -> None:
        """Start a new chain: what waits is numbered from 1, under another writer's id."""

        def work(connection: apsw.Connection) -> None:
            columns = "actor, method, outcome, resource_ids, trace_id, happened_at"
            waiting = connection.execute(f"SELECT {columns} FROM audit_outbox ORDER BY seq").fetchall()  # noqa: S608
            connection.execute("DELETE FROM audit_outbox")
            connection.execute("DELETE FROM sqlite_sequence WHERE name = 'audit_outbox'")
            connection.execute("DELETE FROM settings WHERE name = 'audit_writer'")
            connection.executemany(_INSERT, waiting)

        await self._database.write(work)


def _entry(row: tuple[Any, ...]) -> Entry:
    return Entry(row[1], row[2], row[3], tuple(orjson.loads(row[4])), row[5], us_time(row[6]))


def _writer(connection: apsw.Connection) -> str:
    """Return the id of this folder's chain, made at the first use."""
    made = f"analyst/{secrets.token_hex(16)}".encode()
    connection.execute("INSERT OR IGNORE INTO settings VALUES ('audit_writer', ?)", (made,))
    return bytes(connection.execute("SELECT value FROM settings WHERE name = 'audit_writer'").get).decode()
