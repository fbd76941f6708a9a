"""What owners have stored and may store, and what the store holds altogether."""

import asyncio
import logging
from dataclasses import dataclass, fields
from typing import Protocol

from services.memory.domain.audits import Roles
from services.memory.domain.erasure import NotYours
from services.memory.domain.memories import Clock, utc_now
from services.memory.domain.subject_data import checked_owner
from services.mesh.caller import Caller
from services.mesh.errors import InvalidInput, MemoryBoxError, ResourceExhausted, Violation

SAMPLE_S = 3600.0
MAX_SAMPLES = 400  # days

_log = logging.getLogger(__name__)


class QuotaExceeded(ResourceExhausted):
    """The owner may not store more; deleting does not help before what is deleted is purged."""

    reason = "QUOTA_EXCEEDED"


@dataclass(frozen=True, slots=True)
class Quota:
    """What one owner may store; 0 means no limit."""

    max_memories: int = 0
    max_content_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """What one owner has stored; deleted memories count until they are purged."""

    owner_user: str
    memory_count: int
    content_bytes: int
    revision_bytes: int  # of former states
    quota: Quota

    def check(self, *, more_memories: bool, more_bytes: bool) -> None:
        """Raise ``QuotaExceeded`` when what has just grown is beyond its limit; what merely shrank never is."""
        limit = self.quota
        if more_memories and limit.max_memories and self.memory_count > limit.max_memories:
            self._refuse("memories", limit.max_memories, self.memory_count)
        stored = self.content_bytes + self.revision_bytes
        if more_bytes and limit.max_content_bytes and stored > limit.max_content_bytes:
            self._refuse("bytes of content and metadata, former states included,", limit.max_content_bytes, stored)

    def _refuse(self, what: str, limit: int, wanted: int) -> None:
        description = f"at most {limit} {what} may be stored, this would make {wanted}"
        raise QuotaExceeded(description, violations=[Violation(f"owner:{self.owner_user}", description)])


@dataclass(frozen=True, slots=True)
class StorageStats:
    """What the store holds."""

    memory_count: int  # alive
    deleted_count: int  # and not purged yet
    size_bytes: int  # of all files
    samples: tuple["StorageSample", ...] = ()  # of former days, the oldest first


@dataclass(frozen=True, slots=True)
class StorageSample:
    """What the store held when it was last looked at on *day*, in ISO form, UTC."""

    day: str
    memory_count: int
    deleted_count: int
    size_bytes: int


class QuotaStore(Protocol):
    """Where usage is counted and quotas are kept."""

    async def usage(self, owner: str) -> Usage:
        """Return what *owner* has stored and may store."""
        ...

    async def set_quota(self, owner: str, quota: Quota) -> None:
        """Keep a quota; every write that begins afterwards is held to it."""
        ...

    async def stats(self) -> StorageStats:
        """Return what the store holds and held."""
        ...

    async def sample(self, day: str) -> None:
        """Keep what the store holds as that *day*'s; of more than ``MAX_SAMPLES`` days the youngest stay."""
        ...


class Quotas:
    """The use cases."""

    def __init__(self, store: QuotaStore, roles: Roles, clock: Clock = utc_now) -> None:
        self._store = store
        self._roles = roles
        self._clock = clock

    async def usage(self, caller: Caller, owner: str) -> Usage:
        """Return one's own usage, '' for oneself; governors: anyone's. Raises ``NotYours``."""
        wanted = owner or caller.user
        if wanted != caller.user and not self._roles.is_governor(caller):
            raise NotYours("you may see your own usage; that of someone else only governors")
        return await self._store.usage(wanted)

    async def set_quota(self, owner: str, quota: Quota) -> Quota:
        """Keep a quota. Raises ``InvalidInput``."""
        checked_owner(owner)
        negative = [item.name for item in fields(quota) if getattr(quota, item.name) < 0]
        if negative:
            raise InvalidInput(
                "a quota must not be negative",
                violations=[Violation(f"quota.{name}", "must be 0 or more") for name in negative],
            )
        await self._store.set_quota(owner, quota)
        return quota

    async def stats(self) -> StorageStats:
        """Return what the store holds and held."""
        return await self._store.stats()

    async def run(self) -> None:
        """Sample every hour what the store holds, until cancelled; the last look at a day is the one that stays."""
        while True:
            try:
                await self._store.sample(self._clock().date().isoformat())
            except MemoryBoxError as error:
                _log.warning("the store's size could not be kept", extra={"reason": error.reason})
            await asyncio.sleep(SAMPLE_S)
