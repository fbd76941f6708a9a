"""Creating with a known external id over real gRPC and each store."""

from memorybox.memory.v1 import memory_pb2
from memorybox.memory.v1 import memory_service_pb2 as pb
from tests.support.clients import refusal
from tests.support.memory import Client, World

Policy = pb.CreateMemoryRequest


async def put(client: Client, content: str, policy: Policy.OnDuplicate.ValueType = Policy.UPDATE) -> memory_pb2.Memory:
    wanted = memory_pb2.Memory(content=content, external_id="note")
    request = pb.CreateMemoryRequest(memory=wanted, on_duplicate=policy)
    kept: memory_pb2.Memory = (await client.CreateMemory(request)).memory
    return kept


async def test_known_external_id_updates_unless_told_otherwise(world: World) -> None:
    first = await world.ann.create("tea", external_id="note")
    second = await world.ann.create("coffee", external_id="note")
    kept = await put(world.ann, "cocoa", Policy.RETURN_EXISTING)

    assert (second.memory_id, second.revision, second.content) == (first.memory_id, 2, "coffee")
    assert kept == second
    assert (await refusal(put(world.ann, "cocoa", Policy.REJECT))).reason == "EXTERNAL_ID_TAKEN"
    assert (await put(world.bob, "juice")).memory_id != first.memory_id
    assert await world.ann.listed() == ["coffee"]
    assert await world.ann.found("tea coffee") == ["coffee"]


async def test_unknown_policy_is_refused(world: World) -> None:
    told = await refusal(put(world.ann, "tea", 9))  # type: ignore[arg-type]

    assert (told.code, told.fields) == ("INVALID_ARGUMENT", ("on_duplicate",))
