"""What the search indexes hold of a memory."""

from dataclasses import dataclass
from typing import NamedTuple

from services.memory.domain.memory import AccessLevel, Embedding, Memory
from services.memory.stores.embedded.terms import Counts, Terms


class PartitionKey(NamedTuple):
    """Who may read the rows of a partition; every row lies in exactly one."""

    access_level: AccessLevel
    owner_user: str  # '' for PUBLIC
    reader_roles: tuple[str, ...]  # sorted, without repetitions; empty unless ROLE


def partition_key(memory: Memory) -> PartitionKey:
    """Return the partition that *memory* lies in."""
    match memory.access_level:
        case AccessLevel.PUBLIC:
            return PartitionKey(AccessLevel.PUBLIC, "", ())
        case AccessLevel.ROLE:
            return PartitionKey(AccessLevel.ROLE, memory.owner_user, tuple(sorted(set(memory.reader_roles))))
        case AccessLevel.PRIVATE:
            return PartitionKey(AccessLevel.PRIVATE, memory.owner_user, ())


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One live row for the indexes; times in microseconds, ``rows.NEVER`` when unset."""

    partition: PartitionKey
    doc: int
    memory_id: str
    revision: int
    created_at: int
    expires_at: int
    bucket: str
    size_bytes: int
    terms: Terms
    counts: Counts  # how often each term occurs
    embedding: Embedding


@dataclass(frozen=True, slots=True)
class Removal:
    """A row that left *partition*: deleted, or put anew."""

    partition: PartitionKey
    doc: int


@dataclass(frozen=True, slots=True)
class IndexChange:
    """What a change does to the indexes."""

    removed: Removal | None
    added: IndexEntry | None
