"""Filters of the audit log: over what the caller is shown, with positions in errors, page by page."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from memorybox.governance.v1 import audit_service_pb2 as pb
from memorybox.memory.v1 import memory_pb2
from memorybox.memory.v1 import memory_service_pb2 as memory_service
from services.memory.domain.audit import AUDIT_FIELDS, Act, AuditPlan, Entry, KeptEvent, Touched
from services.memory.filter import parse
from services.memory.stores.embedded import EmbeddedMemoryStore
from services.memory.stores.embedded.governing import EmbeddedAuditLog
from services.memory.stores.embedded.rows import from_us
from services.mesh.keys import ANY, Grant
from tests.support.clients import Deployment, refusal
from tests.support.filters import interpret
from tests.support.governed import GovernedWorld, Office, governed_world
from tests.support.memories import NOW

EVERYTHING = Grant((ANY,), (ANY,), ("memory",), (ANY,))
PUBLIC = memory_pb2.Memory.PUBLIC


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedMemoryStore]:
    opened = await EmbeddedMemoryStore.open(tmp_path / "data")
    yield opened
    await opened.close()


@pytest.fixture
async def world(store: EmbeddedMemoryStore, tmp_path: Path) -> AsyncIterator[GovernedWorld]:
    deployment = Deployment(tmp_path / "deployment", (("gateway", "gateway", EVERYTHING),))
    async with governed_world(deployment, store) as made:
        yield made


async def methods(office: Office, text: str) -> list[str]:
    """Return the methods of the events that pass, oldest first."""
    return [event.method.rpartition("/")[2] for event in await office.events(filter=text)]


async def test_filter_narrows_by_method_person_outcome_and_time(world: GovernedWorld) -> None:
    tea = await world.memories.ann.create("tea")
    await refusal(world.memories.bob.get(tea.memory_id))
    await world.memories.ann.get(tea.memory_id)
    begun = (await world.gwen.events())[0].event_time.ToDatetime()

    assert await methods(world.gwen, 'method:"GetMemory"') == ["GetMemory", "GetMemory"]
    assert await methods(world.gwen, "actor_user = bob") == ["GetMemory"]
    assert await methods(world.gwen, "actorUser = bob AND outcome = NOT_FOUND") == ["GetMemory"]
    assert await methods(world.gwen, 'outcome = "OK" AND actor_user = ann') == ["CreateMemory", "GetMemory"]
    assert await methods(world.gwen, f'resource_ids:"{tea.memory_id}" AND NOT actor_user = ann') == ["GetMemory"]
    assert await methods(world.gwen, f'event_time < "{begun.isoformat()}Z"') == []
    assert len(await methods(world.gwen, f'event_time >= "{begun.isoformat()}Z" AND seq > 0')) == 3


async def test_filter_sees_only_what_the_caller_is_shown(world: GovernedWorld) -> None:
    hers = await world.memories.ann.create("tea", access_level=PUBLIC)
    his = await world.memories.bob.create("cake", access_level=PUBLIC)
    wanted = memory_service.BatchGetMemoriesRequest(memory_ids=[hers.memory_id, his.memory_id])
    await world.memories.user("carl").BatchGetMemories(wanted)

    assert await methods(world.ann, f'resource_ids:"{hers.memory_id}"') == ["CreateMemory", "BatchGetMemories"]
    assert await methods(world.ann, f'resource_ids:"{his.memory_id}"') == []
    assert await methods(world.ann, f'actor_user = carl AND NOT resource_ids:"{his.memory_id}"') == ["BatchGetMemories"]
    assert await methods(world.gwen, f'resource_ids:"{his.memory_id}" AND actor_user = carl') == ["BatchGetMemories"]


@pytest.mark.parametrize(
    ("text", "position"),
    [("outcome = OK AND nonsense = 1", 17), ("event_time > yesterday", 13), ("lost", 0), ('"lost"', 0), ("seq = x", 6)],
)
async def test_wrong_filter_is_refused_with_its_position(world: GovernedWorld, text: str, position: int) -> None:
    told = await refusal(world.ann.ListAuditEvents(pb.ListAuditEventsRequest(filter=text)))

    assert (told.reason, list(told.fields)) == ("INVALID_FILTER", ["filter"])
    assert f"at position {position};" in told.message


async def test_token_belongs_to_its_filter(world: GovernedWorld) -> None:
    for _ in range(3):
        await world.memories.ann.create("tea")
    first = await world.ann.ListAuditEvents(pb.ListAuditEventsRequest(page_size=1, filter="outcome = OK"))

    moved = pb.ListAuditEventsRequest(page_size=1, filter="outcome != OK", page_token=first.next_page_token)

    assert (await refusal(world.ann.ListAuditEvents(moved))).reason == "INVALID_PAGE_TOKEN"


async def test_pages_follow_each_other_over_long_stretches_without_a_match(
    store: EmbeddedMemoryStore,
) -> None:
    log = EmbeddedAuditLog(store)
    actors = ["ann" if number % 20 == 0 else "bob" for number in range(100)]
    await log.append([Entry(Act(user, "M", NOW), "OK", (Touched("r", "ann"),)) for user in actors])

    pages: list[list[int]] = []
    plan = AuditPlan(2, None, filter=parse("actor_user = ann", schema=AUDIT_FIELDS), max_examined=7)
    while True:
        page = await log.page(plan)
        pages.append([event.number for event in page.events])
        if page.before is None:
            break
        plan = replace(plan, before=page.before)

    assert [number for page in pages for number in page] == [81, 61, 41, 21, 1]
    assert max(map(len, pages)) <= 2


FILTERS = [
    "outcome = OK",
    "NOT outcome = OK OR seq < 3",
    'method = "svc/*" AND actor_user != ann',
    "resource_ids:r1 -resource_ids:r2",
    "resource_ids:*",
    'trace_id:* OR writer_id = "memory*"',
    "seq >= 2 AND seq <= 4 OR actor_pseudonym:*",
    f'event_time > "{(NOW + timedelta(seconds=2)).isoformat()}"',
]


@pytest.mark.parametrize("text", FILTERS)
async def test_store_finds_what_the_interpreter_does(store: EmbeddedMemoryStore, text: str) -> None:
    log = EmbeddedAuditLog(store)
    entries = [
        Entry(Act("ann", "svc/A", NOW, "t1"), "OK", (Touched("r1", "ann"),)),
        Entry(
            Act("bob", "svc/B", NOW + timedelta(seconds=1)), "NOT_FOUND", (Touched("r1", "ann"), Touched("r2", "bob"))
        ),
        Entry(Act("ann", "other/A", NOW + timedelta(seconds=2)), "OK"),
        Entry(Act("carl", "svc/C", NOW + timedelta(seconds=3)), "OK", (Touched("r2", "bob"), Touched("r3", "ann"))),
    ]
    await log.append(entries)
    meaning = parse(text, schema=AUDIT_FIELDS)

    for about in (None, "ann", "bob"):
        every = (await log.page(AuditPlan(100, about))).events
        expected = [event.number for event in every if interpret(meaning, as_fields(event))]
        found = (await log.page(AuditPlan(100, about, filter=meaning))).events
        assert [event.number for event in found] == expected


def as_fields(kept: KeptEvent) -> Any:
    """Return an event by the names of its fields."""
    event = kept.event
    return SimpleNamespace(
        event_time=from_us(event.event_time_us),
        method=event.method,
        actor_user=kept.actor_user,
        actor_pseudonym=event.actor,
        outcome=event.outcome,
        resource_ids=event.resource_ids,
        trace_id=event.trace_id,
        writer_id=event.writer_id,
        seq=event.seq,
    )
