"""Embeds with a model in this process, on worker threads that requests share fairly."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import Protocol

from services.embedding.domain.embedder import EmbeddingModel, InputKind, TextVector, Windows
from services.mesh.errors import BackendUnavailable, FailedPrecondition
from services.models.files import ModelError
from services.models.graph import DIMENSION
from services.models.sentence import INT8, VARIANTS, SentenceModel, SentenceVector, Variant
from services.models.tokens import WINDOW_TOKENS


class ModelUnusable(FailedPrecondition):
    """The model that ships in packages is missing, altered or computes wrongly on this machine."""

    reason = "MODEL_UNUSABLE"


class Reading(Protocol):
    """A text on its way through a model."""

    @property
    def steps(self) -> int:
        """How many steps the text takes; known when the first is done, 1 until then."""
        ...

    def step(self) -> SentenceVector | None:
        """Compute one window; the step that completes the text returns its vector. After the first, steps may overlap."""
        ...


@dataclass(slots=True)
class _Lane:
    """The texts of one ``submit`` that wait for a worker, first come first served."""

    jobs: deque["_Job"] = field(default_factory=deque)
    in_turn: bool = False  # whether the lane stands in the round


@dataclass(slots=True)
class _Job:
    lane: _Lane
    reading: Reading
    future: asyncio.Future[TextVector]
    begun: int = 0  # steps handed to the workers


class _Model:
    """A variant of the model that is loaded, by whichever worker comes first, when its first text is read."""

    def __init__(self, variant: Variant) -> None:
        self._variant = variant
        self._loaded: SentenceModel | None = None
        self._lock = Lock()

    def loaded(self) -> SentenceModel:
        """Return the model; blocks for about 0.3 s the first time. Raises ``ModelUnusable``."""
        with self._lock:
            if self._loaded is None:
                try:
                    self._loaded = SentenceModel.load(self._variant)
                except ModelError as error:
                    raise ModelUnusable(str(error)) from error
            return self._loaded

    def read(self, text: str) -> "_LateReading":
        """Return *text* as a reading, of which nothing is computed yet."""
        return _LateReading(self, text)


class _LateReading:
    """A text on its way through a model that may not be loaded yet."""

    def __init__(self, model: _Model, text: str) -> None:
        self._model = model
        self._text = text
        self._reading: Reading | None = None

    @property
    def steps(self) -> int:
        return 1 if self._reading is None else self._reading.steps

    def step(self) -> SentenceVector | None:
        if self._reading is None:
            self._reading = self._model.loaded().read(self._text)
        return self._reading.step()


def _described(variant: Variant) -> EmbeddingModel:
    return EmbeddingModel(
        space=variant.space,
        model=variant.model,
        dimension=DIMENSION,
        window_tokens=WINDOW_TOKENS,
        threshold=variant.threshold,
    )


class LocalEmbedder:
    """Gives each request in turn one window of the model, so that a query waits for windows, never for whole imports.

    All bookkeeping happens on the event loop; only ``step`` runs on the workers.
    """

    def __init__(self, readers: Mapping[EmbeddingModel, Callable[[str], Reading]], workers: int) -> None:
        self._models = tuple(readers)  # the active one is the first
        self._readers = {model.space: read for model, read in readers.items()}
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="embed")
        # One more than there are workers: it bridges the way through the event loop from one window to the next.
        self._free = workers + 1
        self._round: deque[_Lane] = deque()
        self._open: set[asyncio.Future[TextVector]] = set()

    @classmethod
    def load(cls, workers: int, active: str = INT8.name) -> "LocalEmbedder":
        """Load all-MiniLM-L6-v2 in the variant *active*; blocks for about 0.3 s. The others are loaded when they are first needed.

        ``ModelUnusable`` says what is wrong with the installation.
        """
        ordered = sorted(VARIANTS, key=lambda variant: variant.name != active)
        models = {variant: _Model(variant) for variant in ordered}
        models[ordered[0]].loaded()
        return cls({_described(variant): model.read for variant, model in models.items()}, workers)

    @property
    def models(self) -> Sequence[EmbeddingModel]:
        """The models and their spaces, the active one first."""
        return self._models

    def submit(self, texts: Sequence[str], kind: InputKind, space: str = "") -> Sequence[asyncio.Future[TextVector]]:
        """Queue *texts* as one lane. The models have no prefixes, so *kind* makes no difference."""
        read = self._readers[space or self._models[0].space]
        loop = asyncio.get_running_loop()
        lane = _Lane()
        futures: list[asyncio.Future[TextVector]] = [loop.create_future() for _ in texts]
        for text, future in zip(texts, futures, strict=True):
            self._open.add(future)
            future.add_done_callback(self._open.discard)
            lane.jobs.append(_Job(lane, read(text), future))
        self._enter(lane)
        self._dispatch()
        return futures

    async def close(self) -> None:
        """Fail what still waits and end the workers after the windows they are computing."""
        self._round.clear()
        for future in [future for future in self._open if not future.done()]:
            future.set_exception(BackendUnavailable("the embedding service is stopping"))
        await asyncio.to_thread(self._pool.shutdown)

    def _enter(self, lane: _Lane) -> None:
        if not lane.in_turn:
            lane.in_turn = True
            self._round.append(lane)

    def _next(self) -> _Job | None:
        while self._round:
            lane = self._round.popleft()
            lane.in_turn = False
            while lane.jobs:
                job = lane.jobs.popleft()
                if job.future.done():
                    continue
                job.begun += 1
                if job.begun < job.reading.steps:
                    lane.jobs.appendleft(job)
                if lane.jobs:
                    self._enter(lane)
                return job
        return None

    def _dispatch(self) -> None:
        loop = asyncio.get_running_loop()
        while self._free and (job := self._next()) is not None:
            self._free -= 1
            loop.run_in_executor(self._pool, job.reading.step).add_done_callback(partial(self._stepped, job))

    def _stepped(self, job: _Job, step: asyncio.Future[SentenceVector | None]) -> None:
        self._free += 1
        error = step.exception()
        if not job.future.done():
            if error is not None:
                job.future.set_exception(error)
            elif (vector := step.result()) is not None:
                job.future.set_result(_frozen(vector))
            elif job.begun == 1 < job.reading.steps:  # the first step has shown that there are more
                job.lane.jobs.appendleft(job)
                self._enter(job.lane)
        self._dispatch()


def _frozen(vector: SentenceVector) -> TextVector:
    vector.values.flags.writeable = False  # shared by the cache and everyone who asked
    windows = None
    if vector.windows is not None:
        vector.windows.values.flags.writeable = False
        windows = Windows(vector.windows.values, vector.windows.spans)
    return TextVector(vector.values, vector.token_count, vector.window_count, windows)
