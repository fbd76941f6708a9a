"""A new embedding space filled beside the active one, and put in its place: the adapter of ``SpaceStore``."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import apsw

from services.memory.domain.spaces import Filling, Spaces, Unfilled
from services.memory.stores.embedded.changes import PreparedText, check_embedding, index_entry
from services.memory.stores.embedded.entry import IndexChange, Removal, partition_key
from services.memory.stores.embedded.rows import read_embedding, read_row
from services.memory.stores.embedded.spaces import find_space, write_vector
from services.memory.stores.embedded.terms import read_terms
from services.memory.stores.embedded.writer import Ground

Found = TypeVar("Found")

_LACKS = """
  (NOT EXISTS (SELECT 1 FROM vectors v WHERE v.doc = m.doc AND v.space_id = :space)
   OR EXISTS (SELECT 1 FROM unsplit u WHERE u.doc = m.doc AND u.space_id = :space))
"""
_UNFILLED = f"""
  SELECT m.doc, (SELECT max(v.revision) FROM vectors v WHERE v.doc = m.doc), m.content FROM memories m
  WHERE m.doc > :after AND {_LACKS} ORDER BY m.doc LIMIT :limit
"""  # noqa: S608  # built of constants
_COUNT = f"SELECT count(*) FROM memories m WHERE {_LACKS}"  # noqa: S608  # built of constants
_ANY = f"SELECT EXISTS (SELECT 1 FROM memories m WHERE {_LACKS})"  # noqa: S608  # built of constants
# The revision of the content, and whether there is nothing to do in the space.
_STATE = f"""
  SELECT m.memory_id, (SELECT max(v.revision) FROM vectors v WHERE v.doc = m.doc), NOT {_LACKS} FROM memories m WHERE m.doc = :doc
"""  # noqa: S608  # built of constants
_STALE = """
  SELECT v.doc, v.space_id FROM vectors v
  WHERE v.space_id NOT IN (:active, :target)
    AND EXISTS (SELECT 1 FROM vectors a WHERE a.doc = v.doc AND a.space_id = :active)
  LIMIT :limit
"""


class Host(Protocol):
    """What of the store this uses."""

    async def read(self, read: Callable[[apsw.Connection], Found]) -> Found: ...
    async def run(self, task: Callable[[Ground], Found]) -> Found: ...


class EmbeddedSpaces:
    """A ``SpaceStore`` over the rows of *host*; *shown* tells which spaces its indexes show."""

    def __init__(self, host: Host, shown: Callable[[], Spaces]) -> None:
        self._host = host
        self._shown = shown

    async def current(self) -> Spaces:
        """Return the spaces."""
        return self._shown()

    async def set_target(self, space: str) -> None:
        """Declare which space is being filled."""
        await self._host.run(lambda ground: set_target(ground, space))

    async def count_unfilled(self, space: str) -> tuple[int, int]:
        """Return how many memories lack a vector, and how many there are."""
        return await self._host.read(lambda connection: count_unfilled(connection, space))

    async def unfilled(self, space: str, after: int, limit: int, max_bytes: int) -> Sequence[Unfilled]:
        """Return the next that lack one."""
        return await self._host.read(lambda connection: read_unfilled(connection, space, after, (limit, max_bytes)))

    async def fill(self, fillings: Sequence[Filling]) -> int:
        """Keep what is not out of date."""
        await asyncio.to_thread(_check, fillings)
        return await self._host.run(lambda ground: fill(ground, fillings))

    async def switch(self) -> bool:
        """Make the target the active space, if it is whole."""
        return await self._host.run(switch)

    async def sweep(self, limit: int) -> int:
        """Drop some vectors that nothing is compared with any more."""
        stale = await self._host.read(lambda connection: read_stale(connection, self._shown(), limit))
        return await self._host.run(lambda ground: drop(ground, stale)) if stale else 0


def _check(fillings: Sequence[Filling]) -> None:
    for filling in fillings:
        check_embedding(filling.embedding)


def set_target(ground: Ground, space: str) -> Spaces:
    """Declare which space is being filled; the active one needs no declaring."""
    spaces = ground.changes.spaces
    ground.changes.set_spaces(replace(spaces, target="" if space == spaces.active else space))
    return ground.changes.spaces


def count_unfilled(connection: apsw.Connection, space: str) -> tuple[int, int]:
    """Return how many rows lack a vector in *space*, and how many rows there are."""
    lacking = int(connection.execute(_COUNT, {"space": find_space(connection, space)}).get)
    return lacking, int(connection.execute("SELECT count(*) FROM memories").get)


def read_unfilled(connection: apsw.Connection, space: str, after: int, most: tuple[int, int]) -> list[Unfilled]:
    """Return the next rows that lack a vector in *space*, at most so many and of so many bytes."""
    limit, max_bytes = most
    found: list[Unfilled] = []
    size = 0
    bindings = {"space": find_space(connection, space), "after": after, "limit": limit}
    for doc, revision, content in connection.execute(_UNFILLED, bindings):
        size += len(content.encode())
        if found and size > max_bytes:
            break
        found.append(Unfilled(doc, revision or 0, content))
    return found


def fill(ground: Ground, fillings: Sequence[Filling]) -> int:
    """Write those fillings whose contents are still the same, and show them."""
    spaces = ground.changes.spaces
    wanted = [filling for filling in fillings if filling.embedding.space in {spaces.active, spaces.target}]
    return sum(_fill_one(ground, filling) for filling in wanted)


def _fill_one(ground: Ground, filling: Filling) -> bool:
    connection, doc = ground.connection, filling.number
    bindings = {"doc": doc, "space": find_space(connection, filling.embedding.space)}
    state = connection.execute(_STATE, bindings).fetchone()
    if state is None or (state[1] or 0) != filling.revision or state[2]:
        return False
    write_vector(connection, doc, filling.revision, filling.embedding)
    stored = read_row(connection, doc)
    if stored.memory.delete_time is None:
        text = PreparedText(*read_terms(connection, doc), stored.memory.size_bytes)
        entry = index_entry(doc, stored.memory, text, read_embedding(connection, doc))
        ground.index_changes.append(IndexChange(Removal(partition_key(stored.memory), doc), entry))
    return True


def switch(ground: Ground) -> bool:
    """Make the target the active space, unless a row lacks a vector there."""
    target = ground.changes.spaces.target
    lacking = ground.connection.execute(_ANY, {"space": find_space(ground.connection, target)}).get
    if not target or lacking:
        return False
    ground.changes.set_spaces(Spaces(target))
    return True


def read_stale(connection: apsw.Connection, spaces: Spaces, limit: int) -> list[tuple[Any, ...]]:
    """Return rows and spaces of vectors that nothing is compared with any more."""
    active, target = (find_space(connection, name) for name in (spaces.active, spaces.target))
    return connection.execute(_STALE, {"active": active, "target": target, "limit": limit}).fetchall()


def drop(ground: Ground, stale: Sequence[tuple[Any, ...]]) -> int:
    """Delete vectors, each by row and space; from now on their memories say that they lie in the active space."""
    active = ground.changes.spaces.active
    for doc, space_id in stale:
        ground.connection.execute("DELETE FROM vectors WHERE doc = ? AND space_id = ?", (doc, space_id))
        ground.connection.execute(
            "UPDATE memories SET embedding_space = ? WHERE doc = ? AND embedding_space <> ?", (active, doc, active)
        )
    return len(stale)
