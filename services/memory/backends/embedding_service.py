"""The embedder port over the embedding service."""

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import numpy as np

from memorybox.embedding.v1 import embedding_pb2
from memorybox.embedding.v1 import embedding_service_pb2 as pb
from memorybox.embedding.v1 import embedding_service_pb2_grpc as pb_grpc
from services.memory.domain.memory import Embedding, Part
from services.memory.domain.ports import EmbeddingSpace, EmbeddingUnavailable, InputKind, SpaceNotServed
from services.mesh.channels import MeshChannel
from services.mesh.errors import InvalidInput
from services.mesh.status import from_rpc_error

log = logging.getLogger(__name__)

SERVICE = "memorybox.embedding.v1.EmbeddingService"
RETRYABLE = (f"{SERVICE}/EmbedTexts", f"{SERVICE}/ListEmbeddingModels")
MAX_TEXTS = 256
# Of one request, unless a single text is larger. A window of a long text has at least 122 word pieces of its own, so that an answer
# always has room for the windows of all texts: of 2,048 at 384 numbers each.
MAX_BYTES = 192 << 10
RETRY_AFTER_S = 1.0
SPACES_LIFE_S = 60.0
# A text of a few words takes milliseconds; the rest is room for a queue. Longer texts earn more time by their size, so that a
# service that hangs is noticed within seconds where little is asked.
BASE_TIMEOUT_S = 2.0
BYTES_PER_S = 4_000  # windows of the slower model take about 50 ms on one slow core, which others use too


class EmbeddingServiceModels:
    """Asks the embedding service; a silence longer than the texts deserve is ``EmbeddingUnavailable``."""

    def __init__(self, channel: MeshChannel) -> None:
        as_grpc: Any = channel
        self._stub = pb_grpc.EmbeddingServiceStub(as_grpc)
        self._spaces: tuple[EmbeddingSpace, ...] = ()
        self._spaces_until = 0.0

    async def spaces(self, *, fresh: bool = False) -> Sequence[EmbeddingSpace]:
        """Return the spaces, asked for at most once a minute but for *fresh*."""
        if fresh or not self._spaces or time.monotonic() > self._spaces_until:
            try:
                response = await self._stub.ListEmbeddingModels(pb.ListEmbeddingModelsRequest(), timeout=BASE_TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                raise _unavailable(error) from error
            self._spaces = tuple(map(_space_from_proto, response.models))  # the active one is the first
            self._spaces_until = time.monotonic() + SPACES_LIFE_S
        if not self._spaces:
            raise EmbeddingUnavailable("the embedding service names no active space", retry_after_s=RETRY_AFTER_S)
        return self._spaces

    async def embed(
        self, texts: Sequence[str], kind: InputKind, space: str = ""
    ) -> tuple[EmbeddingSpace, list[Embedding]]:
        """Return one embedding per text, in order, all in one space."""
        timeout_s = BASE_TIMEOUT_S + sum(map(len, texts)) / BYTES_PER_S  # of each request, for all share the model
        requests = [_request(chunk, kind, space) for chunk in _chunks(texts)]
        answers = await asyncio.gather(*(self._ask(request, timeout_s) for request in requests))
        found = _space_from_proto(answers[0].model)
        if any(answer.model.space != (space or found.name) for answer in answers):
            raise EmbeddingUnavailable("the embedding service changed its space meanwhile", retry_after_s=RETRY_AFTER_S)
        return found, [_embedding_from_proto(item, found) for answer in answers for item in answer.embeddings]

    async def _ask(self, request: pb.EmbedTextsRequest, timeout_s: float) -> pb.EmbedTextsResponse:
        try:
            response: pb.EmbedTextsResponse = await self._stub.EmbedTexts(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise _unavailable(error) from error
        return response


def _request(texts: Sequence[str], kind: InputKind, space: str) -> pb.EmbedTextsRequest:
    return pb.EmbedTextsRequest(
        texts=texts,
        input_kind=pb.EmbedTextsRequest.InputKind.Value(kind),
        space=space,
        include_windows=kind is InputKind.DOCUMENT,
    )


def _space_from_proto(model: embedding_pb2.EmbeddingModel) -> EmbeddingSpace:
    return EmbeddingSpace(model.space, model.dimension, model.threshold, model.window_tokens)


def _embedding_from_proto(item: embedding_pb2.Embedding, space: EmbeddingSpace) -> Embedding:
    vector = np.fromiter(item.values, np.float32, space.dimension)
    windows = (Part(window.start, window.end, np.frombuffer(window.values_f32, "<f4")) for window in item.windows)
    return Embedding(space.name, vector, tuple(windows))


def _chunks(texts: Sequence[str]) -> Iterator[list[str]]:
    """Split *texts* so that each chunk fits one request."""
    chunk: list[str] = []
    size = 0
    for text in texts:
        length = len(text.encode())
        if chunk and (len(chunk) == MAX_TEXTS or size + length > MAX_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(text)
        size += length
    yield chunk


def _unavailable(error: grpc.aio.AioRpcError) -> EmbeddingUnavailable | InvalidInput | SpaceNotServed:
    answer = from_rpc_error(error)
    if isinstance(answer, InvalidInput):
        spaces = [violation for violation in answer.violations if violation.field == "space"]
        return SpaceNotServed(f"the embedding service: {answer.message}; {spaces[0].description}") if spaces else answer
    log.warning("embedding failed", extra={"code": error.code().name, "details": error.details()})
    retry_after_s = answer.retry_after_s or RETRY_AFTER_S
    return EmbeddingUnavailable("the embedding service does not answer; try again", retry_after_s=retry_after_s)
