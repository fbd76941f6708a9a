"""The rules of embedding: bounds, order, sharing of equal texts, withdrawal, a queue that says when it is full."""

import asyncio

import pytest

from services.embedding.domain.cache import VectorCache
from services.embedding.domain.embedder import InputKind
from services.embedding.domain.embeddings import MAX_TEXT_BYTES, Embeddings, QueueFull
from services.mesh.errors import BackendUnavailable, InvalidInput
from tests.support.manual_embedder import MODEL, OTHER, ManualEmbedder, vector_of

DOCUMENT, QUERY = InputKind.DOCUMENT, InputKind.QUERY
MIB = 1 << 20


@pytest.fixture
def embedder() -> ManualEmbedder:
    return ManualEmbedder()


@pytest.fixture
def embeddings(embedder: ManualEmbedder) -> Embeddings:
    return over(embedder)


def over(embedder: ManualEmbedder, *, queue_texts: int = 1000, queue_bytes: int = 64 * MIB) -> Embeddings:
    return Embeddings(embedder, VectorCache(MIB), queue_texts=queue_texts, queue_bytes=queue_bytes)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_vectors_come_in_the_order_of_the_texts() -> None:
    embeddings = over(ManualEmbedder(auto=True))

    vectors = await embeddings.embed(["ccc", "a", "ccc", "bb"], DOCUMENT)

    assert [vector.values[0] for vector in vectors] == [3, 1, 3, 2]


@pytest.mark.parametrize(
    ("texts", "field", "says"),
    [
        pytest.param([], "texts", "1 to 256 texts, got 0", id="no-text"),
        pytest.param(["a"] * 257, "texts", "got 257", id="too-many"),
        pytest.param(["a", ""], "texts[1]", "got 0", id="empty-text"),
        pytest.param(["x" * (MAX_TEXT_BYTES + 1)], "texts[0]", "got 1048577", id="text-too-long"),
        pytest.param(["é" * (MAX_TEXT_BYTES // 2 + 1)], "texts[0]", "got 1048578", id="too-long-in-bytes"),
        pytest.param(["x" * MAX_TEXT_BYTES] * 4, "texts", "together", id="too-much-together"),
    ],
)
async def test_text_out_of_bounds_is_named(embeddings: Embeddings, texts: list[str], field: str, says: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await embeddings.embed(texts, DOCUMENT)

    assert refused.value.violations[0].field == field
    assert says in refused.value.violations[0].description


async def test_every_bad_text_is_named_at_once(embeddings: Embeddings) -> None:
    with pytest.raises(InvalidInput) as refused:
        await embeddings.embed(["", "fine", ""], DOCUMENT)

    assert [violation.field for violation in refused.value.violations] == ["texts[0]", "texts[2]"]


async def test_largest_request_is_taken() -> None:
    embeddings = over(ManualEmbedder(auto=True))

    vectors = await embeddings.embed([letter * MAX_TEXT_BYTES for letter in "abc"], DOCUMENT)

    assert len(vectors) == 3


async def test_spaces_are_served_apart_and_unknown_ones_refused() -> None:
    embeddings = over(ManualEmbedder(auto=True))

    assert await embeddings.embed(["tea"], DOCUMENT, MODEL.space)
    assert (await embeddings.embed(["tea"], DOCUMENT, OTHER.space))[0].values.tolist() == [-3, -3]
    with pytest.raises(InvalidInput, match="space 'other' is not served"):
        await embeddings.embed(["tea"], DOCUMENT, "other")


async def test_text_seen_before_is_not_computed_again() -> None:
    embedder = ManualEmbedder(auto=True)
    embeddings = over(embedder)

    first = await embeddings.embed(["tea"], DOCUMENT)
    second = await embeddings.embed(["tea"], DOCUMENT)

    assert embedder.submitted == [("tea", DOCUMENT)]
    assert first[0] is second[0]


async def test_question_and_document_of_equal_words_are_two_texts() -> None:
    embedder = ManualEmbedder(auto=True)
    embeddings = over(embedder)

    await embeddings.embed(["tea"], DOCUMENT)
    await embeddings.embed(["tea"], QUERY)

    assert embedder.submitted == [("tea", DOCUMENT), ("tea", QUERY)]


async def test_equal_texts_under_way_are_computed_once(embedder: ManualEmbedder, embeddings: Embeddings) -> None:
    requests = [asyncio.ensure_future(embeddings.embed(["tea", "milk"], DOCUMENT)) for _ in range(3)]
    await settle()

    embedder.finish()

    assert [await request for request in requests] == [await requests[0]] * 3
    assert embedder.submitted == [("tea", DOCUMENT), ("milk", DOCUMENT)]


async def test_cancelled_request_withdraws_its_texts(embedder: ManualEmbedder, embeddings: Embeddings) -> None:
    request = asyncio.ensure_future(embeddings.embed(["tea", "milk"], DOCUMENT))
    await settle()

    request.cancel()
    await settle()

    assert embedder.waiting == []
    assert embeddings.waiting == 0


async def test_text_that_another_request_waits_for_is_not_withdrawn(
    embedder: ManualEmbedder, embeddings: Embeddings
) -> None:
    leaving = asyncio.ensure_future(embeddings.embed(["tea", "milk"], DOCUMENT))
    staying = asyncio.ensure_future(embeddings.embed(["tea"], DOCUMENT))
    await settle()

    leaving.cancel()
    await settle()

    assert embedder.waiting == ["tea"]
    embedder.finish()
    assert (await staying)[0].token_count == 3


async def test_withdrawn_text_is_started_anew(embedder: ManualEmbedder, embeddings: Embeddings) -> None:
    first = asyncio.ensure_future(embeddings.embed(["tea"], DOCUMENT))
    await settle()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.ensure_future(embeddings.embed(["tea"], DOCUMENT))
    await settle()

    embedder.finish()

    assert (await second)[0].token_count == 3


async def test_full_queue_refuses_the_whole_request_and_says_when_to_retry() -> None:
    embedder = ManualEmbedder()
    embeddings = over(embedder, queue_texts=3)
    waiting = asyncio.ensure_future(embeddings.embed(["a", "b"], DOCUMENT))
    await settle()

    with pytest.raises(QueueFull) as refused:
        await embeddings.embed(["c", "d"], DOCUMENT)

    assert refused.value.retry_after_s
    assert embedder.waiting == ["a", "b"]
    embedder.finish()
    await waiting
    assert embeddings.waiting == 0


async def test_queue_is_bounded_in_bytes() -> None:
    embedder = ManualEmbedder()
    embeddings = over(embedder, queue_bytes=10)
    waiting = asyncio.ensure_future(embeddings.embed(["a" * 8], DOCUMENT))
    await settle()

    with pytest.raises(QueueFull):
        await embeddings.embed(["b" * 3], DOCUMENT)

    embedder.finish()
    await waiting
    finishing = asyncio.ensure_future(embeddings.embed(["b" * 3], DOCUMENT))
    await settle()
    embedder.finish()
    assert await finishing


async def test_full_queue_still_serves_what_is_known_or_under_way() -> None:
    embedder = ManualEmbedder()
    embeddings = over(embedder, queue_texts=1)
    known = asyncio.ensure_future(embeddings.embed(["known"], DOCUMENT))
    await settle()
    embedder.finish()
    await known
    first = asyncio.ensure_future(embeddings.embed(["tea"], DOCUMENT))
    await settle()

    second = asyncio.ensure_future(embeddings.embed(["known", "tea"], DOCUMENT))
    await settle()
    embedder.finish()

    assert [vector.token_count for vector in await second] == [5, 3]
    await first


async def test_failure_reaches_all_who_wait_and_is_not_remembered(
    embedder: ManualEmbedder, embeddings: Embeddings
) -> None:
    requests = [asyncio.ensure_future(embeddings.embed(["tea", "milk"], DOCUMENT)) for _ in range(2)]
    await settle()

    embedder.fail("tea", BackendUnavailable("gone"))

    for request in requests:
        with pytest.raises(BackendUnavailable):
            await request
    assert embeddings.waiting == 0
    again = asyncio.ensure_future(embeddings.embed(["tea"], DOCUMENT))
    await settle()
    embedder.finish()
    assert (await again)[0].values.tolist() == vector_of("tea").values.tolist()
