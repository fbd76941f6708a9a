"""Who did what: each call leaves an event, which waits here until the audit log has it. What was asked or said is no part of it."""

import asyncio
import logging
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.mesh.errors import FailedPrecondition, MemoryBoxError

FLUSH_S = 0.4  # less than half of the second within which events of reads are durable
MAX_WAITING = 10_000  # entries; then calls wait for the disk
MAX_SENT = 1000  # events of one call to the audit log
LONGEST_PAUSE_S = 10.0

log = logging.getLogger(__name__)

# Ids of what the call that this task serves has touched.
TOUCHED: ContextVar[list[str] | None] = ContextVar("touched", default=None)


@dataclass(frozen=True, slots=True)
class Entry:
    """A call that has ended: by whom, the RPC's full name, the name of its google.rpc.Code, what it touched."""

    actor: str
    method: str
    outcome: str
    resource_ids: tuple[str, ...]
    trace_id: str
    at: datetime


class Outbox(Protocol):
    """Where events wait, durably."""

    async def append(self, entries: Sequence[Entry]) -> None:
        """Put entries at the end."""
        ...

    async def first(self, limit: int) -> tuple[str, list[tuple[int, Entry]]]:
        """Return the writer's id and the first entries with their numbers, which ascend without gaps."""
        ...

    async def sent(self, last_seq: int) -> None:
        """Forget entries up to *last_seq*."""
        ...

    async def rename(self, actor: str, to: str) -> None:
        """Put *to* in the place of *actor*."""
        ...

    async def begin_anew(self) -> None:
        """Start a new chain: what waits is numbered from 1, under another writer's id."""
        ...


class AuditGap(FailedPrecondition):
    """The audit log lacks events that were sent; raised by a ``Log``, never to a caller."""

    reason = "AUDIT_LOG_LOST_EVENTS"


class Log(Protocol):
    """The deployment's audit log."""

    async def append(self, writer_id: str, entries: Sequence[tuple[int, Entry]]) -> int:
        """Append; return the number of the last one that is durable. Raises ``AuditGap``, and errors that pass."""
        ...


def touch(resource_id: str) -> None:
    """Note that the current call concerns *resource_id*."""
    touched = TOUCHED.get()
    if touched is not None and resource_id not in touched:
        touched.append(resource_id)


class Recorder:
    """Takes in events of ended calls, and hands them on."""

    def __init__(self, outbox: Outbox, audit_log: Log) -> None:
        self._outbox = outbox
        self._log = audit_log
        self._waiting: list[Entry] = []
        self._handing_on = asyncio.Lock()

    async def record(self, entry: Entry, *, durable: bool) -> None:
        """Keep *entry*: before this returns when *durable*, else within a second."""
        self._waiting.append(entry)
        if durable or len(self._waiting) >= MAX_WAITING:
            await self.flush()

    async def flush(self) -> None:
        """Make what waits durable; if that fails it goes on waiting."""
        entries, self._waiting = self._waiting, []
        if not entries:
            return
        try:
            await self._outbox.append(entries)
        except BaseException:
            self._waiting = [*entries, *self._waiting]
            raise

    async def hand_on(self) -> None:
        """Send everything to the audit log. Raises what the log raises."""
        await self.flush()
        async with self._handing_on:
            while True:
                writer_id, entries = await self._outbox.first(MAX_SENT)
                if not entries:
                    return
                try:
                    await self._outbox.sent(await self._log.append(writer_id, entries))
                except AuditGap:
                    log.warning(
                        "the audit log lacks events of this writer; a new chain begins", extra={"writer": writer_id}
                    )
                    await self._outbox.begin_anew()

    async def forget(self, actor: str, nobody: str) -> None:
        """Have *nobody* stand for *actor* in all that still waits: sent, it would bring a name back that was erased."""
        async with self._handing_on:
            await self.flush()
            await self._outbox.rename(actor, nobody)

    async def run(self) -> None:
        """Hand events on again and again, until cancelled."""
        pause_s = FLUSH_S
        while True:
            await asyncio.sleep(pause_s)
            try:
                await self.hand_on()
                pause_s = FLUSH_S
            except MemoryBoxError as error:
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                log.warning("audit events wait", extra={"reason": error.reason, "pause_s": pause_s})
