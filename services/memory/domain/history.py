"""What memories were: their revisions, and the ways back to one of them."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from services.memory.domain.active_space import apply
from services.memory.domain.diff import RevisionDiff, diffs
from services.memory.domain.memories import (
    DEFAULT_PAGE,
    MAX_PAGE,
    UPDATE_ATTEMPTS,
    MemoryPage,
    bounded,
    check_etag,
    required_id,
    utc_now,
)
from services.memory.domain.memory import EtagMismatch, Memory, NotOwner
from services.memory.domain.paging import Pager
from services.memory.domain.ports import Embedder, InputKind, MemoryStore, Replace, Undelete, UnitOfWork
from services.memory.domain.reads import MAX_ANSWER_BYTES
from services.memory.domain.revisions import RevisionPlan
from services.mesh.caller import Caller
from services.mesh.errors import InvalidInput, Violation

DIFFED_BYTES = 2 << 20  # of the states in an answer that has diffs too


class History:
    """The use cases of former states."""

    def __init__(self, store: MemoryStore, embedder: Embedder, clock: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._embedder = embedder
        self._clock = clock
        self._pager = Pager(store.secrets.token_key)

    async def list_diffs(
        self, caller: Caller, memory_id: str, *, page_size: int, page_token: str
    ) -> tuple[MemoryPage, tuple[RevisionDiff, ...]]:
        """Return one page as ``list_page`` does, but of at most 2 MiB, with what made each state of the one before it."""
        page = await self.list_page(
            caller, memory_id, page_size=page_size, page_token=page_token, max_bytes=DIFFED_BYTES
        )
        older = None
        if page.next_page_token:
            plan = RevisionPlan(memory_id, 1, self._clock(), page.memories[-1].revision)
            older = next(iter((await self._store.list_revisions(caller, plan)).revisions), None)
        return page, await asyncio.to_thread(diffs, page.memories, older)

    async def list_page(
        self, caller: Caller, memory_id: str, *, page_size: int, page_token: str, max_bytes: int = MAX_ANSWER_BYTES
    ) -> MemoryPage:
        """Return one page of states, newest first. Raises ``InvalidInput``, ``InvalidPageToken``, ``MemoryNotFound``."""
        now = self._clock()
        request = {"rpc": "ListMemoryRevisions", "memory_id": required_id(memory_id)}
        limit = bounded("page_size", page_size, DEFAULT_PAGE, MAX_PAGE)
        state = self._pager.open(page_token, caller, request, now) if page_token else {"before": None}
        plan = RevisionPlan(memory_id, limit, now, state["before"], max_bytes)
        page = await self._store.list_revisions(caller, plan)
        if not page.more:
            return MemoryPage(page.revisions, "")
        state = {"before": page.revisions[-1].revision}
        return MemoryPage(page.revisions, self._pager.seal(caller, request, state, now))

    async def restore(self, caller: Caller, memory_id: str, revision: int, etag: str) -> Memory:
        """Make the state of *revision* the current one, as a new revision; nothing changes if it says what the current one says.

        Raises ``InvalidInput``, ``MemoryNotFound``, ``RevisionNotFound``, ``NotOwner``, ``EtagMismatch``, ``ExternalIdTaken``,
        ``EmbeddingUnavailable``.
        """
        if revision < 1:
            description = f"must be 1 or more, got {revision}"
            raise InvalidInput(f"revision {description}", violations=[Violation("revision", description)])
        for attempt in range(1, UPDATE_ATTEMPTS + 1):
            try:
                return await self._restore(caller, required_id(memory_id), revision, etag)
            except EtagMismatch:
                if etag or attempt == UPDATE_ATTEMPTS:
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def undelete(self, caller: Caller, memory_id: str) -> Memory:
        """Bring a deleted memory of the caller's back; one that is not deleted stays as it is.

        Raises ``MemoryNotFound``, ``NotOwner``, ``ExternalIdTaken`` when its external id is in use by now.
        """
        undelete = Undelete(required_id(memory_id), self._clock())
        (memory,) = await self._store.apply(UnitOfWork(caller, (undelete,)))
        return memory

    async def _restore(self, caller: Caller, memory_id: str, revision: int, etag: str) -> Memory:
        now = self._clock()
        current = await self._store.get(caller, memory_id, now)
        if current.owner_user != caller.user:
            raise NotOwner(f"only the owner may change memory {memory_id!r}", memory_id=memory_id)
        check_etag(etag, current)
        former = await self._store.get_revision(caller, memory_id, revision, now)
        restored = replace(
            former,
            revision=current.revision + 1,
            updated_at=max(now, current.updated_at),
            delete_time=None,
            embedding_space=current.embedding_space,
        )
        if restored == replace(current, revision=restored.revision, updated_at=restored.updated_at):
            return current
        embedding = None
        if former.content != current.content:
            _, (embedding,) = await self._embedder.embed([former.content], InputKind.DOCUMENT)
        work = UnitOfWork(caller, (Replace(restored, embedding),))
        (memory,) = await apply(self._store, self._embedder, work)
        return memory
