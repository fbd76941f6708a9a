"""The local embedder shares its workers fairly and stops computing what nobody waits for."""

import asyncio
import threading
from collections.abc import AsyncIterator

import numpy as np
import pytest

from services.embedding.backends.local import LocalEmbedder
from services.embedding.domain.embedder import InputKind
from services.mesh.errors import BackendUnavailable
from services.models.sentence import SentenceVector
from tests.support.manual_embedder import MODEL

DOCUMENT = InputKind.DOCUMENT


class Model:
    """Reads ``name*windows``, records each step, and can be held back."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.pairs: threading.Barrier | None = None

    def meet(self, name: str) -> None:
        self.steps.append(name)
        if name == "broken":
            raise ValueError("broken")
        if self.pairs is not None and name == "pair" and self.steps.count("pair") > 1:
            self.pairs.wait(10)

    def read(self, text: str) -> "ModelReading":
        return ModelReading(self, text)


class ModelReading:
    def __init__(self, model: Model, text: str) -> None:
        self._model = model
        self._name, _, windows = text.partition("*")
        self._windows = int(windows or 1)
        self._begun = self._done = 0
        self._lock = threading.Lock()

    @property
    def steps(self) -> int:
        return self._windows if self._begun else 1

    def step(self) -> SentenceVector | None:
        with self._lock:
            self._begun += 1
        assert self._model.gate.wait(10)
        self._model.meet(self._name)
        with self._lock:
            self._done += 1
            complete = self._done == self._windows
        return SentenceVector(np.ones(2, np.float32), self._windows, self._windows) if complete else None


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
async def embedder(model: Model) -> AsyncIterator[LocalEmbedder]:
    embedder = LocalEmbedder({MODEL: model.read}, workers=1)
    yield embedder
    model.gate.set()
    await embedder.close()


async def test_each_text_gets_its_own_vector(embedder: LocalEmbedder) -> None:
    vectors = await asyncio.gather(*embedder.submit(["a", "b*3", "c*2"], DOCUMENT))

    assert [vector.window_count for vector in vectors] == [1, 3, 2]


async def test_vector_cannot_be_changed_by_who_gets_it(embedder: LocalEmbedder) -> None:
    (vector,) = await asyncio.gather(*embedder.submit(["a"], DOCUMENT))

    with pytest.raises(ValueError, match="read-only"):
        vector.values[0] = 7


async def test_short_text_overtakes_an_import(embedder: LocalEmbedder, model: Model) -> None:
    model.gate.clear()
    bulk = embedder.submit(["bulk"] * 50 + ["book*50"], DOCUMENT)
    (query,) = embedder.submit(["query"], DOCUMENT)

    model.gate.set()
    await query

    assert model.steps.index("query") <= 4
    await asyncio.gather(*bulk)
    assert len(model.steps) == 101


async def test_long_text_does_not_hold_the_worker_to_its_end(embedder: LocalEmbedder, model: Model) -> None:
    model.gate.clear()
    (book,) = embedder.submit(["book*50"], DOCUMENT)
    (query,) = embedder.submit(["query"], DOCUMENT)

    model.gate.set()
    await query

    assert model.steps.index("query") <= 4
    await book


async def test_windows_of_one_long_text_are_computed_side_by_side(model: Model) -> None:
    model.pairs = threading.Barrier(2)  # breaks unless two windows after the first are under way at once
    embedder = LocalEmbedder({MODEL: model.read}, workers=2)

    (vector,) = await asyncio.gather(*embedder.submit(["pair*9"], DOCUMENT))

    assert vector.window_count == 9
    await embedder.close()


async def test_withdrawn_texts_are_not_computed(embedder: LocalEmbedder, model: Model) -> None:
    model.gate.clear()
    futures = embedder.submit(["book*50", *["bulk"] * 50], DOCUMENT)
    (last,) = embedder.submit(["last"], DOCUMENT)
    for future in futures:
        future.cancel()

    model.gate.set()
    await last

    assert len(model.steps) <= 4  # what had been handed to the worker already


async def test_failed_text_leaves_the_others_alone(embedder: LocalEmbedder) -> None:
    broken, fine = embedder.submit(["broken", "fine*2"], DOCUMENT)

    assert (await fine).window_count == 2
    with pytest.raises(ValueError, match="broken"):
        await broken


async def test_close_fails_what_still_waits(model: Model) -> None:
    embedder = LocalEmbedder({MODEL: model.read}, workers=1)
    model.gate.clear()
    futures = embedder.submit(["a", "b*9", "c"], DOCUMENT)

    closing = asyncio.ensure_future(embedder.close())
    await asyncio.wait(futures)
    model.gate.set()
    await closing

    for future in futures:
        assert isinstance(future.exception(), BackendUnavailable)
    assert len(model.steps) <= 2
