"""Which embedding space a store compares in, and the port by which another one is filled and takes its place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.memory.domain.memory import Embedding
from services.mesh.errors import Conflict


class SpaceMoved(Conflict):
    """A vector is of another space than the one that is compared in now; embed anew."""

    reason = "EMBEDDING_SPACE_MOVED"

    def __init__(self, space: str, active: str) -> None:
        super().__init__(f"vectors of {space!r} are not compared, memories lie in {active!r}; try again")


@dataclass(frozen=True, slots=True)
class Spaces:
    """The space of all comparisons, '' as long as there is no vector; and the one that is being filled, '' for none."""

    active: str = ""
    target: str = ""


@dataclass(frozen=True, slots=True)
class Unfilled:
    """A memory without a vector in some space: the store's number for it, the revision that brought its content, and that."""

    number: int
    revision: int
    content: str


@dataclass(frozen=True, slots=True)
class Filling:
    """The embedding of what an ``Unfilled`` says."""

    number: int
    revision: int
    embedding: Embedding


class SpaceStore(Protocol):
    """What re-embedding needs from a store. Every memory counts, also those that are deleted and could be undeleted."""

    async def current(self) -> Spaces:
        """Return the spaces, without any wait worth speaking of."""
        ...

    async def set_target(self, space: str) -> None:
        """Declare which space is being filled, '' for none; what was filled of a former one is no longer shown anywhere."""
        ...

    async def count_unfilled(self, space: str) -> tuple[int, int]:
        """Return how many memories lack a vector in *space*, or the parts it should have there, and how many there are."""
        ...

    async def unfilled(self, space: str, after: int, limit: int, max_bytes: int) -> Sequence[Unfilled]:
        """Return the next that lack one, by number from *after* on; *max_bytes* bounds their contents but for the first."""
        ...

    async def fill(self, fillings: Sequence[Filling]) -> int:
        """Keep *fillings*, all of one space; return how many. One whose content has changed since is left out.

        They are found by in the same moment in which they are kept, if the space is the active one.
        """
        ...

    async def switch(self) -> bool:
        """Make the target the active space in one step, if no memory lacks a vector there; say whether it is."""
        ...

    async def sweep(self, limit: int) -> int:
        """Drop up to *limit* vectors of spaces that are neither active nor the target, where the active one has another; return how many."""
        ...
