"""Neighbours among plain memories, by definition."""

from collections.abc import Sequence
from datetime import datetime

from services.memory.domain.memory import Memory
from services.memory.domain.neighbors import NeighborPlan, moment_of, place_of, within


def find_neighbors(visible: Sequence[Memory], plan: NeighborPlan) -> Sequence[tuple[Memory, ...]]:
    """Return the neighbours of each hit among *visible*."""
    return within(plan.hits, [sides_of(visible, hit, plan) for hit in plan.hits], plan.max_bytes)


def sides_of(visible: Sequence[Memory], hit: Memory, plan: NeighborPlan) -> tuple[Sequence[Memory], Sequence[Memory]]:
    """Return what stands before and after *hit*, nearest first."""
    beside = [one for one in visible if one.owner_user == hit.owner_user and place_of(one) == place_of(hit)]
    holding = [one for one in beside if plan.valid_at is None or one.holds_at(plan.valid_at)]
    ordered = sorted(holding, key=_place_in_time)
    before = [one for one in ordered if _place_in_time(one) < _place_in_time(hit)]
    after = [one for one in ordered if _place_in_time(one) > _place_in_time(hit)]
    return before[::-1][: plan.reach], after[: plan.reach]


def _place_in_time(memory: Memory) -> tuple[datetime, str]:
    return moment_of(memory), memory.memory_id
