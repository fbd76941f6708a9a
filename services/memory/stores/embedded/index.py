"""The search indexes of all partitions, changed by one writer, read by many at fixed moments."""

import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

from services.memory.domain.memory import AccessLevel
from services.memory.domain.spaces import Spaces
from services.memory.stores.embedded.entry import IndexChange, IndexEntry, PartitionKey, Removal
from services.memory.stores.embedded.partition import Partition
from services.memory.stores.embedded.segment import Segment, Vocabulary, Words, merge_segments
from services.mesh.caller import Caller

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class IndexView:
    """What a caller may see as it stood after change *seq*; rows of *segments* with an end up to *seq* are gone."""

    seq: int
    segments: tuple[Segment, ...]
    space: str  # of all comparisons; '' as long as there is no vector


class MemoryIndex:
    """Every live row, by partition. ``publish``, ``load`` and ``tidy`` are for one writer at a time, ``view`` for any thread."""

    def __init__(self) -> None:
        self.words = Words(Vocabulary(), Vocabulary(), Vocabulary())
        self._lock = Lock()
        self._seq = 0
        self.spaces = Spaces()
        self._partitions: dict[PartitionKey, Partition] = {}
        self._by_owner: dict[str, list[Partition]] = {}
        self._by_role: dict[str, list[Partition]] = {}
        self._untidy: set[PartitionKey] = set()
        self._merger = ThreadPoolExecutor(1, thread_name_prefix="store-merge")

    def view(self, caller: Caller) -> IndexView:
        """Return the partitions that *caller* may see, at one moment."""
        with self._lock:
            visible: dict[int, Partition] = {}
            for partition in self._visible(caller):
                visible.setdefault(id(partition), partition)
            segments = tuple(segment for partition in visible.values() for segment in partition.views())
            return IndexView(self._seq, segments, self.spaces.active)

    def _visible(self, caller: Caller) -> list[Partition]:
        visible = list(self._by_owner.get(caller.user, ()))
        for role in caller.roles:
            visible.extend(self._by_role.get(role, ()))
        public = self._partitions.get(PartitionKey(AccessLevel.PUBLIC, "", ()))
        return visible if public is None else [*visible, public]

    def publish(self, changes: Sequence[IndexChange], seq: int, spaces: Spaces) -> None:
        """Make *changes* visible to every view taken from now on; *seq* is the last change of their commit, *spaces* those after it."""
        removed, added = _net_effect(changes)
        with self._lock:
            for removal in removed:
                self._partition(removal.partition).remove(removal.doc, seq)
            for key, entries in added.items():
                self._partition(key).append(entries, self.words)
            self._seq = seq
            if spaces != self.spaces:
                self._show(spaces)
        self._untidy.update(removal.partition for removal in removed)
        self._untidy.update(added)

    def load(self, key: PartitionKey, segment: Segment) -> None:
        """Add rows that were committed before this process began."""
        with self._lock:
            partition = self._partition(key)
            partition.segments = (*partition.segments, segment)

    def _show(self, spaces: Spaces) -> None:
        self.spaces = spaces
        numbers = frozenset(self.words.spaces[name] for name in (spaces.active, spaces.target) if name)
        for partition in self._partitions.values():
            partition.keep_spaces(numbers)

    def start(self, seq: int, spaces: Spaces) -> None:
        """Declare that what was loaded is the state after change *seq*."""
        self._seq = seq
        self.spaces = spaces

    def tidy(self) -> None:
        """Seal the tails that grew too long since the last call, and have segments merged in the background."""
        for key in self._untidy:
            partition = self._partitions[key]
            if partition.is_tail_full():
                sealed = partition.sealed_tail(self._seq)
                with self._lock:
                    partition.replace_tail(sealed)
            if partition.worth_merging():
                self._merger.submit(self._merge, partition).add_done_callback(_report)
        self._untidy.clear()

    def close(self) -> None:
        """Stop merging."""
        self._merger.shutdown(wait=True, cancel_futures=True)

    def _merge(self, partition: Partition) -> None:
        while old := partition.worth_merging():
            merged, kept = merge_segments(old, self._seq)
            with self._lock:
                partition.replace(old, merged, kept)

    def _partition(self, key: PartitionKey) -> Partition:
        partition = self._partitions.get(key)
        if partition is None:
            partition = self._partitions[key] = Partition()
            if key.access_level is not AccessLevel.PUBLIC:
                self._by_owner.setdefault(key.owner_user, []).append(partition)
            for role in key.reader_roles:
                self._by_role.setdefault(role, []).append(partition)
        return partition


def _report(merge: Future[None]) -> None:
    # Searches stay right without the merge, only slower, and a later one tries again.
    if not merge.cancelled() and merge.exception() is not None:
        _log.error("merging index segments failed", exc_info=merge.exception())


def _net_effect(changes: Sequence[IndexChange]) -> tuple[list[Removal], dict[PartitionKey, list[IndexEntry]]]:
    """Return which earlier rows go and which new ones stay, for a row may come and go within one commit."""
    removed: list[Removal] = []
    added: dict[int, IndexEntry] = {}
    for change in changes:
        if change.removed is not None and added.pop(change.removed.doc, None) is None:
            removed.append(change.removed)
        if change.added is not None:
            added[change.added.doc] = change.added
    by_partition: dict[PartitionKey, list[IndexEntry]] = {}
    for entry in added.values():
        by_partition.setdefault(entry.partition, []).append(entry)
    return removed, by_partition
