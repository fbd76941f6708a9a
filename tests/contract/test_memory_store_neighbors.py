"""What every memory store promises of a hit's neighbours."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from services.memory.domain.memory import Source
from services.memory.domain.neighbors import NeighborPlan
from services.memory.domain.ports import Create, MemoryStore
from services.mesh.caller import Caller
from tests.support.memories import ANN, BOB, NOW, NURSE, PUBLIC, ROLE, apply, creation, deletion, fill, revised

MINUTE = timedelta(minutes=1)
MAIL = Source(uri="mail:1")


def line(names: str, **fields: Any) -> list[Create]:
    """Return memories of one source, a minute apart, in the order of *names*."""
    place = {"source": MAIL} | fields
    return [creation(name, f"line {name}", at=NOW + n * MINUTE, **place) for n, name in enumerate(names)]


async def beside(
    store: MemoryStore, caller: Caller, *hits: str, reach: int = 1, moment: Any = NOW + 60 * MINUTE, **fields: Any
) -> list[str]:
    """Return the ids of the neighbours of each hit, joined."""
    found = tuple([await store.get(caller, hit, moment) for hit in hits])
    answer = await store.neighbors(caller, NeighborPlan(found, reach, moment, **fields))
    return ["".join(memory.memory_id for memory in own) for own in answer]


async def test_neighbours_stand_before_and_after_in_order_of_time(store: MemoryStore) -> None:
    await fill(store, *line("abcdefg")[::-1])

    assert await beside(store, ANN, "d", "a", "g") == ["ce", "b", "f"]
    assert await beside(store, ANN, "d", reach=2) == ["bcef"]
    assert await beside(store, ANN, "d", reach=10) == ["abcefg"]


async def test_what_happened_counts_before_what_was_written_down(store: MemoryStore) -> None:
    late = creation("x", at=NOW + 9 * MINUTE, event_time=NOW + MINUTE / 2, source=MAIL)
    await fill(store, *line("abc"), late, creation("z", at=NOW + MINUTE, source=MAIL))

    assert await beside(store, ANN, "x", "b", "c") == ["ab", "xz", "z"]


async def test_neighbours_share_owner_and_source_or_without_one_the_bucket(store: MemoryStore) -> None:
    await fill(
        store,
        *line("ab"),
        *line("cd", source=Source(uri="mail:2")),
        *line("ef", source=None, bucket="work"),
        *line("gh", source=Source(kind="note"), bucket="work"),
        *line("ij", source=None),
        *line("kl", owner="bob", access_level=PUBLIC),
    )

    assert await beside(store, ANN, "a", "c", "i", "k") == ["b", "d", "j", "l"]
    assert await beside(store, ANN, "e", reach=9) == ["gfh"]


async def test_neighbours_are_only_what_the_caller_may_see(store: MemoryStore) -> None:
    shared = line("acegi", access_level=PUBLIC)
    nurses = line("bdfh", access_level=ROLE, reader_roles=("NURSE",))
    private = line("BDFH")
    await fill(store, *shared, *nurses, *private)

    assert await beside(store, BOB, "e", reach=2) == ["acgi"]
    assert await beside(store, NURSE, "e", reach=2) == ["cdfg"]
    assert await beside(store, ANN, "e", reach=2) == ["dFfH"]


async def test_neighbours_exist_and_hold_at_the_moment(store: MemoryStore) -> None:
    made = line("abcdefgh")
    expiring = replace(made[2], memory=replace(made[2].memory, expires_at=NOW + 30 * MINUTE))
    over = replace(made[5], memory=replace(made[5].memory, valid_until=NOW + 30 * MINUTE))
    await fill(store, *made[:2], expiring, made[3], made[4], over, *made[6:])
    await apply(store, ANN, deletion(made[6].memory))

    assert await beside(store, ANN, "e", moment=NOW + 29 * MINUTE, reach=2) == ["cdfh"]
    assert await beside(store, ANN, "e", reach=2) == ["bdfh"]
    assert await beside(store, ANN, "e", reach=2, valid_at=NOW + 40 * MINUTE) == ["bdh"]


async def test_neighbours_follow_a_change_of_source(store: MemoryStore) -> None:
    made = line("abc")
    await fill(store, *made)
    await apply(store, ANN, revised(made[1].memory, source=Source(uri="mail:2")))

    assert await beside(store, ANN, "a", "b") == ["c", ""]


async def test_neighbours_end_at_the_size_of_an_answer(store: MemoryStore) -> None:
    await fill(store, *line("abcdefg"))
    size = (await store.get(ANN, "d", NOW)).size_bytes
    hits = ("d", "a", "g")

    answers: dict[int, Sequence[str]] = {
        room: await beside(store, ANN, *hits, reach=2, max_bytes=room * size) for room in (1, 2, 3, 5, 8, 11)
    }

    assert answers == {
        1: [""],
        2: ["c"],
        3: ["ce"],
        5: ["bcef"],
        8: ["bcef", "bc"],
        11: ["bcef", "bc", "ef"],
    }
