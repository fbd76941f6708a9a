"""The vector cache stays within its bytes and drops what was not used longest."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.embedding.domain.cache import ENTRY_OVERHEAD_BYTES, VectorCache
from services.embedding.domain.embedder import TextVector, Windows

LONG = TextVector(np.zeros(4, np.float32), 9, 3, Windows(np.zeros((3, 4), np.float32), np.zeros((3, 2), np.int32)))
VECTOR = TextVector(np.zeros(4, dtype=np.float32), token_count=1, window_count=1)
ENTRY = 16 + ENTRY_OVERHEAD_BYTES


def test_cache_drops_the_least_recently_used() -> None:
    cache = VectorCache(2 * ENTRY)
    cache.put(b"a", VECTOR)
    cache.put(b"b", VECTOR)
    cache.get(b"a")

    cache.put(b"c", VECTOR)

    assert [cache.get(key) is not None for key in (b"a", b"b", b"c")] == [True, False, True]


def test_cache_counts_a_replaced_entry_once() -> None:
    cache = VectorCache(2 * ENTRY)

    for _ in range(3):
        cache.put(b"a", VECTOR)

    assert cache.size_bytes == ENTRY


def test_cache_of_no_bytes_keeps_nothing() -> None:
    cache = VectorCache(0)

    cache.put(b"a", VECTOR)

    assert cache.get(b"a") is None
    assert cache.size_bytes == 0


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 200))), st.integers(0, 3000))
def test_cache_never_exceeds_its_capacity(puts: list[tuple[int, int]], capacity: int) -> None:
    cache = VectorCache(capacity)

    for key, size in puts:
        cache.put(bytes([key]), TextVector(np.zeros(size, dtype=np.float32), 1, 1))

        assert cache.size_bytes <= capacity


def test_windows_count_too() -> None:
    cache = VectorCache(10_000)

    cache.put(b"a", VECTOR)
    short = cache.size_bytes
    cache.put(b"b", LONG)

    assert cache.size_bytes == 2 * short + 3 * 4 * 4 + 3 * 2 * 4
