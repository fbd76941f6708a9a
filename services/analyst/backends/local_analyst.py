"""The local analyst: reads questions by a grammar over the model's own words, without a language model."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from services.analyst.backends.observations import Observations
from services.analyst.domain.events import Interpretation, Suggestions, Warnings
from services.analyst.domain.language import Answer, Reader, Refusal, Similarities
from services.analyst.domain.ports import LoadedModel, Question, Reading, Statement

_READERS = 16  # models with their data that are kept indexed
_SIMILAR_WITHIN_S = 0.3  # an embedding service that is slower is done without


class Similar(Protocol):
    """Says how near a question is to others."""

    async def similarities(self, question: str, others: dict[str, str]) -> dict[str, float] | None:
        """Return the cosine of *question* to each of *others*, by their keys; None when nobody knows."""
        ...


class LocalAnalyst:
    """Keeps a reader for each model and state of its data."""

    def __init__(
        self, observe: Callable[[LoadedModel], Observations], generation: Callable[[], int], similar: Similar
    ) -> None:
        self._observe = observe
        self._generation = generation
        self._similar = similar
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="read")
        self._readers: OrderedDict[tuple[str, int, int], asyncio.Future[Reader]] = OrderedDict()

    async def read(self, question: Question, model: LoadedModel) -> AsyncGenerator[Reading, None]:
        """Yield how *question* is read, then a statement; or suggestions."""
        similar, reader = await asyncio.gather(self._nearness(question.text, model), self._reader(model))
        answer = await asyncio.get_running_loop().run_in_executor(
            self._pool,
            lambda: reader.read(question.text, today=question.today, history=question.history, similar=similar),
        )
        match answer:
            case Refusal(reason, questions):
                yield Suggestions(reason, questions)
            case Answer():
                yield Interpretation(answer.interpretation)
                if answer.warnings:
                    yield Warnings(answer.warnings)
                yield Statement(answer.sql, answer.verified_query or "", answer.columns)

    async def close(self) -> None:
        """End the threads."""
        await asyncio.to_thread(self._pool.shutdown)

    async def _nearness(self, question: str, model: LoadedModel) -> Similarities | None:
        others = {query.name: query.question for query in model.model.verified_queries}
        if not others:
            return None
        try:
            async with asyncio.timeout(_SIMILAR_WITHIN_S):
                found = await self._similar.similarities(question, others)
        except TimeoutError:
            return None
        return None if found is None else Similarities(found)

    async def _reader(self, model: LoadedModel) -> Reader:
        """Return the reader of *model*; who comes while it is being made waits for the same one."""
        key = (model.kept.model_id, model.kept.version, self._generation())
        making = self._readers.get(key)
        if making is None or (making.done() and (making.cancelled() or making.exception() is not None)):
            making = asyncio.get_running_loop().run_in_executor(
                self._pool, lambda: Reader(model.model, self._observe(model))
            )
            self._readers[key] = making
            while len(self._readers) > _READERS:
                self._readers.popitem(last=False)
        self._readers.move_to_end(key)
        return await asyncio.shield(making)
