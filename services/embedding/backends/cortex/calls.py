"""One batch of texts to Cortex and its vectors back: over REST, or as one SQL statement."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from services.embedding.backends.cortex.models import DIMENSION
from services.mesh.errors import BackendUnavailable
from services.snowflake.rest import RestClient
from services.snowflake.session import Session, Tag
from services.snowflake.sessions import Sessions

EMBED_PATH: Final = "/api/v2/cortex/inference:embed"
FUNCTIONS: Final = {"ai_embed": "AI_EMBED", "embed_text": "SNOWFLAKE.CORTEX.EMBED_TEXT_768"}
_TAG = Tag("embedding", "EmbedTexts")
_RETRY_AFTER_S = 2.0


class CortexAnswerUnusable(BackendUnavailable):
    """Cortex answered with something else than one vector for each text; none of it is used."""

    reason = "CORTEX_ANSWER_UNUSABLE"


@dataclass(frozen=True, slots=True)
class Answer:
    """Vectors of length 1, one row for each text in order; ``tokens`` as Cortex counts them, None where it does not say."""

    vectors: NDArray[np.float32]
    tokens: int | None


class Calls(Protocol):
    """A way to Cortex. Calls may overlap."""

    async def embed(self, model: str, texts: Sequence[str]) -> Answer:
        """Return the vectors of *texts*. Raises errors of ours, with retry advice where waiting helps."""
        ...


class RestCalls:
    """Embeds over REST, without a warehouse."""

    def __init__(self, client: RestClient, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s

    async def embed(self, model: str, texts: Sequence[str]) -> Answer:
        """Return the vectors of *texts*."""
        answer = await self._client.call(EMBED_PATH, {"model": model, "text": list(texts)}, timeout_s=self._timeout_s)
        return await asyncio.to_thread(_of_rest, answer, len(texts))


class SqlCalls:
    """Embeds by a function of SQL, on the warehouse of the sessions."""

    def __init__(self, sessions: Sessions, function: str) -> None:
        self._sessions = sessions
        self._function = FUNCTIONS[function]

    async def embed(self, model: str, texts: Sequence[str]) -> Answer:
        """Return the vectors of *texts*; *model* is one of ours, never a caller's."""
        places = ", ".join(["(?, ?)"] * len(texts))
        statement = f"SELECT column1, {self._function}('{model}', column2) FROM VALUES {places}"  # noqa: S608
        parameters = [item for numbered in enumerate(texts) for item in numbered]

        def work(session: Session) -> NDArray[np.float32]:
            found = session.rows(statement, parameters)
            return _unit([vector for _, vector in _in_order(found, len(texts))], len(texts))

        return Answer(await self._sessions.run(work, _TAG), None)


def _of_rest(answer: dict[str, Any], count: int) -> Answer:
    items = answer.get("data")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise _unusable("has no list of vectors")
    found = [(item.get("index", place), _flat(item.get("embedding"))) for place, item in enumerate(items)]
    usage = answer.get("usage")
    tokens = usage.get("total_tokens") if isinstance(usage, dict) else None
    vectors = _unit([vector for _, vector in _in_order(found, count)], count)
    return Answer(vectors, tokens if isinstance(tokens, int) else None)


def _flat(embedding: object) -> object:
    """Return the one vector of an embedding, which Cortex wraps into a list of its own."""
    if isinstance(embedding, list) and len(embedding) == 1 and isinstance(embedding[0], list):
        return embedding[0]
    return embedding


def _in_order(found: Sequence[tuple[Any, ...]], count: int) -> list[tuple[Any, ...]]:
    """Return *found* by number; each number from 0 must be there once."""
    numbers = [item[0] for item in found]
    if not all(isinstance(number, int) for number in numbers) or sorted(numbers) != list(range(count)):
        raise _unusable(f"has {len(found)} vectors for {count} texts, or not one for each")
    return sorted(found, key=lambda item: int(item[0]))


def _unit(rows: Sequence[Any], count: int) -> NDArray[np.float32]:
    try:
        vectors = np.asarray(rows, dtype=np.float64)
    except (TypeError, ValueError):  # of different lengths, or no numbers
        raise _unusable("has vectors of different lengths, or of something else than numbers") from None
    if vectors.shape != (count, DIMENSION):
        raise _unusable(f"has vectors of another length than {DIMENSION}")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or not lengths.all():
        raise _unusable("has a vector without direction")
    unit: NDArray[np.float32] = (vectors / lengths).astype(np.float32)
    return unit


def _unusable(what: str) -> CortexAnswerUnusable:
    return CortexAnswerUnusable(f"Cortex's answer {what}", retry_after_s=_RETRY_AFTER_S)
