"""Recording acts, and showing what was recorded."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from services.memory.domain.audit import AUDIT_FIELDS, AuditLog, AuditPlan, Entry, ForeignEvent, KeptEvent, Verification
from services.memory.domain.memories import DEFAULT_PAGE, MAX_PAGE, Clock, bounded, utc_now
from services.memory.domain.paging import Pager
from services.memory.filter import parse
from services.mesh.caller import Caller
from services.mesh.errors import FailedPrecondition, InvalidInput, MemoryBoxError, PermissionDenied, Violation

FLUSH_S = 0.5  # half of what is promised, so that a slow commit still keeps it
MAX_WAITING = 10_000  # entries; then calls wait for the disk
MAX_APPENDED = 1000
ANCHOR_S = 3600.0

_log = logging.getLogger(__name__)


class AuditGap(FailedPrecondition):
    """Events before these are missing; send the chain from ``last_seq`` + 1 on."""

    reason = "AUDIT_GAP"


@dataclass(frozen=True, slots=True)
class Roles:
    """What the roles that govern are called in this deployment."""

    governor: str
    operator: str

    def is_governor(self, caller: Caller) -> bool:
        """Say whether *caller* governs."""
        return self.governor in caller.roles

    def is_operator(self, caller: Caller) -> bool:
        """Say whether *caller* operates."""
        return self.operator in caller.roles


class Recorder:
    """Records what ended. Unless *synchronous*, entries are committed together, within a second."""

    def __init__(
        self, log: AuditLog, *, synchronous: bool, flush_s: float = FLUSH_S, max_waiting: int = MAX_WAITING
    ) -> None:
        self._log = log
        self._flush_s = flush_s
        self._max_waiting = max_waiting
        self._synchronous = synchronous
        self._waiting: list[Entry] = []
        self._flushing: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    async def record(self, entry: Entry) -> None:
        """Keep *entry*: durably when synchronous, else soon. Raises when the log cannot be written and too much waits already."""
        if self._synchronous:
            await self._log.append((entry,))
            return
        if len(self._waiting) >= self._max_waiting:
            await self.flush()
        self._waiting.append(entry)
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush_soon())

    async def flush(self) -> None:
        """Commit what waits; if that fails it goes on waiting."""
        entries, self._waiting = self._waiting, []
        if not entries:
            return
        try:
            await self._log.append(entries)
        except BaseException:
            self._waiting = [*entries, *self._waiting]
            raise

    async def close(self) -> None:
        """Commit what waits, now; nothing may be recorded any more."""
        self._closing.set()
        if self._flushing is not None:
            await asyncio.wait({self._flushing})
        try:
            await self.flush()
        except MemoryBoxError as error:
            _log.error(
                "audit events of the last second are lost", extra={"reason": error.reason, "count": len(self._waiting)}
            )

    async def _flush_soon(self) -> None:
        while self._waiting:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), self._flush_s)
            try:
                await self.flush()
            except MemoryBoxError as error:
                # They go on waiting; a later entry, or the end of the process, tries again.
                _log.error("audit events cannot be written", extra={"reason": error.reason})
                return


async def anchor_hourly(log: AuditLog, clock: Clock = utc_now, period_s: float = ANCHOR_S) -> None:
    """Anchor all chains again and again, until cancelled; the roots go to the process's log too, where nobody rewrites them."""
    while True:
        await asyncio.sleep(period_s)
        try:
            root = await log.anchor(clock())
        except MemoryBoxError as error:
            _log.warning("the audit log could not be anchored", extra={"reason": error.reason})
            continue
        if root is not None:
            _log.info("the audit log is anchored", extra={"root": root})


@dataclass(frozen=True, slots=True)
class EventPage:
    """One page of events and the token of the next, '' at the end."""

    events: tuple[KeptEvent, ...]
    next_page_token: str


class Audits:
    """The use cases of the audit log."""

    def __init__(
        self, log: AuditLog, recorder: Recorder, token_key: bytes, roles: Roles, clock: Clock = utc_now
    ) -> None:
        self._log = log
        self._recorder = recorder
        self._pager = Pager(token_key)
        self._roles = roles
        self._clock = clock

    async def list_page(self, caller: Caller, *, page_size: int, page_token: str, filter_text: str = "") -> EventPage:
        """Return one page, youngest first: all events for governors, for others those about themselves.

        Raises ``InvalidInput``, ``InvalidFilter``, ``InvalidPageToken``.
        """
        limit = bounded("page_size", page_size, DEFAULT_PAGE, MAX_PAGE)
        now = self._clock()
        governs = self._roles.is_governor(caller)
        request = {"rpc": "ListAuditEvents", "all": governs, "filter": filter_text}
        wanted = parse(filter_text, schema=AUDIT_FIELDS)
        plan = AuditPlan(limit, about=None if governs else caller.user, filter=wanted)
        if page_token:
            plan = replace(plan, before=self._pager.open(page_token, caller, request, now)["before"])
        await self._recorder.flush()
        page = await self._log.page(plan)
        token = "" if page.before is None else self._pager.seal(caller, request, {"before": page.before}, now)
        return EventPage(page.events, token)

    async def verify(self) -> Verification:
        """Walk all chains, up to what was recorded when asked."""
        await self._recorder.flush()
        return await self._log.verify()

    async def take_in(self, caller: Caller, writer_id: str, events: Sequence[ForeignEvent]) -> int:
        """Keep events of another service; return the last seq that is durable. Raises ``InvalidInput``, ``AuditGap``."""
        if not 1 <= len(events) <= MAX_APPENDED:
            raise _wrong("audit_events", f"must be 1 to {MAX_APPENDED}, got {len(events)}")
        first = events[0].seq
        if first < 1 or [event.seq for event in events] != list(range(first, first + len(events))):
            raise _wrong("audit_events", "must have ascending seqs from 1 on, without gaps")
        if not writer_id.startswith(f"{caller.client}/"):
            raise PermissionDenied(
                f"writers of {caller.client!r} are called '{caller.client}/...'", writer_id=writer_id
            )
        return await self._log.take_in(writer_id, events)


def _wrong(field: str, description: str) -> InvalidInput:
    return InvalidInput(f"{field} {description}", violations=[Violation(field, description)])
