"""The retention policy, and what is due by it; looked up by readers, so that the writer scans nothing."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import apsw
import orjson

from services.memory.domain.retention import Cutoffs, Due, RetentionPolicy
from services.memory.stores.embedded.erasure import CHOSEN, erase_memories
from services.memory.stores.embedded.rows import read_row, time_us
from services.memory.stores.embedded.writer import Ground

_STALE = "delete_time IS NULL AND updated_at < ?"
_HIDDEN = "delete_time < ?"
_AMONG = "doc IN (SELECT value FROM json_each(?))"
_NEVER = -1  # no time is before it


def read_policy(connection: apsw.Connection) -> RetentionPolicy:
    """Return the policy; an empty one when none was set."""
    kept = connection.execute("SELECT value FROM settings WHERE name = 'retention'").get
    return RetentionPolicy() if kept is None else RetentionPolicy(**orjson.loads(kept))


def set_policy(connection: apsw.Connection, policy: RetentionPolicy) -> RetentionPolicy:
    """Keep a policy."""
    connection.execute("INSERT OR REPLACE INTO settings VALUES ('retention', ?)", (orjson.dumps(policy).decode(),))
    return policy


def count_due(connection: apsw.Connection, cutoffs: Cutoffs) -> Due:
    """Count what is due."""
    times = [_NEVER if time is None else time_us(time) for time in (cutoffs.archive, cutoffs.purge)]
    counts = [
        int(connection.execute(f"SELECT count(*) FROM memories WHERE {condition}", (time,)).get)  # noqa: S608  # constants
        for condition, time in zip((_STALE, _HIDDEN), times, strict=True)
    ]
    return Due(*counts)


def find_stale(connection: apsw.Connection, cutoff: datetime, limit: int) -> list[int]:
    """Return rows that are due to be archived."""
    return _docs(connection, _STALE, cutoff, limit)


def find_hidden(connection: apsw.Connection, cutoff: datetime, limit: int) -> list[int]:
    """Return rows that are due to be purged."""
    return _docs(connection, _HIDDEN, cutoff, limit)


def _docs(connection: apsw.Connection, condition: str, cutoff: datetime, limit: int) -> list[int]:
    statement = f"SELECT doc FROM memories WHERE {condition} LIMIT ?"  # noqa: S608  # built of constants
    return [row[0] for row in connection.execute(statement, (time_us(cutoff), limit))]


def archive(ground: Ground, docs: Sequence[int], cutoff: datetime, now: datetime) -> int:
    """Hide those of *docs* that are still due."""
    statement = f"SELECT doc FROM memories WHERE {_AMONG} AND {_STALE}"  # noqa: S608  # built of constants
    due = list(ground.connection.execute(statement, (orjson.dumps(docs).decode(), time_us(cutoff))))
    for (doc,) in due:
        stored = read_row(ground.connection, doc)
        hidden = ground.changes.hide(stored, now, "ARCHIVED").index_change
        ground.index_changes.extend([hidden] if hidden else [])
    return len(due)


def purge(ground: Ground, docs: Sequence[int], cutoff: datetime) -> int:
    """Remove those of *docs* that are still due."""
    statement = f"{CHOSEN} WHERE {_AMONG} AND {_HIDDEN}"
    rows = list(ground.connection.execute(statement, (orjson.dumps(docs).decode(), time_us(cutoff))))
    erase_memories(ground, "", rows, Counter())
    return len(rows)
