"""Neighbours over the rows: of each partition that the caller may see, a stretch of an index on either side of a hit."""

import heapq
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import apsw

from services.memory.domain.memory import Memory
from services.memory.domain.neighbors import NeighborPlan, moment_of, place_of, within
from services.memory.stores.embedded.database import transaction
from services.memory.stores.embedded.rows import (
    LIVE,
    VALID,
    VISIBLE_PARTITIONS,
    Bindings,
    access_bindings,
    read_many,
    time_us,
    to_us,
)
from services.memory.stores.embedded.schema import MOMENT, PLACE
from services.mesh.caller import Caller

# Those of the partitions that can hold rows of the hit's owner.
_PARTITIONS = f"""
  SELECT partition_id FROM partitions
  WHERE (owner_user = :owner OR access_level = 'PUBLIC') AND partition_id IN ({VISIBLE_PARTITIONS})
"""  # noqa: S608  # built of constants
_SIDE = f"""
  SELECT {MOMENT}, m.memory_id, m.doc, m.size_bytes FROM memories m INDEXED BY memories_placed
  WHERE m.partition_id = :partition AND m.owner_user = :owner AND {PLACE} = :place AND {LIVE} AND {VALID}
    AND ({MOMENT}, m.memory_id) {{comparison}} (:moment, :memory_id)
  ORDER BY {MOMENT} {{order}}, m.memory_id {{order}} LIMIT :reach
"""  # noqa: S608  # built of constants
_BEFORE = _SIDE.format(comparison="<", order="DESC")
_AFTER = _SIDE.format(comparison=">", order="ASC")

Row = tuple[Any, ...]


def read_neighbors(connection: apsw.Connection, caller: Caller, plan: NeighborPlan) -> list[tuple[Memory, ...]]:
    """Return the neighbours of each hit, as ``NeighborPlan`` says."""
    with transaction(connection):
        keys = [_keys(connection, caller, plan, hit) for hit in plan.hits]
        keys = keys[: _fitting(keys, plan)]
        docs = [key[2] for before, after in keys for key in (*before, *after)]
        found = read_many(connection, caller, docs, plan.now)
    sides = [([found[key[2]] for key in before], [found[key[2]] for key in after]) for before, after in keys]
    return within(plan.hits[: len(sides)], sides, plan.max_bytes)


def _keys(connection: apsw.Connection, caller: Caller, plan: NeighborPlan, hit: Memory) -> tuple[list[Row], list[Row]]:
    """Return the keys of what stands before and after *hit*, nearest first."""
    kind, name = place_of(hit)
    bindings: Bindings = access_bindings(caller, plan.now) | {
        "owner": hit.owner_user,
        "place": f"{kind}:{name}",
        "moment": time_us(moment_of(hit)),
        "memory_id": hit.memory_id,
        "valid_at": to_us(plan.valid_at),
        "reach": plan.reach,
    }
    partitions = [row[0] for row in connection.execute(_PARTITIONS, bindings)]

    def side(statement: str, *, reverse: bool) -> list[Row]:
        stretches: Iterator[list[Row]] = (
            connection.execute(statement, bindings | {"partition": partition}).fetchall() for partition in partitions
        )
        return list(islice(heapq.merge(*stretches, reverse=reverse), plan.reach))

    return side(_BEFORE, reverse=True), side(_AFTER, reverse=False)


def _fitting(keys: Sequence[tuple[list[Row], list[Row]]], plan: NeighborPlan) -> int:
    """Return of how many hits the neighbours are worth reading: those that an answer has room for, and the first."""
    size = 0
    for number, (hit, (before, after)) in enumerate(zip(plan.hits, keys, strict=True)):
        size += hit.size_bytes + sum(key[3] for key in (*before, *after))
        if number and size > plan.max_bytes:
            return number
    return len(keys)
