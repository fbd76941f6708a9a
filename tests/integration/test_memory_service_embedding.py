"""The memory service's embedder over a real channel to an embedding service that answers, refuses, hangs or is not there."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from memorybox.embedding.v1 import embedding_pb2
from memorybox.embedding.v1 import embedding_service_pb2 as pb
from memorybox.embedding.v1 import embedding_service_pb2_grpc as pb_grpc
from services.cli.grants import standard_keys
from services.embedding.app import ACCESS
from services.memory.backends.embedding_service import (
    BASE_TIMEOUT_S,
    MAX_BYTES,
    MAX_TEXTS,
    RETRY_AFTER_S,
    RETRYABLE,
    EmbeddingServiceModels,
)
from services.memory.domain.ports import EmbeddingSpace, EmbeddingUnavailable, InputKind, SpaceNotServed
from services.mesh.errors import InvalidInput, ResourceExhausted, Violation
from services.mesh.interceptors import caller
from services.mesh.server import Registration, Service
from tests.support.clients import Deployment, eventually

MODEL = embedding_pb2.EmbeddingModel(space="fake@1/2/mean/none", dimension=2, threshold=0.25, active=True)
SPACE = EmbeddingSpace("fake@1/2/mean/none", 2, 0.25)


def windows_of(text: str) -> list[embedding_pb2.Window]:
    """Return the lines of *text*, each with the vector (its length, its first code point), where there are several."""
    lines, windows, start = text.split("\n"), [], 0
    for line in lines if len(lines) > 1 else ():
        values = np.array([len(line), ord(line[0])], "<f4").tobytes()
        windows.append(embedding_pb2.Window(start=start, end=start + len(line), values_f32=values))
        start += len(line) + 1
    return windows


class Scripted(pb_grpc.EmbeddingServiceServicer):
    """Gives each text the vector (length, first code point), and fails or hangs when told to."""

    def __init__(self) -> None:
        self.requests: list[pb.EmbedTextsRequest] = []
        self.listings = 0
        self.callers: list[str] = []
        self.models = [MODEL]
        self.error: Exception | None = None
        self.hanging = False

    async def EmbedTexts(self, request: pb.EmbedTextsRequest, context: Any) -> pb.EmbedTextsResponse:  # noqa: N802
        self.requests.append(request)
        await self._trouble(context)
        vectors = [embedding_pb2.Embedding(values=[len(text), ord(text[0])]) for text in request.texts]
        if request.include_windows:
            for vector, text in zip(vectors, request.texts, strict=True):
                vector.windows.extend(windows_of(text))
        return pb.EmbedTextsResponse(embeddings=vectors, model=self.models[len(self.requests) % len(self.models)])

    async def ListEmbeddingModels(self, _request: Any, context: Any) -> pb.ListEmbeddingModelsResponse:  # noqa: N802
        self.listings += 1
        await self._trouble(context)
        return pb.ListEmbeddingModelsResponse(models=self.models)

    async def _trouble(self, context: Any) -> None:
        self.callers.append(caller(context).user)
        if self.error is not None:
            raise self.error
        if self.hanging:
            await asyncio.Event().wait()


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return Deployment(tmp_path_factory.mktemp("deployment"), standard_keys("ann"))


def serving(deployment: Deployment, scripted: Scripted) -> Any:
    descriptor = pb.DESCRIPTOR.services_by_name["EmbeddingService"]
    registration = Registration(pb_grpc.add_EmbeddingServiceServicer_to_server, scripted, descriptor)
    return deployment.serving("embedding", lambda _: Service((registration,), ACCESS))


@asynccontextmanager
async def embedder(deployment: Deployment) -> AsyncIterator[EmbeddingServiceModels]:
    async with deployment.channel("embedding", "memory", retryable=RETRYABLE) as channel:
        yield EmbeddingServiceModels(channel)


@pytest.fixture
async def pair(deployment: Deployment) -> AsyncIterator[tuple[EmbeddingServiceModels, Scripted]]:
    """Serve an embedding service and ask it."""
    scripted = Scripted()
    async with serving(deployment, scripted), embedder(deployment) as made:
        yield made, scripted


async def embed(made: EmbeddingServiceModels, texts: Sequence[str] = ("tea",)) -> list[list[float]]:
    space, embeddings = await made.embed(texts, InputKind.DOCUMENT)
    assert space == SPACE
    assert {embedding.space for embedding in embeddings} <= {SPACE.name}
    return [embedding.vector.tolist() for embedding in embeddings]


async def unavailable(made: EmbeddingServiceModels) -> EmbeddingUnavailable:
    with pytest.raises(EmbeddingUnavailable) as refused:
        await made.embed(["tea"], InputKind.QUERY)
    return refused.value


async def test_vectors_come_in_the_order_of_their_texts(pair: tuple[EmbeddingServiceModels, Scripted]) -> None:
    made, scripted = pair

    assert await embed(made, ["a", "bb", "ccc"]) == [[1, 97], [2, 98], [3, 99]]
    assert [request.input_kind for request in scripted.requests] == [pb.EmbedTextsRequest.DOCUMENT]
    assert scripted.callers == ["service:memory"]


async def test_vectors_are_float32(pair: tuple[EmbeddingServiceModels, Scripted]) -> None:
    _, (embedding,) = await pair[0].embed(["a"], InputKind.QUERY)

    assert embedding.vector.dtype == np.float32
    assert pair[1].requests[0].input_kind == pb.EmbedTextsRequest.QUERY


async def test_parts_of_long_texts_come_with_their_places(pair: tuple[EmbeddingServiceModels, Scripted]) -> None:
    _, (short, long) = await pair[0].embed(["tea", "東京\nb"], InputKind.DOCUMENT)

    assert short.parts == ()
    assert [(part.start, part.end, part.vector.tolist()) for part in long.parts] == [
        (0, 2, [2, ord("東")]),
        (3, 4, [1, ord("b")]),
    ]
    assert {part.vector.dtype for part in long.parts} == {np.dtype(np.float32)}


async def test_queries_have_no_parts(pair: tuple[EmbeddingServiceModels, Scripted]) -> None:
    _, (query,) = await pair[0].embed(["tea\nor coffee"], InputKind.QUERY)

    assert query.parts == ()


async def test_many_texts_are_asked_for_in_requests_that_fit(pair: tuple[EmbeddingServiceModels, Scripted]) -> None:
    made, scripted = pair
    texts = [chr(97 + number % 26) * (number + 1) for number in range(600)]
    big = ["x" * (MAX_BYTES // 2), "y" * (MAX_BYTES // 2), "z" * (MAX_BYTES // 2)]

    assert await embed(made, texts) == [[len(text), ord(text[0])] for text in texts]
    assert sorted(len(request.texts) for request in scripted.requests) == [600 - 2 * MAX_TEXTS, MAX_TEXTS, MAX_TEXTS]
    scripted.requests.clear()
    assert [length for length, _ in await embed(made, big)] == [MAX_BYTES // 2] * 3
    assert sorted(len(request.texts) for request in scripted.requests) == [1, 2]


async def test_spaces_are_asked_for_once(pair: tuple[EmbeddingServiceModels, Scripted]) -> None:
    made, scripted = pair

    assert [await made.spaces() for _ in range(3)] == [(SPACE,)] * 3
    assert scripted.listings == 1
    await made.spaces(fresh=True)
    assert scripted.listings == 2


async def test_space_that_is_not_served_is_named_as_such(pair: tuple[EmbeddingServiceModels, Scripted]) -> None:
    made, scripted = pair
    scripted.error = InvalidInput(
        "space 'x' is not served", violations=[Violation("space", "must be a served space: y")]
    )

    with pytest.raises(SpaceNotServed, match="must be a served space: y"):
        await made.embed(["tea"], InputKind.DOCUMENT, "x")


async def test_service_without_a_model_is_unavailable(pair: tuple[EmbeddingServiceModels, Scripted]) -> None:
    made, scripted = pair
    scripted.models = []

    with pytest.raises(EmbeddingUnavailable):
        await made.spaces()


async def test_space_that_changes_within_one_request_is_unavailable(
    pair: tuple[EmbeddingServiceModels, Scripted],
) -> None:
    made, scripted = pair
    scripted.models = [MODEL, embedding_pb2.EmbeddingModel(space="other", dimension=2)]

    with pytest.raises(EmbeddingUnavailable, match="space"):
        await made.embed(["a"] * (MAX_TEXTS + 1), InputKind.DOCUMENT)


async def test_full_queue_is_unavailable_with_its_own_advice(pair: tuple[EmbeddingServiceModels, Scripted]) -> None:
    made, scripted = pair
    scripted.error = ResourceExhausted("full", retry_after_s=7.0)

    refused = await unavailable(made)

    assert (refused.retry_after_s, "full" in refused.message) == (7.0, False)


async def test_unexpected_failure_is_unavailable_with_advice(pair: tuple[EmbeddingServiceModels, Scripted]) -> None:
    made, scripted = pair
    scripted.error = RuntimeError("planted")

    assert (await unavailable(made)).retry_after_s == RETRY_AFTER_S


async def test_wrong_text_stays_the_callers_fault(pair: tuple[EmbeddingServiceModels, Scripted]) -> None:
    made, scripted = pair
    scripted.error = InvalidInput("wrong", violations=[Violation("texts[0]", "is wrong")])

    with pytest.raises(InvalidInput):
        await made.embed(["tea"], InputKind.DOCUMENT)


async def test_hanging_service_is_unavailable_long_before_a_callers_patience_ends(
    pair: tuple[EmbeddingServiceModels, Scripted],
) -> None:
    made, scripted = pair
    scripted.hanging = True

    refused = await asyncio.wait_for(unavailable(made), BASE_TIMEOUT_S * 3)

    assert refused.retry_after_s == RETRY_AFTER_S
    scripted.hanging = False
    assert await embed(made) == [[3, 116]]


async def test_service_that_comes_back_is_found_without_a_restart(deployment: Deployment) -> None:
    async with embedder(deployment) as made:
        assert (await unavailable(made)).retry_after_s == RETRY_AFTER_S
        async with serving(deployment, Scripted()):
            answers: list[list[list[float]]] = []

            async def try_again() -> None:
                while not answers:
                    try:
                        answers.append(await embed(made))
                    except EmbeddingUnavailable:
                        await asyncio.sleep(0.05)

            trying = asyncio.create_task(try_again())
            await eventually(lambda: answers, "the service is found", 5)
            await trying
