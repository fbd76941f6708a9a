"""The indexes made anew from the rows, which are checked on the way."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apsw
import numpy as np
import orjson

from services.memory.domain.keyword import TOKENIZER_VERSION
from services.memory.domain.memory import AccessLevel
from services.memory.stores.embedded.database import transaction
from services.memory.stores.embedded.entry import PartitionKey
from services.memory.stores.embedded.index import MemoryIndex
from services.memory.stores.embedded.parts import docs_in_parts, read_part_rows
from services.memory.stores.embedded.rows import NEVER, last_seq
from services.memory.stores.embedded.segment import Columns, Longs, Segment, Words, sort_postings
from services.memory.stores.embedded.spaces import find_space, read_spaces
from services.memory.stores.embedded.terms import count_terms, number_of_terms, terms_to_columns
from services.memory.stores.embedded.vectors import NORM_TOLERANCE, WHOLE, VectorBlock, build_block
from services.mesh.errors import DataLoss

_SEGMENT_ROWS = 1 << 15  # bounds what is held twice while loading: about 100 MB

_ROWS = """
  SELECT m.partition_id, m.doc, m.revision, m.created_at, coalesce(m.expires_at, :never), m.bucket, m.size_bytes, m.memory_id,
    t.terms, t.counts, coalesce(v.space_id, o.space_id), coalesce(v.vector, o.vector), m.owner_user, m.access_level, m.reader_roles,
    m.embedding_space
  FROM memories m LEFT JOIN terms t USING (doc)
  LEFT JOIN vectors v ON v.doc = m.doc AND v.space_id = :active
  LEFT JOIN spaces s ON v.doc IS NULL AND s.name = m.embedding_space
  LEFT JOIN vectors o ON o.doc = m.doc AND o.space_id = s.space_id
  WHERE m.delete_time IS NULL ORDER BY m.doc
"""
_TWINS = "SELECT doc, vector FROM vectors WHERE space_id = ? AND doc IN (SELECT value FROM json_each(?)) ORDER BY doc"
Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Space:
    name: str
    dimension: int
    number: int  # among the index's words


class IndexLoader:
    """Reads every live row once and gives it to *index*. Raises ``DataLoss`` naming the first row that breaks a rule."""

    def __init__(self, connection: apsw.Connection, index: MemoryIndex) -> None:
        self._connection = connection
        self._index = index
        self._keys = dict(_partition_keys(connection))
        self._spaces = {
            space_id: _Space(name, dimension, index.words.spaces[name])
            for space_id, name, dimension in connection.execute("SELECT space_id, name, dimension FROM spaces")
        }
        self._names = {space.name for space in self._spaces.values()}
        self._shown = read_spaces(connection)
        self._in_parts: set[int] = set()

    def load(self) -> int:
        """Load all rows; return the number of the last change."""
        pending: dict[int, list[Row]] = {}
        with transaction(self._connection):
            seq = last_seq(self._connection)
            self._in_parts = docs_in_parts(self._connection)
            active = find_space(self._connection, self._shown.active)
            for row in self._connection.execute(_ROWS, {"never": NEVER, "active": active}):
                self._check(row, seq)
                rows = pending.setdefault(row[0], [])
                rows.append(row)
                if len(rows) == _SEGMENT_ROWS:
                    self._flush(row[0], pending.pop(row[0]))
            for partition_id, rows in pending.items():
                self._flush(partition_id, rows)
        self._index.start(seq, self._shown)
        return seq

    def _check(self, row: Row, seq: int) -> None:
        """Check what the tables cannot enforce themselves."""
        key, space = self._keys.get(row[0]), self._spaces.get(row[10])
        level, owner = row[13], row[12]
        roles = tuple(sorted(set(orjson.loads(row[14])))) if level == "ROLE" else ()
        if key != (level, "" if level == "PUBLIC" else owner, roles):
            fault = "lies in the partition of other readers"
        elif row[8] is None or len(row[9]) != 4 * number_of_terms(row[8]):
            fault = "has no terms, or counts that do not fit them"
        elif space is None or row[15] not in self._names or len(row[11]) != 4 * space.dimension:
            fault = "has no vector of its space"
        elif row[1] > seq:
            fault = "is younger than the last change"
        else:
            return
        raise DataLoss(f"memory {row[7]!r} {fault}; restore the data folder from a backup", memory_id=row[7])

    def _flush(self, partition_id: int, rows: list[Row]) -> None:
        words = self._index.words
        counts = [np.frombuffer(row[9], "<u4") for row in rows]
        sizes = [len(count) for count in counts]
        joined = "\n".join(row[8] for row in rows if row[8])
        terms = np.fromiter(map(words.terms.__getitem__, joined.split("\n") if joined else ()), np.int32, sum(sizes))
        holders = np.repeat(np.arange(len(rows), dtype=np.int32), sizes)
        postings = sort_postings(terms, holders, np.concatenate(counts).astype(np.uint32, copy=False))
        lengths = np.array([int(count.sum()) for count in counts], np.int64)
        self._index.load(
            self._keys[partition_id], Segment(_columns(rows, lengths, words), postings, self._blocks(rows))
        )

    def _blocks(self, rows: list[Row]) -> dict[int, VectorBlock]:
        by_space: dict[int, list[tuple[int, bytes]]] = {}
        for place, row in enumerate(rows):
            by_space.setdefault(row[10], []).append((place, row[11]))
        target = find_space(self._connection, self._shown.target)
        by_space |= {target: twins} if (twins := self._twins(rows, target)) else {}
        return {
            self._spaces[space_id].number: self._block(rows, space_id, chosen) for space_id, chosen in by_space.items()
        }

    def _twins(self, rows: list[Row], target: int) -> list[tuple[int, bytes]]:
        """Return the places and vectors of those of *rows* that were filled already."""
        if not target:
            return []
        places = {row[1]: place for place, row in enumerate(rows)}
        found = self._connection.execute(_TWINS, (target, orjson.dumps(list(places)).decode()))
        return [(places[doc], vector) for doc, vector in found]

    def _block(self, rows: list[Row], space_id: int, chosen: list[tuple[int, bytes]]) -> VectorBlock:
        space = self._spaces[space_id]
        holders, raw, spans = zip(*self._vectors(rows, space_id, chosen), strict=True)
        vectors = np.frombuffer(b"".join(raw), "<f4").reshape(len(raw), space.dimension)
        norms = np.linalg.norm(vectors, axis=1)
        for wrong in np.flatnonzero(~(np.abs(norms - 1.0) <= NORM_TOLERANCE)):
            memory_id = rows[holders[wrong]][7]
            raise DataLoss(f"memory {memory_id!r} has a vector that is not of length 1", memory_id=memory_id)
        return build_block(np.array(holders, np.int32), vectors, np.array(spans, np.int32))

    def _vectors(
        self, rows: list[Row], space_id: int, chosen: list[tuple[int, bytes]]
    ) -> Iterator[tuple[int, bytes, tuple[int, int]]]:
        """Yield, for each of *chosen*, its place, vector and span, then those of its parts."""
        size = 4 * self._spaces[space_id].dimension
        for place, vector in chosen:
            row = rows[place]
            parts = read_part_rows(self._connection, row[1], space_id) if row[1] in self._in_parts else ()
            yield place, vector, WHOLE
            for number, part in enumerate(parts):
                if part.number != number or len(part.vector) != size:
                    fault = "lacks a part, or a part's vector; restore the data folder from a backup"
                    raise DataLoss(f"memory {row[7]!r} {fault}", memory_id=row[7])
                yield place, part.vector, (part.start, part.end)


def _columns(rows: list[Row], lengths: Longs, words: Words) -> Columns:
    _, docs, revisions, created, expires, buckets, sizes, ids, *_ = zip(*rows, strict=True)
    return Columns(
        ids,
        np.array(docs, np.int64),
        np.array(revisions, np.int32),
        np.array(created, np.int64),
        np.array(expires, np.int64),
        np.array([words.buckets[bucket] for bucket in buckets], np.int32),
        np.array(sizes, np.int32),
        lengths,
        np.full(len(rows), NEVER, np.int64),
    )


def _partition_keys(connection: apsw.Connection) -> Iterator[tuple[int, PartitionKey]]:
    statement = "SELECT partition_id, access_level, owner_user, reader_roles FROM partitions WHERE partition_id > 0"
    for partition_id, level, owner, roles in connection.execute(statement):
        yield partition_id, PartitionKey(AccessLevel(level), owner, tuple(orjson.loads(roles)))


def renew_terms(connection: apsw.Connection) -> None:
    """Derive all terms anew when they were made by another version of the tokenizer."""
    known = connection.execute("SELECT value FROM settings WHERE name = 'tokenizer'").get
    if known == TOKENIZER_VERSION:
        return
    with transaction(connection, "IMMEDIATE"):
        for doc, content in connection.execute("SELECT doc, content FROM memories"):
            values = (doc, *terms_to_columns(*count_terms(content)))
            connection.execute("INSERT OR REPLACE INTO terms VALUES (?, ?, ?)", values)
        connection.execute("INSERT OR REPLACE INTO settings VALUES ('tokenizer', ?)", (TOKENIZER_VERSION,))
