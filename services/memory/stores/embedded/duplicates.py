"""Groups of memories that say the same: contents compared by their terms first, vectors by the index."""

from collections.abc import Iterator
from dataclasses import dataclass

import apsw
import numpy as np

from services.memory.domain.duplicates import (
    MAX_MEMBERS,
    DuplicateGroup,
    DuplicatePage,
    DuplicatePlan,
    Room,
    content_key,
)
from services.memory.filter.sql import to_sql
from services.memory.stores.embedded.index import IndexView, MemoryIndex
from services.memory.stores.embedded.likeness import ROWS, Likeness
from services.memory.stores.embedded.rows import (
    LIVE,
    VALID,
    VISIBLE_PARTITIONS,
    Bindings,
    access_bindings,
    last_seq,
    read_many,
    to_us,
)
from services.memory.stores.embedded.segment import Longs
from services.mesh.caller import Caller

_OWN = "m.owner_user = :user"
_ALL = f"m.partition_id IN ({VISIBLE_PARTITIONS})"
_MEANT = f"{{whose}} AND m.doc <= :snapshot AND {LIVE} AND (:bucket IS NULL OR m.bucket = :bucket) AND {VALID} AND {{filter}}"
_CANDIDATES = f"SELECT m.doc FROM memories m WHERE {_MEANT}"  # noqa: S608  # built of constants
# Contents of one key have the same terms in the same order.
_ALIKE = f"""
  SELECT json_group_array(m.doc) FROM memories m JOIN terms t USING (doc) WHERE {_MEANT}
  GROUP BY t.terms, t.counts HAVING count(*) > 1
"""  # noqa: S608  # built of constants
_CONTENTS = "SELECT m.doc, m.content FROM json_each(?) d JOIN memories m ON m.doc = d.value ORDER BY m.doc"


@dataclass(frozen=True, slots=True)
class _Found:
    """A representative, how many say the same besides it, the first of them with their cosines."""

    doc: int
    count: int
    members: dict[int, float]


def find_duplicates(
    connection: apsw.Connection, index: MemoryIndex, view: IndexView, caller: Caller, plan: DuplicatePlan
) -> DuplicatePage:
    """Return one page, as ``DuplicatePlan`` says; *connection* is in a transaction that sees what *view* shows."""
    snapshot = last_seq(connection) if plan.snapshot is None else plan.snapshot
    search = _Search(connection, caller, plan, snapshot)
    docs = search.candidates()
    equal = search.equal_docs()
    if plan.min_score is None:
        likeness = None
        found = _equals(equal, plan.after)
    else:
        likeness = Likeness.of(view, index.words.spaces.get(view.space, -1), docs, plan.min_score)
        found = _near(docs, likeness, equal, plan)
    groups: list[DuplicateGroup] = []
    room = Room(plan.max_bytes)
    after = plan.after
    for item in found:
        if isinstance(item, int):  # everything up to here was looked at
            after = item
            continue
        group = search.group(item, room, with_similarity=likeness is not None)
        if group is None:
            return DuplicatePage(tuple(groups), after, snapshot)
        groups.append(group)
        after = item.doc
        if len(groups) == plan.limit:
            return DuplicatePage(tuple(groups), after, snapshot)
    over = likeness is None or not len(docs) or after >= int(docs[-1])
    return DuplicatePage(tuple(groups), None if over else after, snapshot)


class _Search:
    """The rows that a plan means."""

    def __init__(self, connection: apsw.Connection, caller: Caller, plan: DuplicatePlan, snapshot: int) -> None:
        self._connection = connection
        self._caller = caller
        self._now = plan.now
        condition, bindings = to_sql(plan.filter)
        self._condition = {"whose": _ALL if plan.visible else _OWN, "filter": condition}
        self._bindings: Bindings = access_bindings(caller, plan.now) | bindings
        self._bindings |= {"bucket": plan.bucket, "valid_at": to_us(plan.valid_at), "snapshot": snapshot}

    def candidates(self) -> Longs:
        """Return the rows, ascending."""
        found = self._connection.execute(_CANDIDATES.format(**self._condition), self._bindings)
        docs: Longs = np.fromiter((row[0] for row in found), np.int64)
        docs.sort()
        return docs

    def equal_docs(self) -> dict[int, list[int]]:
        """Return, by the oldest of each group, the rows whose contents have one key, ascending."""
        alike = self._connection.execute(_ALIKE.format(**self._condition), self._bindings).fetchall()
        groups: dict[int, list[int]] = {}
        for (docs,) in alike:
            by_key: dict[str, list[int]] = {}
            for doc, content in self._connection.execute(_CONTENTS, (docs,)):
                by_key.setdefault(content_key(content), []).append(doc)
            groups.update((same[0], same) for same in by_key.values() if len(same) > 1)
        return groups

    def group(self, found: _Found, room: Room, *, with_similarity: bool) -> DuplicateGroup | None:
        """Return the group of *found*, None when the page has no room for it."""
        members = sorted(found.members)[: MAX_MEMBERS - 1]
        memories = read_many(self._connection, self._caller, [found.doc, *members], self._now)
        shown = room.take([memories[doc] for doc in (found.doc, *members)])
        if not shown:
            return None
        lowest = min(found.members[doc] for doc in members[: len(shown) - 1])
        return DuplicateGroup(shown, found.count + 1, lowest if with_similarity else None)


def _equals(equal: dict[int, list[int]], after: int) -> Iterator[_Found | int]:
    for doc in sorted(equal):
        if doc > after:
            others = equal[doc][1:]
            yield _Found(doc, len(others), dict.fromkeys(others[: MAX_MEMBERS - 1], 1.0))


def _near(docs: Longs, likeness: Likeness, equal: dict[int, list[int]], plan: DuplicatePlan) -> Iterator[_Found | int]:
    """Yield what represents others, oldest first, and after each stretch of rows the last one looked at, until that is too much work."""
    seconds = {doc for same in equal.values() for doc in same[1:]}
    start = int(np.searchsorted(docs, plan.after, side="right"))
    while start < len(docs) and likeness.work.compared < plan.max_compared:
        stretch = docs[start : start + ROWS]
        yield from _representatives(stretch, likeness, equal, seconds)
        yield int(stretch[-1])
        start += len(stretch)


def _representatives(
    stretch: Longs, likeness: Likeness, equal: dict[int, list[int]], seconds: set[int]
) -> Iterator[_Found]:
    """Yield those of *stretch* that represent others; *seconds* have an older one of the same content."""
    first = [doc for doc in stretch.tolist() if doc not in seconds]
    rows = likeness.rows_of(np.array(first, np.int64))
    lonely = rows[likeness.without_older(rows)]
    near = dict(zip(likeness.docs[lonely].tolist(), likeness.younger(lonely, MAX_MEMBERS - 1), strict=True))
    crowded = {*likeness.docs[rows].tolist()} - {*near}
    for doc in first:
        if doc in crowded:
            continue
        found = near.get(doc)
        cosines = likeness.cosines_with(doc, equal.get(doc, [doc])[1:])
        only_equal = sum(cosine is None or cosine < likeness.threshold for cosine in cosines.values())
        members = {other: 1.0 if cosine is None else cosine for other, cosine in cosines.items()}
        if found is not None:
            members |= zip(likeness.docs[found.rows].tolist(), found.cosines.tolist(), strict=True)
        if members:
            yield _Found(doc, only_equal + (found.count if found else 0), members)
