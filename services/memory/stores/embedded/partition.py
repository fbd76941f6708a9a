"""All index rows with the same readers: sealed segments, and a tail that takes new rows."""

from collections.abc import Sequence

import numpy as np

from services.memory.stores.embedded.entry import IndexEntry
from services.memory.stores.embedded.rows import NEVER
from services.memory.stores.embedded.segment import Longs, Segment, Words, build_segment, merge_segments
from services.memory.stores.embedded.tail import Tail

SEAL_ROWS = 512  # a tail's postings are found by a scan: at 60 terms a row 30,000 comparisons, about 10 us
_SEAL_POSTINGS = 1 << 16
_SEAL_VECTORS = 1 << 12  # a tail copies its vectors while it grows
_TIER_FACTOR = 4  # segments of like size are merged by fours, so that 100,000 rows lie in some dozen
# From this size on segments stay as they are: a merge holds its rows twice, which at 100,000 rows in one would be 250 MB more.
_LARGEST_VECTORS = 1 << 12
_DEAD_SHARE = 0.5  # a segment with more dead rows than this is rewritten


class Partition:
    """Changed by the writer under the index's lock; ``segments`` are replaced, never altered but for the ends of rows."""

    def __init__(self) -> None:
        self.segments: tuple[Segment, ...] = ()
        self.tail: Tail | None = None

    def views(self) -> tuple[Segment, ...]:
        """Return everything searchable at this moment."""
        return self.segments if self.tail is None else (*self.segments, self.tail.view())

    def append(self, entries: Sequence[IndexEntry], words: Words) -> None:
        """Add live rows."""
        if self.tail is None:
            self.tail = Tail.of(build_segment(entries, words))
        else:
            self.tail.append(build_segment(entries, words, len(self.tail)))

    def remove(self, doc: int, seq: int) -> None:
        """End the live row of *doc* with change *seq*."""
        for segment in reversed(self.views()):
            row = segment.row_of(doc)
            if row is not None:
                segment.columns.ends[row] = seq
                segment.dead += 1
                return

    def keep_spaces(self, spaces: frozenset[int]) -> None:
        """Drop the vectors of all other spaces."""
        self.segments = tuple(segment.within(spaces) for segment in self.segments)
        if self.tail is not None:
            self.tail.keep_spaces(spaces)

    def is_tail_full(self) -> bool:
        """Tell whether the tail should be sealed."""
        if self.tail is None:
            return False
        view = self.tail.view()
        full = len(view) >= SEAL_ROWS or view.vector_count >= _SEAL_VECTORS
        return full or len(view.postings.rows) >= _SEAL_POSTINGS

    def sealed_tail(self, published: int) -> Segment:
        """Return the tail as a segment without the rows that died up to *published*."""
        assert self.tail is not None  # noqa: S101  # the caller asked is_tail_full
        return merge_segments([self.tail.view()], published)[0]

    def replace_tail(self, sealed: Segment) -> None:
        """Put *sealed* in the tail's place."""
        self.segments = (*self.segments, sealed) if len(sealed) else self.segments
        self.tail = None

    def worth_merging(self) -> tuple[Segment, ...]:
        """Return the segments that should become one; none when all is well."""
        tiers: dict[int, list[Segment]] = {}
        for segment in self.segments:
            if segment.dead > _DEAD_SHARE * len(segment):
                return (segment,)
            if segment.vector_count < _LARGEST_VECTORS:
                tiers.setdefault(max(segment.vector_count, SEAL_ROWS).bit_length() // 2, []).append(segment)
        crowded = [tier for tier, members in tiers.items() if len(members) >= _TIER_FACTOR]
        return tuple(tiers[min(crowded)]) if crowded else ()

    def replace(self, old: Sequence[Segment], merged: Segment, kept: Sequence[Longs]) -> None:
        """Put *merged*, made of the *kept* rows of *old*, in their place, with the rows that died meanwhile.

        Nothing happens when one of *old* is no longer there.
        """
        if not set(old) <= set(self.segments):
            return
        ends = np.concatenate([segment.columns.ends[rows] for segment, rows in zip(old, kept, strict=True)])
        merged.columns.ends[:] = ends
        merged.dead = int(np.count_nonzero(ends != NEVER))
        others = tuple(segment for segment in self.segments if segment not in old)
        self.segments = (*others, merged) if len(merged) else others
