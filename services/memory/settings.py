"""Settings of the memory service."""

from dataclasses import dataclass

from services.mesh.config import one_of, setting


@dataclass(frozen=True, slots=True)
class Settings:
    """What the memory service alone knows."""

    integrity_check: str = setting(
        "MEMORYBOX_INTEGRITY_CHECK",
        default="quick",
        parse=one_of("quick", "full"),
        doc="How stored data are checked at start: `quick`, or `full`, which also compares every index.",
    )
    audit_reads: str = setting(
        "MEMORYBOX_AUDIT_READS",
        default="async",
        parse=one_of("async", "sync"),
        doc="When reads are in the audit log: `async`, within a second, or `sync`, before they are answered, so that no crash loses one.",
    )
