"""Links between memories, by definition."""

from collections.abc import Callable, Sequence

from services.memory.domain.memory import Memory


def is_parent(one: Memory, of: Memory) -> bool:
    """Tell whether *of* was made from *one*, or took its place."""
    named = of.source is not None and one.memory_id in of.source.parent_memory_ids
    return named or one.superseded_by == of.memory_id


def kin(
    start: Memory, visible: Sequence[Memory], is_next: Callable[[Memory, Memory], bool], bounds: tuple[int, int]
) -> tuple[tuple[Memory, ...], bool]:
    """Return what is reached from *start* step by step, within a number and a size, and whether there is more."""
    found: list[Memory] = []
    frontier = [start]
    while frontier:
        new = [one for one in visible if any(is_next(one, of) for of in frontier) and one not in (start, *found)]
        frontier = sorted(new, key=lambda memory: (memory.created_at, memory.memory_id), reverse=True)
        for memory in frontier:
            if len(found) == bounds[0] or sum(one.size_bytes for one in (*found, memory)) > bounds[1]:
                return tuple(found), True
            found.append(memory)
    return tuple(found), False
