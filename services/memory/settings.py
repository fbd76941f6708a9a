"""Settings of the memory service."""

from dataclasses import dataclass

from services.mesh.config import integer, one_of, setting, some_of


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
    audit_reads: str = setting(
        "MEMORYBOX_AUDIT_READS",
        default="async",
        parse=one_of("async", "sync"),
        doc="When reads are in the audit log: `async`, within a second, or `sync`, before they are answered, so that no crash loses one.",
    )
