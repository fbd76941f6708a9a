"""Who did what: acts, the events they become, and the chain by which a change or a gap shows."""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import orjson

from services.memory.filter import EVERYTHING, FieldKind, Filter, Schema

GENESIS = b""  # what the first event of a chain has in the place of the hash before
# An event of this method anchors all chains: its one resource id is the Merkle root over where each of them stood before it.
ANCHOR = "memorybox.governance.v1.AuditService/Anchor"
AUTHOR = "memorybox"  # who acts in events of what happens by itself
_PSEUDONYM_BYTES = 16


# What a filter of events may speak of.
AUDIT_FIELDS = Schema(
    {
        "event_time": FieldKind.TIME,
        "method": FieldKind.TEXT,
        "actor_user": FieldKind.TEXT,
        "actor_pseudonym": FieldKind.TEXT,
        "outcome": FieldKind.TEXT,
        "resource_ids": FieldKind.TEXTS,
        "trace_id": FieldKind.TEXT,
        "writer_id": FieldKind.TEXT,
        "seq": FieldKind.INTEGER,
    },
    searchable=False,
)


@dataclass(slots=True)
class Act:
    """A call as it is recorded; what was said or asked is no part of it.

    ``written`` says that its event was committed together with what the call wrote.
    """

    actor: str
    method: str  # full name of the RPC, without a leading slash
    at: datetime
    trace_id: str = ""
    written: bool = False


# The call that this task serves; units of work made meanwhile carry it into their commit.
ACT: ContextVar[Act | None] = ContextVar("act", default=None)


def current_act() -> Act | None:
    """Return the call that this task serves, if it is to be recorded."""
    return ACT.get()


@dataclass(frozen=True, slots=True)
class Touched:
    """A thing that an act concerned, and whose it is; either may be '' for unknown."""

    resource_id: str
    owner_user: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is to be recorded of an act: the name of the google.rpc.Code that it ended with, and what it touched."""

    act: Act
    outcome: str
    touched: tuple[Touched, ...] = ()


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """A link of a writer's chain. People stand in it as pseudonyms; ``owners[i]`` is whose ``resource_ids[i]`` is, or ''."""

    writer_id: str
    seq: int  # from 1
    prev_hash: bytes
    event_time_us: int  # since 1970 UTC
    actor: str
    method: str
    outcome: str
    trace_id: str
    resource_ids: tuple[str, ...]
    owners: tuple[str, ...]

    def digest(self) -> bytes:
        """Return the SHA-256 of everything above, in one form only: a compact JSON list in the order of the fields."""
        fields = [
            self.writer_id,
            self.seq,
            self.prev_hash.hex(),
            self.event_time_us,
            self.actor,
            self.method,
            self.outcome,
            self.trace_id,
            self.resource_ids,
            self.owners,
        ]
        return hashlib.sha256(orjson.dumps(fields)).digest()


@dataclass(frozen=True, slots=True)
class KeptEvent:
    """An event as stored; *hash* is what was computed when it was written, *actor_user* '' once the name was erased."""

    number: int
    event: AuditEvent
    hash: bytes
    actor_user: str = ""


@dataclass(frozen=True, slots=True)
class AuditPlan:
    """One page of events that pass *filter*, youngest first. *about* None means everyone's; *before* is where the page before ended.

    *max_examined* events are looked at. Of someone else's event only what is shown of it can pass: ids of the things of whom it is *about*.
    """

    limit: int
    about: str | None
    before: int | None = None
    filter: Filter = EVERYTHING
    max_examined: int = 50_000  # some 100 ms


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Events, and where the next page goes on; *before* None: there are none left. A page may be empty and not the last."""

    events: tuple["KeptEvent", ...]
    before: int | None


@dataclass(frozen=True, slots=True)
class Verification:
    """What walking all chains found; *first_broken* is the oldest event whose link does not hold."""

    event_count: int
    first_broken: KeptEvent | None
    verified_until_us: int | None


@dataclass(frozen=True, slots=True)
class ForeignEvent:
    """An event that another service hands in; chained here, where the pseudonyms are."""

    seq: int
    entry: Entry


class AuditLog(Protocol):
    """Where events are kept."""

    async def append(self, entries: Sequence[Entry]) -> None:
        """Keep *entries* durably, at the end of this process's chain."""
        ...

    async def take_in(self, writer_id: str, events: Sequence[ForeignEvent]) -> int:
        """Keep those of *events* that are new to the chain of *writer_id* and return its last seq; ``AuditGap`` if some are missing."""
        ...

    async def page(self, plan: AuditPlan) -> AuditPage:
        """Return up to ``plan.limit`` events; fewer also after looking at very many."""
        ...

    async def verify(self) -> Verification:
        """Walk all chains."""
        ...

    async def anchor(self, at: datetime) -> str | None:
        """Anchor all chains if any has grown since the last anchor; return the resource id of the new one."""
        ...

    async def knows(self, method: str, resource_ids: Sequence[str]) -> bool:
        """Say whether there is an event of *method* with exactly these ids."""
        ...


Heads = Mapping[str, tuple[int, bytes]]  # seq and hash of the last event of each chain, by writer


def anchor_id(heads: Heads) -> str:
    """Return the resource id of an anchor of *heads*."""
    leaves = [orjson.dumps((writer_id, heads[writer_id][0], heads[writer_id][1].hex())) for writer_id in sorted(heads)]
    return f"merkle:{merkle_root(leaves).hex()}"


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root of the Merkle tree over *leaves*, as RFC 6962 section 2.1 defines it."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + merkle_root(leaves[:split]) + merkle_root(leaves[split:])).digest()


def pseudonym(key: bytes, user: str) -> str:
    """Return what stands for *user* in events: without the *key*, which is the person's own, it leads nowhere."""
    return hmac.digest(key, user.encode(), hashlib.sha256)[:_PSEUDONYM_BYTES].hex()


class ChainWalk:
    """Checks the events of one chain, given in order of their numbers."""

    def __init__(self) -> None:
        self._seq = 0
        self._hash = GENESIS

    def holds(self, kept: KeptEvent) -> bool:
        """Say whether *kept* follows what came before and is as it was written."""
        event = kept.event
        holds = event.seq == self._seq + 1 and event.prev_hash == self._hash and event.digest() == kept.hash
        self._seq, self._hash = event.seq, kept.hash
        return holds

    def ends_with(self, seq: int, last_hash: bytes) -> bool:
        """Say whether the chain ends where its writer last stood."""
        return (self._seq, self._hash) == (seq, last_hash)
