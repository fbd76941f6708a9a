from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.emulator import Emulator, emulator


@pytest.fixture(scope="package")
def running() -> Iterator[Emulator]:
    with emulator() as found:
        yield found


@pytest.fixture
def cursor(running: Emulator) -> Iterator[Any]:
    """Give a cursor in a database of its own; its schema has what the statements of the data files use."""
    with running.connect() as connection:
        found = connection.cursor()
        found.execute("CREATE OR REPLACE DATABASE trial")
        yield found
