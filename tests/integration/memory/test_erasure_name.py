"""What an operation knows of the person whom it erases is gone from the disk when it is over."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from memorybox.governance.v1 import governance_service_pb2 as pb
from services.memory.stores.embedded import EmbeddedMemoryStore
from services.mesh.keys import ANY, Grant
from tests.support.clients import Deployment
from tests.support.governed import GovernedWorld, governed_world

EVERYTHING = Grant((ANY,), (ANY,), ("memory",), (ANY,))
NAME = "zacharias-of-queenstown"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[GovernedWorld]:
    deployment = Deployment(tmp_path / "deployment", (("gateway", "gateway", EVERYTHING),))
    store = await EmbeddedMemoryStore.open(tmp_path / "data")
    async with governed_world(deployment, store) as made:
        yield made
    await store.close()


@pytest.mark.parametrize("rpc", ["EraseOwner", "AnonymizeOwner"])
async def test_name_is_nowhere_once_the_operation_is_over(world: GovernedWorld, tmp_path: Path, rpc: str) -> None:
    await world.memories.user(NAME).create("tea")
    request = getattr(pb, f"{rpc}Request")(owner_user=NAME)

    started = await getattr(world.gwen, rpc)(request)
    done = await world.gwen.operation(started.name.removeprefix("operations/"))

    files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert done.WhichOneof("result") == "response"
    assert len(files) > 1
    assert [path.name for path in files if NAME.encode() in path.read_bytes()] == []
