"""Vectors of one space in one segment: an int8 scan with a bound on its error, and exact cosines of chosen rows."""

from dataclasses import dataclass
from functools import cached_property

import numkong
import numpy as np
import numpy.typing as npt

from services.memory.domain.memory import Vector
from services.mesh.errors import InvalidInput

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int32]
Matrix = npt.NDArray[np.float32]
Spans = npt.NDArray[np.int32]

WHOLE = (0, 0)  # the span of a vector of a whole content

NORM_TOLERANCE = 1e-3  # how far from 1 a stored or searched vector's length may be
ROUNDING = 1e-6  # generous: float32 scales and float64 sums stay below it


@dataclass(frozen=True, slots=True)
class Codes:
    """Vectors as int8: ``scales[i] * codes[i]`` lies within ``errors[i]`` (L2) of vector i."""

    codes: npt.NDArray[np.int8]
    scales: Matrix
    errors: Matrix


def quantise(vectors: Matrix) -> Codes:
    """Return *vectors* (n, d) as codes, each row scaled by its largest component."""
    peaks = np.abs(vectors).max(axis=1, initial=0.0)
    scales = np.where(peaks > 0, peaks / np.float32(127), np.float32(1)).astype(np.float32)
    codes = np.rint(vectors / scales[:, None]).astype(np.int8)
    residuals = vectors - codes * scales[:, None]
    errors = np.linalg.norm(residuals, axis=1).astype(np.float32) + np.float32(ROUNDING)
    return Codes(codes, scales, errors)


@dataclass(frozen=True, slots=True)
class Query:
    """A searched vector and its codes."""

    space: int
    exact: Floats
    code: npt.NDArray[np.int8]  # (1, d)
    scale: float
    error: float


def prepare_query(space: int, vector: Vector) -> Query:
    """Return *vector* made ready for scans of its space."""
    quantised = quantise(np.asarray(vector, np.float32)[None])
    scale, error = float(quantised.scales[0]), float(quantised.errors[0])
    return Query(space, vector.astype(np.float64), quantised.codes, scale, error)


def cosines(vectors: Matrix, query: Floats) -> Floats:
    """Return each row's cosine with *query*, in [-1, 1].

    Multiplied and summed in float64 row by row: the bits depend on the two vectors alone, never on the row's neighbours or place
    (a BLAS product is faster but not repeatable in that sense).
    """
    products: Floats = (vectors.astype(np.float64) * query).sum(axis=1)
    return np.clip(products, -1.0, 1.0)


@dataclass(frozen=True, slots=True)
class NearPart:
    """A part of a row, its code points ``[start, end)``, and its cosine with a query."""

    number: int
    start: int
    end: int
    cosine: float


@dataclass(frozen=True, eq=False)
class VectorBlock:
    """The vectors of a segment's *rows* (ascending) in one space: of each row the whole content's, then those of its parts.

    ``spans`` (n, 2) are the code points that a part was made from, (0, 0) for a whole content.
    """

    rows: Rows
    vectors: Matrix
    codes: Codes
    spans: Spans

    @cached_property
    def has_parts(self) -> bool:
        """Whether any row has parts, and so more than one vector."""
        return bool(self.spans[:, 1].any())

    def bounds(self, query: Query) -> tuple[Floats, Floats]:
        """Return bounds below and above each vector's cosine with *query*, from one pass over the codes."""
        _require_dimension(self, query)
        products = np.asarray(numkong.cdist(query.code, self.codes.codes, "dot"), dtype=np.float64)[0]
        products *= self.codes.scales
        products *= query.scale
        # |x.q - x'.q'| <= |(x - x').q| + |x'.(q - q')|, and |x'| <= |x| + |x - x'|
        norm = 1.0 + NORM_TOLERANCE
        slack = self.codes.errors.astype(np.float64)
        slack *= norm + query.error
        slack += norm * query.error + ROUNDING
        return products - slack, products + slack

    def taken(self, places: npt.NDArray[np.int64], rows: Rows) -> "VectorBlock":
        """Return the vectors at *places* as a block of *rows*."""
        codes = Codes(self.codes.codes[places], self.codes.scales[places], self.codes.errors[places])
        return VectorBlock(rows, self.vectors[places], codes, self.spans[places])

    def cosines_of(self, rows: Rows, query: Query) -> Floats:
        """Return the highest cosine of each of segment *rows*; NaN for a row without a vector in this space."""
        _require_dimension(self, query)
        found: Floats = np.full(len(rows), np.nan)
        if len(self.rows):
            places = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
            known = self.rows[places] == rows
            found[known] = cosines(self.vectors[places[known]], query.exact)
        for index in np.flatnonzero(~np.isnan(found)) if self.has_parts else ():
            part = self.nearest_part(int(rows[index]), query)
            if part is not None:
                found[index] = max(found[index], part.cosine)
        return found

    def nearest_part(self, row: int, query: Query) -> NearPart | None:
        """Return the part of *row* that is nearest to *query*, the first of equals; None when it has no parts in this space."""
        whole, after = self.rows.searchsorted(np.array([row, row + 1], self.rows.dtype)).tolist()
        if after - whole <= 1:
            return None
        parts = self._between(whole + 1, after)
        low, high = parts.bounds(query)
        close = np.flatnonzero(high >= low.max())
        scores = cosines(parts.vectors[close], query.exact)
        best = int(scores.argmax())
        number = int(close[best])
        start, end = parts.spans[number].tolist()
        return NearPart(number, start, end, float(scores[best]))

    def _between(self, first: int, end: int) -> "VectorBlock":
        codes = Codes(self.codes.codes[first:end], self.codes.scales[first:end], self.codes.errors[first:end])
        return VectorBlock(self.rows[first:end], self.vectors[first:end], codes, self.spans[first:end])


def _require_dimension(block: VectorBlock, query: Query) -> None:
    dimension = block.vectors.shape[1]
    if len(query.exact) != dimension:
        raise InvalidInput(f"vectors of this space have {dimension} dimensions, the query's has {len(query.exact)}")


def build_block(rows: Rows, vectors: npt.NDArray[np.floating], spans: Spans) -> VectorBlock:
    """Return a block of *vectors*, as ``VectorBlock`` orders them."""
    exact = vectors.astype(np.float32, copy=False)
    return VectorBlock(rows, exact, quantise(exact), spans)


def join_blocks(blocks: list[VectorBlock]) -> VectorBlock:
    """Return one block of all, in order."""
    return VectorBlock(
        np.concatenate([block.rows for block in blocks]),
        np.concatenate([block.vectors for block in blocks]),
        Codes(
            np.concatenate([block.codes.codes for block in blocks]),
            np.concatenate([block.codes.scales for block in blocks]),
            np.concatenate([block.codes.errors for block in blocks]),
        ),
        np.concatenate([block.spans for block in blocks]),
    )
