"""How near questions are to each other, by the embedding service."""

import logging
import math
from collections import OrderedDict
from collections.abc import Sequence
from operator import mul
from typing import Any

import grpc

from memorybox.embedding.v1 import embedding_service_pb2 as pb
from memorybox.embedding.v1 import embedding_service_pb2_grpc as pb_grpc

SERVICE = "memorybox.embedding.v1.EmbeddingService"
RETRYABLE = (f"{SERVICE}/EmbedTexts",)
TIMEOUT_S = 5.0
_CHUNK = 256  # texts of one request
_KEPT = 4096  # vectors of questions: a few KiB each

log = logging.getLogger(__name__)


class EmbeddingServiceSimilar:
    """Compares questions in the service's active space; vectors of two spaces are never compared."""

    def __init__(self, channel: Any) -> None:
        self._stub: Any = pb_grpc.EmbeddingServiceStub(channel)
        self._vectors: OrderedDict[str, tuple[float, ...]] = OrderedDict()
        self._space = ""

    async def similarities(self, question: str, others: dict[str, str]) -> dict[str, float] | None:
        """Return the cosine of *question* to each of *others*; None when the service does not answer."""
        texts = list(dict.fromkeys((question, *others.values())))
        try:
            vectors = await self._embed(texts)
        except grpc.aio.AioRpcError as error:
            log.warning("no similarities", extra={"code": error.code().name})
            return None
        own = vectors.get(question)
        if own is None:
            return None
        return {key: sum(map(mul, own, vectors[text])) for key, text in others.items() if text in vectors}

    async def _embed(self, texts: Sequence[str]) -> dict[str, tuple[float, ...]]:
        missing = [text for text in texts if text not in self._vectors]
        for at in range(0, len(missing), _CHUNK):
            await self._ask(missing[at : at + _CHUNK])
        found = {text: self._vectors[text] for text in texts if text in self._vectors}
        for text in found:
            self._vectors.move_to_end(text)
        while len(self._vectors) > _KEPT:
            self._vectors.popitem(last=False)
        return found

    async def _ask(self, texts: Sequence[str]) -> None:
        request = pb.EmbedTextsRequest(texts=texts, input_kind=pb.EmbedTextsRequest.QUERY)
        answer: pb.EmbedTextsResponse = await self._stub.EmbedTexts(request, timeout=TIMEOUT_S)
        if answer.model.space != self._space:
            self._space = answer.model.space
            self._vectors.clear()
        for text, embedding in zip(texts, answer.embeddings, strict=True):
            length = math.hypot(*embedding.values) or 1.0
            self._vectors[text] = tuple(value / length for value in embedding.values)
