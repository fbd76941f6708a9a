"""The youngest rows of a partition, in buffers that grow in place; views of them stay as they were taken."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from services.memory.stores.embedded.segment import Columns, FlatPostings, Segment
from services.memory.stores.embedded.vectors import Codes, VectorBlock

Array = npt.NDArray[Any]

_FIRST_CAPACITY = 8


class Buffer:
    """An array with room to grow: what ``view`` returned is never moved or overwritten, only ``[i] = x`` reaches it."""

    def __init__(self, like: Array) -> None:
        self._items = np.empty((_FIRST_CAPACITY, *like.shape[1:]), like.dtype)
        self._size = 0

    def extend(self, items: Array) -> None:
        """Append *items* along the first axis."""
        needed = self._size + len(items)
        if needed > len(self._items):
            grown = np.empty((max(needed, 2 * len(self._items)), *self._items.shape[1:]), self._items.dtype)
            grown[: self._size] = self._items[: self._size]
            self._items = grown
        self._items[self._size : needed] = items
        self._size = needed

    def view(self) -> Array:
        """Return the items so far."""
        return self._items[: self._size]


class _Group:
    """Buffers that grow together."""

    def __init__(self, arrays: tuple[Array, ...]) -> None:
        self._buffers = tuple(Buffer(array) for array in arrays)

    def extend(self, arrays: tuple[Array, ...]) -> None:
        for buffer, array in zip(self._buffers, arrays, strict=True):
            buffer.extend(array)

    def views(self) -> tuple[Array, ...]:
        return tuple(buffer.view() for buffer in self._buffers)


def _column_arrays(columns: Columns) -> tuple[Array, ...]:
    return (
        columns.docs,
        columns.revisions,
        columns.created,
        columns.expires,
        columns.buckets,
        columns.sizes,
        columns.lengths,
        columns.ends,
    )


def _block_arrays(block: VectorBlock) -> tuple[Array, ...]:
    return block.rows, block.vectors, block.codes.codes, block.codes.scales, block.codes.errors, block.spans


@dataclass(slots=True)
class Tail:
    """Rows appended one commit after the other; only the writer touches it, readers get ``view``."""

    _columns: _Group
    _postings: _Group
    _blocks: dict[int, _Group]
    _ids: list[str]
    _view: Segment

    @classmethod
    def of(cls, first: Segment) -> "Tail":
        """Return a tail that holds the rows of *first*."""
        columns = _Group(_column_arrays(first.columns))
        tail = cls(columns, _Group(first.postings.flat()), {}, [], first)
        tail.append(first)
        return tail

    def __len__(self) -> int:
        return len(self._view)

    def append(self, rows: Segment) -> None:
        """Add *rows*, numbered from ``len(self)`` on."""
        self._columns.extend(_column_arrays(rows.columns))
        self._postings.extend(rows.postings.flat())
        self._ids.extend(rows.columns.ids)
        for space, block in rows.blocks.items():
            arrays = _block_arrays(block)
            self._blocks.setdefault(space, _Group(arrays)).extend(arrays)
        self._view = self._make_view(self._view.dead)

    def keep_spaces(self, spaces: frozenset[int]) -> None:
        """Drop the vectors of all other spaces."""
        self._blocks = {space: group for space, group in self._blocks.items() if space in spaces}
        self._view = self._make_view(self._view.dead)

    def view(self) -> Segment:
        """Return the rows so far, as a segment."""
        return self._view

    def _make_view(self, dead: int) -> Segment:
        # The list of ids is shared: rows beyond the view's end are never asked for.
        columns = Columns(self._ids, *self._columns.views())
        blocks = {}
        for space, group in self._blocks.items():
            rows, vectors, codes, scales, errors, spans = group.views()
            blocks[space] = VectorBlock(rows, vectors, Codes(codes, scales, errors), spans)
        return Segment(columns, FlatPostings(*self._postings.views()), blocks, dead)
