"""A person's data in the model store, erased or made anonymous by definition."""

import secrets
from collections import Counter
from dataclasses import replace

from services.memory.domain.memory import AccessLevel
from services.memory.domain.subject_data import BATCH, PAGE, Counts, Progress, SubjectRecord
from tests.support.model_store import ModelMemoryStore, Record


class ModelSubjects:
    """The port of subject data over the records of *host*; quotas and audit events are none of the model's."""

    def __init__(self, host: ModelMemoryStore) -> None:
        self.host = host
        self.done: dict[str, Counter[str]] = {}
        self.nobodies: dict[str, str] = {}

    def of(self, owner: str) -> list[tuple[str, Record]]:
        """Return what *owner* has, oldest first, by key."""
        mine = [(key, record) for key, record in self.host.records.items() if record.memory.owner_user == owner]
        return sorted(mine, key=lambda item: item[1].created_seq)

    async def count(self, owner: str) -> Counts:
        mine = self.of(owner)
        return {"memories": len(mine), "revisions": sum(len(self.host.former.get(key, ())) for key, _ in mine)}

    async def page(self, owner: str, after: int) -> tuple[list[SubjectRecord], int | None]:
        rest = [record for _, record in self.of(owner) if record.created_seq > after]
        memories = [record.memory for record in rest[:PAGE]]
        records = [SubjectRecord("memories", {"memory_id": m.memory_id, "content": m.content}) for m in memories]
        return records, rest[PAGE - 1].created_seq if len(rest) >= PAGE else None

    async def erase_some(self, owner: str, operation_id: str) -> Progress:
        batch = self.of(owner)[:BATCH]
        for key, _ in batch:
            self.remove(key, operation_id)
        return Progress(dict(self.tally(operation_id)), not batch)

    async def anonymize_some(self, owner: str, operation_id: str) -> Progress:
        batch = self.of(owner)[:BATCH]
        for key, record in batch:
            memory = record.memory
            if memory.access_level is AccessLevel.PRIVATE or memory.delete_time is not None:
                self.remove(key, operation_id)
            else:
                self.give_away(key, record, operation_id)
        return Progress(dict(self.tally(operation_id)), not batch)

    def tally(self, operation_id: str) -> Counter[str]:
        """Return what an operation has done, to be added to."""
        return self.done.setdefault(operation_id, Counter())

    def remove(self, key: str, operation_id: str) -> None:
        """Take a memory away with its past."""
        del self.host.records[key]
        tally = self.tally(operation_id)
        tally["memories"] += 1
        tally["revisions"] += len(self.host.former.pop(key, ()))

    def give_away(self, key: str, record: Record, operation_id: str) -> None:
        """Give a memory without its past to an owner whom nobody is."""
        nobody = self.nobodies.setdefault(operation_id, f"anonymous:{secrets.token_hex(16)}")
        tally = self.tally(operation_id)
        tally["memories"] += 1
        tally["revisions"] += len(self.host.former.pop(key, ()))
        memory = replace(record.memory, owner_user=nobody, external_id="", source=None)
        self.host.records[key] = replace(record, memory=memory)

    async def scrub(self) -> None:
        """There are no bytes."""
