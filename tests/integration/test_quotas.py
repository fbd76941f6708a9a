"""Usage, quotas and storage statistics over real gRPC and the embedded store."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from memorybox.governance.v1 import governance_pb2
from memorybox.governance.v1 import governance_service_pb2 as pb
from memorybox.memory.v1 import memory_pb2
from memorybox.memory.v1 import memory_service_pb2 as memory_service
from services.memory.domain.quotas import MAX_SAMPLES
from services.memory.stores.embedded import EmbeddedMemoryStore
from services.memory.stores.embedded.governing import EmbeddedQuotas
from services.mesh.keys import ANY, Grant
from tests.support.clients import Deployment, refusal
from tests.support.governed import GovernedWorld, Office, governed_world
from tests.support.memories import ANN, apply, creation

EVERYTHING = Grant((ANY,), (ANY,), ("memory",), (ANY,))


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return Deployment(tmp_path_factory.mktemp("deployment"), (("gateway", "gateway", EVERYTHING),))


@pytest.fixture
async def world(deployment: Deployment, tmp_path: Path) -> AsyncIterator[GovernedWorld]:
    store = await EmbeddedMemoryStore.open(tmp_path)
    async with governed_world(deployment, store) as made:
        yield made
    await store.close()


async def usage(office: Office, owner: str = "") -> tuple[int, int]:
    found = (await office.GetUsage(pb.GetUsageRequest(owner_user=owner))).usage
    return found.memory_count, found.content_bytes


async def limit(world: GovernedWorld, **quota: int) -> None:
    await world.gwen.SetQuota(pb.SetQuotaRequest(owner_user="ann", quota=governance_pb2.Quota(**quota)))


async def rewrite(world: GovernedWorld, memory_id: str, content: str) -> memory_pb2.Memory:
    wanted = memory_pb2.Memory(memory_id=memory_id, content=content)
    request = memory_service.UpdateMemoryRequest(memory=wanted, update_mask=FieldMask(paths=["content"]))
    memory: memory_pb2.Memory = (await world.memories.ann.UpdateMemory(request)).memory
    return memory


async def test_usage_follows_every_write(world: GovernedWorld) -> None:
    assert await usage(world.ann) == (0, 0)
    first = await world.memories.ann.create("four")
    await world.memories.ann.create("\N{HOT BEVERAGE}")
    await world.memories.bob.create("another's")
    created = await usage(world.ann)
    await rewrite(world, first.memory_id, "longer")
    rewritten = await usage(world.ann)
    await world.memories.ann.DeleteMemory(memory_service.DeleteMemoryRequest(memory_id=first.memory_id))

    assert created == (2, 4 + 3 + 2 * len("{}"))
    assert rewritten == (2, created[1] + 2)
    assert await usage(world.ann) == rewritten, "what is deleted counts until it is purged"


async def test_quota_of_memories_is_kept_at_once(world: GovernedWorld) -> None:
    await world.memories.ann.create("one")
    await limit(world, max_memories=2)
    second = await world.memories.ann.create("two")

    refused = await refusal(world.memories.ann.create("three"))

    assert (refused.code, refused.reason) == ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")
    assert (await rewrite(world, second.memory_id, "2")).content == "2"
    await limit(world, max_memories=3)
    await world.memories.ann.create("three")
    await limit(world)
    await world.memories.ann.create("four")
    assert await usage(world.ann) == (4, await bytes_of(world))


async def bytes_of(world: GovernedWorld) -> int:
    return sum(len(content) + len("{}") for content in await world.memories.ann.listed())


async def test_refusal_names_the_owner_and_the_limit_as_google_rpc_quota_failure(world: GovernedWorld) -> None:
    await limit(world, max_memories=1)
    await world.memories.ann.create("one")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await world.memories.ann.create("two")
    status = rpc_status.from_call(refused.value)  # type: ignore[arg-type]
    failure = error_details_pb2.QuotaFailure()

    assert status is not None
    assert [detail.Unpack(failure) for detail in status.details] == [False, True]
    assert failure.violations[0].subject == "owner:ann"
    assert "at most 1 memories" in failure.violations[0].description


async def test_quota_of_bytes_refuses_growth_and_lets_shrink(world: GovernedWorld) -> None:
    kept = await world.memories.ann.create("x" * 100)
    await limit(world, max_content_bytes=50)

    grown = await refusal(rewrite(world, kept.memory_id, "x" * 101))
    more = await refusal(world.memories.ann.create("y"))
    shrunk = await rewrite(world, kept.memory_id, "x" * 60)

    assert grown.reason == more.reason == "QUOTA_EXCEEDED"
    assert len(shrunk.content) == 60


async def test_former_states_count_into_bytes_but_never_bar_who_may_read(world: GovernedWorld) -> None:
    kept = await world.memories.ann.create("x" * 40)
    await rewrite(world, kept.memory_id, "y" * 40)
    used = (await world.ann.GetUsage(pb.GetUsageRequest())).usage
    await limit(world, max_content_bytes=100)

    refused = await refusal(rewrite(world, kept.memory_id, "z" * 40))
    wanted = memory_pb2.Memory(memory_id=kept.memory_id, bucket="b")
    moved = await world.memories.ann.UpdateMemory(memory_service.UpdateMemoryRequest(memory=wanted))

    assert (used.content_bytes, used.revision_bytes) == (42, 42)
    assert refused.reason == "QUOTA_EXCEEDED"
    assert moved.memory.bucket == "b"
    assert (await world.ann.GetUsage(pb.GetUsageRequest())).usage.revision_bytes == 84


async def test_quota_holds_for_concurrent_writes(world: GovernedWorld) -> None:
    await limit(world, max_memories=5)

    outcomes = await asyncio.gather(*(world.memories.ann.create(str(n)) for n in range(20)), return_exceptions=True)

    assert sum(isinstance(outcome, memory_pb2.Memory) for outcome in outcomes) == 5
    assert (await usage(world.ann))[0] == 5


async def test_quota_of_one_owner_is_nothing_to_others(world: GovernedWorld) -> None:
    await limit(world, max_memories=1)
    await world.memories.ann.create("one")

    for number in range(3):
        await world.memories.bob.create(str(number))

    assert (await usage(world.bob))[0] == 3


async def test_usage_of_others_is_for_governors_and_quotas_are_theirs_to_set(world: GovernedWorld) -> None:
    await world.memories.ann.create("one")

    refused = await refusal(world.bob.GetUsage(pb.GetUsageRequest(owner_user="ann")))
    negative = await refusal(
        world.gwen.SetQuota(pb.SetQuotaRequest(owner_user="ann", quota=governance_pb2.Quota(max_memories=-1)))
    )
    forbidden = await refusal(world.ann.SetQuota(pb.SetQuotaRequest(owner_user="ann")))

    assert refused.reason == "NOT_YOURSELF"
    assert (await usage(world.gwen, "ann"))[0] == 1
    assert negative.fields == ("quota.max_memories",)
    assert forbidden.code == "PERMISSION_DENIED"


async def test_quota_is_in_the_audit_log_of_whom_it_concerns(world: GovernedWorld) -> None:
    await limit(world, max_memories=1)

    (event,) = await world.ann.events("SetQuota")

    assert (event.actor_user, event.outcome) == ("gwen", "OK")


async def test_storage_statistics_count_what_lives_and_what_is_deleted(world: GovernedWorld) -> None:
    kept = [await world.memories.ann.create(str(number)) for number in range(3)]
    await world.memories.ann.DeleteMemory(memory_service.DeleteMemoryRequest(memory_id=kept[0].memory_id))

    stats = await world.otto.GetStorageStats(pb.GetStorageStatsRequest())

    assert (stats.memory_count, stats.deleted_count) == (2, 1)
    assert stats.size_bytes > 4096
    assert [sample.day for sample in stats.samples] == [datetime.now(UTC).date().isoformat()]
    assert (await refusal(world.ann.GetStorageStats(pb.GetStorageStatsRequest()))).code == "PERMISSION_DENIED"


async def test_last_look_at_each_day_stays_and_old_days_go(tmp_path: Path) -> None:
    store = await EmbeddedMemoryStore.open(tmp_path)
    kept = EmbeddedQuotas(store)
    await kept.sample("2025-01-01")
    await apply(store, ANN, creation("m"))
    for day in ("2025-01-01", *(f"2026-{number:03}" for number in range(MAX_SAMPLES - 1))):
        await kept.sample(day)
    whole = (await kept.stats()).samples
    await kept.sample("2027-01-01")
    cut = (await kept.stats()).samples
    await store.close()

    assert (whole[0].day, whole[0].memory_count, len(whole)) == ("2025-01-01", 1, MAX_SAMPLES)
    assert (cut[0].day, cut[-1].day, len(cut)) == ("2026-000", "2027-01-01", MAX_SAMPLES)
