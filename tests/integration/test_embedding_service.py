"""The embedding service over a real channel: vectors, limits with field violations, a full queue, withdrawal."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from memorybox.embedding.v1 import embedding_service_pb2 as pb
from memorybox.embedding.v1 import embedding_service_pb2_grpc as pb_grpc
from services.embedding.app import build
from services.embedding.settings import EmbeddingSettings
from services.mesh.channels import MeshChannel, ServiceCredentials
from services.mesh.config import BadSettings, MeshSettings, load
from services.mesh.identity import HopSigner
from services.mesh.keys import Grant, KeyFolder
from services.mesh.server import Mesh, start
from services.mesh.telemetry import Telemetry
from services.models.sentence import FLOAT32, INT8, SentenceModel
from tests.support.mesh import free_ports

RPC = "/memorybox.embedding.v1.EmbeddingService/*"
SMALL = EmbeddingSettings(workers=2, queue_texts=256, queue_mib=3, cache_mib=1)
LONG = "The tide tables hang beside the door of the harbour office. " * 8000


class Server:
    """An embedding service in this process and a stub that may call it."""

    def __init__(self, mesh: Mesh, stub: "pb_grpc.EmbeddingServiceAsyncStub") -> None:
        self.mesh = mesh
        self.stub = stub

    async def embed(self, *texts: str, **fields: Any) -> pb.EmbedTextsResponse:
        return await self.stub.EmbedTexts(pb.EmbedTextsRequest(texts=texts, **fields), timeout=60)

    def metric(self, line: str) -> float:
        found = [row for row in self.mesh.telemetry.metrics_text().decode().splitlines() if row.startswith(line)]
        return float(found[0].rpartition(" ")[2])


@pytest.fixture(scope="module")
def keys_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    grant = Grant(audiences=("embedding",), rpcs=(RPC,))
    KeyFolder(folder).ensure([("memory", "service", grant), ("embedding", "service", Grant())])
    return folder


@pytest.fixture
async def server(keys_dir: Path) -> AsyncIterator[Server]:
    base = free_ports((1,))
    settings = load(MeshSettings, {"MEMORYBOX_KEYS_DIR": str(keys_dir), "MEMORYBOX_PORT_BASE": str(base)})
    telemetry = Telemetry("embedding", settings)
    async with AsyncExitStack() as stack:
        stack.callback(telemetry.shutdown)
        mesh = Mesh("embedding", settings, telemetry, stack)
        running, _ = await start(mesh, lambda mesh: build(mesh, SMALL))
        stack.push_async_callback(running.stop, None)
        signer = HopSigner(KeyFolder(keys_dir), "memory")
        channel = MeshChannel("embedding", settings, telemetry, ServiceCredentials(signer))
        stack.push_async_callback(channel.close)
        yield Server(mesh, pb_grpc.EmbeddingServiceStub(channel))  # type: ignore[call-overload]


async def refusal(call: Awaitable[object]) -> tuple[grpc.StatusCode, status_pb2.Status]:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    status = rpc_status.from_call(refused.value)  # type: ignore[arg-type]
    assert status is not None
    return refused.value.code(), status


def details(status: status_pb2.Status, kind: Callable[[], Any]) -> Any:
    message = kind()
    assert any(packed.Unpack(message) for packed in status.details)
    return message


def violations(status: status_pb2.Status) -> Sequence[str]:
    return [violation.field for violation in details(status, error_details_pb2.BadRequest).field_violations]


async def until(ready: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not ready():
            await asyncio.sleep(0.01)


async def test_embed_texts_answers_unit_vectors_in_order_with_their_space(server: Server) -> None:
    answer = await server.embed("A cat sleeps.", "Taxes are due in May.", "A cat sleeps.")

    vectors = np.array([list(embedding.values) for embedding in answer.embeddings])
    assert vectors.shape == (3, 384)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert np.array_equal(vectors[0], vectors[2])
    assert vectors[0] @ vectors[1] < 0.3
    assert [embedding.token_count for embedding in answer.embeddings] == [4, 6, 4]
    assert (answer.model.space, answer.model.dimension, answer.model.active) == (INT8.space, 384, True)


async def test_list_embedding_models_describes_the_spaces_the_active_one_first(server: Server) -> None:
    answer = await server.stub.ListEmbeddingModels(pb.ListEmbeddingModelsRequest(), timeout=10)

    first, second = answer.models
    assert (first.space, first.dimension, first.window_tokens, first.active) == (INT8.space, 384, 256, True)
    assert (second.space, second.dimension, second.window_tokens, second.active) == (FLOAT32.space, 384, 256, False)
    assert 0 < first.threshold < 1
    assert 0 < second.threshold < 1


async def test_every_space_is_served_with_its_own_vectors(server: Server) -> None:
    text = "The kettle is broken."

    int8, float32 = [await server.embed(text, space=variant.space) for variant in (INT8, FLOAT32)]

    assert (int8.model.space, int8.model.active) == (INT8.space, True)
    assert (float32.model.space, float32.model.active) == (FLOAT32.space, False)
    assert list(float32.embeddings[0].values) == SentenceModel.load(FLOAT32).embed(text).values.tolist()
    assert list(int8.embeddings[0].values) == SentenceModel.load(INT8).embed(text).values.tolist()


async def test_vector_has_the_same_bits_whatever_is_embedded_beside_it(server: Server) -> None:
    alone = SentenceModel.load().embed("The kettle is broken.").values.tolist()
    beside = [f"note {number} about the tide " * (number % 7 + 1) for number in range(60)]

    *_, answer = await asyncio.gather(
        *(server.embed(*beside[start : start + 20]) for start in range(0, 60, 20)),
        server.embed(*beside[:5], "The kettle is broken."),
    )

    assert list(answer.embeddings[-1].values) == alone


async def test_long_text_is_read_to_its_end(server: Server) -> None:
    filler = "The tide tables hang beside the door. " * 100
    plain, with_end, question = (
        np.array(embedding.values)
        for embedding in (
            await server.embed(filler, filler + "Penguins huddle to keep warm. " * 60, "how do penguins keep warm")
        ).embeddings
    )

    assert question @ with_end > question @ plain + 0.1


async def test_windows_of_long_texts_are_told_apart_where_asked_for(server: Server) -> None:
    filler = "The tide tables hang beside the door. " * 100
    fact = "Penguins huddle to keep warm in winter."
    text = filler + fact + filler

    (long, short), (again,) = (
        (await server.embed(text, "tea", include_windows=True)).embeddings,
        (await server.embed(text)).embeddings,
    )

    question = np.array((await server.embed("how do penguins keep warm")).embeddings[0].values)
    best = max(long.windows, key=lambda window: float(np.frombuffer(window.values_f32, "<f4") @ question))
    assert fact in text[best.start : best.end]
    assert len(long.windows) == long.window_count > 5
    assert all(abs(np.linalg.norm(np.frombuffer(window.values_f32, "<f4")) - 1) < 1e-5 for window in long.windows)
    assert (len(short.windows), len(again.windows), again.values) == (0, 0, long.values)


async def test_equal_texts_are_served_from_the_cache(server: Server) -> None:
    for _ in range(5):
        await server.embed("tea", "tea", "milk")

    assert server.metric('memorybox_embedding_texts_total{from="model"') == 2
    assert server.metric('memorybox_embedding_texts_total{from="cache"') == 8


@pytest.mark.parametrize(
    ("request_fields", "field"),
    [
        pytest.param({"texts": []}, "texts", id="no-text"),
        pytest.param({"texts": ["x"] * 257}, "texts", id="too-many"),
        pytest.param({"texts": ["x", ""]}, "texts[1]", id="empty"),
        pytest.param({"texts": ["x" * ((1 << 20) + 1)]}, "texts[0]", id="too-long"),
        pytest.param({"texts": ["x"], "space": "other@1/2/mean/none"}, "space", id="unknown-space"),
        pytest.param({"texts": ["x"], "input_kind": 7}, "input_kind", id="unknown-kind"),
    ],
)
async def test_bad_request_names_the_field(server: Server, request_fields: dict[str, Any], field: str) -> None:
    code, status = await refusal(server.stub.EmbedTexts(pb.EmbedTextsRequest(**request_fields), timeout=10))

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert violations(status) == [field]
    assert details(status, error_details_pb2.ErrorInfo).reason == "INVALID_INPUT"


async def test_question_may_say_what_it_is(server: Server) -> None:
    answer = await server.embed("where is the kettle", input_kind=pb.EmbedTextsRequest.QUERY, space=INT8.space)

    assert len(answer.embeddings) == 1


async def test_full_queue_is_refused_with_retry_advice_and_drains(server: Server) -> None:
    waiting = asyncio.ensure_future(server.embed(*(f"{number} {LONG[:8000]}" for number in range(200))))
    await until(lambda: server.metric("memorybox_embedding_waiting") > 100)

    code, status = await refusal(server.embed(*(f"more {number}" for number in range(250))))

    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details(status, error_details_pb2.ErrorInfo).reason == "QUEUE_FULL"
    assert details(status, error_details_pb2.RetryInfo).retry_delay.ToTimedelta().total_seconds() > 0
    waiting.cancel()
    await until(lambda: server.metric("memorybox_embedding_waiting") == 0)
    assert await server.embed("there is room again")


async def test_query_is_answered_while_a_book_is_embedded(server: Server) -> None:
    book = asyncio.ensure_future(server.embed(LONG, LONG + "!"))
    await until(lambda: server.metric("memorybox_embedding_waiting") == 2)

    answer = await server.embed("where do the tide tables hang")

    assert len(answer.embeddings) == 1
    assert not book.done()
    book.cancel()
    await until(lambda: server.metric("memorybox_embedding_waiting") == 0)


async def test_expired_deadline_withdraws_the_text(server: Server) -> None:
    call = server.stub.EmbedTexts(pb.EmbedTextsRequest(texts=[LONG]), timeout=0.3)

    with pytest.raises(grpc.aio.AioRpcError) as late:
        await call

    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: server.metric("memorybox_embedding_waiting") == 0)


async def test_snowflake_without_anything_to_log_in_with_is_refused_at_start(keys_dir: Path, tmp_path: Path) -> None:
    settings = load(MeshSettings, {"MEMORYBOX_KEYS_DIR": str(keys_dir), "MEMORYBOX_PROFILE": "snowflake"})
    telemetry = Telemetry("embedding", settings)
    async with AsyncExitStack() as stack:
        stack.callback(telemetry.shutdown)

        with pytest.raises(BadSettings, match="SNOWFLAKE_TOKEN_FILE_PATH"):
            await build(
                Mesh("embedding", settings, telemetry, stack),
                SMALL,
                {"SNOWFLAKE_ACCOUNT": "test", "SNOWFLAKE_TOKEN_FILE_PATH": str(tmp_path / "none")},
            )
