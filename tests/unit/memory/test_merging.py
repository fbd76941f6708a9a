"""Which segments of the search index become one."""

from dataclasses import dataclass
from typing import Any

from services.memory.stores.embedded.partition import Partition


@dataclass(eq=False)
class Size:
    """A segment, as far as the choice goes."""

    vector_count: int
    dead: int = 0

    def __len__(self) -> int:
        return self.vector_count


def chosen(*segments: Size) -> tuple[Any, ...]:
    partition: Any = Partition()
    partition.segments = segments
    found: tuple[Any, ...] = partition.worth_merging()
    return found


def test_four_segments_of_like_size_become_one() -> None:
    assert len(chosen(*(Size(1000) for _ in range(4)))) == 4
    assert chosen(*(Size(1000) for _ in range(3)), Size(100_000)) == ()


def test_large_segments_stay_apart_so_that_no_merge_holds_much_twice() -> None:
    assert chosen(*(Size(5000) for _ in range(40))) == ()


def test_large_segment_that_is_mostly_dead_is_rewritten() -> None:
    dead = Size(50_000, dead=30_000)

    assert chosen(Size(50_000), dead) == (dead,)
