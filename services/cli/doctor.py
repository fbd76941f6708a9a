"""`memorybox doctor`: looks at everything that a mesh stands on, and says of each fault what to do."""

import argparse
import asyncio
import dataclasses
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from services.cli.output import print_json, print_table
from services.cli.ports import require_free
from services.cli.settings import CliSettings, service_settings
from services.cli.status import DOWN, READY, ask_all
from services.cli.unknown import slips
from services.cli.up import built_services
from services.embedding.settings import EmbeddingSettings
from services.memory.settings import Settings
from services.memory.stores.embedded import offline
from services.memory.stores.embedded.lock import holder
from services.mesh.config import BUILT_SERVICES, BadSettings, MeshSettings, load, require_valid
from services.mesh.errors import MemoryBoxError
from services.mesh.keys import KeyFolder

LOW_SPACE_BYTES = 1 << 30
SKEW = timedelta(minutes=1)  # between the clock and the newest event
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OVERDUE = 1.5  # of the span between two backups


class Verdict(StrEnum):
    """What a check found."""

    RIGHT = "right"
    NOTE = "note"  # worth knowing, and as it may be
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check says; *advice* is what to do about it."""

    check: str
    verdict: Verdict
    detail: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """What is looked at."""

    environ: Mapping[str, str]
    mesh: MeshSettings
    settings: Settings

    @property
    def database(self) -> Path:
        """The live database."""
        return self.mesh.data_dir / "memory" / "memories.sqlite"


Check = Callable[[Patient], Iterator[Finding]]


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print what every check found; 0 only when nothing is wrong."""
    findings = list(examine(environ))
    healthy = all(finding.verdict is not Verdict.WRONG for finding in findings)
    if arguments.json:
        print_json({"healthy": healthy, "findings": [dataclasses.asdict(finding) for finding in findings]})
    else:
        told = [(f.check, f.verdict.value, f"{f.detail}{f': {f.advice}' if f.advice else ''}") for f in findings]
        print_table(("CHECK", "IS", "DETAIL"), told)
    return 0 if healthy else 1


def examine(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what every check finds; without right settings nothing else can be looked at."""
    yield from _variables(environ)
    try:
        require_valid(environ, MeshSettings, CliSettings, *map(service_settings, BUILT_SERVICES))
    except BadSettings as error:
        yield Finding("settings", Verdict.WRONG, "; ".join(error.message.splitlines()), "set them right, or unset them")
        return
    yield Finding("settings", Verdict.RIGHT, "every variable can be read")
    patient = Patient(environ, load(MeshSettings, environ), load(Settings, environ))
    for name, check in CHECKS.items():
        try:
            yield from check(patient)
        except MemoryBoxError as error:
            yield Finding(name, Verdict.WRONG, str(error), "see what it says")
        except OSError as error:
            what = f"{error.filename or ''}: {error.strerror}".lstrip(": ")
            yield Finding(name, Verdict.WRONG, what, "make it readable for this user")


def _variables(environ: Mapping[str, str]) -> Iterator[Finding]:
    found = list(slips(environ))
    for slip in found:
        advice = f"did you mean {slip.meant}?" if slip.meant else "unset it; the README lists all that there are"
        yield Finding("variables", Verdict.WRONG, f"{slip.variable} means nothing", advice)
    if not found:
        yield Finding("variables", Verdict.RIGHT, "every MEMORYBOX_ variable is known")


def _data_folder(patient: Patient) -> Iterator[Finding]:
    folder = patient.mesh.data_dir
    if not folder.is_dir():
        yield Finding("data folder", Verdict.NOTE, f"{folder} is not there yet", "`memorybox up` makes it")
        return
    yield from _private("data folder", [path for path in (folder / "memory",) if path.is_dir()], "only you may read it")
    process = holder(folder / "memory")
    yield Finding("folder lock", Verdict.RIGHT, f"process {process} has the data folder" if process else "no process has the data folder")  # fmt: skip
    free = shutil.disk_usage(folder).free
    needed = max(LOW_SPACE_BYTES, 2 * patient.database.stat().st_size if patient.database.exists() else 0)
    if free < needed:
        advice = f"have {needed >> 20} MiB: an erasure rewrites the database, a restore writes a second one"
        yield Finding("free space", Verdict.WRONG, f"{free >> 20} MiB are free in {folder}", advice)
    else:
        yield Finding("free space", Verdict.RIGHT, f"{free >> 20} MiB are free")


def _keys(patient: Patient) -> Iterator[Finding]:
    folder = patient.mesh.keys_dir
    if not folder.is_dir():
        yield Finding("keys", Verdict.NOTE, f"{folder} is not there yet", "`memorybox up` makes it")
        return
    KeyFolder(folder).read()
    yield from _private("keys", (folder, *folder.rglob("*")), "only you may read them")


def _database(patient: Patient) -> Iterator[Finding]:
    if not patient.database.exists():
        yield Finding("database", Verdict.NOTE, "nothing is kept yet")
        return
    health = offline.examine(patient.database)
    if health.schema > health.newest_schema:
        detail = f"it has schema {health.schema}, this version knows {health.newest_schema}"
        yield Finding("schema", Verdict.WRONG, detail, "use the newer version again")
    else:
        yield Finding("schema", Verdict.RIGHT, f"{health.schema} of {health.newest_schema}")
    if health.faults:
        advice = "stop the mesh and `memorybox restore latest --in-place`"
        yield Finding("database", Verdict.WRONG, "; ".join(health.faults), advice)
    else:
        yield Finding("database", Verdict.RIGHT, "its pages are sound")
    ahead = health.newest_event - datetime.now(UTC) if health.newest_event else timedelta(0)
    if ahead > SKEW:
        advice = "set the machine's clock right: what expires and what tokens last hang on it"
        yield Finding("clock", Verdict.WRONG, f"the newest event is {ahead} in the future", advice)
    else:
        yield Finding("clock", Verdict.RIGHT, "no event is in the future")
    if health.failed_backup:
        advice = "look at the memory service's log, then `memorybox backup`"
        yield Finding("last attempt to back up", Verdict.WRONG, health.failed_backup, advice)


def _backups(patient: Patient) -> Iterator[Finding]:
    every, backups = (
        patient.settings.backup_every,
        offline.open_backups(patient.mesh.data_dir, patient.mesh.keys_dir, patient.settings.backup_dir),
    )
    found = backups.backups()
    if backups.folders.backups.is_dir():
        yield from _private("backup folder", (backups.folders.backups,), "only you may read it")
    for backup in found:
        if not backup.verified:
            detail = f"{backup.backup_id} is not what was written, or sealed with other keys"
            yield Finding("backups", Verdict.WRONG, detail, "delete it, or bring the keys back that made it")
    whole = [backup for backup in found if backup.verified]
    if not whole:
        verdict = Verdict.NOTE if every is None else Verdict.WRONG
        advice = "`memorybox backup` makes one; MEMORYBOX_BACKUP_EVERY=24h makes one a day"
        yield Finding("newest backup", verdict, "there is none", advice)
        return
    age = datetime.now(UTC) - whole[0].created_at
    offline.verify(backups, whole[0].backup_id)
    if every is not None and age > _OVERDUE * every:
        advice = "see whether the memory service runs, and its log"
        yield Finding("newest backup", Verdict.WRONG, f"it is {_rough(age)} old, though one is due every {_rough(every)}", advice)  # fmt: skip
    else:
        yield Finding("newest backup", Verdict.RIGHT, f"it is {_rough(age)} old, and was read back whole just now")


def _services(patient: Patient) -> Iterator[Finding]:
    states = asyncio.run(ask_all(patient.environ))
    if all(state.state == DOWN for state in states):
        require_free(built_services(patient.mesh), patient.mesh.bind, 0)
        yield Finding("ports", Verdict.RIGHT, "all are free")
        process = holder(patient.database.parent)
        if process:  # of another mesh, or left over
            detail = f"none answers at these ports, yet process {process} has the data folder"
            yield Finding("services", Verdict.WRONG, detail, "use the settings that it was started with, or stop it")
        else:
            yield Finding("services", Verdict.WRONG, "none runs", "`memorybox up` starts them")
        return
    for state in states:
        if state.state == READY:
            yield Finding(state.name, Verdict.RIGHT, READY)
        else:
            detail = f"{state.state} {state.detail}".strip()
            yield Finding(state.name, Verdict.WRONG, detail, "see its log; `memorybox up` starts again what has ended")


def _model(patient: Patient) -> Iterator[Finding]:
    from services.models import sentence  # loads ONNX Runtime  # noqa: PLC0415
    from services.models.files import ModelError  # noqa: PLC0415

    floats = load(EmbeddingSettings, patient.environ).model == "float32"
    try:
        sentence.SentenceModel.load(sentence.FLOAT32 if floats else sentence.INT8)
    except ModelError as error:
        yield Finding("model", Verdict.WRONG, str(error), "`make up` installs it anew")
    else:
        yield Finding("model", Verdict.RIGHT, "it is installed, loads, and tells a paraphrase from another sentence")


CHECKS: Mapping[str, Check] = {
    "data folder": _data_folder,
    "keys": _keys,
    "database": _database,
    "backups": _backups,
    "services": _services,
    "model": _model,
}


def _private(check: str, paths: Iterable[Path], right: str) -> Iterator[Finding]:
    open_to_others = [path for path in paths if path.stat().st_mode & _OTHERS]
    for path in open_to_others:
        what = "700" if path.is_dir() else "600"
        yield Finding(check, Verdict.WRONG, f"others may read {path}", f"chmod {what} {path}")
    if not open_to_others:
        yield Finding(check, Verdict.RIGHT, right)


def _rough(span: timedelta) -> str:
    """Return *span* in its largest unit."""
    hours = span / timedelta(hours=1)
    return f"{hours / 24:.0f} days" if hours >= 48 else f"{hours:.0f} h" if hours >= 2 else f"{span.seconds // 60} min"  # noqa: PLR2004
