"""The embedded store against a plain model of the port, over random histories with reopenings."""

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.memory.domain.memory import AccessLevel, Embedding, Memory, Part, Source
from services.memory.domain.ports import (
    Change,
    Create,
    Delete,
    ListPage,
    ListPlan,
    MemoryStore,
    Replace,
    SearchMode,
    SearchPlan,
    Undelete,
    UnitOfWork,
)
from services.memory.domain.reads import Selection
from services.memory.domain.revisions import RevisionPage, RevisionPlan
from services.memory.domain.spaces import Filling
from services.memory.stores.embedded import EmbeddedMemoryStore
from services.mesh.caller import Caller
from services.mesh.errors import MemoryBoxError
from tests.support.memories import NOW, listing
from tests.support.model_store import ModelMemoryStore

OWNERS = st.sampled_from(["ann", "bob"])
CALLERS = st.builds(Caller, st.sampled_from(["ann", "bob", "eve"]), st.frozensets(st.sampled_from(["R", "S"])))
IDS = st.sampled_from([f"m{number}" for number in range(12)])
WORDS = st.lists(st.sampled_from(["tea", "cup", "teas", "MB-12", "東京", "a_b", "!"]), max_size=6).map(" ".join)
ACCESS = st.one_of(
    st.just({"access_level": AccessLevel.PRIVATE}),
    st.just({"access_level": AccessLevel.PUBLIC}),
    st.lists(st.sampled_from(["R", "S"]), max_size=2).map(
        lambda roles: {"access_level": AccessLevel.ROLE, "reader_roles": tuple(roles)}
    ),
)
SECONDS = st.integers(0, 3).map(lambda number: timedelta(seconds=number))
SPACES = {"two": 2, "three": 3}
Components = list[int]


def unit(components: list[int], space: str) -> Embedding:
    """Return an embedding of few distinct directions, so that ties are common."""
    vector = np.array([*components, 0, 0, 0][: SPACES[space]], np.float32) + np.float32(0.5)
    return Embedding(space, vector / np.linalg.norm(vector))


def in_parts(components: list[list[int]], space: str) -> Embedding:
    """Return an embedding whose parts have all but the first of *components*, often one twice."""
    whole, *others = (unit(numbers, space).vector for numbers in components)
    return Embedding(space, whole, tuple(Part(9 * n, 9 * n + 12, vector) for n, vector in enumerate(others)))


COMPONENTS = st.lists(st.integers(-2, 2), min_size=1, max_size=3)
EMBEDDINGS = st.builds(unit, COMPONENTS, st.sampled_from(sorted(SPACES)))
MANY = st.lists(COMPONENTS, min_size=1, max_size=5)
PLANS = st.builds(
    SearchPlan,
    mode=st.sampled_from(SearchMode),
    now=st.just(NOW),
    top_k=st.sampled_from([1, 3, 200]),
    limit=st.sampled_from([1, 2, 100]),
    threshold=st.sampled_from([-1.0, 0.0, 0.9]),
    offset=st.sampled_from([0, 0, 1]),
    terms=WORDS.map(lambda text: tuple(text.casefold().split())),
    embedding=st.none() | EMBEDDINGS,
    min_score=st.sampled_from([None, None, 0.5]),
    bucket=st.sampled_from([None, None, "x"]),
    valid_at=st.none() | SECONDS.map(lambda after: NOW + after),
    snapshot=st.none() | st.integers(0, 20),
    max_bytes=st.sampled_from([1, 30, 10_000]),
)


async def outcome(call: Awaitable[Any]) -> Any:
    """Return what *call* returns, or the type of the deliberate error it raises."""
    try:
        return await call
    except MemoryBoxError as error:
        return type(error)


async def list_page(caller: Caller, plan: ListPlan, store: MemoryStore) -> ListPage:
    """Return one page of *store*'s list."""
    return await store.list(caller, plan)


async def revision_page(caller: Caller, plan: RevisionPlan, store: MemoryStore) -> RevisionPage:
    """Return one page of a memory's states in *store*."""
    return await store.list_revisions(caller, plan)


async def count_at(now: datetime, caller: Caller, store: MemoryStore) -> int:
    """Return how many memories *caller* sees in *store*."""
    return await store.count(caller, now)


class StoreAgainstModel(RuleBasedStateMachine):
    """Does the same to both stores and expects the same answers."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.model = ModelMemoryStore()
        self.clock = NOW

    @initialize()
    def open(self) -> None:
        self.store = self.runner.run(EmbeddedMemoryStore.open(self.folder))

    def teardown(self) -> None:
        self.runner.run(self.store.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    def same(self, call: Callable[[Any], Awaitable[Any]]) -> Any:
        expected = self.runner.run(outcome(call(self.model)))
        actual = self.runner.run(outcome(call(self.store)))
        assert actual == expected
        return actual

    def later(self, data: st.DataObject) -> datetime:
        """Return the time of a write: never before that of an earlier one, often the same."""
        self.clock += data.draw(st.sampled_from([timedelta(0), timedelta(0), timedelta(seconds=1)]))
        return self.clock

    def expiry(self, data: st.DataObject) -> datetime | None:
        """Return a time at which a memory ends, soon if at all."""
        return data.draw(st.none() | SECONDS.map(lambda after: self.clock + after))

    def embedding(self, data: st.DataObject) -> Embedding:
        """Return what a write brings: mostly of the space of now, sometimes with a twin."""
        active = self.model.spaces.shown.active or "two"
        other = next(space for space in SPACES if space != active)
        space = data.draw(st.sampled_from([active] * 9 + [other]))
        twin = data.draw(st.none() | st.builds(in_parts, MANY, st.just(other)))
        return replace(in_parts(data.draw(MANY), space), twin=twin)

    def apply(self, owner: str, *changes: Change) -> None:
        self.same(lambda store: store.apply(UnitOfWork(Caller(owner), changes)))

    def creation(self, data: st.DataObject, owner: str) -> Create:
        memory = Memory(
            data.draw(IDS),
            owner,
            data.draw(WORDS),
            created := self.later(data),
            created,
            external_id=data.draw(st.sampled_from(["", "", "x", "y"])),
            bucket=data.draw(st.sampled_from(["default", "x"])),
            expires_at=self.expiry(data),
            valid_from=data.draw(st.none() | SECONDS.map(lambda after: NOW + after)),
            valid_until=data.draw(st.none() | SECONDS.map(lambda after: NOW + after)),
            source=data.draw(
                st.none() | st.lists(IDS, max_size=2).map(lambda ids: Source(parent_memory_ids=tuple(ids)))
            ),
            superseded_by=data.draw(st.just("") | IDS),
            metadata=data.draw(st.sampled_from([{}, {"k": [1, "é"]}])),
            **data.draw(ACCESS),
        )
        return Create(memory, self.embedding(data), data.draw(st.sampled_from([None, b"h1", b"h2"])))

    def replacement(self, data: st.DataObject, owner: str) -> Replace:
        record = self.model.records.get(data.draw(IDS))
        memory = self.creation(data, owner).memory if record is None else record.memory
        content = data.draw(st.just(memory.content) | WORDS)
        embedding = self.embedding(data) if content != memory.content else None
        changed = replace(
            memory,
            content=content,
            revision=memory.revision + data.draw(st.sampled_from([1, 1, 1, 2])),
            updated_at=self.later(data),
            external_id=data.draw(st.sampled_from(["", "x"])),
            expires_at=self.expiry(data),
            **data.draw(ACCESS),
        )
        return Replace(changed, embedding)

    @rule(data=st.data(), owner=OWNERS)
    def create(self, data: st.DataObject, owner: str) -> None:
        self.apply(owner, self.creation(data, owner))

    @rule(data=st.data(), owner=OWNERS)
    def replace(self, data: st.DataObject, owner: str) -> None:
        self.apply(owner, self.replacement(data, owner))

    @rule(data=st.data(), owner=OWNERS, memory_id=IDS, revision=st.sampled_from([None, None, 1, 2]))
    def delete(self, data: st.DataObject, owner: str, memory_id: str, revision: int | None) -> None:
        self.apply(owner, Delete(memory_id, revision, self.later(data)))

    @rule(data=st.data(), owner=OWNERS, kinds=st.lists(st.sampled_from("cccrd"), min_size=2, max_size=6))
    def several(self, data: st.DataObject, owner: str, kinds: list[str]) -> None:
        make: dict[str, Callable[[], Change]] = {
            "c": lambda: self.creation(data, owner),
            "r": lambda: self.replacement(data, owner),
            "d": lambda: Delete(data.draw(IDS), None, self.later(data)),
        }
        self.apply(owner, *(make[kind]() for kind in kinds))

    @rule(caller=CALLERS, ids=st.lists(IDS, unique=True), max_bytes=st.sampled_from([1, 60, 10_000]), after=SECONDS)
    def get_many(self, caller: Caller, ids: list[str], max_bytes: int, after: timedelta) -> None:
        self.same(lambda store: store.get_many(caller, ids, NOW + after, max_bytes))

    @rule(
        caller=CALLERS, bucket=st.sampled_from([None, "x"]), valid_at=st.none() | SECONDS.map(lambda after: NOW + after)
    )
    def count(self, caller: Caller, bucket: str | None, valid_at: datetime | None) -> None:
        self.same(lambda store: store.count(caller, NOW, Selection(bucket, valid_at=valid_at)))

    @rule(owner=OWNERS, memory_id=IDS, after=SECONDS)
    def undelete(self, owner: str, memory_id: str, after: timedelta) -> None:
        self.apply(owner, Undelete(memory_id, NOW + after))

    @rule(caller=CALLERS, memory_id=IDS, limit=st.integers(1, 4), max_bytes=st.sampled_from([1, 60, 10_000]))
    def revisions(self, caller: Caller, memory_id: str, limit: int, max_bytes: int) -> None:
        plan, more = RevisionPlan(memory_id, limit, NOW, max_bytes=max_bytes), True
        while more:
            page = self.same(partial(revision_page, caller, plan))
            more = isinstance(page, RevisionPage) and page.more
            if more:
                plan = replace(plan, before=page.revisions[-1].revision)

    @rule(caller=CALLERS, memory_id=IDS, after=SECONDS)
    def get_as_of(self, caller: Caller, memory_id: str, after: timedelta) -> None:
        self.same(lambda store: store.get_as_of(caller, memory_id, NOW + after, NOW))

    @rule(caller=CALLERS, memory_id=IDS)
    def lineage(self, caller: Caller, memory_id: str) -> None:
        self.same(lambda store: store.lineage(caller, memory_id, NOW))

    @rule(caller=CALLERS, external_id=st.sampled_from(["", "x", "y"]), after=SECONDS)
    def find_external(self, caller: Caller, external_id: str, after: timedelta) -> None:
        self.same(lambda store: store.find_external(caller, external_id, NOW + after))

    @rule(caller=CALLERS, memory_id=IDS, revision=st.integers(1, 5))
    def revision(self, caller: Caller, memory_id: str, revision: int) -> None:
        self.same(lambda store: store.get_revision(caller, memory_id, revision, NOW))

    @rule(space=st.sampled_from(["", "two", "three"]))
    def set_target(self, space: str) -> None:
        self.same(lambda store: store.spaces.set_target(space))

    @rule(data=st.data(), limit=st.sampled_from([1, 100]), after=st.sampled_from([0, 0, 3]))
    def fill(self, data: st.DataObject, limit: int, after: int) -> None:
        space = self.model.spaces.shown.target or "two"
        rows = self.same(lambda store: store.spaces.unfilled(space, after, limit, 1 << 20))
        stale = data.draw(st.sampled_from([0, 0, 0, 1]))
        made = [Filling(row.number, row.revision - stale, in_parts(data.draw(MANY), space)) for row in rows]
        self.same(lambda store: store.spaces.fill(made))
        self.same(lambda store: store.spaces.count_unfilled(space))

    @rule(data=st.data(), forgotten=st.sampled_from([0, 0, 0, 1]))
    def switch(self, data: st.DataObject, forgotten: int) -> None:
        active = self.model.spaces.shown.active or "two"
        space = next(space for space in SPACES if space != active)
        self.same(lambda store: store.spaces.set_target(space))
        rows = self.same(lambda store: store.spaces.unfilled(space, 0, 100, 1 << 20))[forgotten:]
        made = [Filling(row.number, row.revision, in_parts(data.draw(MANY), space)) for row in rows]
        self.same(lambda store: store.spaces.fill(made))
        self.same(lambda store: store.spaces.switch())
        self.same(lambda store: store.spaces.current())

    @rule(limit=st.sampled_from([1, 100]))
    def sweep(self, limit: int) -> None:
        self.same(lambda store: store.spaces.sweep(limit))

    @rule()
    def reopen(self) -> None:
        self.runner.run(self.store.close())
        self.open()

    @rule(caller=CALLERS, plan=PLANS, after=SECONDS, components=COMPONENTS)
    def search(self, caller: Caller, plan: SearchPlan, after: timedelta, components: Components) -> None:
        active = self.model.spaces.shown.active
        meant = unit(components, active) if plan.embedding and active and len(components) > 1 else plan.embedding
        timely = replace(plan, now=self.clock + after, embedding=meant)
        self.same(lambda store: store.search(caller, timely))

    @rule(
        caller=CALLERS,
        limit=st.integers(1, 4),
        bucket=st.sampled_from([None, "x"]),
        snapshot=st.none() | st.integers(0, 9),
        data=st.data(),
    )
    def list(self, caller: Caller, limit: int, bucket: str | None, snapshot: int | None, data: st.DataObject) -> None:
        moments = st.none() | SECONDS.map(lambda after: NOW + after)
        past = data.draw(st.fixed_dictionaries({"valid_at": moments, "as_of": moments}))
        plan, more = listing(now=self.clock, limit=limit, bucket=bucket, snapshot=snapshot, **past), True
        while more:
            page = self.same(partial(list_page, caller, plan))
            more = page.more
            if more:
                plan = replace(plan, after=(page.memories[-1].created_at, page.memories[-1].memory_id))

    @rule(caller=CALLERS, memory_id=IDS, after=SECONDS)
    def get(self, caller: Caller, memory_id: str, after: timedelta) -> None:
        self.same(lambda store: store.get(caller, memory_id, self.clock + after))

    @precondition(lambda self: hasattr(self, "store"))
    @invariant()
    def counts_agree(self) -> None:
        for caller in (Caller("ann"), Caller("eve", frozenset({"R"}))):
            self.same(partial(count_at, self.clock, caller))


StoreAgainstModel.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    database=None,
    phases=[Phase.generate],  # shrinking a history with a disk in it takes minutes
    suppress_health_check=list(HealthCheck),
)
TestStoreAgainstModel = StoreAgainstModel.TestCase
