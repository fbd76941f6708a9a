"""Lineage over real gRPC and each store."""

from memorybox.memory.v1 import memory_pb2
from memorybox.memory.v1 import memory_service_pb2 as pb
from tests.support.clients import refusal
from tests.support.memory import World


async def test_lineage_shows_parents_and_newer_facts(world: World) -> None:
    note = await world.ann.create("note", access_level=memory_pb2.Memory.PUBLIC)
    fact = await world.ann.create("fact", source=memory_pb2.Source(parent_memory_ids=[note.memory_id]))
    newer = (
        await world.ann.SupersedeMemory(
            pb.SupersedeMemoryRequest(memory_id=fact.memory_id, memory=memory_pb2.Memory(content="newer"))
        )
    ).memory

    of_note = await world.ann.GetLineage(pb.GetLineageRequest(memory_id=note.memory_id))
    of_newer = await world.ann.GetLineage(pb.GetLineageRequest(memory_id=newer.memory_id))
    for_bob = await world.bob.GetLineage(pb.GetLineageRequest(memory_id=note.memory_id))

    assert [memory.content for memory in of_note.descendants] == ["fact", "newer"]
    assert [memory.content for memory in of_newer.ancestors] == ["fact", "note"]
    assert not of_note.truncated
    assert not for_bob.descendants
    assert (await refusal(world.bob.GetLineage(pb.GetLineageRequest(memory_id=fact.memory_id)))).code == "NOT_FOUND"
