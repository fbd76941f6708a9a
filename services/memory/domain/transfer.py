"""The port of moving: what taking memories out and in needs from a store."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from services.memory.domain.memory import Embedding, Memory
from services.memory.filter import EVERYTHING, Filter
from services.mesh.caller import Caller
from services.mesh.errors import AlreadyExists, Conflict, MemoryBoxError, Violation

MAX_REFUSALS = 100  # of one import that are kept and told; all are counted


class ImportConflict(Conflict):
    """Another stream moved the same import on; send again from the last committed index."""

    reason = "IMPORT_CONFLICT"


class MemoryIdTaken(AlreadyExists):
    """The caller's own memory with this id is another one than the imported; it is never overwritten."""

    reason = "MEMORY_ID_TAKEN"


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """The next of the caller's own memories, oldest first: by the number of the change that created each.

    *after* is the number of the last one had. *snapshot* is a store's commit number: what was created later stays out.
    *max_bytes* ends a chunk early by the sum of ``Memory.size_bytes``; at least one row is always returned.
    """

    limit: int
    now: datetime
    with_embeddings: bool = False
    filter: Filter = EVERYTHING
    after: int = 0
    snapshot: int | None = None
    max_bytes: int = 2 << 20


@dataclass(frozen=True, slots=True)
class Exported:
    """One memory, the number that a next plan's *after* takes, and its vector when asked for."""

    number: int
    memory: Memory
    embedding: Embedding | None = None


@dataclass(frozen=True, slots=True)
class ExportChunk:
    """Some rows; *more* says whether others follow; *snapshot* is what the next plan must carry."""

    rows: tuple[Exported, ...]
    more: bool
    snapshot: int


@dataclass(frozen=True, slots=True)
class ImportItem:
    """A memory to keep as it is, under *spare_id* when a deleted one of its owner's has the id."""

    memory: Memory
    embedding: Embedding
    spare_id: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the item at *index* was not kept: a ``MemoryBoxError`` as plain values."""

    index: int
    code: str
    reason: str
    message: str
    violations: tuple[Violation, ...] = ()
    context: dict[str, str] = field(default_factory=dict)


def refusal_of(index: int, error: MemoryBoxError) -> Refusal:
    """Return *error* as the refusal of one item."""
    return Refusal(index, error.code, error.reason, error.message, error.violations, dict(error.context))


@dataclass(frozen=True, slots=True)
class ImportChunk:
    """Items of import *import_id* from *first_index* on, in order, with those that are refused already."""

    import_id: str
    first_index: int
    items: tuple[ImportItem | Refusal, ...]
    at: datetime


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """How far an import is: items up to *next_index* are decided, *refusals* are the first of those that were refused."""

    next_index: int = 0
    imported_count: int = 0
    refusals: tuple[Refusal, ...] = ()

    @property
    def failed_count(self) -> int:
        """How many items were refused."""
        return self.next_index - self.imported_count


class MovingStore(Protocol):
    """Takes the caller's own memories out and in."""

    async def export(self, caller: Caller, plan: ExportPlan) -> ExportChunk:
        """Return the next rows that *caller* owns; what is deleted or expired is left out."""
        ...

    async def import_progress(self, caller: Caller, import_id: str) -> ImportProgress:
        """Return how far the caller's import is; one that never began is at 0."""
        ...

    async def import_chunk(self, caller: Caller, chunk: ImportChunk) -> ImportProgress:
        """Commit *chunk* and the progress of its import together; return the progress after it.

        Each item is kept or refused alone. An id that a live memory of the caller's own has is kept if the two are equal,
        else ``MemoryIdTaken``; one that a deleted one of theirs has gives way to the spare id. What others have counts for nothing.
        Raises ``ImportConflict`` when the import
        is not at the chunk's first index, ``ResourceExhausted`` when the owner may not store more; then nothing of the chunk is kept.
        """
        ...
