"""Replacing memories by a newer one: the old ones stay, closed and pointing at it."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

import orjson

from services.memory.domain import draft as drafts
from services.memory.domain.active_space import apply
from services.memory.domain.draft import Draft
from services.memory.domain.ids import derived_memory_id, new_memory_id
from services.memory.domain.memories import UPDATE_ATTEMPTS, NewMemory, required_id, utc_now
from services.memory.domain.memory import Embedding, EtagMismatch, Memory, MemoryNotFound, NotOwner
from services.memory.domain.ports import Create, Embedder, InputKind, MemoryStore, Replace, UnitOfWork
from services.mesh.caller import Caller
from services.mesh.errors import FailedPrecondition, InvalidInput, Violation

MAX_MERGED = 64


class AlreadySuperseded(FailedPrecondition):
    """Another memory has replaced this one; supersede that one, or restore this one first."""

    reason = "ALREADY_SUPERSEDED"


class Superseding:
    """The use cases of newer facts: one that takes another's place, and one made of several."""

    def __init__(self, store: MemoryStore, embedder: Embedder, clock: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._embedder = embedder
        self._clock = clock

    async def supersede(self, caller: Caller, memory_id: str, new: NewMemory) -> Memory:
        """Keep *new* and close *memory_id* at the moment from which on *new* holds: its ``valid_from``, or now. Return the new memory.

        Raises ``InvalidInput``, ``RequestIdReused``, ``MemoryNotFound``, ``NotOwner``, ``AlreadySuperseded``, ``ExternalIdTaken``,
        ``EmbeddingUnavailable``.
        """
        required_id(memory_id)
        return await self._replace(caller, [memory_id], new, _request_hash("supersede", [memory_id], new))

    async def merge(self, caller: Caller, memory_ids: Sequence[str], new: NewMemory) -> Memory:
        """Keep *new* in the place of all *memory_ids*, each closed as ``supersede`` does. Raises what that raises."""
        if not 2 <= len(memory_ids) <= MAX_MERGED or len(set(memory_ids)) != len(memory_ids):  # noqa: PLR2004  # several
            description = f"must be 2 to {MAX_MERGED} different ids"
            raise InvalidInput(f"memory_ids {description}", violations=[Violation("memory_ids", description)])
        wanted = [required_id(memory_id, f"memory_ids[{place}]") for place, memory_id in enumerate(memory_ids)]
        return await self._replace(caller, wanted, new, _request_hash("merge", wanted, new))

    async def _replace(
        self, caller: Caller, memory_ids: Sequence[str], new: NewMemory, request_hash: bytes | None
    ) -> Memory:
        drafts.check_request_id(new.request_id)
        drafts.check(new.draft)
        _, (embedding,) = await self._embedder.embed([new.draft.content], InputKind.DOCUMENT)
        for attempt in range(1, UPDATE_ATTEMPTS + 1):
            work = await self._plan(caller, memory_ids, new, (embedding, request_hash))
            try:
                return (await apply(self._store, self._embedder, work))[-1]
            except EtagMismatch:
                if attempt == UPDATE_ATTEMPTS:
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def _plan(
        self, caller: Caller, memory_ids: Sequence[str], new: NewMemory, derived: tuple[Embedding, bytes | None]
    ) -> UnitOfWork:
        now = self._clock()
        embedding, request_hash = derived
        draft = replace(new.draft, valid_from=new.draft.valid_from or now)
        blank = Memory(self._new_id(caller, new, now), caller.user, "", now, now, embedding_space=embedding.space)
        create = Create(draft.applied_to(blank), embedding, request_hash)
        if new.request_id and await self._is_known(caller, create.memory.memory_id, now):
            return UnitOfWork(caller, (create,))
        drafts.check(draft)
        olds = [await self._own(caller, memory_id, now) for memory_id in memory_ids]
        closed = (Replace(_closed(old, create.memory, draft, now)) for old in olds)
        return UnitOfWork(caller, (*closed, create))

    async def _own(self, caller: Caller, memory_id: str, now: datetime) -> Memory:
        old = await self._store.get(caller, memory_id, now)
        if old.owner_user != caller.user:
            raise NotOwner(f"only the owner may supersede memory {memory_id!r}", memory_id=memory_id)
        if old.superseded_by:
            raise AlreadySuperseded(
                f"memory {memory_id!r} was superseded by {old.superseded_by!r} already; supersede that one",
                memory_id=memory_id,
                superseded_by=old.superseded_by,
            )
        return old

    def _new_id(self, caller: Caller, new: NewMemory, now: datetime) -> str:
        if new.request_id:
            return derived_memory_id(self._store.secrets.id_key, caller.user, new.request_id)
        return new_memory_id(now)

    async def _is_known(self, caller: Caller, memory_id: str, now: datetime) -> bool:
        try:
            await self._store.get(caller, memory_id, now)
        except MemoryNotFound:
            return False
        return True


def _request_hash(kind: str, memory_ids: Sequence[str], new: NewMemory) -> bytes | None:
    if not new.request_id:
        return None
    return hashlib.sha256(orjson.dumps([kind, *memory_ids, new.draft.fingerprint().hex()])).digest()


def _closed(old: Memory, new: Memory, draft: Draft, now: datetime) -> Memory:
    """Return *old* as it is when *new* has taken its place; an external id that both name goes over to *new*."""
    end = draft.valid_from
    assert end is not None  # noqa: S101  # the caller set it
    if old.valid_from is not None and end <= old.valid_from:
        description = f"must be after {old.valid_from.isoformat()}, from when on the superseded memory holds"
        raise InvalidInput(f"memory.valid_from {description}", violations=[Violation("memory.valid_from", description)])
    return replace(
        old,
        revision=old.revision + 1,
        updated_at=max(now, old.updated_at),
        superseded_by=new.memory_id,
        valid_until=end if old.valid_until is None else min(old.valid_until, end),
        external_id="" if old.external_id == draft.external_id else old.external_id,
    )
