"""One analyst service for the tests of a module, with the staff loaded and described by Ann."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.cli.grants import standard_keys
from tests.support.analyst import STAFF_CSV, World, analyst_world
from tests.support.clients import Deployment


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path / "deployment", standard_keys("ann"))


@pytest.fixture
async def world(deployment: Deployment) -> AsyncIterator[World]:
    async with analyst_world(deployment) as made:
        await made.ann.load("staff", STAFF_CSV)
        await made.ann.put("staff")
        yield made
