"""How long memories are kept: what was not changed for long is archived, what was archived or deleted for long is purged."""

import asyncio
import base64
import hashlib
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from services.memory.domain.audit import AUTHOR
from services.memory.domain.memories import Clock, utc_now
from services.memory.domain.memory import EtagMismatch
from services.memory.domain.operations import Operation, Operations, Step
from services.memory.domain.subject_data import BATCH
from services.mesh.caller import Caller
from services.mesh.errors import InvalidInput, MemoryBoxError, Violation

APPLY = "ApplyRetention"
PERIOD_S = 3600.0  # spans are whole days
MAX_DAYS = 36_500

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """Whole days, 1 to 36,500; None means never."""

    archive_after_days: int | None = None
    purge_after_days: int | None = None

    @property
    def etag(self) -> str:
        """Opaque form of the policy."""
        digest = hashlib.sha256(f"{self.archive_after_days}:{self.purge_after_days}".encode()).digest()
        return base64.urlsafe_b64encode(digest[:12]).decode()

    @property
    def is_empty(self) -> bool:
        """Whether everything is kept for ever."""
        return self.archive_after_days is None and self.purge_after_days is None

    def check(self) -> None:
        """Raise ``InvalidInput`` for a span that is out of range."""
        spans = {"archive_after": self.archive_after_days, "purge_after": self.purge_after_days}
        wrong = [name for name, days in spans.items() if days is not None and not 1 <= days <= MAX_DAYS]
        if wrong:
            description = f"must be whole days, 1 to {MAX_DAYS}"
            violations = [Violation(f"policy.{name}", description) for name in wrong]
            raise InvalidInput(f"a span of the policy {description}", violations=violations)


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """The times that a policy means now: what was changed, or hidden, before them is due; None: nothing is."""

    archive: datetime | None
    purge: datetime | None

    @classmethod
    def of(cls, policy: RetentionPolicy, now: datetime) -> "Cutoffs":
        """Return the times that *policy* means at *now*."""
        days = (policy.archive_after_days, policy.purge_after_days)
        archive, purge = (None if span is None else now - timedelta(days=span) for span in days)
        return cls(archive, purge)


@dataclass(frozen=True, slots=True)
class Due:
    """How many memories are to be archived and purged."""

    archive_count: int
    purge_count: int


class RetentionStore(Protocol):
    """Where the policy is kept, and what it is applied to."""

    async def policy(self) -> RetentionPolicy:
        """Return the policy."""
        ...

    async def set_policy(self, policy: RetentionPolicy) -> None:
        """Keep a policy."""
        ...

    async def due(self, cutoffs: Cutoffs) -> Due:
        """Count what is due."""
        ...

    async def archive_some(self, cutoff: datetime, limit: int, now: datetime) -> int:
        """Hide up to *limit* memories as if deleted; return how many. Their owners may undelete them."""
        ...

    async def purge_some(self, cutoff: datetime, limit: int) -> int:
        """Remove up to *limit* hidden memories for good; return how many."""
        ...

    async def scrub(self) -> None:
        """Remove the bytes of what was purged from the disk."""
        ...


class Retention:
    """The use cases."""

    def __init__(self, store: RetentionStore, operations: Operations, clock: Clock = utc_now) -> None:
        self._store = store
        self._operations = operations
        self._clock = clock

    async def policy(self) -> tuple[RetentionPolicy, Due]:
        """Return the policy and what is due by it now."""
        return await self._with_due(await self._store.policy())

    async def set_policy(
        self, caller: Caller, policy: RetentionPolicy, etag: str, *, dry_run: bool
    ) -> tuple[RetentionPolicy, Due]:
        """Keep *policy* and apply it at once, unless it is a dry run; return what was due by it. Raises ``EtagMismatch``."""
        policy.check()
        if etag and etag != (await self._store.policy()).etag:
            raise EtagMismatch("the policy has changed since this etag was read; read it again")
        answer = await self._with_due(policy)
        if not dry_run:
            await self._store.set_policy(policy)
            if not policy.is_empty:
                await self._operations.start(caller, APPLY, {})
        return answer

    async def run(self) -> None:
        """Apply the policy every hour, until cancelled."""
        while True:
            await asyncio.sleep(PERIOD_S)
            try:
                if not (await self._store.policy()).is_empty:
                    await self._operations.start(Caller(AUTHOR), APPLY, {})
            except MemoryBoxError as error:
                _log.warning("retention waits for its next turn", extra={"reason": error.reason})

    async def _with_due(self, policy: RetentionPolicy) -> tuple[RetentionPolicy, Due]:
        return policy, await self._store.due(Cutoffs.of(policy, self._clock()))


class RetentionKind:
    """How the policy is applied: batch by batch, by the policy that holds at each; the result says how much was done."""

    name = APPLY

    def __init__(self, store: RetentionStore, clock: Clock = utc_now) -> None:
        self._store = store
        self._clock = clock

    async def step(self, operation: Operation) -> Step:
        """Archive a batch; when nothing is left to archive, purge one; at the end remove the bytes."""
        done = {"archived": 0, "purged": 0} | (operation.cursor or {})
        now = self._clock()
        cutoffs = Cutoffs.of(await self._store.policy(), now)
        archived = await self._store.archive_some(cutoffs.archive, BATCH, now) if cutoffs.archive else 0
        purged = await self._store.purge_some(cutoffs.purge, BATCH) if cutoffs.purge and not archived else 0
        done["archived"] += archived
        done["purged"] += purged
        over = not archived and not purged
        if over and done["purged"]:
            await self._store.scrub()
        return Step(done, done_count=done["archived"] + done["purged"], result=done if over else None)
