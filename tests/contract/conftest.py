"""The stores that the contract suite runs against."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.memory.domain.ports import MemoryStore
from services.memory.stores.embedded import EmbeddedMemoryStore
from tests.support.model_store import ModelMemoryStore


@pytest.fixture(params=["embedded", "model"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MemoryStore]:
    opened: EmbeddedMemoryStore | ModelMemoryStore
    opened = await EmbeddedMemoryStore.open(tmp_path / "data") if request.param == "embedded" else ModelMemoryStore()
    yield opened
    await opened.close()
