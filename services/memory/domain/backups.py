"""Backups: made, listed, restored and pruned, as operations that outlive calls and processes, and by a schedule."""

import asyncio
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from services.memory.domain.audit import AUTHOR
from services.memory.domain.jobs import Job, Meter
from services.memory.domain.memories import DEFAULT_PAGE, MAX_PAGE, Clock, bounded, utc_now
from services.memory.domain.memory import Json
from services.memory.domain.operations import Operation, Operations, Step
from services.memory.domain.paging import Pager
from services.memory.domain.subject_data import Progress
from services.mesh.caller import Caller
from services.mesh.errors import (
    AlreadyExists,
    BackendUnavailable,
    DataLoss,
    FailedPrecondition,
    InvalidInput,
    MemoryBoxError,
    NotFound,
    Violation,
)

CREATE, RESTORE = "CreateBackup", "RestoreBackup"
METHOD = "memorybox.governance.v1.GovernanceService/"
REPORT_S = 1.0  # between two saved states of progress; far below a lease
LOOK_S = 60.0  # between two looks of the schedule
MAX_FOLDER = 64

_log = logging.getLogger(__name__)
Result = TypeVar("Result")


class BackupNotFound(NotFound):
    """There is no such backup."""

    reason = "BACKUP_NOT_FOUND"


class BackupDamaged(DataLoss):
    """A backup is not what was written."""

    reason = "BACKUP_DAMAGED"


class BackupKeysMissing(FailedPrecondition):
    """The keys that sealed a backup are not there."""

    reason = "BACKUP_KEYS_MISSING"


class RestoreFolderExists(AlreadyExists):
    """There is something where a backup should be restored to."""

    reason = "RESTORE_FOLDER_EXISTS"


class BackupUnderWay(BackendUnavailable):
    """A backup or restore still reads what was erased; tried again later."""

    reason = "BACKUP_UNDER_WAY"


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that can be restored."""

    backup_id: str
    created_at: datetime
    size_bytes: int
    verified: bool
    memory_count: int
    schema_version: int


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore brought back, and what it left out because its owners were erased or made anonymous since."""

    backup_id: str
    folder: str
    memory_count: int
    shredded_row_count: int = 0
    shredded_owner_count: int = 0


class BackupVault(Protocol):
    """Where backups are. What takes a ``Meter`` blocks, and is run as a job on ``executor``, one at a time."""

    @property
    def executor(self) -> Executor:
        """The thread of jobs."""
        ...

    async def backups(self) -> Sequence[Backup]:
        """Return all, newest first."""
        ...

    async def check_target(self, backup_id: str, folder: str | None) -> None:
        """Raise ``BackupNotFound``, or ``RestoreFolderExists`` for a folder that is taken."""
        ...

    def create(self, backup_id: str, now: datetime, meter: Meter) -> Backup:
        """Make a backup of the state at this moment, read it back, and only then give it its name; one that is there is returned."""
        ...

    def prune(self, keep: int) -> int:
        """Remove all but the newest *keep* whole backups, and what was set aside by a restore before the newest; return how many."""
        ...

    def restore_aside(self, backup_id: str, folder: str, meter: Meter) -> Restored:
        """Restore to a new folder below ``restored``."""
        ...

    def prepare(self, backup_id: str, meter: Meter) -> Restored:
        """Restore beside the live data, verified to the last row, for ``replace_live``."""
        ...

    def discard(self) -> None:
        """Remove what was prepared."""
        ...

    async def replace_live(self, operation: Operation, restored: Restored, result: Json) -> None:
        """Put what was prepared in the place of the live data, with *operation* ended by *result*; nothing is served from then on.

        Raises ``BackupUnderWay`` when an owner began to be erased meanwhile: then it must be prepared anew.
        """
        ...

    async def shred(self, owner: str, operation_id: str) -> Mapping[str, int]:
        """Remove *owner* from restored copies and destroy their key; return what this operation has done of it so far."""
        ...


class Backups:
    """The use cases, for governors; each but the list starts an operation."""

    def __init__(self, vault: BackupVault, operations: Operations, token_key: bytes, clock: Clock = utc_now) -> None:
        self._vault = vault
        self._operations = operations
        self._pager = Pager(token_key)
        self._clock = clock

    async def create(self, caller: Caller, request_id: str) -> Operation:
        """Begin a backup."""
        return await self._operations.start(caller, CREATE, {}, request_id)

    async def list_page(self, caller: Caller, *, page_size: int, page_token: str) -> tuple[Sequence[Backup], str]:
        """Return one page, newest first, and the token of the next, '' at the end."""
        limit = bounded("page_size", page_size, DEFAULT_PAGE, MAX_PAGE)
        now, request = self._clock(), {"rpc": "ListBackups"}
        before = self._pager.open(page_token, caller, request, now)["before"] if page_token else None
        left = [backup for backup in await self._vault.backups() if before is None or backup.backup_id < before]
        shown = left[:limit]
        more = len(left) > limit
        return shown, self._pager.seal(caller, request, {"before": shown[-1].backup_id}, now) if more else ""

    async def restore(
        self, caller: Caller, backup_id: str, *, in_place: bool, folder: str, request_id: str
    ) -> Operation:
        """Begin to restore. Raises ``BackupNotFound``, ``RestoreFolderExists``."""
        request: Json = {"backup_id": _checked_id(backup_id), "in_place": in_place}
        if in_place and folder:
            raise _wrong("folder", "must be empty when the live data are replaced")
        if not in_place:
            request["folder"] = _checked_folder(folder or backup_id)
        if not request_id:  # a repeated call must find its operation, whatever that made
            await self._vault.check_target(backup_id, request.get("folder"))
        return await self._operations.start(caller, RESTORE, request, request_id)


class _Jobs:
    """The jobs of operations of one kind, in this process."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._jobs: dict[str, Job[object]] = {}

    async def run(self, operation: Operation, work: Callable[[Meter], Result]) -> Result | Step:
        """Return what *work* returned, or how far it is."""
        job = self._jobs.get(operation.operation_id)
        if job is None:
            job = self._jobs[operation.operation_id] = Job(work, self._executor)
        if not await job.wait(REPORT_S):
            return Step({}, done_count=job.meter.done, total_count=job.meter.total)
        del self._jobs[operation.operation_id]
        return job.result()  # type: ignore[return-value]  # what *work* of this operation returned

    async def interrupt(self, operation: Operation) -> None:
        """Stop the job of *operation*."""
        job = self._jobs.pop(operation.operation_id, None)
        if job is not None:
            await job.stop()

    async def close(self) -> None:
        """Stop all."""
        await asyncio.gather(*(job.stop() for job in self._jobs.values()))


class CreateBackupKind:
    """How a backup is made; *ended* is told of each that was made, and of None for one that failed."""

    name = CREATE

    def __init__(
        self, vault: BackupVault, keep: int, ended: Callable[[Backup | None], None], clock: Clock = utc_now
    ) -> None:
        self._vault = vault
        self._keep = keep
        self._ended = ended
        self._clock = clock
        self._jobs = _Jobs(vault.executor)
        self.close = self._jobs.close

    async def step(self, operation: Operation) -> Step:
        """Wait for the backup, which has the operation's id; then remove what is one too many."""
        try:
            made = await self._jobs.run(operation, lambda meter: self._make(operation, meter))
        except MemoryBoxError as error:
            self._ended(None)
            _log.error("a backup failed", extra={"operation": operation.name, "reason": error.reason})
            raise
        if isinstance(made, Step):
            return made
        self._ended(made)
        count = made.memory_count
        return Step({}, done_count=count, total_count=count, result=_backup_to_json(made))

    async def undo(self, operation: Operation) -> None:
        """Stop the backup; nothing of it stays."""
        await self._jobs.interrupt(operation)

    def _make(self, operation: Operation, meter: Meter) -> Backup:
        made = self._vault.create(operation.operation_id, self._clock(), meter)
        self._vault.prune(self._keep)
        return made


class RestoreBackupKind:
    """How a backup is restored."""

    name = RESTORE

    def __init__(self, vault: BackupVault) -> None:
        self._vault = vault
        self._jobs = _Jobs(vault.executor)
        self.close = self._jobs.close

    async def step(self, operation: Operation) -> Step:
        """Wait for the rows to be restored and verified; in place, replace the live data and never return."""
        request = operation.request
        restored = await self._jobs.run(operation, lambda meter: self._work(request, meter))
        if isinstance(restored, Step):
            return restored
        result = _restored_to_json(restored, in_place=request["in_place"])
        if request["in_place"]:
            await self._vault.replace_live(operation, restored, result)
            await asyncio.Event().wait()  # the operation has ended, where the next process reads it
        count = restored.memory_count
        return Step({}, done_count=count, total_count=count, result=result)

    async def undo(self, operation: Operation) -> None:
        """Stop the restore; nothing of it stays, and nothing was replaced."""
        await self._jobs.interrupt(operation)
        await asyncio.to_thread(self._vault.discard)

    def _work(self, request: Json, meter: Meter) -> Restored:
        if request["in_place"]:
            return self._vault.prepare(request["backup_id"], meter)
        return self._vault.restore_aside(request["backup_id"], request["folder"], meter)


class BackupSchedule:
    """Starts a backup whenever the newest is older than *every*; None: never."""

    def __init__(
        self, vault: BackupVault, operations: Operations, every: timedelta | None, clock: Clock = utc_now
    ) -> None:
        self._vault = vault
        self._operations = operations
        self._every = every
        self._clock = clock

    async def run(self) -> None:
        """Look every minute, until cancelled."""
        while self._every is not None:
            try:
                await self.look(self._every)
            except MemoryBoxError as error:
                _log.warning("the schedule of backups waits for its next turn", extra={"reason": error.reason})
            await asyncio.sleep(LOOK_S)

    async def look(self, every: timedelta) -> None:
        """Start a backup if one is due; looks that come to the same conclusion at once start one."""
        newest = next((backup.created_at for backup in await self._vault.backups() if backup.verified), None)
        now = self._clock()
        if newest is None or now - newest >= every:
            # One attempt in a tenth of the span, so that what fails is tried again and does not fill the list of operations.
            turn = int(now.timestamp() // max(LOOK_S, every.total_seconds() / 10))
            await self._operations.start(Caller(AUTHOR), CREATE, {}, f"schedule-{turn}")


class OwnerKeysTarget:
    """The part of backups in erasing a person: a ``SubjectDataTarget``. What only their key can open is gone with the key."""

    service = "backups"

    def __init__(self, vault: BackupVault) -> None:
        self._vault = vault

    async def erase(self, owner: str, operation_id: str) -> Progress:
        """Shred the key of *owner*."""
        return Progress(await self._vault.shred(owner, operation_id), finished=True)

    async def anonymize(self, owner: str, operation_id: str) -> Progress:
        """Do the same: a backup from before names the owner in every row, also in those that stay as an unknown's."""
        return await self.erase(owner, operation_id)


def _backup_to_json(backup: Backup) -> Json:
    return {
        "backup_id": backup.backup_id,
        "created_at": backup.created_at.isoformat(),
        "size_bytes": backup.size_bytes,
        "verified": backup.verified,
        "memory_count": backup.memory_count,
        "schema_version": backup.schema_version,
    }


def _restored_to_json(restored: Restored, *, in_place: bool) -> Json:
    return {
        "backup_id": restored.backup_id,
        "in_place": in_place,
        "folder": restored.folder,
        "memory_count": restored.memory_count,
        "shredded_row_count": restored.shredded_row_count,
        "shredded_owner_count": restored.shredded_owner_count,
    }


def _checked_id(backup_id: str) -> str:
    if not backup_id:
        raise _wrong("backup_id", "must be given")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", backup_id):
        raise BackupNotFound(f"no backup {backup_id[:MAX_FOLDER]!r}")
    return backup_id


def _checked_folder(folder: str) -> str:
    if not re.fullmatch(r"[a-z0-9_][a-z0-9_-]{0,63}", folder):
        raise _wrong("folder", f"must be 1 to {MAX_FOLDER} of a-z, 0-9, - and _, not beginning with -")
    return folder


def _wrong(field: str, what: str) -> InvalidInput:
    return InvalidInput(f"{field} {what}", violations=[Violation(field, what)])
