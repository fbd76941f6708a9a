"""Settings of the memory service."""

import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from services.mesh.config import integer, one_of, path, setting, some_of

_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


def pause(text: str) -> timedelta | None:
    """Parse ``off``, None, or a span of one minute to 366 days such as ``30m``, ``24h`` or ``7d``."""
    if text == "off":
        return None
    found = re.fullmatch(r"([0-9]{1,6})([mhd])", text)
    span = int(found[1]) * _UNITS[found[2]] if found else timedelta(0)
    if not timedelta(minutes=1) <= span <= timedelta(days=366):
        raise ValueError("must be off, or a span from 1m to 366d, such as 24h")
    return span


@dataclass(frozen=True, slots=True)
class Settings:
    """What the memory service alone knows."""

    integrity_check: str = setting(
        "MEMORYBOX_INTEGRITY_CHECK",
        default="quick",
        parse=one_of("quick", "full"),
        doc="How stored data are checked at start: `quick`, or `full`, which also compares every index.",
    )
    reembedding_percent: int = setting(
        "MEMORYBOX_REEMBEDDING_PERCENT",
        default=50,
        parse=integer(5, 100),
        doc="How much of its time a re-embedding may keep the embedding service busy, in percent; it rests in between.",
    )
    subject_services: tuple[str, ...] = setting(
        "MEMORYBOX_SUBJECT_SERVICES",
        default=(),
        parse=some_of("analyst", "chat"),
        doc="Services, comma separated, that keep people's data too: `analyst`, `chat`. An erasure is done when each of them has done its part.",
    )
    backup_dir: Path | None = setting(
        "MEMORYBOX_BACKUP_DIR",
        default=None,
        parse=path,
        doc="Folder of the backups; default `backups` in the data folder. Better on another disk.",
    )
    backup_every: timedelta | None = setting(
        "MEMORYBOX_BACKUP_EVERY",
        default=None,
        parse=pause,
        doc="How old the newest backup may get before another is made, such as `24h`; `off`, or unset: none is made by itself.",
    )
    backup_keep: int = setting(
        "MEMORYBOX_BACKUP_KEEP",
        default=7,
        parse=integer(1, 1000),
        doc="How many whole backups are kept; each that is made removes the oldest beyond these.",
    )
    audit_reads: str = setting(
        "MEMORYBOX_AUDIT_READS",
        default="async",
        parse=one_of("async", "sync"),
        doc="When reads are in the audit log: `async`, within a second, or `sync`, before they are answered, so that no crash loses one.",
    )
