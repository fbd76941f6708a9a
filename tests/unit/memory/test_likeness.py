"""All pairs of near vectors over many tiles, held against the plain product."""

import numpy as np
import pytest

from services.memory.stores.embedded.likeness import COLUMNS, ROWS, Likeness
from services.memory.stores.embedded.vectors import Floats, build_block

NUMBER = 2 * COLUMNS + 300


@pytest.fixture(scope="module")
def vectors() -> Floats:
    dice = np.random.default_rng(3)
    centres = dice.normal(size=(NUMBER // 3, 16))
    made = centres[dice.integers(0, len(centres), NUMBER)] + dice.normal(scale=0.15, size=(NUMBER, 16))
    unit: Floats = (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32).astype(np.float64)
    return unit


def likeness_of(vectors: Floats, threshold: float) -> Likeness:
    """Return all rows, one block."""
    rows = np.arange(len(vectors), dtype=np.int32)
    block = build_block(rows, vectors.astype(np.float32), np.zeros((len(rows), 2), np.int32))
    numbers = np.arange(len(rows))
    return Likeness(numbers * 10, block.codes, (block,), np.zeros(len(rows), np.int64), numbers, threshold)


@pytest.mark.parametrize("threshold", [0.8, 0.97])
@pytest.mark.parametrize("start", [0, COLUMNS - 100, 2 * COLUMNS - 50])
def test_representatives_and_their_younger_ones_are_exactly_those_of_the_product(
    vectors: Floats, threshold: float, start: int
) -> None:
    rows = np.arange(start, start + ROWS)
    cosines = vectors[rows] @ vectors.T
    near = cosines >= threshold
    places = np.arange(len(vectors))
    likeness = likeness_of(vectors, threshold)

    alone = likeness.without_older(rows)
    younger = likeness.younger(rows[alone], 2)

    assert alone.tolist() == [not near[n, :row].any() for n, row in enumerate(rows)]
    for found, row in zip(younger, rows[alone], strict=True):
        expected = places[near[row - start] & (places > row)]
        assert (found.count, found.rows.tolist()) == (len(expected), expected[:2].tolist())
        assert np.allclose(found.cosines, cosines[row - start, expected[:2]])


def test_work_is_counted_in_pairs(vectors: Floats) -> None:
    likeness = likeness_of(vectors, 0.9)

    likeness.younger(np.arange(10), 1)

    assert likeness.work.compared == 10 * NUMBER
