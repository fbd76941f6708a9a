"""Embedding spaces as rows: their numbers, which one is active, and vectors in them."""

import apsw
import numpy as np

from services.memory.domain.memory import Embedding
from services.memory.domain.spaces import Spaces
from services.memory.stores.embedded.parts import write_parts
from services.mesh.errors import InvalidInput

_SETTINGS = {"active": "active_space", "target": "target_space"}


def read_spaces(connection: apsw.Connection) -> Spaces:
    """Return the spaces as they are set."""
    rows = dict(connection.execute("SELECT name, value FROM settings WHERE name IN ('active_space', 'target_space')"))
    return Spaces(**{field: rows.get(name, "") for field, name in _SETTINGS.items()})


def write_spaces(connection: apsw.Connection, spaces: Spaces) -> None:
    """Set the spaces."""
    for field, name in _SETTINGS.items():
        connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, getattr(spaces, field)))


def find_space(connection: apsw.Connection, name: str) -> int:
    """Return a space's number, 0 for one that no vector was ever of."""
    return int(connection.execute("SELECT coalesce(max(space_id), 0) FROM spaces WHERE name = ?", (name,)).get)


def write_vector(connection: apsw.Connection, doc: int, revision: int, embedding: Embedding) -> None:
    """Put the vector of a row, and those of its parts, in the place of those that it has in this space."""
    vector = np.asarray(embedding.vector, "<f4")
    space_id = _space_id(connection, embedding.space, len(vector))
    connection.execute("DELETE FROM vectors WHERE doc = ? AND space_id = ?", (doc, space_id))
    connection.execute("INSERT INTO vectors VALUES (?, ?, ?, ?)", (doc, revision, space_id, vector.tobytes()))
    if embedding.parts:
        write_parts(connection, doc, revision, space_id, embedding.parts)


def _space_id(connection: apsw.Connection, name: str, dimension: int) -> int:
    found = connection.execute("SELECT space_id, dimension FROM spaces WHERE name = ?", (name,)).fetchone()
    if found is None:
        created = connection.execute(
            "INSERT INTO spaces (name, dimension) VALUES (?, ?) RETURNING space_id", (name, dimension)
        )
        return int(created.get)
    if found[1] != dimension:
        raise InvalidInput(f"vectors of space {name!r} have {found[1]} dimensions, this one has {dimension}")
    return int(found[0])
