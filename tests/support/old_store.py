"""Data folders as the code of earlier schemas left them, and what must be found in them from then on."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import apsw
import pytest

from services.memory.domain.memory import MemoryNotFound
from services.memory.domain.ports import Undelete
from services.memory.domain.quotas import Usage
from services.memory.domain.revisions import RevisionPlan
from services.memory.domain.spaces import Filling, Spaces
from services.memory.stores.embedded import EmbeddedMemoryStore
from services.memory.stores.embedded.database import DATABASE_NAME, connect, migrate
from services.memory.stores.embedded.governing import EmbeddedQuotas
from services.memory.stores.embedded.schema import MIGRATIONS
from services.mesh.caller import Caller
from tests.support.memories import (
    ANN,
    BOB,
    EAST,
    NOW,
    NURSE,
    apply,
    creation,
    found,
    keyword_search,
    listed,
    revised,
    vector,
    vector_search,
)

ROWS = Path(__file__).parents[1] / "integration" / "data" / "store_of_schema_2.sql"
OWN = ["child", "long", "private", "revised"]  # of ann, and living
_AT = 1893553447678901  # two seconds after NOW
_MEMORY = """
  INSERT INTO memories VALUES (:doc, :id, 1, 1, 70, :at, :at, NULL, NULL, NULL, NULL, NULL, 'ann', 'PRIVATE', '[]', 'default', '',
    NULL, '', 'text/plain', 'model-a', NULL, '[]', NULL, '{}', :content)
"""
_BY = {
    1: _MEMORY,
    2: "INSERT INTO vectors VALUES (:doc, 1, 1, :vector)",
    3: "INSERT INTO terms VALUES (:doc, 'new' || char(10) || 'tea', :counts)",
}
_CHANGE = "INSERT INTO changes VALUES (:doc, :id, 1, 'CREATED', :at)"
_MOVING_CHANGE = "INSERT INTO changes VALUES (:doc, :id, 1, 'CREATED', :at, 0, 1)"
_CHANGE_OF_ROW = "INSERT INTO changes VALUES (:doc, :id, 1, 'CREATED', :at, 0, 1, :doc)"
_NAMES_ROWS = 11  # the schema from which on changes do
# What code of that schema writes beside a memory; the rows of older ones lack it.
_OF_SCHEMA = {
    3: "INSERT INTO imports VALUES ('ann', 'old import', 3, 2, '[]', :at)",
    4: "INSERT INTO owner_quotas VALUES ('bob', 100, 100000)",
    5: """
       INSERT INTO revisions SELECT doc, 1, memory_id, partition_id, size_bytes, created_at, created_at, event_time, valid_from,
         valid_until, expires_at, delete_time, owner_user, access_level, reader_roles, bucket, external_id, superseded_by,
         content_type, embedding_space, request_hash, tags, source, metadata, 'first tea' FROM memories WHERE memory_id = 'revised'
       """,
    6: "INSERT INTO parts VALUES (7, 1, 1, 0, 0, 200, (SELECT vector FROM vectors WHERE doc = 7)),"
    " (7, 1, 1, 1, 190, 400, :vector)",
    8: "DELETE FROM unsplit",
}


def made_at(number: int) -> str:
    """Return the id of the memory that code of schema *number* wrote."""
    return f"new{number}"


def write_folder(folder: Path, number: int, vfs: str | None = None) -> None:
    """Leave in *folder* what code of schema *number* left that had brought it there from the first, schema by schema."""
    connection = connect(folder / DATABASE_NAME, vfs)
    migrate(connection, MIGRATIONS[: min(number, 2)])
    connection.execute("BEGIN")
    connection.execute(ROWS.read_text())
    connection.execute("COMMIT")
    for reached in range(3, number + 1):
        migrate(connection, MIGRATIONS[:reached])
        connection.execute("BEGIN")
        _write_rows(connection, reached)
        connection.execute("COMMIT")
    connection.close()


def _write_rows(connection: apsw.Connection, number: int) -> None:
    bindings = {
        "doc": 20 + number,
        "id": made_at(number),
        "at": _AT,
        "content": "new tea",
        "vector": EAST.vector.tobytes(),
        "counts": b"\1\0\0\0\1\0\0\0",
    }
    change = _MOVING_CHANGE if number < _NAMES_ROWS else _CHANGE_OF_ROW
    for statement in (*_BY.values(), change, _OF_SCHEMA.get(number, "SELECT 1")):
        connection.execute(statement, bindings)


def written(number: int) -> list[str]:
    """Return the ids of ann's living memories in a folder of schema *number*."""
    return sorted([*OWN, *map(made_at, range(3, number + 1))])


async def check(store: EmbeddedMemoryStore, number: int) -> None:
    """Check that all of a folder of schema *number* is there, and works as if it had been written today."""
    await _check_reads(store, number)
    await _check_spaces(store, number)
    await _check_writes(store, number)


async def _check_reads(store: EmbeddedMemoryStore, number: int) -> None:
    mine = written(number)
    assert sorted(await listed(store, ANN)) == sorted([*mine, "public"])
    assert sorted(await listed(store, BOB)) == ["hidden", "public", "role"]
    assert sorted(await listed(store, NURSE)) == ["public", "role"]
    for plan in (keyword_search("tea", **_MUCH), vector_search(EAST, **_MUCH)):
        assert sorted(await found(store, ANN, plan)) == sorted([*mine, "public"])
    private = await store.get(ANN, "private", NOW)
    assert (private.external_id, private.tags, private.metadata) == ("x", ("hot",), {"cups": 2.0})
    with pytest.raises(MemoryNotFound):
        await store.get(BOB, "private", NOW)
    states = (await store.list_revisions(ANN, RevisionPlan("revised", 10, NOW))).revisions
    known = ["second tea", "first tea"] if number >= 5 else ["second tea"]  # former states are kept since schema 5
    assert [state.content for state in states] == known
    assert [kin.memory_id for kin in (await store.lineage(ANN, "child", NOW)).ancestors] == ["private"]
    usage: Usage = await EmbeddedQuotas(store).usage("ann")
    assert usage.memory_count == len(mine) + 2  # with what expired and what was deleted


async def _check_spaces(store: EmbeddedMemoryStore, number: int) -> None:
    assert await store.spaces.current() == Spaces(EAST.space)
    lacking = [row.content for row in await store.spaces.unfilled(EAST.space, 0, 100, 1 << 20)]
    assert lacking == ([] if number >= 6 else ["lemon tea " * 40])  # long, of a time without parts
    total = (await store.spaces.count_unfilled(EAST.space))[1]
    await store.spaces.set_target("model-b")
    rows = await store.spaces.unfilled("model-b", 0, 100, 1 << 20)
    new = vector(0, 1, space="model-b")
    assert await store.spaces.fill([Filling(row.number, row.revision, new) for row in rows]) == total == len(rows)
    assert await store.spaces.switch()
    assert len(await found(store, ANN, vector_search(new, **_MUCH))) == len(written(number)) + 1
    assert await store.spaces.sweep(1000) == total
    assert await store.spaces.count_unfilled("model-b") == (0, total)


async def _check_writes(store: EmbeddedMemoryStore, number: int) -> None:
    later = NOW + timedelta(hours=1)
    new = vector(0, 1, space="model-b")
    for memory_id in written(number):
        memory = await store.get(ANN, memory_id, NOW)
        change = revised(memory, new, content="newest tea")
        await apply(store, ANN, replace(change, memory=replace(change.memory, updated_at=later)))
    (back,) = await apply(store, ANN, Undelete("deleted", later))
    await apply(store, ANN, creation("newest", "newest tea", embedding=new, at=later))
    await apply(store, Caller("carol"), creation("hers", "newest tea", owner="carol", embedding=new, at=later))
    assert back.content == "cold tea"
    assert sorted(await found(store, ANN, keyword_search("newest", **_MUCH))) == sorted([*written(number), "newest"])


_MUCH = {"top_k": 100, "limit": 100}
