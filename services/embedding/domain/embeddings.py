"""Embeds the texts of requests: refuses what is out of bounds, computes equal texts once, remembers what it computed."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from services.embedding.domain.cache import VectorCache
from services.embedding.domain.embedder import Embedder, EmbeddingModel, InputKind, TextVector
from services.mesh.errors import InvalidInput, ResourceExhausted, Violation

MAX_TEXTS = 256
MAX_TEXT_BYTES = 1 << 20
# gRPC receives at most 4 MiB by default.
MAX_REQUEST_BYTES = 3 << 20
_RETRY_AFTER_S = 1.0  # a full queue of short texts is worked off in about this time on two cores


class QueueFull(ResourceExhausted):
    """More texts wait than the service takes; none of the request was begun."""

    reason = "QUEUE_FULL"


@dataclass(slots=True)
class _Flight:
    """A text that is being embedded, for everyone who asked for it."""

    future: asyncio.Future[TextVector]
    size_bytes: int
    waiters: int = 0


class Embeddings:
    """The embedding service's rules over its models. Belongs to one event loop.

    ``cached_texts`` and ``computed_texts`` count, since the start, what the cache answered and what the model was asked.
    """

    def __init__(self, embedder: Embedder, cache: VectorCache, *, queue_texts: int, queue_bytes: int) -> None:
        self._embedder = embedder
        self._cache = cache
        self._queue_texts = queue_texts
        self._queue_bytes = queue_bytes
        self._flights: dict[bytes, _Flight] = {}
        self._waiting_bytes = 0
        self.cached_texts = 0
        self.computed_texts = 0

    @property
    def models(self) -> Sequence[EmbeddingModel]:
        """The models served, the active one first."""
        return self._embedder.models

    def model(self, space: str) -> EmbeddingModel:
        """Return the model of *space* (empty: the active one), or raise ``InvalidInput``."""
        served = self._embedder.models
        for model in served:
            if space in {"", model.space}:
                return model
        wanted = Violation("space", f"must be empty or a served space: {', '.join(model.space for model in served)}")
        raise InvalidInput(f"space {space!r} is not served", violations=[wanted])

    @property
    def waiting(self) -> int:
        """Texts that are being embedded or wait for it."""
        return len(self._flights)

    async def embed(self, texts: Sequence[str], kind: InputKind, space: str = "") -> list[TextVector]:
        """Return one vector for each of *texts*, in order, in *space* (empty: the active one).

        Raises ``InvalidInput`` for what is out of bounds and ``QueueFull`` before anything is computed. If nobody else
        waits for them, cancelling withdraws the texts.
        """
        model = self.model(space)
        keys = self._keys(texts, kind, model)
        vectors = {key: found for key in keys if (found := self._cache.get(key)) is not None}
        self.cached_texts += len(vectors)
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in vectors}
        flights = self._board(missing, kind, model)
        try:
            vectors |= await _landed_all(flights)
        finally:
            self._leave(flights)
        return [vectors[key] for key in keys]

    def _keys(self, texts: Sequence[str], kind: InputKind, model: EmbeddingModel) -> list[bytes]:
        if not 1 <= len(texts) <= MAX_TEXTS:
            raise _invalid("texts", f"must be 1 to {MAX_TEXTS} texts, got {len(texts)}")
        contents = [text.encode("utf-8") for text in texts]
        wrong = [
            Violation(f"texts[{index}]", f"must be 1 byte to {MAX_TEXT_BYTES} bytes of UTF-8, got {len(content)}")
            for index, content in enumerate(contents)
            if not 1 <= len(content) <= MAX_TEXT_BYTES
        ]
        if wrong:
            raise InvalidInput(f"{wrong[0].field} {wrong[0].description}", violations=wrong)
        total = sum(len(content) for content in contents)
        if total > MAX_REQUEST_BYTES:
            raise _invalid("texts", f"must together be at most {MAX_REQUEST_BYTES} bytes of UTF-8, got {total}")
        scope = f"{model.space}\n{kind}\n".encode()
        return [hashlib.sha256(scope + content).digest() for content in contents]

    def _board(self, missing: dict[bytes, str], kind: InputKind, model: EmbeddingModel) -> dict[bytes, _Flight]:
        new = {key: text for key, text in missing.items() if key not in self._flights}
        if new:
            self._start(new, kind, model)
        flights = {key: self._flights[key] for key in missing}
        for flight in flights.values():
            flight.waiters += 1
        return flights

    def _start(self, new: dict[bytes, str], kind: InputKind, model: EmbeddingModel) -> None:
        sizes = [len(text.encode("utf-8")) for text in new.values()]
        if len(self._flights) + len(new) > self._queue_texts or self._waiting_bytes + sum(sizes) > self._queue_bytes:
            raise QueueFull(f"{len(self._flights)} texts wait already; try again later", retry_after_s=_RETRY_AFTER_S)
        futures = self._embedder.submit(list(new.values()), kind, model.space)
        self.computed_texts += len(new)
        for key, future, size in zip(new, futures, sizes, strict=True):
            self._flights[key] = _Flight(future, size)
            self._waiting_bytes += size
            future.add_done_callback(partial(self._landed, key))

    def _landed(self, key: bytes, future: asyncio.Future[TextVector]) -> None:
        self._remove(key, future)
        if not future.cancelled() and future.exception() is None:
            self._cache.put(key, future.result())

    def _leave(self, flights: dict[bytes, _Flight]) -> None:
        for key, flight in flights.items():
            flight.waiters -= 1
            if not flight.waiters and not flight.future.done():
                # Removed at once, not in the callback: the next request for this text must start it anew.
                self._remove(key, flight.future)
                flight.future.cancel()

    def _remove(self, key: bytes, future: asyncio.Future[TextVector]) -> None:
        flight = self._flights.get(key)
        if flight is not None and flight.future is future:
            del self._flights[key]
            self._waiting_bytes -= flight.size_bytes


async def _landed_all(flights: Mapping[bytes, _Flight]) -> dict[bytes, TextVector]:
    """Wait without owning: unlike ``gather``, being cancelled leaves the futures to the others who wait for them."""
    if flights:
        futures = [flight.future for flight in flights.values()]
        done, _ = await asyncio.wait(futures, return_when=asyncio.FIRST_EXCEPTION)
        for future in done:
            future.result()
    return {key: flight.future.result() for key, flight in flights.items()}


def _invalid(field: str, description: str) -> InvalidInput:
    return InvalidInput(f"{field} {description}", violations=[Violation(field, description)])
