"""Vectors of texts seen before, as many as fit into a number of bytes."""

from collections import OrderedDict

from services.embedding.domain.embedder import TextVector

# Digest, array header, dataclass and dictionary slot of one entry; 308 measured with tracemalloc at 10,000 entries.
ENTRY_OVERHEAD_BYTES = 320


class VectorCache:
    """Least recently used vectors go first; a cache of zero bytes keeps nothing."""

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity_bytes = capacity_bytes
        self._size_bytes = 0
        self._entries: OrderedDict[bytes, TextVector] = OrderedDict()

    @property
    def size_bytes(self) -> int:
        """Bytes in use, never above the capacity."""
        return self._size_bytes

    def get(self, key: bytes) -> TextVector | None:
        """Return the vector kept under *key* and make it the most recent."""
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def put(self, key: bytes, vector: TextVector) -> None:
        """Keep *vector*, dropping the least recently used ones to make room."""
        old = self._entries.pop(key, None)
        if old is not None:
            self._size_bytes -= _cost(old)
        if _cost(vector) > self._capacity_bytes:
            return
        self._entries[key] = vector
        self._size_bytes += _cost(vector)
        while self._size_bytes > self._capacity_bytes:
            _, dropped = self._entries.popitem(last=False)
            self._size_bytes -= _cost(dropped)


def _cost(vector: TextVector) -> int:
    windows = vector.windows
    apart = 0 if windows is None else windows.values.nbytes + windows.spans.nbytes
    return vector.values.nbytes + apart + ENTRY_OVERHEAD_BYTES
