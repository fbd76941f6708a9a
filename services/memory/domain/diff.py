"""What changed between two states of a memory: which fields, and where in the content."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.memory.domain.draft import FIELDS
from services.memory.domain.memory import Memory

MAX_HUNKS = 32  # of one diff; what is beyond lies in the last one
MAX_TEXT_LENGTH = 500  # code points of a side of a hunk that are shown
MAX_DIFF_BYTES = 256 << 10  # of the texts of all hunks in one answer
_HUNK_BYTES = 64  # without its texts
_MAX_EDITS = 300
_MAX_STEPS = 300_000  # of one diff, some 50 ms
_MAX_ALL_STEPS = 2_000_000  # of all diffs of an answer
_COMPARED = (*FIELDS, "superseded_by", "delete_time")
_TOKEN = re.compile(r"\w+|\s+|[^\w\s]")

Range = tuple[int, int, int, int]  # [start, end) of the old side, then of the new one


@dataclass(slots=True)
class Effort:
    """How many steps of comparing are left."""

    left: int = _MAX_ALL_STEPS


@dataclass(frozen=True, slots=True)
class Hunk:
    """A stretch of the old content, code points ``[old_start, old_end)``, that became one of the new content; one may be empty.

    The texts are theirs, cut at ``MAX_TEXT_LENGTH`` code points; both are '' where an answer had no more room.
    """

    old_start: int
    old_end: int
    new_start: int
    new_end: int
    old_text: str = ""
    new_text: str = ""

    @property
    def size_bytes(self) -> int:
        """What it takes in an answer, at most."""
        return _HUNK_BYTES + len(self.old_text.encode()) + len(self.new_text.encode())


@dataclass(frozen=True, slots=True)
class RevisionDiff:
    """How *revision* differs from the state before it that the caller may see, *previous* 0 for none: fields in contract order."""

    revision: int
    previous: int
    fields: tuple[str, ...] = ()
    hunks: tuple[Hunk, ...] = ()

    def within(self, room: int) -> "RevisionDiff":
        """Return this as it fits in *room* bytes: with one hunk over all of them and no text if need be."""
        if sum(hunk.size_bytes for hunk in self.hunks) <= room or not self.hunks:
            return self
        first, last = self.hunks[0], self.hunks[-1]
        return replace(self, hunks=(Hunk(first.old_start, last.old_end, first.new_start, last.new_end),))


def diffs(states: Sequence[Memory], older: Memory | None, max_bytes: int = MAX_DIFF_BYTES) -> tuple[RevisionDiff, ...]:
    """Return the diff of each of *states*, newest first, to the next; *older* is the one before the last."""
    found = []
    room, effort = max_bytes, Effort()
    for new, old in zip(states, (*states[1:], older), strict=True):
        made = RevisionDiff(new.revision, 0) if old is None else diff(old, new, effort)
        made = made.within(max(room, 0))
        room -= sum(hunk.size_bytes for hunk in made.hunks)
        found.append(made)
    return tuple(found)


def diff(old: Memory, new: Memory, effort: Effort | None = None) -> RevisionDiff:
    """Return what made *new* of *old*."""
    fields = tuple(name for name in _COMPARED if getattr(old, name) != getattr(new, name))
    return RevisionDiff(new.revision, old.revision, fields, hunks_between(old.content, new.content, effort))


def hunks_between(old: str, new: str, effort: Effort | None = None) -> tuple[Hunk, ...]:
    """Return where the contents differ, by words, in order; what lies between hunks is equal in both.

    One hunk holds everything from the first difference to the last where finding less would take too long.
    """
    if old == new:
        return ()
    sides = [_TOKEN.findall(text) for text in (old, new)]
    ranges = _changed(sides[0], sides[1], effort or Effort())
    if len(ranges) > MAX_HUNKS:
        first, last = ranges[MAX_HUNKS - 1], ranges[-1]
        ranges = [*ranges[: MAX_HUNKS - 1], (first[0], last[1], first[2], last[3])]
    old_at, new_at = (_offsets(tokens) for tokens in sides)
    return tuple(_hunk(old, new, (old_at[i], old_at[j], new_at[k], new_at[m])) for i, j, k, m in ranges)


def _hunk(old: str, new: str, place: Range) -> Hunk:
    old_start, old_end, new_start, new_end = place
    texts = old[old_start:old_end][:MAX_TEXT_LENGTH], new[new_start:new_end][:MAX_TEXT_LENGTH]
    return Hunk(*place, *texts)


def _offsets(tokens: Sequence[str]) -> list[int]:
    offsets = [0]
    for token in tokens:
        offsets.append(offsets[-1] + len(token))
    return offsets


def _changed(old: Sequence[str], new: Sequence[str], effort: Effort) -> list[Range]:
    """Return the ranges of tokens that differ."""
    shared = min(len(old), len(new))
    head = next((place for place in range(shared) if old[place] != new[place]), shared)
    rest = shared - head
    tail = next((place for place in range(rest) if old[-1 - place] != new[-1 - place]), rest)
    old_end, new_end = len(old) - tail, len(new) - tail
    kept = _kept(old[head:old_end], new[head:new_end], effort)
    ranges: list[Range] = []
    i, j = head, head
    for x, y in [*((x + head, y + head) for x, y in kept), (old_end, new_end)]:
        if x > i or y > j:
            ranges.append((i, x, j, y))
        i, j = x + 1, y + 1
    return ranges


def _kept(old: Sequence[str], new: Sequence[str], effort: Effort) -> list[tuple[int, int]]:
    """Return the pairs of tokens that an edit script of the least length keeps, in order; none where that is too much work.

    Myers, "An O(ND) Difference Algorithm and Its Variations" (1986): furthest reaching paths for 0, 1, 2 ... edits.
    """
    furthest = {1: 0}
    history: list[dict[int, int]] = []
    limit = max(effort.left - _MAX_STEPS, 0)
    for edits in range(min(len(old) + len(new), _MAX_EDITS) + 1):
        history.append(dict(furthest))
        for diagonal in range(-edits, edits + 1, 2):
            x = _begin(furthest, diagonal, edits)
            start = x
            while x < len(old) and x - diagonal < len(new) and old[x] == new[x - diagonal]:
                x += 1
            effort.left -= x - start + 1
            furthest[diagonal] = x
            if x >= len(old) and x - diagonal >= len(new):
                return _walk_back(history, len(old), len(new))
        if effort.left < limit:
            break
    return []


def _begin(furthest: dict[int, int], diagonal: int, edits: int) -> int:
    """Return where a path on *diagonal* begins, after one more edit: down from the diagonal above, or right from the one below."""
    down = diagonal == -edits or (diagonal != edits and furthest[diagonal - 1] < furthest[diagonal + 1])
    return furthest[diagonal + 1] if down else furthest[diagonal - 1] + 1


def _walk_back(history: Sequence[dict[int, int]], x: int, y: int) -> list[tuple[int, int]]:
    kept: list[tuple[int, int]] = []
    for edits in range(len(history) - 1, -1, -1):
        before = history[edits]
        diagonal = x - y
        begin = _begin(before, diagonal, edits) if edits else 0
        while x > begin:
            x, y = x - 1, y - 1
            kept.append((x, y))
        if edits:
            down = before.get(diagonal + 1) == begin and (
                diagonal == -edits or (diagonal != edits and before[diagonal - 1] < before[diagonal + 1])
            )
            x, y = (begin, begin - (diagonal + 1)) if down else (begin - 1, begin - 1 - (diagonal - 1))
    return kept[::-1]
