"""All pairs of near vectors, tile by tile: an int8 product with a bound on its error, and exact cosines where that leaves a doubt."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numkong
import numpy as np
import numpy.typing as npt

from services.memory.stores.embedded.index import IndexView
from services.memory.stores.embedded.segment import Longs
from services.memory.stores.embedded.vectors import NORM_TOLERANCE, ROUNDING, Codes, Floats, VectorBlock

ROWS = 256  # of one tile; with its columns some 5 ms on one core
COLUMNS = 4096
_EXACT_PAIRS = 4096  # at once: 25 MB at 384 dimensions

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Near:
    """The younger ones near to one row: how many, and the first of them with their cosines."""

    count: int
    rows: Longs
    cosines: Floats


@dataclass(slots=True)
class Work:
    """How many pairs of vectors were compared."""

    compared: int = 0


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Pairs of a row (its index among those asked for, ascending) and a column that may be near; *sure*: they are."""

    mine: Longs
    columns: Longs
    sure: Mask

    def where(self, chosen: Mask) -> "_Pairs":
        return _Pairs(self.mine[chosen], self.columns[chosen], self.sure[chosen])


@dataclass(frozen=True, eq=False)
class Likeness:
    """The vectors of whole contents, by ascending doc; ``blocks[sources[i]].vectors[places[i]]`` is the exact one of row i."""

    docs: Longs
    codes: Codes
    blocks: Sequence[VectorBlock]
    sources: Longs
    places: Longs
    threshold: float
    work: Work = field(default_factory=Work)

    @classmethod
    def of(cls, view: IndexView, space: int, docs: Longs, threshold: float) -> "Likeness":
        """Return the vectors that *docs*, ascending, have in *view*."""
        found: list[tuple[Longs, Longs, Longs]] = []
        blocks: list[VectorBlock] = []
        for segment in view.segments:
            block = segment.blocks.get(space)
            if block is None:
                continue
            rows = block.rows
            live = segment.columns.ends[rows] > view.seq
            places = np.flatnonzero(live & (block.spans[:, 1] == 0) & np.isin(segment.columns.docs[rows], docs))
            found.append((segment.columns.docs[rows[places]], np.full(len(places), len(blocks)), places))
            blocks.append(block)
        if not found:
            nothing = np.empty(0, np.int64)
            return cls(nothing, _NO_CODES, (), nothing, nothing, threshold)
        own_docs, sources, places = (np.concatenate(column) for column in zip(*found, strict=True))
        order = np.argsort(own_docs)
        codes = Codes(
            np.concatenate([block.codes.codes[part[2]] for block, part in zip(blocks, found, strict=True)])[order],
            np.concatenate([block.codes.scales[part[2]] for block, part in zip(blocks, found, strict=True)])[order],
            np.concatenate([block.codes.errors[part[2]] for block, part in zip(blocks, found, strict=True)])[order],
        )
        return cls(own_docs[order], codes, blocks, sources[order], places[order], threshold)

    @cached_property
    def _packed(self) -> list[Any]:
        codes = self.codes.codes
        return [numkong.dots_pack(codes[at : at + COLUMNS], dtype="int8") for at in range(0, len(codes), COLUMNS)]

    def rows_of(self, docs: Longs) -> Longs:
        """Return the rows of those of *docs*, ascending, that have a vector here."""
        return np.flatnonzero(np.isin(self.docs, docs))

    def cosines_with(self, doc: int, others: Sequence[int]) -> dict[int, float | None]:
        """Return the cosine of *doc* with each of *others*; None where either has no vector here."""
        found: dict[int, float | None] = dict.fromkeys(others)
        own, rows = self.rows_of(np.array([doc])), self.rows_of(np.array(others, np.int64))
        if len(own) and len(rows):
            cosines = self._exact(np.full(len(rows), own[0]), rows)
            found |= zip(self.docs[rows].tolist(), cosines.tolist(), strict=True)
        return found

    def without_older(self, rows: Longs) -> Mask:
        """Return which of *rows*, at most ``ROWS`` in ascending order, have no older row near to them."""
        alone = np.ones(len(rows), np.bool_)
        for near in self._pairs(rows, 0, int(rows[-1]) if len(rows) else 0):
            older = near.where(near.columns < rows[near.mine])
            alone[older.mine[older.sure]] = False
            doubtful = older.where(~older.sure & alone[older.mine])
            cosines = self._exact(rows[doubtful.mine], doubtful.columns)
            alone[doubtful.mine[cosines >= self.threshold]] = False
        return alone

    def younger(self, rows: Longs, most: int) -> list[Near]:
        """Return what is near to each of *rows*, which ascend, and younger, the first *most* of each by age."""
        counts = np.zeros(len(rows), np.int64)
        kept: list[list[int]] = [[] for _ in rows]
        for near in self._pairs(rows, int(rows[0]) + 1 if len(rows) else 0, len(self.docs)):
            found = near.where(near.columns > rows[near.mine])
            doubtful = ~found.sure
            cosines = self._exact(rows[found.mine[doubtful]], found.columns[doubtful])
            found.sure[doubtful] = cosines >= self.threshold
            found = found.where(found.sure)
            counts += np.bincount(found.mine, minlength=len(rows))
            bounds = np.searchsorted(found.mine, np.arange(len(rows) + 1)).tolist()
            for place in np.unique(found.mine).tolist():
                begin, end = bounds[place], bounds[place + 1]
                kept[place] += found.columns[begin : min(end, begin + most - len(kept[place]))].tolist()
        others = [np.array(columns, np.int64) for columns in kept]
        own = [np.full(len(found), row) for row, found in zip(rows.tolist(), others, strict=True)]
        return [
            Near(count, found, self._exact(same, found))
            for count, same, found in zip(counts.tolist(), own, others, strict=True)
        ]

    def _pairs(self, rows: Longs, start: int, end: int) -> Iterator[_Pairs]:
        """Yield, tile by tile, what of *rows* may be near to which column from *start* up to *end*."""
        if not len(rows):
            return
        codes, scales = self.codes.codes[rows], self.codes.scales[rows].astype(np.float64)
        errors, norm = self.codes.errors[rows].astype(np.float64), 1.0 + NORM_TOLERANCE
        for number in range(start // COLUMNS, -(-end // COLUMNS)):
            first = number * COLUMNS
            products = np.asarray(numkong.dots_packed(codes, self._packed[number]))
            self.work.compared += products.size
            worst = float(self.codes.errors[first : first + COLUMNS].max())
            # |x.q - x'.q'| <= |(x - x').q| + |x'.(q - q')|, and |x'| <= |x| + |x - x'|
            slack = worst * (norm + errors) + norm * errors + ROUNDING + _COARSE
            weighed = products.astype(np.float32)
            weighed *= self.codes.scales[first : first + COLUMNS]
            floor = ((self.threshold - slack) / scales).astype(np.float32)
            mine, columns = np.nonzero(weighed >= floor[:, None])
            sure = weighed[mine, columns] * scales[mine] - slack[mine] >= self.threshold
            columns += first
            yield _Pairs(mine, columns, sure).where((columns >= start) & (columns < end))

    def _exact(self, rows: Longs, others: Longs) -> Floats:
        """Return the cosine of each pair, the same bits as a search of the one for the other has."""
        cosines = np.empty(len(rows))
        for at in range(0, len(rows), _EXACT_PAIRS):
            chunk = slice(at, at + _EXACT_PAIRS)
            products = self._vectors(rows[chunk]) * self._vectors(others[chunk])
            cosines[chunk] = np.clip(products.sum(axis=1), -1.0, 1.0)
        return cosines

    def _vectors(self, rows: Longs) -> Floats:
        vectors = np.empty((len(rows), self.codes.codes.shape[1]))
        sources = self.sources[rows]
        for number in np.unique(sources):
            own = sources == number
            vectors[own] = self.blocks[number].vectors[self.places[rows[own]]]
        return vectors


_NO_CODES = Codes(np.empty((0, 1), np.int8), np.empty(0, np.float32), np.empty(0, np.float32))
_COARSE = 1e-5  # generous: products of up to 2^24 and scales are float32
