"""Settings of the analyst service."""

from dataclasses import dataclass

from services.mesh.config import integer, seconds, setting


@dataclass(frozen=True, slots=True)
class Settings:
    """What the analyst service alone knows."""

    statement_timeout_s: float = setting(
        "MEMORYBOX_ANALYST_STATEMENT_TIMEOUT",
        default=30.0,
        parse=seconds(0.1, 600),
        doc="Longest run of one statement in seconds; the caller's deadline ends it earlier.",
    )
    warehouse_mib: int = setting(
        "MEMORYBOX_ANALYST_WAREHOUSE_MIB",
        default=1024,
        parse=integer(64, 1 << 20),
        doc="MiB of memory that the local warehouse may take; more goes to disk, or ends the statement.",
    )
    warehouse_threads: int = setting(
        "MEMORYBOX_ANALYST_WAREHOUSE_THREADS",
        default=2,
        parse=integer(1, 256),
        doc="Threads of the local warehouse, all statements together.",
    )
    load_mib: int = setting(
        "MEMORYBOX_ANALYST_LOAD_MIB",
        default=1024,
        parse=integer(1, 1 << 20),
        doc="Largest file in MiB that may be loaded as a table; unpacked, eight times as much.",
    )
