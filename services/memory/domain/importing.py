"""Taking memories in, a stream at a time: what an item may say, where its vector comes from, and how an import goes on."""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np

from services.memory.domain import draft as drafts
from services.memory.domain.active_space import ATTEMPTS
from services.memory.domain.draft import Draft
from services.memory.domain.ids import derived_memory_id
from services.memory.domain.memories import utc_now
from services.memory.domain.memory import Embedding, Memory
from services.memory.domain.moving import STREAM_LIFE
from services.memory.domain.ports import Embedder, EmbeddingSpace, InputKind
from services.memory.domain.spaces import SpaceMoved
from services.memory.domain.transfer import (
    ImportChunk,
    ImportConflict,
    ImportItem,
    ImportProgress,
    MovingStore,
    Refusal,
    refusal_of,
)
from services.mesh.caller import Caller
from services.mesh.errors import DeadlineExceeded, InvalidInput, MemoryBoxError, Violation

CHUNK_ITEMS = 100
CHUNK_BYTES = 2 << 20  # of contents and vectors
CLOCK_SKEW = timedelta(hours=1)  # between the machine that exported and this one
MAX_REVISION = 2**31 - 1
MAX_ID_LENGTH = 64
# The scan of vectors rests on length 1; float32 vectors of our models are within 1e-6 of it.
LENGTH_TOLERANCE = 1e-4
_IMPORT_ID = re.compile(r"[\x21-\x7e]{1,128}")


@dataclass(frozen=True, slots=True)
class Incoming:
    """A memory as an export wrote it; what is '' or None was not said."""

    draft: Draft
    memory_id: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None
    delete_time: datetime | None = None
    superseded_by: str = ""
    revision: int = 0
    embedding: Embedding | None = None

    @property
    def size_bytes(self) -> int:
        """What it takes until its chunk is kept, roughly."""
        vector = 0 if self.embedding is None else self.embedding.vector.nbytes
        return len(self.draft.content) + vector

    def check(self, now: datetime) -> None:
        """Return if this is within every rule, else raise ``InvalidInput``."""
        drafts.check(self.draft)
        violations = [Violation(f"memory.{name}", text) for name, text in self._faults(now)]
        if violations:
            raise InvalidInput(f"{violations[0].field} {violations[0].description}", violations=violations)

    def _faults(self, now: datetime) -> Iterator[tuple[str, str]]:
        latest = now + CLOCK_SKEW
        if self.memory_id and not _is_uuid(self.memory_id):
            yield "memory_id", "must be a UUID of 36 characters in lower case, or left out"
        if self.created_at and self.updated_at and self.updated_at < self.created_at:
            yield "updated_at", "must not be before created_at"
        if (self.created_at and self.created_at > latest) or (self.updated_at and self.updated_at > latest):
            yield "updated_at" if self.updated_at else "created_at", "must not be in the future"
        if not 0 <= self.revision <= MAX_REVISION:
            yield "revision", f"must be 1 to {MAX_REVISION}, or left out; got {self.revision}"
        if len(self.superseded_by) > MAX_ID_LENGTH:
            yield "superseded_by", f"must be at most {MAX_ID_LENGTH} characters"
        if self.delete_time is not None:
            yield "delete_time", "must be left out: deleted memories are not imported"

    def memory(self, owner: str, spare_id: str, now: datetime) -> Memory:
        """Return what is to be kept for *owner*."""
        created_at = self.created_at or self.updated_at or now
        blank = Memory(
            memory_id=self.memory_id or spare_id,
            owner_user=owner,
            content="",
            created_at=created_at,
            updated_at=self.updated_at or created_at,
            superseded_by=self.superseded_by,
            revision=self.revision or 1,
        )
        return self.draft.applied_to(blank)


@dataclass(slots=True)
class _Pending:
    """Items of one chunk, from *first_index* on."""

    first_index: int
    items: list[Incoming | MemoryBoxError] = field(default_factory=list)
    size_bytes: int = 0

    def add(self, item: Incoming | MemoryBoxError) -> None:
        self.items.append(item)
        self.size_bytes += 0 if isinstance(item, MemoryBoxError) else item.size_bytes

    @property
    def is_full(self) -> bool:
        return len(self.items) >= CHUNK_ITEMS or self.size_bytes >= CHUNK_BYTES


class Imports:
    """The use case of taking in."""

    def __init__(
        self, store: MovingStore, id_key: bytes, embedder: Embedder, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._store = store
        self._id_key = id_key
        self._embedder = embedder
        self._clock = clock

    async def run(
        self,
        caller: Caller,
        import_id: str,
        first_index: int,
        items: AsyncIterator[Incoming | MemoryBoxError],
        confirm_end: Callable[[], Awaitable[None]],
    ) -> ImportProgress:
        """Take in *items*, the first of which has *first_index*; those that the import has had already are passed over.

        Whole chunks become durable one after the other; the last one only after *confirm_end* says that the stream was not cut.
        Raises ``InvalidInput``, ``EmbeddingUnavailable``, ``ImportConflict``, and ``DeadlineExceeded`` after a quarter of an hour:
        what was committed stays, and the same stream goes on from there.
        """
        _check_import_id(import_id)
        until = self._clock() + STREAM_LIFE
        progress = await self._store.import_progress(caller, import_id)
        _check_first_index(first_index, progress)
        index, pending = first_index, _Pending(progress.next_index)
        async for item in items:
            if index >= progress.next_index:
                pending.add(item)
            index += 1
            if pending.is_full:
                progress = await self._keep(caller, import_id, pending)
                pending = _Pending(progress.next_index)
                if self._clock() > until:
                    raise DeadlineExceeded("a stream ends after 15 minutes; send it again to go on")
        await confirm_end()
        return await self._keep(caller, import_id, pending) if pending.items else progress

    async def _keep(self, caller: Caller, import_id: str, pending: _Pending) -> ImportProgress:
        """Commit a chunk, without what another stream of the import committed meanwhile, such as one that broke off a moment ago."""
        moves = 0
        while pending.items:
            try:
                return await self._commit(caller, import_id, pending)
            except SpaceMoved:
                moves += 1
                if moves == ATTEMPTS:
                    raise
            except ImportConflict:
                progress = await self._store.import_progress(caller, import_id)
                done = progress.next_index - pending.first_index
                if done <= 0:
                    raise
                pending = _Pending(progress.next_index, pending.items[done:])
        return await self._store.import_progress(caller, import_id)

    async def _commit(self, caller: Caller, import_id: str, pending: _Pending) -> ImportProgress:
        now = self._clock()
        faults = await asyncio.to_thread(_faults, pending.items, now)
        good = [item for item, fault in zip(pending.items, faults, strict=True) if fault is None]
        embeddings = iter(await self._embeddings([item for item in good if isinstance(item, Incoming)]))
        decided: list[ImportItem | Refusal] = []
        for place, (item, fault) in enumerate(zip(pending.items, faults, strict=True)):
            index = pending.first_index + place
            if fault is not None or isinstance(item, MemoryBoxError):
                decided.append(refusal_of(index, fault or InvalidInput("not a memory")))
                continue
            spare_id = derived_memory_id(
                self._id_key, caller.user, f"import {import_id} {item.memory_id or index}"
            )  # no request id holds a space
            decided.append(ImportItem(item.memory(caller.user, spare_id, now), next(embeddings), spare_id))
        return await self._store.import_chunk(caller, ImportChunk(import_id, pending.first_index, tuple(decided), now))

    async def _embeddings(self, items: Sequence[Incoming]) -> list[Embedding]:
        """Return one vector for each item: its own if it is one of the active space, else a new one.

        The vectors of a long content's parts do not travel; they are always made.
        """
        if not items:
            return []
        space = await self._embedder.active_space()
        own = [item.embedding if _is_usable(item.embedding, space) else None for item in items]
        asked = [embedding is None or _may_have_parts(item, space) for item, embedding in zip(items, own, strict=True)]
        texts = [item.draft.content for item, ask in zip(items, asked, strict=True) if ask]
        made = iter((await self._embedder.embed(texts, InputKind.DOCUMENT))[1] if texts else ())
        return [_joined(embedding, next(made) if ask else None) for embedding, ask in zip(own, asked, strict=True)]


def _faults(items: Sequence[Incoming | MemoryBoxError], now: datetime) -> list[MemoryBoxError | None]:
    return [_fault_of(item, now) for item in items]


def _fault_of(item: Incoming | MemoryBoxError, now: datetime) -> MemoryBoxError | None:
    if isinstance(item, MemoryBoxError):
        return item
    try:
        item.check(now)
    except InvalidInput as fault:
        return fault
    return None


def _is_usable(embedding: Embedding | None, space: EmbeddingSpace) -> bool:
    if embedding is None or embedding.space != space.name or len(embedding.vector) != space.dimension:
        return False
    length = float(np.linalg.norm(embedding.vector.astype(np.float64)))
    return abs(length - 1.0) <= LENGTH_TOLERANCE  # false of NaN too


def _may_have_parts(item: Incoming, space: EmbeddingSpace) -> bool:
    # A token is at least one byte, and two of a window frame the text.
    return 0 < space.window_tokens < len(item.draft.content.encode()) + 2


def _joined(own: Embedding | None, made: Embedding | None) -> Embedding:
    embedding = own or made
    assert embedding is not None  # noqa: S101  # made where there is no own
    if own is not None and made is not None and made.space == own.space:
        return replace(own, parts=made.parts, twin=made.twin)
    return embedding


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def _check_import_id(import_id: str) -> None:
    if not _IMPORT_ID.fullmatch(import_id):
        description = "must be 1 to 128 printable ASCII characters without spaces"
        raise InvalidInput(f"config.import_id {description}", violations=[Violation("config.import_id", description)])


def _check_first_index(first_index: int, progress: ImportProgress) -> None:
    if not 0 <= first_index <= progress.next_index:
        description = f"must be 0 to {progress.next_index}, the first item that is not durable; got {first_index}"
        raise InvalidInput(
            f"config.first_index {description}", violations=[Violation("config.first_index", description)]
        )
