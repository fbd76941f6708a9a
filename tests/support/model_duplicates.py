"""Duplicates among plain records, by definition."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from services.memory.domain.duplicates import (
    MAX_MEMBERS,
    DuplicateGroup,
    DuplicatePage,
    DuplicatePlan,
    Room,
    content_key,
)

if TYPE_CHECKING:
    from tests.support.model_store import Record


def find_duplicates(records: Sequence["Record"], plan: DuplicatePlan, space: str, snapshot: int) -> DuplicatePage:
    """Return one page of groups among *records*; *space* is the active one."""
    ordered = sorted(records, key=lambda record: record.created_seq)
    groups: list[DuplicateGroup] = []
    room, after = Room(plan.max_bytes), plan.after
    for place, record in enumerate(ordered):
        if record.created_seq <= plan.after or any(alike(older, record, plan, space) for older in ordered[:place]):
            continue
        others = [younger for younger in ordered[place + 1 :] if alike(record, younger, plan, space)]
        if not others:
            continue
        shown = room.take([one.memory for one in (record, *others)][:MAX_MEMBERS])
        if not shown:
            return DuplicatePage(tuple(groups), after, snapshot)
        cosines = [cosine_in(record, other, space) for other in others[: len(shown) - 1]]
        lowest = min(1.0 if cosine is None else cosine for cosine in cosines)
        groups.append(DuplicateGroup(shown, len(others) + 1, None if plan.min_score is None else lowest))
        after = record.created_seq
        if len(groups) == plan.limit:
            return DuplicatePage(tuple(groups), after, snapshot)
    return DuplicatePage(tuple(groups), None, snapshot)


def alike(one: "Record", other: "Record", plan: DuplicatePlan, space: str) -> bool:
    """Tell whether two records are duplicates."""
    if content_key(one.memory.content) == content_key(other.memory.content):
        return True
    cosine = None if plan.min_score is None else cosine_in(one, other, space)
    return cosine is not None and plan.min_score is not None and cosine >= plan.min_score


def cosine_in(one: "Record", other: "Record", space: str) -> float | None:
    """Return the cosine of two whole contents in *space*."""
    if one.embedding.space != space or other.embedding.space != space:
        return None
    a, b = (record.embedding.vector.astype(np.float64) for record in (one, other))
    return float(np.clip((a * b).sum(), -1.0, 1.0))
