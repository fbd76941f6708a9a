"""An answer holds the windows of long texts apart, as many as fit into a message."""

import numpy as np
import pytest

from memorybox.embedding.v1 import embedding_service_pb2 as rpc_pb
from services.embedding.domain.embedder import TextVector, Windows
from services.embedding.domain.windows import MAX_WINDOW_BYTES, at_most, windows_that_fit
from services.embedding.rpc import embedding_to_proto, windows_to_proto

DIMENSION = 384
MOST = MAX_WINDOW_BYTES // (4 * DIMENSION)
GRPC_MESSAGE_BYTES = 4 << 20


def windows(number: int) -> Windows:
    values = np.random.default_rng(number).standard_normal((number, DIMENSION)).astype(np.float32)
    starts = 100 * np.arange(number)
    spans = np.stack((starts, starts + 130), axis=1).astype(np.int32)
    return Windows(values / np.linalg.norm(values, axis=1, keepdims=True), spans)


def long_text(number: int) -> TextVector:
    apart = windows(number)
    return TextVector(apart.values[0], 222 * number, number, apart)


SHORT = TextVector(np.zeros(DIMENSION, np.float32), 5, 1)


def test_windows_that_fit_stay_as_they_are() -> None:
    few = windows(7)

    assert at_most(few, 7) is few


@pytest.mark.parametrize("number", [8, 13, 14, 20])
def test_too_many_windows_become_fewer_and_longer_ones_that_cover_the_same(number: int) -> None:
    many = windows(number)

    fewer = at_most(many, 7)

    assert 1 < len(fewer) <= 7
    assert (fewer.spans[0, 0], fewer.spans[-1, 1]) == (many.spans[0, 0], many.spans[-1, 1])
    assert (fewer.spans[1:, 0] <= fewer.spans[:-1, 1]).all()
    assert np.allclose(np.linalg.norm(fewer.values, axis=1), 1, atol=1e-6)
    run = -(-number // 7)
    assert fewer.values[0] == pytest.approx(sum(many.values[:run]) / np.linalg.norm(sum(many.values[:run])), abs=1e-6)


def test_text_that_finds_no_room_left_has_no_windows() -> None:
    fitting = windows_that_fit([SHORT, long_text(MOST - 3), long_text(4), long_text(3)], DIMENSION)

    assert [None if found is None else len(found) for found in fitting] == [None, MOST - 3, None, 3]


def test_largest_answer_fits_into_a_message() -> None:
    vectors = [long_text(5 * MOST), *[SHORT] * 255]
    embeddings = [embedding_to_proto(vector) for vector in vectors]

    for embedding, found in zip(embeddings, windows_that_fit(vectors, DIMENSION), strict=True):
        embedding.windows.extend(windows_to_proto(found))

    size = rpc_pb.EmbedTextsResponse(embeddings=embeddings).ByteSize()
    assert len(embeddings[0].windows) == MOST
    assert size < GRPC_MESSAGE_BYTES
