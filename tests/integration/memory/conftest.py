"""A memory service over real gRPC, with each store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.cli.grants import standard_keys
from services.memory.stores.embedded import EmbeddedMemoryStore
from tests.support.clients import Deployment
from tests.support.memory import World, memory_world
from tests.support.model_store import ModelMemoryStore


@pytest.fixture(scope="package")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return Deployment(tmp_path_factory.mktemp("deployment"), standard_keys("ann"))


@pytest.fixture(params=["model", "embedded"])
async def world(request: pytest.FixtureRequest, deployment: Deployment, tmp_path: Path) -> AsyncIterator[World]:
    store: ModelMemoryStore | EmbeddedMemoryStore = (
        ModelMemoryStore() if request.param == "model" else await EmbeddedMemoryStore.open(tmp_path)
    )
    async with memory_world(deployment, store) as made:
        yield made
    await store.close()
