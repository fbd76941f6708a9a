"""Whose each row is: what backups seal with an owner's key, and what is taken out of restored copies when an owner is erased."""

from collections.abc import Mapping

import apsw

_OF_MEMORY = "(SELECT m.owner_user FROM memories m WHERE m.doc = t.doc)"
_OF_NOBODY = "''"

# SQL over the row t of each table, in an order in which rows may be deleted: '' or NULL is nobody's. A column of people's names, or of what
# they said, belongs to its owner; what remains is read by whoever has the master key.
OWNERS: Mapping[str, str] = {
    "vectors": _OF_MEMORY,
    "parts": _OF_MEMORY,
    "unsplit": _OF_MEMORY,
    "terms": _OF_MEMORY,
    "parents": _OF_MEMORY,
    "revisions": "t.owner_user",
    "changes": _OF_MEMORY,
    "expiries": _OF_MEMORY,
    "memories": "t.owner_user",
    "partition_roles": "(SELECT p.owner_user FROM partitions p WHERE p.partition_id = t.partition_id)",
    "partitions": "t.owner_user",
    "imports": "t.owner_user",
    "owner_quotas": "t.owner_user",
    "owner_usage": "t.owner_user",
    "audit_people": "t.user",
    "operations": "coalesce(json_extract(t.request, '$.owner_user'), json_extract(t.request, '$.user'))",
    "audit_events": _OF_NOBODY,
    "audit_subjects": _OF_NOBODY,
    "audit_chains": _OF_NOBODY,
    "settings": _OF_NOBODY,
    "storage_samples": _OF_NOBODY,
    "spaces": _OF_NOBODY,
    "sqlite_sequence": _OF_NOBODY,
}
# Made by migrations alone.
DERIVED = frozenset({"migrations"})


def tables(connection: apsw.Connection) -> list[str]:
    """Return the tables that a backup holds, of the schema that the database has."""
    found = [
        str(name) for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
    ]
    return [name for name in found if name not in DERIVED and not name.startswith("sqlite_stat")]


def strip(connection: apsw.Connection, owner: str) -> int:
    """Delete every row of *owner*; return how many memories that were."""
    known, memories = tables(connection), 0
    for table in (name for name in OWNERS if name in known):
        connection.execute(f"DELETE FROM {table} AS t WHERE {OWNERS[table]} = ?", (owner,))  # noqa: S608  # constants
        memories += connection.changes() if table == "memories" else 0
    return memories
