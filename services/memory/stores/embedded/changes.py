"""What a change does to the rows; called inside the writer's transaction."""

from dataclasses import dataclass, replace
from datetime import datetime

import apsw
import numpy as np
import orjson

from services.memory.domain.memory import (
    Embedding,
    EtagMismatch,
    ExternalIdTaken,
    Memory,
    MemoryNotFound,
    NotOwner,
    RequestIdReused,
)
from services.memory.domain.ports import Create, Delete, Replace, Undelete, UnitOfWork
from services.memory.domain.spaces import SpaceMoved, Spaces
from services.memory.stores.embedded.entry import IndexChange, IndexEntry, PartitionKey, Removal, partition_key
from services.memory.stores.embedded.history import keep_state
from services.memory.stores.embedded.lineage import write_parents
from services.memory.stores.embedded.quotas import enforce, stored_bytes
from services.memory.stores.embedded.rows import (
    NEVER,
    StoredMemory,
    memory_to_row,
    read_embedding,
    read_own,
    read_visible,
    time_us,
)
from services.memory.stores.embedded.spaces import read_spaces, write_spaces, write_vector
from services.memory.stores.embedded.terms import Counts, Terms, count_terms, read_terms, terms_to_columns
from services.memory.stores.embedded.vectors import NORM_TOLERANCE
from services.mesh.caller import Caller
from services.mesh.errors import InvalidInput

_INSERT = f"INSERT INTO memories VALUES ({','.join('?' * 26)})"  # noqa: S608  # built of constants
_UPDATE = f"""
  UPDATE memories SET (memory_id, partition_id, revision, size_bytes, created_at, updated_at, event_time, valid_from, valid_until,
    expires_at, delete_time, owner_user, access_level, reader_roles, bucket, external_id, external_claim, superseded_by,
    content_type, embedding_space, request_hash, tags, source, metadata, content) = ({",".join("?" * 25)}) WHERE doc = ?
"""  # noqa: S608  # built of constants
_DELETE = "UPDATE memories SET revision = ?, updated_at = ?, delete_time = ?, external_claim = NULL WHERE doc = ?"
_UNDELETE = "UPDATE memories SET revision = ?, updated_at = ?, delete_time = NULL, external_claim = ? WHERE doc = ?"
_READERS_BEFORE = "SELECT coalesce(max(iif(delete_time IS NULL, partition_id, 0)), 0) FROM memories WHERE doc = ?"
_RECORD = """
  INSERT INTO changes (seq, memory_id, revision, kind, at, partition_before, partition_after, doc) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_CLAIMANT = "SELECT doc, expires_at FROM memories WHERE owner_user = ? AND external_claim = ?"


@dataclass(frozen=True, slots=True)
class PreparedText:
    """A content's terms, and its memory's size in an answer."""

    terms: Terms
    counts: Counts
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PreparedWork:
    """A unit of work with everything derived that needs no transaction; texts by place of their change."""

    work: UnitOfWork
    texts: tuple[PreparedText | None, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one change left behind; no index change when it was a repetition."""

    memory: Memory
    index_change: IndexChange | None


def prepare(work: UnitOfWork) -> PreparedWork:
    """Derive terms and sizes, and check vectors, outside the writer: it costs about 1 ms per 10 kB of text."""
    texts: list[PreparedText | None] = []
    for change in work.changes:
        if isinstance(change, Delete | Undelete):
            texts.append(None)
            continue
        if change.embedding is not None:
            check_embedding(change.embedding)
        texts.append(prepare_text(change.memory))
    return PreparedWork(work, tuple(texts))


def prepare_text(memory: Memory) -> PreparedText:
    """Return the terms and the size of *memory*."""
    return PreparedText(*count_terms(memory.content), memory.size_bytes)


def check_embedding(embedding: Embedding) -> None:
    """Return if every vector of *embedding* is of length 1 and of one dimension, else raise ``InvalidInput``."""
    vectors = [embedding.vector, *(part.vector for part in embedding.parts)]
    if any(vector.shape != (embedding.vector.size,) for vector in vectors):
        raise InvalidInput("an embedding must be one vector, and its parts have vectors of the same dimension")
    # The bounds of the vector scan rest on length 1; a NaN fails the comparison too.
    if not (np.abs(np.linalg.norm(np.stack(vectors), axis=1) - 1.0) <= NORM_TOLERANCE).all():
        raise InvalidInput("an embedding must have vectors of length 1")
    if any(not 0 <= part.start < part.end for part in embedding.parts):
        raise InvalidInput("a part must hold at least one code point of its content")
    if embedding.twin is not None:
        check_embedding(embedding.twin)


class ChangeWriter:
    """Applies changes on the writer's connection, each numbered as it is made."""

    def __init__(self, connection: apsw.Connection, seq: int) -> None:
        self._connection = connection
        self.seq = seq  # of the last change made
        self.spaces = read_spaces(connection)

    @property
    def moment(self) -> tuple[int, Spaces]:
        """What ``go_back`` takes, when what was done since is rolled back."""
        return self.seq, self.spaces

    def go_back(self, moment: tuple[int, Spaces]) -> None:
        """Forget what was done since *moment*."""
        self.seq, self.spaces = moment

    def set_spaces(self, spaces: Spaces) -> None:
        """Say which spaces there are from now on."""
        write_spaces(self._connection, spaces)
        self.spaces = spaces

    def apply(self, prepared: PreparedWork) -> list[Outcome]:
        """Apply a unit of work. On an error the caller rolls back and calls ``go_back``."""
        repeated = self._repetition(prepared.work)
        if repeated is not None:
            return [repeated]
        outcomes = []
        caller = prepared.work.caller
        for change, text in zip(prepared.work.changes, prepared.texts, strict=True):
            match change:
                case Create():
                    assert text is not None  # noqa: S101  # prepare gives one to each
                    outcomes.append(self._create(caller, change, text))
                case Replace():
                    assert text is not None  # noqa: S101  # prepare gives one to each
                    outcomes.append(self._replace(caller, change, text))
                case Delete():
                    outcomes.append(self._delete(caller, change))
                case Undelete():
                    outcomes.append(self._undelete(caller, change))
        return outcomes

    def _repetition(self, work: UnitOfWork) -> Outcome | None:
        """Return the memory that the unit made before, if it is repeated."""
        if len(work.changes) == 1:  # a create tells by itself
            return None
        for change in work.changes:
            if isinstance(change, Create) and change.request_hash is not None:
                known = read_own(self._connection, work.caller.user, change.memory.memory_id)
                if known is not None:
                    return self._repeat(change, known)
        return None

    def _create(self, caller: Caller, change: Create, text: PreparedText) -> Outcome:
        memory = replace(change.memory, embedding_space=change.embedding.space)
        if memory.owner_user != caller.user:
            raise NotOwner("a memory can only be created for oneself")
        known = read_own(self._connection, memory.owner_user, memory.memory_id)
        if known is not None:
            return self._repeat(change, known)
        return self.insert(memory, change.embedding, text, memory.created_at, change.request_hash)

    def insert(
        self, memory: Memory, embedding: Embedding, text: PreparedText, at: datetime, request_hash: bytes | None = None
    ) -> Outcome:
        """Insert a memory whose id is free. Raises ``ExternalIdTaken``, ``QuotaExceeded``, ``SpaceMoved``."""
        embedding = self._placed(embedding)
        self._free_external_id(memory, None)
        doc = self._record(memory, "CREATED", at, None)
        partition = self.partition_id(partition_key(memory))
        row = memory_to_row(memory, partition, text.size_bytes, request_hash)
        self._connection.execute(_INSERT, (doc, *row))
        enforce(self._connection, memory.owner_user, more_memories=True, more_bytes=True)
        write_parents(self._connection, doc, memory)
        self._write_terms(doc, text)
        self._write_vectors(doc, memory.revision, embedding)
        return Outcome(memory, IndexChange(None, index_entry(doc, memory, text, embedding)))

    def _repeat(self, change: Create, known: StoredMemory) -> Outcome:
        same = change.request_hash is not None and change.request_hash == known.request_hash
        if not same:
            raise RequestIdReused("the request id was used before with another request; use a new one")
        return Outcome(known.memory, None)

    def _replace(self, caller: Caller, change: Replace, text: PreparedText) -> Outcome:
        stored = self._owned(caller, change.memory.memory_id, change.memory.updated_at)
        _check_revision(stored.memory, change.memory.revision - 1)
        if change.memory.owner_user != caller.user:
            raise NotOwner("a memory cannot be given to another owner")
        if change.embedding is None:
            embedding = read_embedding(self._connection, stored.doc)
        else:
            embedding = self._placed(change.embedding)
        memory = replace(
            change.memory,
            created_at=stored.memory.created_at,
            embedding_space=embedding.space,
        )
        self._free_external_id(memory, stored.doc)
        self._record(memory, "UPDATED", memory.updated_at, stored.doc)
        partition = self.partition_id(partition_key(memory))
        row = memory_to_row(memory, partition, text.size_bytes, stored.request_hash)
        keep_state(self._connection, stored.doc)
        self._connection.execute(_UPDATE, (*row, stored.doc))
        said = (memory.content, memory.metadata) != (stored.memory.content, stored.memory.metadata)
        more = said and stored_bytes(memory) >= stored_bytes(stored.memory)  # the state before stays too
        enforce(self._connection, memory.owner_user, more_memories=False, more_bytes=more)
        write_parents(self._connection, stored.doc, memory, stored.memory)
        if memory.content != stored.memory.content:
            self._write_terms(stored.doc, text)
        if change.embedding is not None:
            self._write_vectors(stored.doc, memory.revision, embedding)
        removal = Removal(partition_key(stored.memory), stored.doc)
        return Outcome(memory, IndexChange(removal, index_entry(stored.doc, memory, text, embedding)))

    def _delete(self, caller: Caller, change: Delete) -> Outcome:
        stored = self._owned(caller, change.memory_id, change.at)
        if change.expected_revision is not None:
            _check_revision(stored.memory, change.expected_revision)
        return self.hide(stored, change.at, "DELETED")

    def hide(self, stored: StoredMemory, at: datetime, kind: str) -> Outcome:
        """Delete a memory softly, as a new revision and a change of *kind*."""
        memory = replace(stored.memory, revision=stored.memory.revision + 1, updated_at=at, delete_time=at)
        self._record(memory, kind, at, stored.doc)
        keep_state(self._connection, stored.doc)
        self._connection.execute(_DELETE, (memory.revision, time_us(at), time_us(at), stored.doc))
        return Outcome(memory, IndexChange(Removal(partition_key(memory), stored.doc), None))

    def _undelete(self, caller: Caller, change: Undelete) -> Outcome:
        stored = read_own(self._connection, caller.user, change.memory_id)
        if stored is None or stored.memory.delete_time is None:
            return Outcome(self._owned(caller, change.memory_id, change.at).memory, None)
        at = max(change.at, stored.memory.updated_at)
        memory = replace(stored.memory, revision=stored.memory.revision + 1, updated_at=at, delete_time=None)
        if memory.expires_at is not None and memory.expires_at <= at:
            raise MemoryNotFound(f"no memory {change.memory_id!r}", memory_id=change.memory_id)
        self._free_external_id(memory, stored.doc)
        self._record(memory, "UPDATED", at, stored.doc)
        keep_state(self._connection, stored.doc)
        self._connection.execute(_UNDELETE, (memory.revision, time_us(at), memory.external_id or None, stored.doc))
        text = PreparedText(*read_terms(self._connection, stored.doc), memory.size_bytes)
        embedding = read_embedding(self._connection, stored.doc)
        return Outcome(memory, IndexChange(None, index_entry(stored.doc, memory, text, embedding)))

    def _owned(self, caller: Caller, memory_id: str, now: datetime) -> StoredMemory:
        stored = read_visible(self._connection, caller, memory_id, now)
        if stored.memory.owner_user != caller.user:
            raise NotOwner(f"only the owner may change memory {memory_id!r}", memory_id=memory_id)
        return stored

    def _record(self, memory: Memory, kind: str, at: datetime, doc: int | None) -> int:
        """Give a change whose row is not written yet its number, with who could read the memory so far and who can from now on.

        *doc* None: the row is new, and its number that of the change.
        """
        self.seq += 1
        doc = self.seq if doc is None else doc
        before = self._connection.execute(_READERS_BEFORE, (doc,)).get
        after = 0 if memory.delete_time else self.partition_id(partition_key(memory))
        self._connection.execute(
            _RECORD, (self.seq, memory.memory_id, memory.revision, kind, time_us(at), before, after, doc)
        )
        return self.seq

    def _free_external_id(self, memory: Memory, doc: int | None) -> None:
        """Raise ``ExternalIdTaken`` if another memory of the owner has the external id; one that expired gives it up."""
        if not memory.external_id:
            return
        holder = self._connection.execute(_CLAIMANT, (memory.owner_user, memory.external_id)).fetchone()
        if holder is None or holder[0] == doc:
            return
        if holder[1] is None or holder[1] > time_us(memory.updated_at):
            raise ExternalIdTaken(
                f"external id {memory.external_id!r} is already in use", external_id=memory.external_id
            )
        self._connection.execute("UPDATE memories SET external_claim = NULL WHERE doc = ?", (holder[0],))

    def partition_id(self, key: PartitionKey) -> int:
        """Return the number of a partition, made when it is the first of its readers."""
        names = (key.access_level.value, key.owner_user, orjson.dumps(key.reader_roles).decode())
        found = self._connection.execute(
            "SELECT partition_id FROM partitions WHERE access_level = ? AND owner_user = ? AND reader_roles = ?", names
        ).fetchone()
        if found is not None:
            return int(found[0])
        partition_id = int(
            self._connection.execute(
                "INSERT INTO partitions (access_level, owner_user, reader_roles) VALUES (?, ?, ?) RETURNING partition_id",
                names,
            ).get
        )
        roles = ((role, partition_id) for role in key.reader_roles)
        self._connection.executemany("INSERT INTO partition_roles VALUES (?, ?)", roles)
        return partition_id

    def _write_terms(self, doc: int, text: PreparedText) -> None:
        values = (doc, *terms_to_columns(text.terms, text.counts))
        self._connection.execute("INSERT OR REPLACE INTO terms VALUES (?, ?, ?)", values)

    def _placed(self, embedding: Embedding) -> Embedding:
        """Return *embedding* in the spaces that there are now. Raises ``SpaceMoved``."""
        if not self.spaces.active:  # the first vector of all
            self.set_spaces(Spaces(embedding.space))
        if embedding.space != self.spaces.active:
            raise SpaceMoved(embedding.space, self.spaces.active)
        twin = embedding.twin
        return embedding if twin is None or twin.space == self.spaces.target else replace(embedding, twin=None)

    def _write_vectors(self, doc: int, revision: int, embedding: Embedding) -> None:
        self._connection.execute("DELETE FROM vectors WHERE doc = ?", (doc,))
        write_vector(self._connection, doc, revision, embedding)
        if embedding.twin is not None:
            write_vector(self._connection, doc, revision, embedding.twin)


def _check_revision(memory: Memory, expected: int) -> None:
    if memory.revision != expected:
        raise EtagMismatch(
            f"memory {memory.memory_id!r} changed since it was read; read it again", memory_id=memory.memory_id
        )


def index_entry(doc: int, memory: Memory, text: PreparedText, embedding: Embedding) -> IndexEntry:
    """Return what the indexes hold of *memory*."""
    return IndexEntry(
        partition=partition_key(memory),
        doc=doc,
        memory_id=memory.memory_id,
        revision=memory.revision,
        created_at=time_us(memory.created_at),
        expires_at=NEVER if memory.expires_at is None else time_us(memory.expires_at),
        bucket=memory.bucket,
        size_bytes=text.size_bytes,
        terms=text.terms,
        counts=text.counts,
        embedding=embedding,
    )
