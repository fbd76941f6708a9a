"""Keeping memories: create, read, list, update, delete. Who may see what is the store's business; what is well formed is ours."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

from services.memory.domain import draft as drafts
from services.memory.domain.active_space import apply
from services.memory.domain.draft import Draft
from services.memory.domain.ids import derived_memory_id, new_memory_id
from services.memory.domain.memory import Embedding, EtagMismatch, ExternalIdTaken, Memory, MemoryNotFound
from services.memory.domain.paging import Pager
from services.memory.domain.ports import (
    Change,
    Create,
    Delete,
    Embedder,
    InputKind,
    ListPlan,
    MemoryStore,
    Replace,
    UnitOfWork,
)
from services.memory.filter import parse
from services.mesh.caller import Caller
from services.mesh.errors import InvalidInput, MemoryBoxError, Violation

MAX_BATCH = 100
MAX_BATCH_BYTES = 3 << 20
MAX_PAGE = 1000
DEFAULT_PAGE = 100
UPDATE_ATTEMPTS = 8  # an update without etag retries when another one came between its read and its write

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BLANK = Memory("", "", "", _EPOCH, _EPOCH)  # what a draft is put on to be measured

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the time now: UTC, microseconds."""
    return datetime.now(UTC)


class OnDuplicate(StrEnum):
    """What becomes of a new memory whose external id the caller has given to another one before."""

    UPDATE = "UPDATE"  # that one says what the new one says from now on
    RETURN_EXISTING = "RETURN_EXISTING"  # that one stays as it is
    REJECT = "REJECT"  # ``ExternalIdTaken``


@dataclass(frozen=True, slots=True)
class NewMemory:
    """A memory to keep, and the id that makes keeping it repeatable ('' for none)."""

    draft: Draft
    request_id: str = ""
    on_duplicate: OnDuplicate = OnDuplicate.REJECT

    @property
    def may_meet_another(self) -> bool:
        """Whether it is to be looked for before it is kept."""
        return bool(self.draft.external_id) and self.on_duplicate is not OnDuplicate.REJECT


@dataclass(frozen=True, slots=True)
class MemoryPage:
    """One page of memories and the token of the next, '' at the end."""

    memories: tuple[Memory, ...]
    next_page_token: str


class Memories:
    """The use cases of single memories and lists."""

    def __init__(self, store: MemoryStore, embedder: Embedder, clock: Clock = utc_now) -> None:
        self._store = store
        self._embedder = embedder
        self._clock = clock
        self._pager = Pager(store.secrets.token_key)

    async def create(self, caller: Caller, new: NewMemory) -> Memory:
        """Keep one memory. Raises ``InvalidInput``, ``RequestIdReused``, ``ExternalIdTaken``, ``EmbeddingUnavailable``."""
        _check(new)
        return await self._create(caller, new)

    async def _create(self, caller: Caller, new: NewMemory) -> Memory:
        if not new.may_meet_another:
            return await self._keep(caller, new, await self._embed(new.draft.content))
        for attempt in range(1, UPDATE_ATTEMPTS + 1):
            try:
                return await self._keep_or_update(caller, new)
            except (EtagMismatch, ExternalIdTaken, MemoryNotFound):  # another call came between
                if attempt == UPDATE_ATTEMPTS:
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def _keep_or_update(self, caller: Caller, new: NewMemory) -> Memory:
        holder = await self._store.find_external(caller, new.draft.external_id, self._clock())
        if holder is None or holder.memory_id == self._derived_id(caller, new):  # the store tells what is repeated
            return await self._keep(caller, new, await self._embed(new.draft.content))
        if new.on_duplicate is OnDuplicate.RETURN_EXISTING:
            return holder
        if new.draft == Draft.of(holder):
            return holder
        return await self._replace(caller, replace(holder, superseded_by=""), new.draft)  # what it says now holds again

    async def create_batch(
        self, caller: Caller, items: Sequence[NewMemory | MemoryBoxError]
    ) -> list[Memory | MemoryBoxError]:
        """Keep each item on its own; an item that already is an error stays one. Raises ``InvalidInput`` for the batch's size."""
        _check_batch(items)
        faults = [_fault_of(item) for item in items]
        good = [item for item in items if isinstance(item, NewMemory) and _fault_of(item) is None]
        kept = iter(await self._keep_all(caller, good))
        return [fault or next(kept) for fault in faults]

    async def _keep_all(self, caller: Caller, items: Sequence[NewMemory]) -> list[Memory | MemoryBoxError]:
        plain = [item for item in items if not item.may_meet_another]
        embeddings: Iterator[Embedding | MemoryBoxError] = iter(await self._embed_all(plain))
        keeping = (
            self._create(caller, item) if item.may_meet_another else self._keep_embedded(caller, item, next(embeddings))
            for item in items
        )
        turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # who waits first goes first
        return await asyncio.gather(
            *(
                _outcome(one, turns[item.draft.external_id] if item.draft.external_id else None)
                for item, one in zip(items, keeping, strict=True)
            )
        )

    async def _embed_all(self, items: Sequence[NewMemory]) -> Sequence[Embedding | MemoryBoxError]:
        if not items:
            return []
        try:
            _, embeddings = await self._embedder.embed([item.draft.content for item in items], InputKind.DOCUMENT)
        except MemoryBoxError as error:
            return [error] * len(items)
        return embeddings

    async def _keep_embedded(self, caller: Caller, new: NewMemory, embedding: Embedding | MemoryBoxError) -> Memory:
        if isinstance(embedding, MemoryBoxError):
            raise embedding
        return await self._keep(caller, new, embedding)

    async def get(self, caller: Caller, memory_id: str, as_of: datetime | None = None) -> Memory:
        """Return one memory, in the state that was current at *as_of* if given, or raise ``MemoryNotFound``."""
        if as_of is None:
            return await self._store.get(caller, required_id(memory_id), self._clock())
        return await self._store.get_as_of(caller, required_id(memory_id), as_of, self._clock())

    async def get_embedding(self, caller: Caller, memory_id: str) -> Embedding:
        """Return one memory's vector, or raise ``MemoryNotFound``."""
        return await self._store.get_embedding(caller, required_id(memory_id), self._clock())

    async def list_page(
        self,
        caller: Caller,
        *,
        page_size: int,
        page_token: str,
        bucket: str,
        filter_text: str = "",
        as_of: datetime | None = None,
        any_validity: bool = False,
    ) -> MemoryPage:
        """Return one page of what holds now, or with *any_validity* of everything, newest first; with *as_of* as it was known then.

        Raises ``InvalidInput``, ``InvalidFilter``, ``InvalidPageToken``.
        """
        limit = bounded("page_size", page_size, DEFAULT_PAGE, MAX_PAGE)
        now = self._clock()
        request = {
            "rpc": "ListMemories",
            "bucket": bucket,
            "filter": filter_text,
            "as_of": as_of,
            "any_validity": any_validity,
        }
        valid_at = None if any_validity else as_of or now
        meaning = parse(filter_text)
        plan = ListPlan(limit, now, bucket=bucket or None, filter=meaning, valid_at=valid_at, as_of=as_of)
        if page_token:
            state = self._pager.open(page_token, caller, request, now)
            after = (datetime.fromisoformat(state["created_at"]), state["memory_id"])
            first = state["valid_at"] and datetime.fromisoformat(state["valid_at"])  # all pages show one moment
            plan = replace(plan, after=after, snapshot=state["snapshot"], valid_at=first)
        page = await self._store.list(caller, plan)
        if not page.more:
            return MemoryPage(page.memories, "")
        last = page.memories[-1]
        state = {
            "created_at": last.created_at.isoformat(),
            "memory_id": last.memory_id,
            "snapshot": page.snapshot,
            "valid_at": plan.valid_at and plan.valid_at.isoformat(),
        }
        return MemoryPage(page.memories, self._pager.seal(caller, request, state, now))

    async def update(self, caller: Caller, memory_id: str, change: Callable[[Memory], Draft], etag: str) -> Memory:
        """Replace one memory by what *change* makes of it; *etag* '' means whatever is current.

        Raises ``InvalidInput``, ``MemoryNotFound``, ``NotOwner``, ``EtagMismatch``, ``ExternalIdTaken``, ``EmbeddingUnavailable``.
        """
        required_id(memory_id, "memory.memory_id")
        for attempt in range(1, UPDATE_ATTEMPTS + 1):
            current = await self.get(caller, memory_id)
            check_etag(etag, current)
            try:
                return await self._replace(caller, current, change(current))
            except EtagMismatch:
                if etag or attempt == UPDATE_ATTEMPTS:
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def delete(self, caller: Caller, memory_id: str, etag: str) -> Memory:
        """Delete one memory; *etag* '' means whatever is current. Raises ``MemoryNotFound``, ``NotOwner``, ``EtagMismatch``."""
        now = self._clock()
        expected = None
        if etag:
            current = await self.get(caller, memory_id)
            check_etag(etag, current)
            expected = current.revision
        return await self._apply(caller, Delete(required_id(memory_id), expected, now))

    async def _replace(self, caller: Caller, current: Memory, wanted: Draft) -> Memory:
        drafts.check(wanted)
        if wanted == Draft.of(current) and caller.user == current.owner_user:
            return current
        embedding = await self._embed(wanted.content) if wanted.content != current.content else None
        memory = replace(
            wanted.applied_to(current),
            revision=current.revision + 1,
            updated_at=max(self._clock(), current.updated_at),
            embedding_space=embedding.space if embedding else current.embedding_space,
        )
        return await self._apply(caller, Replace(memory, embedding))

    async def _keep(self, caller: Caller, new: NewMemory, embedding: Embedding) -> Memory:
        now = self._clock()
        derived = self._derived_id(caller, new)
        blank = Memory(
            memory_id=derived or new_memory_id(now),
            owner_user=caller.user,
            content="",
            created_at=now,
            updated_at=now,
            embedding_space=embedding.space,
        )
        request_hash = new.draft.fingerprint() if derived else None
        return await self._apply(caller, Create(new.draft.applied_to(blank), embedding, request_hash))

    def _derived_id(self, caller: Caller, new: NewMemory) -> str | None:
        return derived_memory_id(self._store.secrets.id_key, caller.user, new.request_id) if new.request_id else None

    async def _apply(self, caller: Caller, change: Change) -> Memory:
        (memory,) = await apply(self._store, self._embedder, UnitOfWork(caller, (change,)))
        return memory

    async def _embed(self, content: str) -> Embedding:
        _, (embedding,) = await self._embedder.embed([content], InputKind.DOCUMENT)
        return embedding


def bounded(field: str, value: int, default: int, high: int) -> int:
    """Return *value*, or *default* for 0; raise ``InvalidInput`` naming *field* when it is not 1 to *high*."""
    if value == 0:
        return default
    if not 1 <= value <= high:
        description = f"must be 1 to {high}, got {value}"
        raise InvalidInput(f"{field} {description}", violations=[Violation(field, description)])
    return value


def check_etag(etag: str, memory: Memory) -> None:
    """Raise ``EtagMismatch`` unless *etag* is empty or the one of *memory*."""
    if etag and etag != memory.etag:
        raise EtagMismatch("the memory has changed since this etag was read; read it again", memory_id=memory.memory_id)


def _check(new: NewMemory) -> None:
    drafts.check_request_id(new.request_id)
    drafts.check(new.draft)


def _fault_of(item: NewMemory | MemoryBoxError) -> MemoryBoxError | None:
    if isinstance(item, MemoryBoxError):
        return item
    try:
        _check(item)
    except InvalidInput as fault:
        return fault
    return None


async def _outcome(keeping: Awaitable[Memory], turn: asyncio.Lock | None) -> Memory | MemoryBoxError:
    """Return what *keeping* returns or raises; items with one external id share a *turn*, so that they follow each other as given."""
    try:
        async with turn or nullcontext():
            return await keeping
    except MemoryBoxError as error:
        return error


def _check_batch(items: Sequence[NewMemory | MemoryBoxError]) -> None:
    # Kept is kept, so the answer must fit into a message: it is bounded before anything is written.
    size = sum(item.draft.applied_to(_BLANK).size_bytes for item in items if isinstance(item, NewMemory))
    if not 1 <= len(items) <= MAX_BATCH:
        description = f"must be 1 to {MAX_BATCH} items, got {len(items)}"
    elif size > MAX_BATCH_BYTES:
        description = f"must be at most {MAX_BATCH_BYTES} bytes together, metadata counted thrice; got {size}"
    else:
        return
    raise InvalidInput(f"requests {description}", violations=[Violation("requests", description)])


def required_id(memory_id: str, field: str = "memory_id") -> str:
    """Return *memory_id*; raise ``InvalidInput`` naming *field* if it is empty."""
    if not memory_id:
        raise InvalidInput(f"{field} must be given", violations=[Violation(field, "must be given")])
    return memory_id
