"""Expiries as changes: table ``expiries`` holds, kept by triggers, what will expire and was not told yet."""

import apsw

from services.memory.stores.embedded.entry import IndexChange, Removal, partition_key
from services.memory.stores.embedded.rows import COLUMNS, Row, row_to_memory, time_us
from services.memory.stores.embedded.writer import Ground

_DUE = "SELECT EXISTS (SELECT 1 FROM expiries WHERE expires_at <= ?)"
_NEXT = "SELECT doc FROM expiries WHERE expires_at <= ? ORDER BY expires_at, doc LIMIT ?"
_TAKE = "DELETE FROM expiries WHERE doc = ?"
# The change that created a row bears its number; what had expired by then was never there for anyone.
_LIVED = f"""
  SELECT {COLUMNS} FROM memories m LEFT JOIN changes c ON c.seq = m.doc
  WHERE m.doc = ? AND coalesce(c.at, m.created_at) < m.expires_at
"""  # noqa: S608  # built of constants
_TELL = """
  INSERT INTO changes (seq, memory_id, revision, kind, at, partition_before, partition_after, doc) VALUES (?, ?, ?, 'EXPIRED', ?, ?, 0, ?)
"""


def is_due(connection: apsw.Connection, now_us: int) -> bool:
    """Say whether there is anything to tell."""
    return bool(connection.execute(_DUE, (now_us,)).get)


def tell_expired(ground: Ground, now_us: int, limit: int) -> int:
    """Make changes of the next expiries; return how many were looked at."""
    due: list[Row] = ground.connection.execute(_NEXT, (now_us, limit)).fetchall()
    for (doc,) in due:
        ground.connection.execute(_TAKE, (doc,))
        row = ground.connection.execute(_LIVED, (doc,)).fetchone()
        if row is not None:
            _tell(ground, row)
    return len(due)


def _tell(ground: Ground, row: Row) -> None:
    stored = row_to_memory(row)
    memory = stored.memory
    assert memory.expires_at is not None  # noqa: S101  # the statement asks for it
    ground.changes.seq += 1
    at = time_us(memory.expires_at)
    values = (ground.changes.seq, memory.memory_id, memory.revision, at, stored.partition_id, stored.doc)
    ground.connection.execute(_TELL, values)
    ground.index_changes.append(IndexChange(Removal(partition_key(memory), stored.doc), None))
