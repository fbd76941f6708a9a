"""The retention policy: what is archived and purged, what is only counted, and who may say so."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration

from memorybox.governance.v1 import governance_pb2
from memorybox.governance.v1 import governance_service_pb2 as pb
from memorybox.governance.v1 import operation_service_pb2 as operation_pb
from memorybox.memory.v1 import memory_service_pb2 as memory_service
from services.memory.domain.memory import MemoryNotFound
from services.memory.domain.operations import Operation
from services.memory.domain.ports import Undelete
from services.memory.domain.retention import RetentionKind, RetentionPolicy
from services.memory.stores.embedded import EmbeddedMemoryStore
from services.memory.stores.embedded.governing import EmbeddedRetention
from services.mesh.keys import ANY, Grant
from tests.support.clients import Deployment, refusal
from tests.support.governed import GovernedWorld, governed_world
from tests.support.memories import (
    ANN,
    EAST,
    NOW,
    apply,
    creation,
    deletion,
    found,
    hybrid_search,
    keyword_search,
    listed,
)

EVERYTHING = Grant((ANY,), (ANY,), ("memory",), (ANY,))
DAY = timedelta(days=1)
SECRET = b"marzipan"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedMemoryStore]:
    opened = await EmbeddedMemoryStore.open(tmp_path)
    yield opened
    await opened.close()


async def applied(store: EmbeddedMemoryStore, policy: RetentionPolicy) -> dict[str, int]:
    """Return what applying *policy* now does."""
    kept = EmbeddedRetention(store)
    await kept.set_policy(policy)
    kind = RetentionKind(kept, lambda: NOW)
    operation = Operation("o", kind.name, "s", {}, NOW, NOW, NOW)
    for _ in range(100):
        step = await kind.step(operation)
        if step.result is not None:
            return step.result
        operation = Operation("o", kind.name, "s", {}, NOW, NOW, NOW, cursor=step.cursor)
    raise AssertionError("does not end")


def files_with_secret(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if SECRET in path.read_bytes()]


async def test_what_was_not_changed_for_long_is_archived_and_can_be_undeleted(store: EmbeddedMemoryStore) -> None:
    for age in (1, 9, 11):
        await apply(store, ANN, creation(f"m{age}", "green tea", at=NOW - age * DAY))

    done = await applied(store, RetentionPolicy(archive_after_days=10))

    assert done == {"archived": 1, "purged": 0}
    assert sorted(await listed(store, ANN)) == ["m1", "m9"]
    assert sorted(await found(store, ANN, hybrid_search("tea", EAST))) == ["m1", "m9"]
    await apply(store, ANN, Undelete("m11", NOW))
    assert (await store.get(ANN, "m11", NOW)).content == "green tea"
    assert await applied(store, RetentionPolicy(archive_after_days=10)) == {"archived": 0, "purged": 0}


async def test_what_was_hidden_for_long_is_purged_down_to_its_bytes(store: EmbeddedMemoryStore, tmp_path: Path) -> None:
    (old,) = await apply(store, ANN, creation("old", "marzipan", at=NOW - 30 * DAY))
    (young,) = await apply(store, ANN, creation("young", "tea", at=NOW - DAY))
    await apply(store, ANN, deletion(old))
    await apply(store, ANN, deletion(young))

    done = await applied(store, RetentionPolicy(purge_after_days=10))

    assert done == {"archived": 0, "purged": 1}
    assert files_with_secret(tmp_path) == []
    with pytest.raises(MemoryNotFound):
        await apply(store, ANN, Undelete("old", NOW))
    await apply(store, ANN, Undelete("young", NOW))


async def test_more_than_a_batch_is_archived_and_purged(store: EmbeddedMemoryStore) -> None:
    for number in range(450):
        await apply(store, ANN, creation(f"m{number}", "tea", at=NOW - 30 * DAY))

    first = await applied(store, RetentionPolicy(archive_after_days=10, purge_after_days=1))

    assert first == {"archived": 450, "purged": 0}, "the archive is kept for its own time"
    assert await listed(store, ANN) == []


async def test_numbers_of_changes_are_never_given_twice(tmp_path: Path) -> None:
    store = await EmbeddedMemoryStore.open(tmp_path)
    (old,) = await apply(store, ANN, creation("old", "tea", at=NOW - 30 * DAY))
    await apply(store, ANN, deletion(old))
    before = (await store.search(ANN, keyword_search("tea"))).snapshot
    await applied(store, RetentionPolicy(purge_after_days=1))
    await store.close()

    store = await EmbeddedMemoryStore.open(tmp_path)
    after = (await store.search(ANN, keyword_search("tea"))).snapshot
    await store.close()

    assert after > before


@pytest.fixture
async def world(tmp_path_factory: pytest.TempPathFactory, store: EmbeddedMemoryStore) -> AsyncIterator[GovernedWorld]:
    deployment = Deployment(tmp_path_factory.mktemp("deployment"), (("gateway", "gateway", EVERYTHING),))
    async with governed_world(deployment, store) as made:
        yield made


def policy(archive: int | None = None, purge: int | None = None, etag: str = "") -> governance_pb2.RetentionPolicy:
    """Return a policy; spans in seconds."""
    made = governance_pb2.RetentionPolicy(etag=etag)
    if archive is not None:
        made.archive_after.CopyFrom(Duration(seconds=archive))
    if purge is not None:
        made.purge_after.CopyFrom(Duration(seconds=purge))
    return made


DAY_S = 86_400


async def test_dry_run_counts_and_changes_nothing(world: GovernedWorld, store: EmbeddedMemoryStore) -> None:
    await apply(store, ANN, creation("old", "tea", at=NOW.replace(year=2001)))
    wanted = policy(archive=DAY_S)

    tried = await world.gwen.SetRetentionPolicy(pb.SetRetentionPolicyRequest(policy=wanted, dry_run=True))

    assert (tried.policy.due_archive_count, tried.policy.archive_after.seconds) == (1, DAY_S)
    kept = (await world.ann.GetRetentionPolicy(pb.GetRetentionPolicyRequest())).policy
    assert not kept.HasField("archive_after")
    assert (await world.memories.ann.get("old")).content == "tea"


async def test_policy_is_applied_as_soon_as_it_is_set(world: GovernedWorld, store: EmbeddedMemoryStore) -> None:
    old = creation("old", "tea", at=NOW.replace(year=2001))
    await apply(store, ANN, old)
    before = await world.gwen.SetRetentionPolicy(pb.SetRetentionPolicyRequest(policy=policy(archive=DAY_S)))
    (operation,) = (await world.otto.ListOperations(operation_pb.ListOperationsRequest())).operations

    ended = await world.otto.operation(operation.name)

    assert before.policy.due_archive_count == 1
    assert ended.HasField("response")
    assert await world.memories.ann.listed() == []
    now = (await world.ann.GetRetentionPolicy(pb.GetRetentionPolicyRequest())).policy
    assert (now.archive_after.seconds, now.due_archive_count, now.etag) == (DAY_S, 0, before.policy.etag)
    undeleted = await world.memories.ann.UndeleteMemory(memory_service.UndeleteMemoryRequest(memory_id="old"))
    assert undeleted.memory.content == "tea"


@pytest.mark.parametrize("seconds", [1, DAY_S + 1, 0, -DAY_S, 40_000 * DAY_S])
async def test_spans_are_whole_days(world: GovernedWorld, seconds: int) -> None:
    refused = await refusal(world.gwen.SetRetentionPolicy(pb.SetRetentionPolicyRequest(policy=policy(purge=seconds))))

    assert refused.fields == ("policy.purge_after",)


async def test_lost_update_of_the_policy_is_refused(world: GovernedWorld) -> None:
    first = (await world.ann.GetRetentionPolicy(pb.GetRetentionPolicyRequest())).policy.etag
    request = pb.SetRetentionPolicyRequest(policy=policy(purge=DAY_S, etag=first))
    await world.gwen.SetRetentionPolicy(request)

    assert (await refusal(world.gwen.SetRetentionPolicy(request))).reason == "ETAG_MISMATCH"
    assert (await refusal(world.ann.SetRetentionPolicy(request))).code == "PERMISSION_DENIED"
