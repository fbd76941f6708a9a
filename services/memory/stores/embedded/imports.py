"""Imported chunks, kept inside the writer's transaction together with how far their import is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import apsw
import orjson

from services.memory.domain.memory import Memory, NotOwner
from services.memory.domain.spaces import SpaceMoved
from services.memory.domain.transfer import (
    MAX_REFUSALS,
    ImportChunk,
    ImportConflict,
    ImportItem,
    ImportProgress,
    MemoryIdTaken,
    Refusal,
    refusal_of,
)
from services.memory.stores.embedded.changes import ChangeWriter, Outcome, PreparedText, check_embedding, prepare_text
from services.memory.stores.embedded.rows import read_own, time_us
from services.mesh.caller import Caller
from services.mesh.errors import MemoryBoxError, ResourceExhausted, Violation

_LIFE_US = 30 * 24 * 3600 * 1_000_000  # of the progress of an import that was left
_PROGRESS = "SELECT next_index, imported_count, refusals FROM imports WHERE owner_user = ? AND import_id = ?"


@dataclass(frozen=True, slots=True)
class PreparedImport:
    """A chunk with everything derived that needs no transaction; texts by place of their item."""

    caller: Caller
    chunk: ImportChunk
    texts: tuple[PreparedText | None, ...]

    def apply_to(self, connection: apsw.Connection, writer: ChangeWriter) -> list[Outcome]:
        """Keep or refuse each item alone. Raises ``ImportConflict``."""
        chunk = self.chunk
        progress = read_progress(connection, self.caller, chunk.import_id)
        if progress.next_index != chunk.first_index:
            raise ImportConflict(
                f"import {chunk.import_id!r} is at item {progress.next_index}, not at {chunk.first_index};"
                " another stream moved it on"
            )
        refusals: list[Refusal] = []
        outcomes: list[Outcome] = []
        for place, (item, text) in enumerate(zip(chunk.items, self.texts, strict=True)):
            kept = self._attempt(connection, writer, item, text, chunk.first_index + place)
            if isinstance(kept, Refusal):
                refusals.append(kept)
            else:
                outcomes.append(kept)
        self._record(connection, progress, len(outcomes), refusals)
        return outcomes

    def _attempt(
        self,
        connection: apsw.Connection,
        writer: ChangeWriter,
        item: ImportItem | Refusal,
        text: PreparedText | None,
        index: int,
    ) -> Outcome | Refusal:
        if isinstance(item, Refusal):
            return item
        assert text is not None  # noqa: S101  # prepare_import gives one to each item
        before = writer.moment
        connection.execute("SAVEPOINT item")
        try:
            return self._keep(connection, writer, item, text)
        except MemoryBoxError as error:
            connection.execute("ROLLBACK TO item")
            writer.go_back(before)
            # The item is right: the import goes on when there is room, or with a vector of the space of now.
            if isinstance(error, ResourceExhausted | SpaceMoved):
                raise
            return refusal_of(index, error)
        finally:
            connection.execute("RELEASE item")

    def _keep(self, connection: apsw.Connection, writer: ChangeWriter, item: ImportItem, text: PreparedText) -> Outcome:
        if item.memory.owner_user != self.caller.user:
            raise NotOwner("a memory can only be imported for oneself")
        for memory_id in (item.memory.memory_id, item.spare_id):
            memory = replace(item.memory, memory_id=memory_id, embedding_space=item.embedding.space)
            known = read_own(connection, self.caller.user, memory_id)
            if known is None:
                return writer.insert(memory, item.embedding, text, self.chunk.at)
            if known.memory.delete_time is None:
                return _already_there(known.memory, memory)
        raise _taken(item.memory.memory_id)

    def _record(
        self, connection: apsw.Connection, progress: ImportProgress, imported: int, refusals: Sequence[Refusal]
    ) -> None:
        chunk, at = self.chunk, time_us(self.chunk.at)
        told = (*progress.refusals, *refusals)[:MAX_REFUSALS]
        values = (
            self.caller.user,
            chunk.import_id,
            chunk.first_index + len(chunk.items),
            progress.imported_count + imported,
            orjson.dumps(told).decode(),
            at,
        )
        connection.execute("INSERT OR REPLACE INTO imports VALUES (?, ?, ?, ?, ?, ?)", values)
        if chunk.first_index == 0:
            connection.execute("DELETE FROM imports WHERE updated_at < ?", (at - _LIFE_US,))


def prepare_import(caller: Caller, chunk: ImportChunk) -> PreparedImport:
    """Derive terms and sizes outside the writer. Raises ``InvalidInput`` for a vector that is not of length 1."""
    texts: list[PreparedText | None] = []
    for item in chunk.items:
        if isinstance(item, Refusal):
            texts.append(None)
            continue
        check_embedding(item.embedding)
        texts.append(prepare_text(item.memory))
    return PreparedImport(caller, chunk, tuple(texts))


def read_progress(connection: apsw.Connection, caller: Caller, import_id: str) -> ImportProgress:
    """Return how far the caller's import is."""
    found = connection.execute(_PROGRESS, (caller.user, import_id)).fetchone()
    if found is None:
        return ImportProgress()
    refusals = []
    for item in orjson.loads(found[2]):
        violations = tuple(Violation(**violation) for violation in item.pop("violations"))
        refusals.append(Refusal(**item, violations=violations))
    return ImportProgress(found[0], found[1], tuple(refusals))


def _already_there(known: Memory, wanted: Memory) -> Outcome:
    if replace(known, embedding_space=wanted.embedding_space) != wanted:
        raise _taken(wanted.memory_id)
    return Outcome(known, None)


def _taken(memory_id: str) -> MemoryIdTaken:
    return MemoryIdTaken(
        "a memory of yours with this id is another one; it stays as it is, delete it or leave the id out",
        memory_id=memory_id,
    )
