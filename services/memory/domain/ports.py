"""The ports of the memory service: what it needs from a store and from an embedder."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol, Self

from services.memory.domain.audit import Act, current_act
from services.memory.domain.deletions import DeletingStore
from services.memory.domain.duplicates import DuplicateReader
from services.memory.domain.facets import FacetReader
from services.memory.domain.feed import FeedStore
from services.memory.domain.lineage import LineageReader
from services.memory.domain.memory import Embedding, Memory
from services.memory.domain.neighbors import NeighborReader
from services.memory.domain.reads import BatchReader
from services.memory.domain.revisions import RevisionReader
from services.memory.domain.spaces import SpaceStore
from services.memory.domain.transfer import MovingStore
from services.memory.filter import EVERYTHING, Filter
from services.mesh.caller import Caller
from services.mesh.errors import BackendUnavailable, FailedPrecondition


class SearchMode(StrEnum):
    """How candidates are found."""

    VECTOR = "VECTOR"  # by cosine
    KEYWORD = "KEYWORD"  # by BM25
    HYBRID = "HYBRID"  # both, fused by reciprocal rank


@dataclass(frozen=True, slots=True)
class Create:
    """Keep *memory* (revision 1). *request_hash* is the digest of the request's body, set when the id was derived from a request id.

    If the id exists with the same *request_hash*, the stored memory is the result; with another one, ``RequestIdReused``.
    """

    memory: Memory
    embedding: Embedding
    request_hash: bytes | None = None


@dataclass(frozen=True, slots=True)
class Replace:
    """Put *memory* in the place of its own revision ``memory.revision - 1``; ``EtagMismatch`` if that is no longer the current one.

    *embedding* is None when the content, and so the vector, stays.
    """

    memory: Memory
    embedding: Embedding | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Hide a memory from every read (soft delete), as a new revision; *expected_revision* None means whatever is current."""

    memory_id: str
    expected_revision: int | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Undelete:
    """Bring a deleted memory of the caller's back, as a new revision; one that is not deleted stays as it is."""

    memory_id: str
    at: datetime


Change = Create | Replace | Delete | Undelete


@dataclass(frozen=True, slots=True)
class UnitOfWork:
    """Changes that become durable together or not at all, made by *caller*, with the event of the call that they are part of.

    If one of several changes is a repeated ``Create`` (of the caller's own, with a *request_hash*), the whole unit is a repetition:
    nothing of it is done, and that memory alone is its result.
    """

    caller: Caller
    changes: tuple[Change, ...]
    act: Act | None = field(default_factory=current_act)


@dataclass(frozen=True, slots=True)
class ListPlan:
    """One page of the memories that the caller may see, newest first: by (created_at, memory_id) descending.

    *valid_at* leaves out what does not hold at that moment. *as_of* shows each memory that exists now in the state that was current
    then, if that was there and the caller's to see (``RevisionReader``); bucket, filter and validity are that state's. *after* is the last row of the page before. *snapshot* is a store's commit number: rows created later stay out.
    *max_bytes* ends a page early by the sum of ``Memory.size_bytes``; at least one row is always returned.
    """

    limit: int
    now: datetime
    bucket: str | None = None
    filter: Filter = EVERYTHING
    valid_at: datetime | None = None
    as_of: datetime | None = None
    after: tuple[datetime, str] | None = None
    snapshot: int | None = None
    max_bytes: int = 3 << 20


@dataclass(frozen=True, slots=True)
class ListPage:
    """Rows of one page; *more* says whether another follows; *snapshot* is what the next plan must carry."""

    memories: tuple[Memory, ...]
    more: bool
    snapshot: int


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """A search, complete: access, filter, both rankings, fusion, threshold and paging happen inside the store.

    *embedding* is None in KEYWORD mode, unless cosines are wanted for *min_score*. *terms* are the query's tokens (``keyword.tokenize``), empty in VECTOR mode.
    Dense candidates below *threshold* are cut. *min_score* (explicit) also cuts every hit whose cosine is lower or unknown.
    Each ranking gives its best ``max(top_k, 100)`` candidates to the fusion. Hits ``[offset, offset + limit)`` of the first *top_k* are returned.
    *valid_at* leaves out what does not hold at that moment; keyword statistics count it all the same.
    Equal ranks are ordered by created_at descending, then memory_id, so that pages repeat exactly.
    """

    mode: SearchMode
    now: datetime
    top_k: int
    limit: int
    threshold: float
    offset: int = 0
    terms: tuple[str, ...] = ()
    embedding: Embedding | None = None
    min_score: float | None = None
    bucket: str | None = None
    filter: Filter = EVERYTHING
    valid_at: datetime | None = None
    snapshot: int | None = None
    max_bytes: int = 3 << 20


@dataclass(frozen=True, slots=True)
class MatchedPart:
    """The part of a content nearest to a query: its number from 0, and its code points ``[start, end)``."""

    number: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class SearchHit:
    """A found memory and why.

    *score* is the cosine in [-1, 1], the highest of the content's vector and those of its parts; None when unknown.
    *rank_score* orders the hits: the cosine in VECTOR mode, the BM25 score in KEYWORD mode, ``fusion.fused_score`` in HYBRID
    mode. Ranks count from 1; None: not among that ranking's candidates.
    """

    memory: Memory
    score: float | None
    rank_score: float
    vector_rank: int | None = None
    keyword_rank: int | None = None
    keyword_score: float | None = None
    matched_part: MatchedPart | None = None  # of a content in parts, where *score* is known; the first of equals


@dataclass(frozen=True, slots=True)
class SearchPage:
    """Hits of one page; *cut_by_threshold* and *cut_by_min_score* count candidates that the two cuts removed."""

    hits: tuple[SearchHit, ...]
    more: bool
    snapshot: int
    cut_by_threshold: int = 0
    cut_by_min_score: int = 0


@dataclass(frozen=True, slots=True)
class StoreSecrets:
    """Random 32-byte keys made when a store is first opened and kept in it, so that ids and tokens outlive restarts."""

    id_key: bytes
    token_key: bytes


class MemoryStore(BatchReader, DuplicateReader, FacetReader, LineageReader, NeighborReader, RevisionReader, Protocol):
    """Where memories are kept; implemented in ``stores/``. Who may read is decided inside each query."""

    @property
    def secrets(self) -> StoreSecrets:
        """The keys for derived ids and page tokens."""
        ...

    @property
    def moving(self) -> MovingStore:
        """Takes memories out and in."""
        ...

    @property
    def feed(self) -> FeedStore:
        """Tells what changed."""
        ...

    @property
    def spaces(self) -> SpaceStore:
        """Knows the embedding space of all comparisons."""
        ...

    @property
    def deleting(self) -> DeletingStore:
        """Deletes the caller's own by the batch."""
        ...

    async def apply(self, work: UnitOfWork) -> tuple[Memory, ...]:
        """Commit *work* durably and return each change's memory as stored; once this returns, every later read sees it.

        Raises ``MemoryNotFound`` (not visible to the caller, or deleted), ``NotOwner``, ``EtagMismatch``, ``ExternalIdTaken``,
        ``RequestIdReused``, ``SpaceMoved`` for a vector of another space than the active one, or ``InvalidInput`` for one that is
        not of length 1 or of its space's dimension; then nothing of the unit is kept.
        """
        ...

    async def get(self, caller: Caller, memory_id: str, now: datetime) -> Memory:
        """Return one memory, or raise ``MemoryNotFound``."""
        ...

    async def get_embedding(self, caller: Caller, memory_id: str, now: datetime) -> Embedding:
        """Return the vector of a memory that *caller* may see, or raise ``MemoryNotFound``."""
        ...

    async def list(self, caller: Caller, plan: ListPlan) -> ListPage:
        """Return one page."""
        ...

    async def search(self, caller: Caller, plan: SearchPlan) -> SearchPage:
        """Return one page of hits, best first. Raises ``SpaceMoved`` for a query of another space than the active one."""
        ...


@dataclass(frozen=True, slots=True)
class EmbeddingSpace:
    """A space's name and the cosine from which a match is worth showing, calibrated for its model."""

    name: str
    dimension: int
    threshold: float
    window_tokens: int = 0  # of a model that reads longer contents in parts; 0: it reads any at once


class InputKind(StrEnum):
    """What a text is to the model: some models prefix the two differently."""

    DOCUMENT = "DOCUMENT"
    QUERY = "QUERY"


class EmbeddingUnavailable(BackendUnavailable):
    """The embedding service does not answer in time; retry with backoff."""

    reason = "EMBEDDING_UNAVAILABLE"


class SpaceNotServed(FailedPrecondition):
    """The embedding service has no model of the space that is needed; an operator sets it back, or re-embeds."""

    reason = "EMBEDDING_SPACE_NOT_SERVED"

    @classmethod
    def of(cls, space: str, served: Sequence[str]) -> Self:
        """Return the error that names *space* and what there is instead."""
        instead = f"it serves {', '.join(served)}" if served else "it names no other"
        return cls(f"the embedding service does not serve the space {space}; {instead}", space=space)


class Embedder(Protocol):
    """Turns texts into vectors of the active space; implemented by ``ActiveSpaceEmbedder``."""

    async def active_space(self) -> EmbeddingSpace:
        """Return the space that new vectors are made in. Raises ``EmbeddingUnavailable``, ``SpaceNotServed``."""
        ...

    async def embed(self, texts: Sequence[str], kind: InputKind) -> tuple[EmbeddingSpace, list[Embedding]]:
        """Return one embedding per text, in order. Raises ``SpaceNotServed``, and ``EmbeddingUnavailable`` with retry advice."""
        ...


class EmbeddingModels(Protocol):
    """Turns texts into vectors of any space that there is a model of; implemented over the embedding service."""

    async def spaces(self, *, fresh: bool = False) -> Sequence[EmbeddingSpace]:
        """Return all spaces, the one meant for new vectors first, perhaps, but for *fresh*, as it was a minute ago.

        Raises ``EmbeddingUnavailable``.
        """
        ...

    async def embed(
        self, texts: Sequence[str], kind: InputKind, space: str = ""
    ) -> tuple[EmbeddingSpace, list[Embedding]]:
        """Return one embedding per text, in order, in *space* ('': the first).

        Raises ``SpaceNotServed``, and ``EmbeddingUnavailable`` with retry advice when no answer comes in time.
        """
        ...
