"""Several searches in one call: each succeeds or fails alone, and together they fit one answer."""

import asyncio
from collections.abc import Sequence

from services.memory.domain.reads import MAX_ANSWER_BYTES
from services.memory.domain.searches import Found, Search, Searches
from services.mesh.caller import Caller
from services.mesh.errors import InvalidInput, MemoryBoxError, Violation

MAX_SEARCHES = 16

Outcome = Found | MemoryBoxError


class BatchSearches:
    """Runs searches side by side."""

    def __init__(self, searches: Searches) -> None:
        self._searches = searches

    async def search(self, caller: Caller, asked: Sequence[Search | MemoryBoxError]) -> list[Outcome]:
        """Return what became of each search; one that already is an error stays one. Raises ``InvalidInput`` for their number.

        Hits beyond the size of one answer are cut from the last searches; their page tokens lead to them.
        """
        if not 1 <= len(asked) <= MAX_SEARCHES:
            description = f"must be 1 to {MAX_SEARCHES} searches, got {len(asked)}"
            raise InvalidInput(f"requests {description}", violations=[Violation("requests", description)])
        outcomes = await asyncio.gather(*(self._one(caller, search) for search in asked))
        room = MAX_ANSWER_BYTES
        fitted: list[Outcome] = []
        for search, outcome in zip(asked, outcomes, strict=True):
            if isinstance(outcome, Found) and isinstance(search, Search):
                number, room = _fitting(outcome, room)
                fitted.append(self._searches.shortened(caller, search, outcome, number))
            else:
                fitted.append(outcome)
        return fitted

    async def _one(self, caller: Caller, search: Search | MemoryBoxError) -> Outcome:
        if isinstance(search, MemoryBoxError):
            return search
        try:
            return await self._searches.search(caller, search)
        except MemoryBoxError as error:
            return error


def _fitting(found: Found, room: int) -> tuple[int, int]:
    """Return how many hits of *found* fit in *room* bytes, and what is left of it."""
    for number, hit in enumerate(found.hits):
        if hit.size_bytes > room:
            return number, 0
        room -= hit.size_bytes
    return len(found.hits), room
