"""Finding memories: what a search request means, when it degrades, and how its pages follow each other."""

import asyncio
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from services.memory.domain import keyword
from services.memory.domain.active_space import ATTEMPTS
from services.memory.domain.memories import bounded, utc_now
from services.memory.domain.memory import Embedding, Json, Memory
from services.memory.domain.neighbors import MAX_NEIGHBORS, NeighborPlan
from services.memory.domain.paging import InvalidPageToken, Pager
from services.memory.domain.ports import (
    Embedder,
    EmbeddingSpace,
    EmbeddingUnavailable,
    InputKind,
    MemoryStore,
    SearchHit,
    SearchMode,
    SearchPage,
    SearchPlan,
    SpaceNotServed,
)
from services.memory.domain.spaces import SpaceMoved
from services.memory.filter import parse
from services.mesh.caller import Caller
from services.mesh.errors import InvalidInput, Violation

MAX_QUERY_LENGTH = 2048
MAX_TOP_K = 1000
DEFAULT_TOP_K = 10
MAX_HITS_A_PAGE = 100
MAX_HIGHLIGHTS = 16
MARKED_AT_ONCE = 1 << 14  # code points of a page's contents; looking for words in them takes some 4 ms
KEYWORD_ONLY = (
    "No vector could be had for the query (the embedding service does not answer, or not in the space of the memories);"
    " these hits were found by words only."
)
ALL_CUT = "Without it no hit's cosine is known, so min_score cut them all; leave it out, or try again."


@dataclass(frozen=True, slots=True)
class Search:
    """A search as asked; zeros and None stand for the defaults."""

    query: str
    top_k: int = 0
    page_size: int = 0
    page_token: str = ""
    min_score: float | None = None
    mode: SearchMode = SearchMode.HYBRID
    bucket: str = ""
    filter_text: str = ""
    as_of: datetime | None = None
    any_validity: bool = False
    query_vector: tuple[float, ...] = ()
    neighbors: int = 0

    @property
    def needs_vector(self) -> bool:
        """Whether the ranking or the cut by *min_score* takes cosines."""
        return self.mode is not SearchMode.KEYWORD or self.min_score is not None

    def binding(self) -> Json:
        """Return what a page token is bound to: everything but the page."""
        return {
            "rpc": "SearchMemories",
            "query": self.query,
            "top_k": self.top_k,
            "min_score": self.min_score,
            "mode": self.mode,
            "bucket": self.bucket,
            "filter": self.filter_text,
            "as_of": self.as_of,
            "any_validity": self.any_validity,
            "query_vector": self.query_vector,
            "neighbors": self.neighbors,
        }


@dataclass(frozen=True, slots=True)
class Highlighted:
    """A hit, where the query's words stand in its content, as code point ranges, and what stands beside it in its source."""

    hit: SearchHit
    highlights: tuple[tuple[int, int], ...]
    neighbors: tuple[Memory, ...] = ()

    @property
    def size_bytes(self) -> int:
        """What it takes in an answer, as ``Memory.size_bytes``."""
        return self.hit.memory.size_bytes + sum(memory.size_bytes for memory in self.neighbors)


@dataclass(frozen=True, slots=True)
class Found:
    """The answer to a search: a page of hits, and how it was really made."""

    hits: tuple[Highlighted, ...]
    next_page_token: str
    mode: SearchMode
    space: EmbeddingSpace | None
    threshold: float
    terms: tuple[str, ...]
    plan: SearchPlan
    page: SearchPage
    warnings: tuple[str, ...]


class Searches:
    """The use cases of finding."""

    def __init__(self, store: MemoryStore, embedder: Embedder, clock: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._embedder = embedder
        self._clock = clock
        self._pager = Pager(store.secrets.token_key)

    async def search(self, caller: Caller, search: Search) -> Found:
        """Return one page. Raises ``InvalidInput``, ``InvalidPageToken``, and in mode VECTOR ``EmbeddingUnavailable``, ``SpaceNotServed``."""
        for _ in range(ATTEMPTS - 1):
            with suppress(SpaceMoved):  # between embedding the query and comparing it
                return await self._search(caller, search)
        return await self._search(caller, search)

    async def _search(self, caller: Caller, search: Search) -> Found:
        _check(search)
        top_k = bounded("top_k", search.top_k, DEFAULT_TOP_K, MAX_TOP_K)
        limit = bounded("page_size", search.page_size, min(top_k, MAX_HITS_A_PAGE), MAX_HITS_A_PAGE)
        meaning = parse(search.filter_text)
        now = self._clock()
        state = self._pager.open(search.page_token, caller, search.binding(), now) if search.page_token else {}
        mode, space, embedding = await self._vector(search, state)
        terms = () if mode is SearchMode.VECTOR else tuple(keyword.tokenize(search.query))
        plan = SearchPlan(
            mode=mode,
            now=now,
            top_k=top_k,
            limit=min(limit, top_k - state.get("offset", 0)),
            threshold=_threshold(search, space),
            offset=state.get("offset", 0),
            terms=terms,
            embedding=embedding,
            min_score=search.min_score,
            bucket=search.bucket or None,
            filter=meaning,
            valid_at=_valid_at(search, state, now),
            snapshot=state.get("snapshot"),
        )
        page = await self._store.search(caller, plan)
        found = Found(
            hits=await _highlighted(page.hits, terms),
            next_page_token=self._next(caller, search, plan, page),
            mode=mode,
            space=space,
            threshold=plan.threshold,
            terms=terms,
            plan=plan,
            page=page,
            warnings=_warnings(search, plan),
        )
        return await self._with_neighbors(caller, search, found)

    async def _with_neighbors(self, caller: Caller, search: Search, found: Found) -> Found:
        """Return *found* with what stands beside its hits, shortened to what an answer holds."""
        if not search.neighbors or not found.hits:
            return found
        memories = tuple(highlighted.hit.memory for highlighted in found.hits)
        wanted = NeighborPlan(memories, search.neighbors, found.plan.now, found.plan.valid_at)
        beside = await self._store.neighbors(caller, wanted)
        hits = tuple(replace(hit, neighbors=own) for hit, own in zip(found.hits, beside, strict=False))
        return replace(self.shortened(caller, search, found, len(hits)), hits=hits)

    def shortened(self, caller: Caller, search: Search, found: Found, number: int) -> Found:
        """Return *found* with its first *number* hits, the next page token leading to the others."""
        if number == len(found.hits):
            return found
        page = replace(found.page, hits=found.page.hits[:number], more=True)
        token = self._next(caller, search, found.plan, page)
        return replace(found, hits=found.hits[:number], page=page, next_page_token=token)

    async def _vector(self, search: Search, state: Json) -> tuple[SearchMode, EmbeddingSpace | None, Embedding | None]:
        """Return the mode that can be had, and the query's vector where one is needed; a next page keeps to what the first one had."""
        if not search.needs_vector or state.get("vectorless"):
            return SearchMode.KEYWORD, None, None
        try:
            space, embedding = await self._embedded(search)
        except (EmbeddingUnavailable, SpaceNotServed):
            if search.mode is SearchMode.VECTOR or state:  # a next page cannot change its ranking
                raise
            return SearchMode.KEYWORD, None, None
        if state and state["space"] != space.name:
            raise InvalidPageToken(
                "the memories were embedded anew since the first page; search again",
                violations=[Violation("page_token", "must be of a search since the memories were embedded anew")],
            )
        return search.mode, space, embedding

    async def _embedded(self, search: Search) -> tuple[EmbeddingSpace, Embedding]:
        if search.query_vector:
            space = await self._embedder.active_space()
            return space, _given(search.query_vector, space)
        space, (embedding,) = await self._embedder.embed([search.query], InputKind.QUERY)
        return space, embedding

    def _next(self, caller: Caller, search: Search, plan: SearchPlan, page: SearchPage) -> str:
        offset = plan.offset + len(page.hits)
        if not page.more or offset >= plan.top_k:
            return ""
        valid_at = plan.valid_at and plan.valid_at.isoformat()
        state = {
            "offset": offset,
            "snapshot": page.snapshot,
            "vectorless": plan.embedding is None,
            "space": plan.embedding and plan.embedding.space,
            "valid_at": valid_at,
        }
        return self._pager.seal(caller, search.binding(), state, plan.now)


def _threshold(search: Search, space: EmbeddingSpace | None) -> float:
    """Return the cosine below which dense candidates are cut; without a vector there are none."""
    if search.min_score is not None:
        return search.min_score
    return space.threshold if space else 1.0


def _valid_at(search: Search, state: Json, now: datetime) -> datetime | None:
    """Return the moment at which hits must hold, the same for all pages; None: they need not."""
    if search.any_validity:
        return None
    return datetime.fromisoformat(state["valid_at"]) if state else search.as_of or now


def _warnings(search: Search, plan: SearchPlan) -> tuple[str, ...]:
    if plan.embedding is not None or not search.needs_vector:
        return ()
    return (KEYWORD_ONLY,) if search.min_score is None else (KEYWORD_ONLY, ALL_CUT)


async def _highlighted(hits: Sequence[SearchHit], terms: tuple[str, ...]) -> tuple[Highlighted, ...]:
    def mark() -> tuple[Highlighted, ...]:
        return tuple(Highlighted(hit, _highlights(hit, terms)) for hit in hits)

    short = sum(len(hit.memory.content) for hit in hits) <= MARKED_AT_ONCE
    return mark() if short else await asyncio.to_thread(mark)


def _highlights(hit: SearchHit, terms: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    return tuple(keyword.highlights(hit.memory.content, terms, MAX_HIGHLIGHTS)) if terms else ()


def _check(search: Search) -> None:
    violations = []
    if search.any_validity and search.as_of is not None:
        violations.append(Violation("any_validity", "must not be set with as_of"))
    by_vector_alone = search.mode is SearchMode.VECTOR and search.query_vector
    if not search.query and not by_vector_alone:
        violations.append(Violation("query", f"must be 1 to {MAX_QUERY_LENGTH} code points"))
    if len(search.query) > MAX_QUERY_LENGTH:
        violations.append(Violation("query", f"must be 1 to {MAX_QUERY_LENGTH} code points, got {len(search.query)}"))
    if search.min_score is not None and not -1.0 <= search.min_score <= 1.0:
        violations.append(Violation("min_score", f"must be -1 to 1, got {search.min_score}"))
    if not 0 <= search.neighbors <= MAX_NEIGHBORS:
        violations.append(Violation("neighbors", f"must be 0 to {MAX_NEIGHBORS}, got {search.neighbors}"))
    if not all(map(math.isfinite, search.query_vector)):
        violations.append(Violation("query_vector", "must hold finite numbers only"))
    elif search.query_vector and not any(search.query_vector):
        violations.append(Violation("query_vector", "must not be all zero"))
    if violations:
        raise InvalidInput(f"{violations[0].field} {violations[0].description}", violations=violations)


def _given(values: tuple[float, ...], space: EmbeddingSpace) -> Embedding:
    if len(values) != space.dimension:
        description = f"must have {space.dimension} numbers, as {space.name} has; got {len(values)}"
        raise InvalidInput(f"query_vector {description}", violations=[Violation("query_vector", description)])
    exact = np.asarray(values, dtype=np.float64)
    return Embedding(space.name, (exact / np.linalg.norm(exact)).astype(np.float32))
