"""What is kept of one person: counted, handed out, erased or made anonymous, in this service and in the others."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from services.memory.domain.audits import Recorder
from services.memory.domain.memory import Json
from services.mesh.errors import InvalidInput, Violation

BATCH = 200  # memories of one commit: some ten milliseconds, between which other writers get their turn
PAGE = 100

Counts = Mapping[str, int]  # things by kind, such as `memories`


@dataclass(frozen=True, slots=True)
class Progress:
    """What an operation has done so far, all its attempts together, and whether nothing is left to do."""

    counts: Counts
    finished: bool


@dataclass(frozen=True, slots=True)
class SubjectRecord:
    """One thing that is kept of a person."""

    kind: str
    record: Json


class SubjectStore(Protocol):
    """Where this service keeps people's data."""

    async def count(self, owner: str) -> Counts:
        """Return how many things of each kind are kept."""
        ...

    async def page(self, owner: str, after: int) -> tuple[list[SubjectRecord], int | None]:
        """Return up to ``PAGE`` things, and what *after* is for the next ones; None at the end."""
        ...

    async def erase_some(self, owner: str, operation_id: str) -> Progress:
        """Erase up to ``BATCH`` memories; when none is left, everything else. Nothing can be read any more once this returns."""
        ...

    async def anonymize_some(self, owner: str, operation_id: str) -> Progress:
        """Do the same with the name: PRIVATE memories, which nobody could read, are erased, the others get an owner whom nobody is."""
        ...

    async def scrub(self) -> None:
        """Remove the bytes of what was erased from the disk. Raises UNAVAILABLE while readers hold them."""
        ...


class SubjectDataTarget(Protocol):
    """A service that keeps people's data; each call continues what earlier ones with its operation did."""

    @property
    def service(self) -> str:
        """Its name."""
        ...

    async def erase(self, owner: str, operation_id: str) -> Progress:
        """Erase some or all."""
        ...

    async def anonymize(self, owner: str, operation_id: str) -> Progress:
        """Make some or all anonymous."""
        ...


class SubjectData:
    """The memory service's part in what is done with a person's data."""

    service = "memory"

    def __init__(self, store: SubjectStore, recorder: Recorder) -> None:
        self._store = store
        self._recorder = recorder

    async def count(self, owner: str) -> Counts:
        """Return how many things of each kind are kept."""
        return await self._store.count(checked_owner(owner))

    async def export(self, owner: str) -> AsyncIterator[SubjectRecord]:
        """Yield everything, page by page."""
        after: int | None = 0
        checked_owner(owner)
        while after is not None:
            records, after = await self._store.page(owner, after)
            for record in records:
                yield record

    async def erase(self, owner: str, operation_id: str) -> Progress:
        """Erase a batch; at the end the bytes too."""
        await self._recorder.flush()  # what waits there would bring the name back
        progress = await self._store.erase_some(checked_owner(owner), operation_id)
        if progress.finished:
            await self._store.scrub()
        return progress

    async def anonymize(self, owner: str, operation_id: str) -> Progress:
        """Make a batch anonymous; at the end remove the bytes of the name."""
        await self._recorder.flush()
        progress = await self._store.anonymize_some(checked_owner(owner), operation_id)
        if progress.finished:
            await self._store.scrub()
        return progress


def checked_owner(owner: str) -> str:
    """Return *owner*, or raise ``InvalidInput`` when nobody is named."""
    if not owner:
        raise InvalidInput("owner_user must be given", violations=[Violation("owner_user", "must be given")])
    return owner
