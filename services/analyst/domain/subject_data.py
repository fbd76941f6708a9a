"""What the analyst keeps of one person: counted, handed out, erased or made anonymous."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from services.analyst.domain.audit import Recorder
from services.analyst.domain.ports import Json
from services.analyst.domain.warehouse import TableStore
from services.mesh.errors import InvalidInput, Violation

Counts = Mapping[str, int]  # things by kind


@dataclass(frozen=True, slots=True)
class SubjectRecord:
    """One thing that is kept of a person."""

    kind: str
    record: Json


class SubjectStore(Protocol):
    """Where people's data are kept beside the warehouse."""

    async def count(self, owner: str) -> Counts:
        """Return how many things of each kind are kept."""
        ...

    async def records(self, owner: str) -> list[SubjectRecord]:
        """Return everything."""
        ...

    async def erase(self, owner: str) -> Counts:
        """Erase everything, bytes included; return how much it was."""
        ...

    async def anonymize(self, owner: str, nobody: str) -> Counts:
        """Erase what only *owner* could see, and give the rest to *nobody*."""
        ...


class SubjectData:
    """The analyst's part in what is done with a person's data."""

    def __init__(self, store: SubjectStore, tables: TableStore | None, recorder: Recorder) -> None:
        self._store = store
        self._tables = tables
        self._recorder = recorder

    async def count(self, owner: str) -> Counts:
        """Return how many things of each kind are kept."""
        return {**await self._store.count(_checked(owner)), "tables": len(self._own_tables(owner))}

    async def records(self, owner: str) -> list[SubjectRecord]:
        """Return everything; of tables only what they are, since their rows are everybody's."""
        records = await self._store.records(_checked(owner))
        return [*records, *(SubjectRecord("table", {"name": name}) for name in self._own_tables(owner))]

    async def erase(self, owner: str) -> Counts:
        """Erase everything."""
        tables = self._own_tables(_checked(owner))
        await self._recorder.forget(owner, _nobody())
        counts = await self._store.erase(owner)
        if self._tables is not None and tables:
            await self._tables.drop(tables)
            await self._tables.scrub()
        return {**counts, "tables": len(tables)}

    async def anonymize(self, owner: str) -> Counts:
        """Cut the tie between the person and what others can see."""
        tables = self._own_tables(_checked(owner))
        nobody = _nobody()
        await self._recorder.forget(owner, nobody)
        counts = await self._store.anonymize(owner, nobody)
        if self._tables is not None and tables:
            await self._tables.rename_owner(owner, nobody)
            await self._tables.scrub()
        return {**counts, "tables": len(tables)}

    def _own_tables(self, owner: str) -> list[str]:
        return (
            [] if self._tables is None else [table.name for table in self._tables.tables() if table.owner_user == owner]
        )


def _nobody() -> str:
    """Return a name that nobody has."""
    return f"anonymous:{uuid.uuid4()}"


def _checked(owner: str) -> str:
    if not owner:
        raise InvalidInput("owner_user must be given", violations=[Violation("owner_user", "must be given")])
    return owner
