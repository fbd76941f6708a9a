"""Embeds with a model in this process, on worker threads that requests share fairly."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from services.embedding.domain.embedder import EmbeddingModel, InputKind, TextVector, Windows
from services.mesh.errors import BackendUnavailable, FailedPrecondition
from services.models import sentence
from services.models.files import ModelError
from services.models.graph import DIMENSION
from services.models.sentence import SentenceModel, SentenceVector
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


class LocalEmbedder:
    """Gives each request in turn one window of the model, so that a query waits for windows, never for whole imports.

    All bookkeeping happens on the event loop; only ``step`` runs on the workers.
    """

    def __init__(self, model: EmbeddingModel, read: Callable[[str], Reading], workers: int) -> None:
        self._model = model
        self._read = read
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="embed")
        # One more than there are workers: it bridges the way through the event loop from one window to the next.
        self._free = workers + 1
        self._round: deque[_Lane] = deque()
        self._open: set[asyncio.Future[TextVector]] = set()

    @classmethod
    def load(cls, workers: int) -> "LocalEmbedder":
        """Load all-MiniLM-L6-v2; blocks for about 0.3 s. ``ModelUnusable`` says what is wrong with the installation."""
        try:
            model = SentenceModel.load()
        except ModelError as error:
            raise ModelUnusable(str(error)) from error
        described = EmbeddingModel(
            space=sentence.SPACE,
            model=sentence.MODEL,
            dimension=DIMENSION,
            window_tokens=WINDOW_TOKENS,
            threshold=sentence.THRESHOLD,
        )
        return cls(described, model.read, workers)

    @property
    def model(self) -> EmbeddingModel:
        """The model and its space."""
        return self._model

    def submit(self, texts: Sequence[str], kind: InputKind) -> Sequence[asyncio.Future[TextVector]]:
        """Queue *texts* as one lane. The model has no prefixes, so *kind* makes no difference."""
        loop = asyncio.get_running_loop()
        lane = _Lane()
        futures: list[asyncio.Future[TextVector]] = [loop.create_future() for _ in texts]
        for text, future in zip(texts, futures, strict=True):
            self._open.add(future)
            future.add_done_callback(self._open.discard)
            lane.jobs.append(_Job(lane, self._read(text), future))
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
