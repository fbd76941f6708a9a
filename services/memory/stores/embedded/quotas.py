"""Usage, which triggers keep, and quotas, which every write is held to inside its transaction."""

from pathlib import Path

import apsw
import orjson

from services.memory.domain.memory import Memory
from services.memory.domain.quotas import MAX_SAMPLES, Quota, StorageSample, StorageStats, Usage

_USAGE = """
  SELECT coalesce(u.memory_count, 0), coalesce(u.content_bytes, 0), coalesce(u.revision_bytes, 0),
    coalesce(q.max_memories, 0), coalesce(q.max_content_bytes, 0)
  FROM (SELECT :owner AS owner_user) LEFT JOIN owner_usage u USING (owner_user) LEFT JOIN owner_quotas q USING (owner_user)
"""
_COUNTS = (
    "SELECT count(*) FILTER (WHERE delete_time IS NULL), count(*) FILTER (WHERE delete_time IS NOT NULL) FROM memories"
)
_SAMPLES = "SELECT day, memory_count, deleted_count, size_bytes FROM storage_samples ORDER BY day"
_FORGET_SAMPLES = """
  DELETE FROM storage_samples WHERE day NOT IN (SELECT day FROM storage_samples ORDER BY day DESC LIMIT ?)
"""


def read_usage(connection: apsw.Connection, owner: str) -> Usage:
    """Return what *owner* has stored and may store."""
    ((memories, size, former, max_memories, max_size),) = connection.execute(_USAGE, {"owner": owner})
    return Usage(owner, memories, size, former, Quota(max_memories, max_size))


def enforce(connection: apsw.Connection, owner: str, *, more_memories: bool, more_bytes: bool) -> None:
    """Raise ``QuotaExceeded`` when what this transaction has written of *owner* is too much."""
    if connection.execute("SELECT EXISTS (SELECT 1 FROM owner_quotas WHERE owner_user = ?)", (owner,)).get:
        read_usage(connection, owner).check(more_memories=more_memories, more_bytes=more_bytes)


def stored_bytes(memory: Memory) -> int:
    """Return what *memory* adds to its owner's bytes, as the triggers count it."""
    return len(memory.content.encode()) + len(orjson.dumps(memory.metadata))


def set_quota(connection: apsw.Connection, owner: str, quota: Quota) -> Quota:
    """Keep a quota; one without limits is none."""
    if quota == Quota():
        connection.execute("DELETE FROM owner_quotas WHERE owner_user = ?", (owner,))
    else:
        values = (owner, quota.max_memories, quota.max_content_bytes)
        connection.execute("INSERT OR REPLACE INTO owner_quotas VALUES (?, ?, ?)", values)
    return quota


def read_stats(connection: apsw.Connection) -> StorageStats:
    """Return what the store holds and held; files that come and go meanwhile may be missed."""
    ((alive, deleted),) = connection.execute(_COUNTS)
    folder = Path(connection.filename).parent
    sizes = [path.stat(follow_symlinks=False).st_size for path in folder.rglob("*") if path.is_file()]
    samples = (StorageSample(*row) for row in connection.execute(_SAMPLES))
    return StorageStats(alive, deleted, sum(sizes), tuple(samples))


def keep_sample(connection: apsw.Connection, day: str, stats: StorageStats) -> StorageStats:
    """Keep *stats* as what the store held on *day*, in place of what was seen earlier that day."""
    values = (day, stats.memory_count, stats.deleted_count, stats.size_bytes)
    connection.execute("INSERT OR REPLACE INTO storage_samples VALUES (?, ?, ?, ?)", values)
    connection.execute(_FORGET_SAMPLES, (MAX_SAMPLES,))
    return stats
