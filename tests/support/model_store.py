"""A memory store that is obviously right: one list, no index, no disk. The fake that real stores are compared with."""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from services.memory.domain import keyword
from services.memory.domain.duplicates import DuplicatePage, DuplicatePlan
from services.memory.domain.facets import FacetCounts, FacetPlan
from services.memory.domain.fusion import fused_score
from services.memory.domain.lineage import MAX_KIN, MAX_KIN_BYTES, Lineage
from services.memory.domain.memory import (
    Embedding,
    EtagMismatch,
    ExternalIdTaken,
    Memory,
    MemoryNotFound,
    NotOwner,
    RequestIdReused,
)
from services.memory.domain.neighbors import NeighborPlan
from services.memory.domain.ports import (
    Change,
    Create,
    Delete,
    ListPage,
    ListPlan,
    MatchedPart,
    Replace,
    SearchHit,
    SearchMode,
    SearchPage,
    SearchPlan,
    StoreSecrets,
    Undelete,
    UnitOfWork,
)
from services.memory.domain.reads import ALL, MAX_ANSWER_BYTES, Batch, Selection
from services.memory.domain.revisions import RevisionPage, RevisionPlan
from services.memory.domain.spaces import SpaceMoved
from services.mesh.caller import Caller
from services.mesh.errors import InvalidInput, MemoryBoxError
from tests.support.filters import interpret
from tests.support.model_deletions import ModelDeleter
from tests.support.model_duplicates import find_duplicates
from tests.support.model_facets import count_values
from tests.support.model_feed import ModelFeed
from tests.support.model_history import find_revision, may_read, revision_page, seen_states, state_at
from tests.support.model_lineage import is_parent, kin
from tests.support.model_moving import ModelMover
from tests.support.model_neighbors import find_neighbors
from tests.support.model_spaces import ModelSpaces

AGELESS = datetime.max.replace(tzinfo=UTC)  # minus a creation time: a sort key with the youngest first


@dataclass(frozen=True)
class Record:
    """A memory, its vector, and the number of the change that created it."""

    memory: Memory
    embedding: Embedding
    request_hash: bytes | None
    created_seq: int


def may_see(caller: Caller, memory: Memory, now: datetime) -> bool:
    """Tell whether *memory* exists for *caller*."""
    if memory.delete_time is not None or (memory.expires_at is not None and memory.expires_at <= now):
        return False
    return may_read(caller, memory)


class ModelMemoryStore:
    """The port, by definition."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.former: dict[str, tuple[Memory, ...]] = {}
        self.dimensions: dict[str, int] = {}
        self.seq = 0
        self.secrets = StoreSecrets(secrets.token_bytes(32), secrets.token_bytes(32))
        self.moving = ModelMover(self)
        self.feed = ModelFeed(self)
        self.spaces = ModelSpaces(self)
        self.deleting = ModelDeleter(self)

    async def close(self) -> None:
        """Nothing to give back."""

    async def apply(self, work: UnitOfWork) -> tuple[Memory, ...]:
        before = dict(self.records), dict(self.former), self.seq, self.spaces.shown
        repeated = self._repetition(work)
        if repeated is not None:
            return (repeated,)
        try:
            return tuple(self.change(work.caller, change) for change in work.changes)
        except MemoryBoxError:
            self.records, self.former, self.seq, self.spaces.shown = before
            raise
        finally:
            self.feed.settle()

    def _repetition(self, work: UnitOfWork) -> Memory | None:
        for change in work.changes if len(work.changes) > 1 else ():
            if isinstance(change, Create) and change.request_hash is not None:
                known = self.own(work.caller.user, change.memory.memory_id)
                if known is not None:
                    return repeated(change, known)
        return None

    def change(self, caller: Caller, change: Change) -> Memory:
        """Make one change and note it."""
        known, seq = dict(self.records), self.seq
        memory = self._apply(caller, change)
        if self.seq > seq:
            before = known.get(self.key_of(memory))
            self.feed.note(self.seq, before.memory if before else None, memory)
        return memory

    def _apply(self, caller: Caller, change: Change) -> Memory:
        match change:
            case Create():
                return self._create(caller, change)
            case Replace():
                return self._replace(caller, change)
            case Delete():
                return self._delete(caller, change)
            case Undelete():
                return self._undelete(caller, change)

    def key_of(self, memory: Memory) -> str:
        """Return the key of a memory's record: its id or, if another owner's memory has that, one of its own."""
        holder = self.records.get(memory.memory_id)
        taken = holder is not None and holder.memory.owner_user != memory.owner_user
        return f"{memory.memory_id}@{memory.owner_user}" if taken else memory.memory_id

    def own(self, owner: str, memory_id: str) -> Record | None:
        """Return the owner's record of an id."""
        found = [self.records.get(key) for key in (memory_id, f"{memory_id}@{owner}")]
        return next((one for one in found if one is not None and one.memory.owner_user == owner), None)

    def _states_before(self, memory: Memory) -> tuple[Memory, ...]:
        return self.former.get(self.key_of(memory), ())

    def _keep_state(self, memory: Memory) -> None:
        self.former[self.key_of(memory)] = (*self._states_before(memory), memory)

    def _create(self, caller: Caller, change: Create) -> Memory:
        memory = replace(change.memory, embedding_space=change.embedding.space)
        if memory.owner_user != caller.user:
            raise NotOwner("not yours")
        known = self.own(memory.owner_user, memory.memory_id)
        if known is not None:
            return repeated(change, known)
        embedding = self.spaces.placed(change.embedding)
        self._check_external_id(memory)
        self._check_vector(embedding)
        self.seq += 1
        self.records[self.key_of(memory)] = Record(memory, embedding, change.request_hash, self.seq)
        return memory

    def _replace(self, caller: Caller, change: Replace) -> Memory:
        record = self._owned(caller, change.memory.memory_id, change.memory.updated_at)
        if record.memory.revision != change.memory.revision - 1:
            raise EtagMismatch("changed")
        if change.memory.owner_user != caller.user:
            raise NotOwner("still yours")
        self._check_external_id(change.memory)
        embedding = self.spaces.placed(change.embedding) if change.embedding else record.embedding
        self._check_vector(embedding)
        self.seq += 1
        self._keep_state(record.memory)
        memory = replace(change.memory, created_at=record.memory.created_at, embedding_space=embedding.space)
        self.records[self.key_of(memory)] = replace(record, memory=memory, embedding=embedding)
        return memory

    def _delete(self, caller: Caller, change: Delete) -> Memory:
        record = self._owned(caller, change.memory_id, change.at)
        if change.expected_revision not in (None, record.memory.revision):
            raise EtagMismatch("changed")
        self.seq += 1
        self._keep_state(record.memory)
        revision = record.memory.revision + 1
        memory = replace(record.memory, revision=revision, delete_time=change.at, updated_at=change.at)
        self.records[self.key_of(memory)] = replace(record, memory=memory)
        return memory

    def _undelete(self, caller: Caller, change: Undelete) -> Memory:
        record = self.own(caller.user, change.memory_id)
        if record is None or record.memory.delete_time is None:
            return self._owned(caller, change.memory_id, change.at).memory
        at = max(change.at, record.memory.updated_at)
        memory = replace(record.memory, revision=record.memory.revision + 1, updated_at=at, delete_time=None)
        if not may_see(caller, memory, at):
            raise MemoryNotFound("expired")
        self._check_external_id(memory)
        self.seq += 1
        self._keep_state(record.memory)
        self.records[self.key_of(memory)] = replace(record, memory=memory)
        return memory

    async def list_revisions(self, caller: Caller, plan: RevisionPlan) -> RevisionPage:
        current = self._visible(caller, plan.memory_id, plan.now).memory
        return revision_page(seen_states(caller, current, self._states_before(current)), plan)

    async def lineage(
        self, caller: Caller, memory_id: str, now: datetime, max_kin: int = MAX_KIN, max_bytes: int = MAX_KIN_BYTES
    ) -> Lineage:
        start = self._visible(caller, memory_id, now).memory
        visible = [record.memory for record in self.records.values() if may_see(caller, record.memory, now)]
        up, more_up = kin(start, visible, is_parent, (max_kin, max_bytes))
        down, more_down = kin(start, visible, lambda one, of: is_parent(of, one), (max_kin, max_bytes))
        return Lineage(up, down, more_up or more_down)

    async def get_as_of(self, caller: Caller, memory_id: str, as_of: datetime, now: datetime) -> Memory:
        current = self._visible(caller, memory_id, now).memory
        state = state_at(caller, current, self._states_before(current), as_of)
        if state is None:
            raise MemoryNotFound("not then")
        return state

    async def get_revision(self, caller: Caller, memory_id: str, revision: int, now: datetime) -> Memory:
        current = self._visible(caller, memory_id, now).memory
        return find_revision(seen_states(caller, current, self._states_before(current)), revision)

    def _owned(self, caller: Caller, memory_id: str, now: datetime) -> Record:
        record = self._visible(caller, memory_id, now)
        if record.memory.owner_user != caller.user:
            raise NotOwner("not yours")
        return record

    def _check_external_id(self, memory: Memory) -> None:
        owner = Caller(memory.owner_user)
        for other in self.records.values():
            same = other.memory.external_id == memory.external_id and other.memory.owner_user == memory.owner_user
            held = same and other.memory.memory_id != memory.memory_id
            if memory.external_id and held and may_see(owner, other.memory, memory.updated_at):
                raise ExternalIdTaken("taken")

    def _check_vector(self, embedding: Embedding) -> None:
        dimension = self.dimensions.setdefault(embedding.space, len(embedding.vector))
        for vector in (embedding.vector, *(part.vector for part in embedding.parts)):
            if len(vector) != dimension or not np.isclose(np.linalg.norm(vector), 1.0, atol=1e-3):
                raise InvalidInput("not a vector of this space")
        if any(not 0 <= part.start < part.end for part in embedding.parts):
            raise InvalidInput("an empty part")

    def _visible(self, caller: Caller, memory_id: str, now: datetime) -> Record:
        record = self._seen(caller, memory_id, now)
        if record is None:
            raise MemoryNotFound("not found")
        return record

    def _seen(self, caller: Caller, memory_id: str, now: datetime) -> Record | None:
        """Return the caller's own memory of an id, else the oldest that they may see."""
        named = [record for record in self.records.values() if record.memory.memory_id == memory_id]
        visible = [record for record in named if may_see(caller, record.memory, now)]
        return min(visible, key=lambda r: (r.memory.owner_user != caller.user, r.created_seq), default=None)

    def _all_visible(self, caller: Caller, now: datetime, snapshot: int | None) -> list[Record]:
        last = self.seq if snapshot is None else snapshot
        return [r for r in self.records.values() if may_see(caller, r.memory, now) and r.created_seq <= last]

    async def get(self, caller: Caller, memory_id: str, now: datetime) -> Memory:
        return self._visible(caller, memory_id, now).memory

    async def get_embedding(self, caller: Caller, memory_id: str, now: datetime) -> Embedding:
        return self._visible(caller, memory_id, now).embedding

    async def find_external(self, caller: Caller, external_id: str, now: datetime) -> Memory | None:
        own = (record.memory for record in self.records.values() if record.memory.owner_user == caller.user)
        held = (memory for memory in own if memory.external_id == external_id != "" and may_see(caller, memory, now))
        return next(held, None)

    async def get_many(
        self, caller: Caller, memory_ids: Sequence[str], now: datetime, max_bytes: int = MAX_ANSWER_BYTES
    ) -> Batch:
        found = (self._seen(caller, memory_id, now) for memory_id in memory_ids)
        visible = [record.memory for record in found if record is not None]
        number = fitting(visible, max_bytes)
        return Batch(tuple(visible[:number]), tuple(memory.memory_id for memory in visible[number:]))

    async def count(self, caller: Caller, now: datetime, selection: Selection = ALL) -> int:
        visible = [record.memory for record in self._all_visible(caller, now, None)]
        return sum(is_meant(memory, selection) for memory in visible)

    async def facet(self, caller: Caller, plan: FacetPlan) -> FacetCounts:
        visible = [record.memory for record in self._all_visible(caller, plan.now, None)]
        meant = [memory for memory in visible if is_meant(memory, plan.selection)]
        return count_values(meant, plan.field, plan.limit)

    async def neighbors(self, caller: Caller, plan: NeighborPlan) -> Sequence[tuple[Memory, ...]]:
        return find_neighbors([record.memory for record in self._all_visible(caller, plan.now, None)], plan)

    async def duplicates(self, caller: Caller, plan: DuplicatePlan) -> DuplicatePage:
        visible = self._all_visible(caller, plan.now, plan.snapshot)
        meant = [record for record in visible if is_meant(record.memory, plan)]
        if not plan.visible:
            meant = [record for record in meant if record.memory.owner_user == caller.user]
        snapshot = self.seq if plan.snapshot is None else plan.snapshot
        return find_duplicates(meant, plan, self.spaces.shown.active, snapshot)

    async def list(self, caller: Caller, plan: ListPlan) -> ListPage:
        visible = [record.memory for record in self._all_visible(caller, plan.now, plan.snapshot)]
        if plan.as_of is not None:
            states = (state_at(caller, one, self._states_before(one), plan.as_of) for one in visible)
            visible = [state for state in states if state]
        rows = sorted(
            (memory for memory in visible if is_meant(memory, plan)),
            key=lambda m: (m.created_at, m.memory_id),
        )
        rows.reverse()
        if plan.after is not None:
            rows = [memory for memory in rows if (memory.created_at, memory.memory_id) < plan.after]
        page = rows[: fitting(rows[: plan.limit], plan.max_bytes)]
        snapshot = self.seq if plan.snapshot is None else plan.snapshot
        return ListPage(tuple(page), len(page) < len(rows), snapshot)

    async def search(self, caller: Caller, plan: SearchPlan) -> SearchPage:
        active = self.spaces.shown.active
        if plan.embedding is not None and active not in ("", plan.embedding.space):
            raise SpaceMoved(plan.embedding.space, active)
        existing = self._all_visible(caller, plan.now, plan.snapshot)
        eligible = [record for record in existing if is_meant(record.memory, plan)]
        if plan.embedding is not None and any(record.embedding.space == plan.embedding.space for record in eligible):
            self._check_vector(plan.embedding)
        wanted = max(plan.top_k, 100)
        cosines = cosines_of(eligible, plan.embedding)
        near = best(eligible, cosines, wanted) if plan.mode is not SearchMode.KEYWORD else []
        dense = [number for number in near if cosines[number] >= plan.threshold]
        scores = bm25(existing, plan.terms)
        whole = query_weight(existing, plan.terms)
        sparse = best(eligible, scores, wanted) if plan.mode is not SearchMode.VECTOR else []
        hits = []
        for record in eligible:
            number = record.created_seq
            if number not in dense and number not in sparse:
                continue
            vector_rank = dense.index(number) + 1 if number in dense else None
            keyword_rank = sparse.index(number) + 1 if number in sparse else None
            keyword_score = scores[number] if keyword_rank else None
            coverage = min(1.0, (keyword_score or 0.0) / whole) if whole else 0.0
            fused = fused_score(float(vector_rank or 0), float(keyword_rank or 0), coverage)
            by_mode = {
                SearchMode.VECTOR: cosines.get(number),
                SearchMode.KEYWORD: keyword_score,
                SearchMode.HYBRID: fused,
            }
            hits.append(
                SearchHit(
                    record.memory,
                    cosines.get(number),
                    by_mode[plan.mode] or 0.0,
                    vector_rank,
                    keyword_rank,
                    keyword_score,
                    nearest_part(record, plan.embedding),
                )
            )
        hits.sort(key=lambda hit: (-hit.rank_score, AGELESS - hit.memory.created_at, hit.memory.memory_id))
        kept = [
            hit for hit in hits if plan.min_score is None or (hit.score is not None and hit.score >= plan.min_score)
        ]
        top = kept[: plan.top_k]
        page = top[plan.offset : plan.offset + plan.limit]
        page = page[: fitting([hit.memory for hit in page], plan.max_bytes)]
        snapshot = self.seq if plan.snapshot is None else plan.snapshot
        more = plan.offset + len(page) < len(top)
        return SearchPage(tuple(page), more, snapshot, len(near) - len(dense), len(hits) - len(kept))


def repeated(change: Create, known: Record) -> Memory:
    """Return what *change* made before, if it is the same."""
    same = change.request_hash is not None and known.request_hash == change.request_hash
    if not same:
        raise RequestIdReused("reused")
    return known.memory


def is_meant(memory: Memory, chosen: Selection | ListPlan | SearchPlan | DuplicatePlan) -> bool:
    """Tell whether *memory* is in the bucket, holds at the time and passes the filter."""
    holds = chosen.valid_at is None or memory.holds_at(chosen.valid_at)
    return holds and chosen.bucket in (None, memory.bucket) and interpret(chosen.filter, memory)


def fitting(memories: Iterable[Memory], max_bytes: int) -> int:
    """Return how many of *memories* make a page; the first always does."""
    size = number = 0
    for memory in memories:
        size += memory.size_bytes
        if number and size > max_bytes:
            break
        number += 1
    return number


def cosines_of(records: Iterable[Record], embedding: Embedding | None) -> dict[int, float]:
    """Return the highest cosine of each record's vectors in the embedding's space, by its number."""
    if embedding is None:
        return {}
    same = [record for record in records if record.embedding.space == embedding.space]
    return {
        record.created_seq: max(
            cosine(vector, embedding.vector)
            for vector in (record.embedding.vector, *(part.vector for part in record.embedding.parts))
        )
        for record in same
    }


def nearest_part(record: Record, embedding: Embedding | None) -> MatchedPart | None:
    """Return the first of the parts with the highest cosine."""
    parts = record.embedding.parts
    if embedding is None or embedding.space != record.embedding.space or not parts:
        return None
    scores = [cosine(part.vector, embedding.vector) for part in parts]
    number = scores.index(max(scores))
    return MatchedPart(number, parts[number].start, parts[number].end)


def cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Return the cosine of two vectors of length 1."""
    return float(np.clip((a.astype(np.float64) * b.astype(np.float64)).sum(), -1.0, 1.0))


def bm25(records: Iterable[Record], terms: Iterable[str]) -> dict[int, float]:
    """Return the score of each record that has any of *terms*, by the formula of the domain."""
    texts = {record.created_seq: keyword.tokenize(record.memory.content) for record in records}
    length = sum(map(len, texts.values()))
    if not length:
        return {}
    average = length / len(texts)
    scores: dict[int, float] = {}
    for term in dict.fromkeys(terms):
        holders = [number for number, text in texts.items() if term in text]
        weight = keyword.rarity(len(texts), len(holders))
        for number in holders:
            text = texts[number]
            norm = keyword.length_norm(float(len(text)), average)
            scores[number] = scores.get(number, 0.0) + keyword.term_score(weight, float(text.count(term)), norm)
    return scores


def query_weight(records: Sequence[Record], terms: Iterable[str]) -> float:
    """Return the sum of the weights of the distinct *terms*."""
    texts = [set(keyword.tokenize(record.memory.content)) for record in records]
    return sum(keyword.rarity(len(texts), sum(term in text for text in texts)) for term in dict.fromkeys(terms))


def best(records: Iterable[Record], scores: dict[int, float], wanted: int) -> list[int]:
    """Return the numbers of the best *wanted* records that have a score; ids are unique among one owner's memories alone."""
    scored = [record for record in records if record.created_seq in scores]
    scored.sort(key=lambda r: (-scores[r.created_seq], AGELESS - r.memory.created_at, r.memory.memory_id))
    return [record.created_seq for record in scored[:wanted]]
