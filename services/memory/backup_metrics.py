"""What a process tells of its backups on its metrics port."""

import logging
from collections.abc import Iterable

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from services.memory.domain.backups import Backup, BackupVault
from services.mesh.errors import MemoryBoxError

_log = logging.getLogger(__name__)


class BackupMetrics:
    """When the newest whole backup was made, and how many failed."""

    def __init__(self, meter: Meter) -> None:
        self._newest: Backup | None = None
        self._failures = meter.create_counter("memorybox.backup.failures", description="Backups that failed.")
        meter.create_observable_gauge(
            "memorybox.backup.newest_time",
            [self._observe],
            unit="s",
            description="When the newest whole backup was made, in seconds since 1970.",
        )

    def ended(self, backup: Backup | None) -> None:
        """Note a backup that was made; None: one that failed."""
        if backup is None:
            self._failures.add(1)
        else:
            self._newest = backup

    async def begin(self, vault: BackupVault) -> None:
        """Note the newest of those that are there."""
        try:
            backups = await vault.backups()
        except MemoryBoxError as error:
            _log.warning("backups cannot be listed", extra={"reason": error.reason})
            return
        self._newest = self._newest or next((backup for backup in backups if backup.verified), None)

    def _observe(self, _: CallbackOptions) -> Iterable[Observation]:
        return [] if self._newest is None else [Observation(self._newest.created_at.timestamp())]
