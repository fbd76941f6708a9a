"""A run of index rows of one partition: columns, postings and vectors, searchable as one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from services.memory.domain.memory import Vector
from services.memory.stores.embedded.entry import IndexEntry
from services.memory.stores.embedded.rows import NEVER
from services.memory.stores.embedded.vectors import WHOLE, Rows, VectorBlock, build_block, join_blocks

Longs = npt.NDArray[np.int64]
Ints = npt.NDArray[np.int32]
Frequencies = npt.NDArray[np.uint32]
Mask = npt.NDArray[np.bool_]


class Vocabulary(dict[str, int]):
    """Numbers for terms and buckets; a lookup by ``[]`` gives an unknown one the next number, ``get`` does not."""

    def __missing__(self, word: str) -> int:
        number = self[word] = len(self)
        return number


@dataclass(frozen=True, slots=True)
class Columns:
    """One value a row. ``ends`` is the change that removed the row (``NEVER`` while it lives), the only thing ever rewritten."""

    ids: Sequence[str]
    docs: Longs
    revisions: Ints
    created: Longs
    expires: Longs
    buckets: Ints
    sizes: Ints
    lengths: Longs  # terms with repetitions
    ends: Longs

    def taken(self, rows: Longs) -> "Columns":
        """Return the columns of *rows* alone."""
        return Columns(
            [self.ids[row] for row in rows],
            self.docs[rows],
            self.revisions[rows],
            self.created[rows],
            self.expires[rows],
            self.buckets[rows],
            self.sizes[rows],
            self.lengths[rows],
            self.ends[rows],
        )


@dataclass(frozen=True, slots=True)
class Postings:
    """Which rows hold which term: rows and counts of ``terms[i]`` (ascending) are at ``offsets[i]:offsets[i + 1]``."""

    terms: Ints
    offsets: Longs
    rows: Rows
    counts: Frequencies

    def find(self, term: int) -> tuple[Rows, Frequencies]:
        """Return the rows, ascending, that hold *term*, and how often."""
        place = int(self.terms.searchsorted(np.int32(term)))  # a Python int would have all terms copied as int64
        if place == len(self.terms) or self.terms[place] != term:
            return self.rows[:0], self.counts[:0]
        first, last = self.offsets[place], self.offsets[place + 1]
        return self.rows[first:last], self.counts[first:last]

    def flat(self) -> tuple[Ints, Rows, Frequencies]:
        """Return term, row and count of every posting."""
        return np.repeat(self.terms, np.diff(self.offsets)), self.rows, self.counts


@dataclass(frozen=True, slots=True)
class FlatPostings:
    """Postings in the order they came, found by a scan: for few rows that still grow."""

    terms: Ints
    rows: Rows
    counts: Frequencies

    def find(self, term: int) -> tuple[Rows, Frequencies]:
        """Return the rows, ascending, that hold *term*, and how often."""
        places = np.flatnonzero(self.terms == term)
        return self.rows[places], self.counts[places]

    def flat(self) -> tuple[Ints, Rows, Frequencies]:
        """Return term, row and count of every posting."""
        return self.terms, self.rows, self.counts


def sort_postings(terms: Ints, rows: Rows, counts: Frequencies) -> Postings:
    """Return postings from flat arrays in which each term's rows ascend."""
    order = np.argsort(terms, kind="stable")
    ordered = terms[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    offsets = np.append(starts, len(ordered))
    return Postings(ordered[starts], offsets, rows[order], counts[order])


@dataclass(eq=False)
class Segment:
    """Rows in a fixed order; all but ``columns.ends`` never changes."""

    columns: Columns
    postings: Postings | FlatPostings
    blocks: Mapping[int, VectorBlock]  # by space
    dead: int = 0  # rows with an end

    def __len__(self) -> int:
        return len(self.columns.docs)

    @cached_property
    def total_length(self) -> int:
        """The sum of all rows' lengths."""
        return int(self.columns.lengths.sum())

    @cached_property
    def vector_count(self) -> int:
        """How many vectors the rows have; one each, but for contents in parts."""
        return sum(len(block.rows) for block in self.blocks.values())

    @cached_property
    def first_expiry(self) -> int:
        """The earliest expiry of any row."""
        return int(self.columns.expires.min(initial=NEVER))

    @cached_property
    def last_doc(self) -> int:
        """The youngest row."""
        return int(self.columns.docs.max(initial=0))

    def within(self, spaces: frozenset[int]) -> "Segment":
        """Return the same rows with their vectors in *spaces* alone."""
        blocks = {space: block for space, block in self.blocks.items() if space in spaces}
        return self if len(blocks) == len(self.blocks) else replace(self, blocks=blocks)

    def row_of(self, doc: int) -> int | None:
        """Return the live row of *doc*."""
        for row in np.flatnonzero(self.columns.docs == doc):
            if self.columns.ends[row] == NEVER:
                return int(row)
        return None


@dataclass(frozen=True, slots=True)
class Words:
    """The numbers that stand for words in columns and postings."""

    terms: Vocabulary
    buckets: Vocabulary
    spaces: Vocabulary


def build_segment(entries: Sequence[IndexEntry], words: Words, first_row: int = 0) -> Segment:
    """Return a segment of live *entries* in their order, its postings unsorted; rows count from *first_row*."""
    sizes = [len(entry.terms) for entry in entries]
    numbers = words.terms
    terms = np.fromiter((numbers[term] for entry in entries for term in entry.terms), np.int32, sum(sizes))
    rows = np.repeat(np.arange(first_row, first_row + len(entries), dtype=np.int32), sizes)
    counts = np.concatenate([entry.counts for entry in entries])
    blocks = build_blocks(entries, words.spaces, first_row)
    return Segment(build_columns(entries, words.buckets), FlatPostings(terms, rows, counts), blocks)


def build_columns(entries: Sequence[IndexEntry], buckets: Vocabulary) -> Columns:
    """Return the columns of live *entries*."""
    return Columns(
        [entry.memory_id for entry in entries],
        np.array([entry.doc for entry in entries], np.int64),
        np.array([entry.revision for entry in entries], np.int32),
        np.array([entry.created_at for entry in entries], np.int64),
        np.array([entry.expires_at for entry in entries], np.int64),
        np.array([buckets[entry.bucket] for entry in entries], np.int32),
        np.array([entry.size_bytes for entry in entries], np.int32),
        np.array([int(entry.counts.sum()) for entry in entries], np.int64),
        np.full(len(entries), NEVER, np.int64),
    )


def build_blocks(entries: Sequence[IndexEntry], spaces: Vocabulary, first_row: int) -> dict[int, VectorBlock]:
    """Return the vectors of *entries*, which are the rows from *first_row* on, by space."""
    by_space: dict[int, list[tuple[int, Vector, tuple[int, int]]]] = {}
    for row, entry in enumerate(entries, first_row):
        for embedding in (entry.embedding, entry.embedding.twin):
            if embedding is not None:
                found = by_space.setdefault(spaces[embedding.space], [])
                found.append((row, embedding.vector, WHOLE))
                found.extend((row, part.vector, (part.start, part.end)) for part in embedding.parts)
    blocks = {}
    for space_id, found in by_space.items():
        rows, vectors, spans = zip(*found, strict=True)
        blocks[space_id] = build_block(np.array(rows, np.int32), np.stack(vectors), np.array(spans, np.int32))
    return blocks


def merge_segments(segments: Sequence[Segment], published: int) -> tuple[Segment, list[Longs]]:
    """Return one segment of the rows that outlive change *published*, and which rows of each old one these are."""
    kept = [np.flatnonzero(segment.columns.ends > published) for segment in segments]
    starts = np.cumsum([0, *map(len, kept)])
    columns = _join_columns([segment.columns.taken(rows) for segment, rows in zip(segments, kept, strict=True)])
    flats: list[tuple[Ints, Rows, Frequencies]] = []
    blocks: dict[int, list[VectorBlock]] = {}
    for segment, rows, start in zip(segments, kept, starts[:-1], strict=True):
        renumbered = np.full(len(segment), -1, np.int32)
        renumbered[rows] = np.arange(start, start + len(rows), dtype=np.int32)
        terms, held_by, counts = segment.postings.flat()
        new_rows = renumbered[held_by]
        alive = new_rows >= 0
        flats.append((terms[alive], new_rows[alive], counts[alive]))
        for space_id, block in segment.blocks.items():
            blocks.setdefault(space_id, []).append(_renumber_block(block, renumbered))
    postings = sort_postings(*(np.concatenate(parts) for parts in zip(*flats, strict=True)))
    merged = Segment(columns, postings, {space_id: join_blocks(parts) for space_id, parts in blocks.items()})
    return merged, kept


def _renumber_block(block: VectorBlock, renumbered: Rows) -> VectorBlock:
    new_rows = renumbered[block.rows]
    places = np.flatnonzero(new_rows >= 0)
    return block.taken(places, new_rows[places])


def _join_columns(parts: Sequence[Columns]) -> Columns:
    """Return the columns of all *parts*, one after the other."""
    return Columns(
        [memory_id for part in parts for memory_id in part.ids],
        np.concatenate([part.docs for part in parts]),
        np.concatenate([part.revisions for part in parts]),
        np.concatenate([part.created for part in parts]),
        np.concatenate([part.expires for part in parts]),
        np.concatenate([part.buckets for part in parts]),
        np.concatenate([part.sizes for part in parts]),
        np.concatenate([part.lengths for part in parts]),
        np.concatenate([part.ends for part in parts]),
    )
