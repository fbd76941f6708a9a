"""Former states over real gRPC and each store: listed, restored, undeleted."""

from memorybox.memory.v1 import memory_pb2
from memorybox.memory.v1 import memory_service_pb2 as pb
from tests.support.clients import refusal
from tests.support.memory import Client, World


async def changed(client: Client, memory: memory_pb2.Memory, **fields: object) -> memory_pb2.Memory:
    wanted = memory_pb2.Memory(memory_id=memory.memory_id, **fields)  # type: ignore[arg-type]
    updated: memory_pb2.Memory = (await client.UpdateMemory(pb.UpdateMemoryRequest(memory=wanted))).memory
    return updated


async def test_revisions_are_listed_in_pages_and_restored(world: World) -> None:
    first = await world.ann.create("green tea")
    second = await changed(world.ann, first, content="black coffee")

    page = await world.ann.ListMemoryRevisions(pb.ListMemoryRevisionsRequest(memory_id=first.memory_id, page_size=1))
    rest = await world.ann.ListMemoryRevisions(
        pb.ListMemoryRevisionsRequest(memory_id=first.memory_id, page_size=1, page_token=page.next_page_token)
    )
    restored = await world.ann.RestoreMemory(
        pb.RestoreMemoryRequest(memory_id=first.memory_id, revision=1, etag=f'"{second.etag}"')
    )

    assert [*page.revisions, *rest.revisions] == [second, first]
    assert rest.next_page_token == ""
    assert (restored.memory.content, restored.memory.revision) == ("green tea", 3)
    assert await world.ann.found("green tea") == ["green tea"]


async def test_refusals_have_their_reasons(world: World) -> None:
    mine = await world.ann.create("tea", access_level=memory_pb2.Memory.PUBLIC)

    async def told(client: Client, **fields: object) -> tuple[str, str]:
        request = pb.RestoreMemoryRequest(memory_id=mine.memory_id, **fields)  # type: ignore[arg-type]
        answer = await refusal(client.RestoreMemory(request))
        return answer.code, answer.reason

    assert await told(world.ann, revision=7) == ("NOT_FOUND", "REVISION_NOT_FOUND")
    assert await told(world.ann, revision=1, etag="old") == ("ABORTED", "ETAG_MISMATCH")
    assert await told(world.ann) == ("INVALID_ARGUMENT", "INVALID_INPUT")
    assert await told(world.bob, revision=1) == ("PERMISSION_DENIED", "NOT_OWNER")


async def test_deleted_memory_comes_back_to_its_owner_alone(world: World) -> None:
    memory = await world.ann.create("green tea", access_level=memory_pb2.Memory.PUBLIC)
    await world.ann.DeleteMemory(pb.DeleteMemoryRequest(memory_id=memory.memory_id))
    undelete = pb.UndeleteMemoryRequest(memory_id=memory.memory_id)

    assert (await refusal(world.bob.UndeleteMemory(undelete))).reason == "MEMORY_NOT_FOUND"
    assert (await refusal(world.ann.get(memory.memory_id))).reason == "MEMORY_NOT_FOUND"
    back = (await world.ann.UndeleteMemory(undelete)).memory

    assert (back.content, back.revision) == ("green tea", 3)
    assert not back.HasField("delete_time")
    assert await world.bob.found("green tea") == ["green tea"]
    assert (await world.ann.UndeleteMemory(undelete)).memory == back
