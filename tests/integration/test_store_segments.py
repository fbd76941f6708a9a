"""Parts of the indexes whose faults a whole store would show only now and then."""

import numpy as np
import numpy.typing as npt
import pytest

from services.memory.domain.memory import AccessLevel, Embedding
from services.memory.stores.embedded.entry import IndexEntry, PartitionKey
from services.memory.stores.embedded.partition import Partition
from services.memory.stores.embedded.rows import NEVER
from services.memory.stores.embedded.segment import Vocabulary, Words, merge_segments
from services.memory.stores.embedded.vectors import build_block, prepare_query

KEY = PartitionKey(AccessLevel.PRIVATE, "ann", ())
Matrix = npt.NDArray[np.float64]


def unit(rows: Matrix) -> npt.NDArray[np.float32]:
    """Return *rows* at length 1."""
    scaled: Matrix = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    return scaled.astype(np.float32)


def spiky(small: float) -> Matrix:
    """Return a direction with one large component and many that the codes round to nothing."""
    return np.concatenate([[1.0], np.full(383, small)])


RNG = np.random.default_rng(11)
SHAPES = [
    pytest.param(RNG.standard_normal((200, 384)), RNG.standard_normal(384), id="random"),
    pytest.param(np.array([spiky(0.0039), spiky(-0.0039)]), np.ones(384), id="vectors lose their small components"),
    pytest.param(np.array([np.ones(384), -np.ones(384)]), spiky(0.0039), id="query loses its small components"),
    pytest.param(np.array([spiky(0.0039), spiky(-0.0039)]), spiky(0.0039), id="both lose"),
    pytest.param(np.eye(3), np.array([0.0, 1.0, 0.0]), id="axes"),
    pytest.param(np.array([[1.0], [-1.0]]), np.array([1.0]), id="one dimension"),
]


@pytest.mark.parametrize(("rows", "direction"), SHAPES)
def test_bounds_hold_the_cosine(rows: Matrix, direction: Matrix) -> None:
    vectors, query = unit(rows), unit(direction)
    block = build_block(np.arange(len(vectors), dtype=np.int32), vectors, np.zeros((len(vectors), 2), np.int32))

    low, high = block.bounds(prepare_query(0, query))

    exact = vectors.astype(np.float64) @ query.astype(np.float64)
    assert np.all(low <= exact)
    assert np.all(exact <= high)
    assert np.all(high - low < 0.4)


def entry(doc: int) -> IndexEntry:
    """Return a live row."""
    vector, counts = unit(np.array([1.0, doc])), np.array([1, 2], np.uint32)
    return IndexEntry(
        KEY, doc, f"m{doc}", 1, doc, NEVER, "default", 9, ("tea", f"word{doc}"), counts, Embedding("s", vector)
    )


def sealed(words: Words, *docs: range) -> Partition:
    """Return a partition with one sealed segment for each of *docs*."""
    partition = Partition()
    for numbers in docs:
        partition.append([entry(doc) for doc in numbers], words)
        partition.replace_tail(partition.sealed_tail(published=0))
    return partition


def words() -> Words:
    """Return empty vocabularies."""
    return Words(Vocabulary(), Vocabulary(), Vocabulary())


def test_rows_that_die_during_a_merge_stay_dead() -> None:
    partition = sealed(words(), range(10), range(10, 20))
    old = partition.segments
    merged, kept = merge_segments(old, published=5)

    partition.remove(3, seq=6)
    partition.remove(15, seq=7)
    partition.replace(old, merged, kept)

    (segment,) = partition.views()
    assert segment.dead == 2
    assert [doc for doc in range(20) if segment.row_of(doc) is None] == [3, 15]
    assert segment.columns.ends[segment.columns.docs == 3].tolist() == [6]


def test_merge_drops_the_dead_and_keeps_everything_else_together() -> None:
    vocabulary = words()
    partition = sealed(vocabulary, range(10), range(10, 20))
    for doc in (0, 9, 13):
        partition.remove(doc, seq=4)

    merged, _ = merge_segments(partition.segments, published=4)

    living = [doc for doc in range(20) if doc not in (0, 9, 13)]
    assert merged.columns.docs.tolist() == living
    assert [merged.columns.ids[row] for row in range(len(merged))] == [f"m{doc}" for doc in living]
    for row, doc in enumerate(living):
        rows, counts = merged.postings.find(vocabulary.terms[f"word{doc}"])
        assert (rows.tolist(), counts.tolist()) == ([row], [2])
        block = merged.blocks[0]
        assert np.array_equal(block.vectors[block.rows == row][0], unit(np.array([1.0, doc])))
    assert merged.postings.find(vocabulary.terms["tea"])[0].tolist() == list(range(len(living)))
    assert len(merged.postings.find(vocabulary.terms["word13"])[0]) == 0


def test_merge_keeps_rows_that_a_running_search_still_sees() -> None:
    partition = sealed(words(), range(10))
    partition.remove(3, seq=9)

    merged, _ = merge_segments(partition.segments, published=8)

    assert 3 in merged.columns.docs


def test_sealing_takes_each_row_of_the_tail_once() -> None:
    partition = Partition()
    vocabulary = words()
    for doc in range(30):
        partition.append([entry(doc)], vocabulary)

    partition.replace_tail(partition.sealed_tail(published=0))

    assert sorted(doc for segment in partition.views() for doc in segment.columns.docs.tolist()) == list(range(30))


def test_view_of_a_tail_stays_as_it_was_taken() -> None:
    partition, vocabulary = Partition(), words()
    partition.append([entry(0), entry(1)], vocabulary)
    (view,) = partition.views()

    for doc in range(2, 200):
        partition.append([entry(doc)], vocabulary)

    assert len(view) == 2
    assert view.columns.docs.tolist() == [0, 1]
    assert view.postings.find(vocabulary.terms["tea"])[0].tolist() == [0, 1]
    assert view.blocks[0].rows.tolist() == [0, 1]


def test_segments_stay_few_however_many_rows_come() -> None:
    partition, vocabulary = Partition(), words()
    for start in range(0, 40_000, 512):
        partition.append([entry(doc) for doc in range(start, start + 512)], vocabulary)
        partition.replace_tail(partition.sealed_tail(published=0))
        while old := partition.worth_merging():
            partition.replace(old, *merge_segments(old, published=0))

    assert len(partition.segments) <= 12
    assert sum(map(len, partition.segments)) == 79 * 512
