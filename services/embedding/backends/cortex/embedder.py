"""Gathers the texts of requests into batches for Cortex, fairly, and puts the vectors of long texts together."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from services.embedding.backends.cortex.calls import Answer, Calls
from services.embedding.backends.cortex.models import DIMENSION, MODELS, CortexModel
from services.embedding.backends.cortex.pieces import Piece, split
from services.embedding.domain.embedder import EmbeddingModel, InputKind, TextVector, Windows
from services.mesh.errors import BackendUnavailable
from services.snowflake.errors import StatementFailed
from services.snowflake.rest import CortexRefused

BATCH_PIECES = 32  # in one call; their answer is about half a MiB
BATCH_CHARACTERS = 256 * 1024
CALLS_AT_ONCE = 4  # of one model; while they run, texts gather for the next ones
_REFUSALS = (CortexRefused, StatementFailed)  # which a single text may cause


@dataclass(slots=True)
class Cost:
    """What a model was asked since the start. Tokens that Cortex does not report are counted by us, and high."""

    calls: int = 0
    failed_calls: int = 0
    tokens_reported: int = 0
    tokens_estimated: int = 0


class _Text:
    """A text on its way through Cortex."""

    def __init__(self, content: str, prefix: str, pieces: Sequence[Piece], future: asyncio.Future[TextVector]) -> None:
        self.future = future
        self.pieces = pieces
        self._content = content
        self._prefix = prefix
        self._vectors = np.empty((len(pieces), DIMENSION), np.float32)
        self._missing = len(pieces)

    def piece(self, number: int) -> str:
        piece = self.pieces[number]
        return self._prefix + self._content[piece.start : piece.end]

    def land(self, number: int, vector: NDArray[np.float32]) -> None:
        """Keep the vector of a piece; with the last one the text is done."""
        self._vectors[number] = vector
        self._missing -= 1
        if not self._missing and not self.future.done():
            self.future.set_result(_pooled(self.pieces, self._vectors))


@dataclass(slots=True)
class _Lane:
    """The pieces of one ``submit`` that wait for a call."""

    waiting: deque[tuple[_Text, int]] = field(default_factory=deque)

    def next(self) -> tuple[_Text, int] | None:
        """Return the next piece that somebody still waits for."""
        while self.waiting:
            text, number = self.waiting.popleft()
            if not text.future.done():
                return text, number
        return None


@dataclass(frozen=True, slots=True)
class _Seat:
    """A piece in a batch, and the lane that it came from."""

    lane: _Lane
    text: _Text
    number: int


class _Queue:
    """What waits for one model. Lanes take turns piece by piece, so that a query need not wait for an import."""

    def __init__(self, model: CortexModel, calls: Calls) -> None:
        self.cost = Cost()
        self._model = model
        self._calls = calls
        self._round: deque[_Lane] = deque()
        self._alone: deque[list[_Seat]] = deque()  # batches for a second try, each of one lane
        self._running: set[asyncio.Task[Answer]] = set()

    def enter(self, lane: _Lane) -> None:
        self._round.append(lane)
        self._dispatch()

    async def close(self) -> None:
        self._round.clear()
        self._alone.clear()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _dispatch(self) -> None:
        while len(self._running) < CALLS_AT_ONCE and (batch := self._batch()):
            self.cost.calls += 1
            contents = [seat.text.piece(seat.number) for seat in batch]
            task = asyncio.ensure_future(self._calls.embed(self._model.name, contents))
            self._running.add(task)
            task.add_done_callback(partial(self._answered, batch))

    def _batch(self) -> list[_Seat]:
        while self._alone:
            if batch := [seat for seat in self._alone.popleft() if not seat.text.future.done()]:
                return batch
        batch = []
        characters = 0
        while self._round and len(batch) < BATCH_PIECES and characters < BATCH_CHARACTERS:
            lane = self._round.popleft()
            if (piece := lane.next()) is not None:
                batch.append(_Seat(lane, *piece))
                characters += len(batch[-1].text.piece(batch[-1].number))
                self._round.append(lane)
        return batch

    def _answered(self, batch: list[_Seat], task: asyncio.Task[Answer]) -> None:
        self._running.discard(task)
        error = BackendUnavailable("the embedding service is stopping") if task.cancelled() else task.exception()
        if error is None:
            self._landed(batch, task.result())
        else:
            self.cost.failed_calls += 1
            self._failed(batch, error)
        self._dispatch()

    def _landed(self, batch: list[_Seat], answer: Answer) -> None:
        if answer.tokens is None:
            self.cost.tokens_estimated += sum(seat.text.pieces[seat.number].tokens for seat in batch)
        else:
            self.cost.tokens_reported += answer.tokens
        for seat, vector in zip(batch, answer.vectors, strict=True):
            seat.text.land(seat.number, vector)

    def _failed(self, batch: list[_Seat], error: BaseException) -> None:
        """Fail the texts of *batch*; when Cortex refused it and it is of several requests, try each of these by itself."""
        lanes = {id(seat.lane): seat.lane for seat in batch}
        if isinstance(error, _REFUSALS) and len(lanes) > 1:
            self._alone.extend([seat for seat in batch if seat.lane is lane] for lane in lanes.values())
            return
        for seat in batch:
            if not seat.text.future.done():
                seat.text.future.set_exception(error)


class CortexEmbedder:
    """Serves the models of Cortex, *active* first. *prefixed* puts the prefixes of their authors before texts, for Cortex does not.

    All bookkeeping happens on the event loop.
    """

    def __init__(self, calls: Calls, active: str, *, prefixed: bool = False) -> None:
        ordered = sorted(MODELS, key=lambda model: model.name != active)
        self._models = tuple(model.described(prefixed=prefixed) for model in ordered)
        self._served = {model.space(prefixed=prefixed): (model, _Queue(model, calls)) for model in ordered}
        self._prefixed = prefixed
        self._splitting: set[asyncio.Task[None]] = set()
        self._open: set[asyncio.Future[TextVector]] = set()

    @property
    def models(self) -> Sequence[EmbeddingModel]:
        """The models and their spaces, the active one first."""
        return self._models

    @property
    def costs(self) -> Mapping[str, Cost]:
        """What each model was asked, by its name."""
        return {model.name: queue.cost for model, queue in self._served.values()}

    def submit(self, texts: Sequence[str], kind: InputKind, space: str = "") -> Sequence[asyncio.Future[TextVector]]:
        """Queue *texts* as one lane."""
        model, queue = self._served[space or self._models[0].space]
        prefix = model.prefix(kind) if self._prefixed else ""
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[TextVector]] = [loop.create_future() for _ in texts]
        for future in futures:
            self._open.add(future)
            future.add_done_callback(self._open.discard)
        task = asyncio.create_task(_enter(queue, texts, prefix, futures))
        self._splitting.add(task)
        task.add_done_callback(self._splitting.discard)
        return futures

    async def close(self) -> None:
        """Fail what still waits and withdraw the calls that run."""
        for future in [future for future in self._open if not future.done()]:
            future.set_exception(BackendUnavailable("the embedding service is stopping"))
        await asyncio.gather(*self._splitting)
        await asyncio.gather(*(queue.close() for _, queue in self._served.values()))


async def _enter(
    queue: _Queue, texts: Sequence[str], prefix: str, futures: Sequence[asyncio.Future[TextVector]]
) -> None:
    """Split *texts* on a thread and let them queue."""
    split_texts = await asyncio.to_thread(lambda: [split(text) for text in texts])
    lane = _Lane()
    for content, pieces, future in zip(texts, split_texts, futures, strict=True):
        text = _Text(content, prefix, pieces, future)
        lane.waiting.extend((text, number) for number in range(len(pieces)))
    queue.enter(lane)


def _pooled(pieces: Sequence[Piece], vectors: NDArray[np.float32]) -> TextVector:
    """Return the vector of a text: that of its one piece, or the mean of them by their tokens."""
    tokens = sum(piece.tokens for piece in pieces)
    if len(pieces) == 1:
        values = vectors[0]
        windows = None
    else:
        weights = np.array([piece.tokens for piece in pieces], dtype=np.float64)
        mean = (vectors.astype(np.float64) * weights[:, np.newaxis]).sum(axis=0)
        values = (mean / np.linalg.norm(mean)).astype(np.float32)
        vectors.flags.writeable = False
        windows = Windows(vectors, np.array([(piece.start, piece.end) for piece in pieces], np.int32))
    values.flags.writeable = False  # shared by the cache and everyone who asked
    return TextVector(values, tokens, len(pieces), windows)
