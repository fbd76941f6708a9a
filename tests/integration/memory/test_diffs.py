"""Revisions with diffs over real gRPC and each store."""

from google.protobuf.field_mask_pb2 import FieldMask

from memorybox.memory.v1 import memory_pb2
from memorybox.memory.v1 import memory_service_pb2 as pb
from tests.support.memory import Client, World


async def change(client: Client, memory: memory_pb2.Memory, *paths: str, **fields: object) -> None:
    """Change fields of a memory."""
    wanted = memory_pb2.Memory(memory_id=memory.memory_id, **fields)  # type: ignore[arg-type]
    await client.UpdateMemory(pb.UpdateMemoryRequest(memory=wanted, update_mask=FieldMask(paths=paths)))


async def test_revisions_come_with_what_changed(world: World) -> None:
    tea = await world.ann.create("green tea")
    await change(world.ann, tea, "content", content="black tea")
    await change(world.ann, tea, "tags", "bucket", tags=["x"], bucket="work")
    asked = pb.ListMemoryRevisionsRequest(memory_id=tea.memory_id, page_size=2, include_diffs=True)

    page = await world.ann.ListMemoryRevisions(asked)
    asked.page_token = page.next_page_token
    last = await world.ann.ListMemoryRevisions(asked)
    plain = await world.ann.ListMemoryRevisions(pb.ListMemoryRevisionsRequest(memory_id=tea.memory_id))

    assert [(d.revision, d.previous_revision) for d in (*page.diffs, *last.diffs)] == [(3, 2), (2, 1), (1, 0)]
    assert [list(d.changed_fields.paths) for d in page.diffs] == [["bucket", "tags"], ["content"]]
    hunk = page.diffs[1].content_hunks[0]
    assert (hunk.old_text, hunk.new_text, hunk.old_start, hunk.new_end) == ("green", "black", 0, 5)
    assert not plain.diffs


async def test_readers_see_no_difference_to_what_they_could_not_read(world: World) -> None:
    tea = await world.ann.create("secret tea")
    await change(world.ann, tea, "content", "access_level", content="tea", access_level=memory_pb2.Memory.PUBLIC)
    await change(world.ann, tea, "content", content="green tea")
    asked = pb.ListMemoryRevisionsRequest(memory_id=tea.memory_id, include_diffs=True)

    of_bob = await world.bob.ListMemoryRevisions(asked)

    assert [(d.revision, d.previous_revision, len(d.content_hunks)) for d in of_bob.diffs] == [(3, 2, 1), (2, 0, 0)]
    assert "secret" not in str(of_bob)
